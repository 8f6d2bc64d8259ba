//! The database: which key has which result, which layer has which blob.
//!
//! ```sql
//! PRAGMA user_version = 1
//! results     (key, value, created, boot)            key: cache key; value: the engine's own text
//! layers      (id, created, below)                   when a step made the layer, in Unix seconds, and on which layers
//! layer_blobs (layer, compression, diff_id, media_type, digest, size, origin)
//!                                                    origin: repository that a base layer can be read from
//! file_hashes (device, inode, size, mtime, ctime, digest)
//! ```
//!
//! WAL mode, `synchronous=NORMAL`: a power cut may lose the last records but never breaks the file. It may also lose
//! the *files* of a snapshot whose record it kept, as snapshots are not synced (that costs seconds a build). So a
//! result remembers the boot it was made in until it is old enough to have reached the disk by itself; an unsettled
//! result of another boot does not count.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gantry_oci::{Descriptor, Digest};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::error::During;
use crate::{LayerId, Store, StoreError};

const FORMAT: i64 = 1;
/// Other processes' transactions are short; waiting this long means that one hangs.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// The kernel writes dirty pages back after 30 s; ten times that is safe.
const SETTLED_AFTER: Duration = Duration::from_secs(300);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS results (key BLOB PRIMARY KEY, value TEXT NOT NULL, created INTEGER NOT NULL, boot TEXT)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS layers (id TEXT PRIMARY KEY, created INTEGER NOT NULL, below TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS layer_blobs (layer TEXT NOT NULL, compression TEXT NOT NULL, diff_id TEXT NOT NULL,
    media_type TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, origin TEXT,
    PRIMARY KEY (layer, compression)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS file_hashes (device INTEGER, inode INTEGER, size INTEGER NOT NULL, mtime INTEGER NOT NULL,
    ctime INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (device, inode)) WITHOUT ROWID;
";

/// A layer as a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// The compressed archive.
    pub descriptor: Descriptor,
    /// `host/repository` from which a base layer can be read, if it is one.
    pub origin: Option<String>,
}

/// A layer that a step made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepLayer {
    /// When, in Unix seconds.
    pub created: i64,
    /// The layers that it was made on, bottom first.
    pub below: Vec<LayerId>,
}

pub(crate) fn open(root: &Path) -> Result<Connection, StoreError> {
    let database = Connection::open(root.join("meta.db")).during("open a connection")?;
    database.busy_timeout(BUSY_TIMEOUT).during("set the time-out")?;
    database.pragma_update(None, "journal_mode", "WAL").during("switch to WAL mode")?;
    database.pragma_update(None, "synchronous", "NORMAL").during("set the sync mode")?;
    let found: i64 =
        database.pragma_query_value(None, "user_version", |row| row.get(0)).during("read the format")?;
    match found {
        0 => {
            database.execute_batch(SCHEMA).during("create the tables")?;
            database.pragma_update(None, "user_version", FORMAT).during("write the format")?;
        }
        FORMAT => {}
        _ => return Err(StoreError::Format { path: root.to_owned(), found, known: FORMAT }),
    }
    crate::results::create_tables(&database)?;
    crate::journal::create_tables(&database)?;
    let settled = now() - i64::try_from(SETTLED_AFTER.as_secs()).expect("minutes fit");
    database
        .execute(
            "UPDATE results SET boot = NULL WHERE boot = ?1 AND created < ?2",
            params![boot_id(), settled],
        )
        .during("settle results")?;
    Ok(database)
}

/// Unix seconds.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Names this run of the machine's kernel.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

impl Store {
    /// The result recorded under a key.
    pub fn result(&self, key: &Digest) -> Result<Option<String>, StoreError> {
        let database = self.database();
        let mut query = database
            .prepare_cached("SELECT value FROM results WHERE key = ?1 AND (boot IS NULL OR boot = ?2)")
            .during("prepare a query")?;
        query
            .query_row(params![key.as_bytes(), boot_id()], |row| row.get(0))
            .optional()
            .during("read a result")
    }

    /// Records a result under several keys at once, replacing what was there. Layers that it names must not be removed:
    /// their ids are words of it, with neither letter nor digit beside them.
    pub fn put_result(&self, keys: &[Digest], value: &str) -> Result<(), StoreError> {
        let mut database = self.database();
        let transaction = database.transaction().during("begin")?;
        for key in keys {
            transaction
                .execute(
                    "INSERT OR REPLACE INTO results VALUES (?1, ?2, ?3, ?4)",
                    params![key.as_bytes(), value, now(), boot_id()],
                )
                .during("record a result")?;
        }
        transaction.commit().during("record a result")?;
        drop(database);
        self.session().named_by(value);
        Ok(())
    }

    /// Removes what is known of those of these layers of steps that no result names, and returns them. The results are
    /// read once, however many layers there are.
    pub(crate) fn forget_layer_records(
        &self,
        layers: &BTreeSet<LayerId>,
    ) -> Result<Vec<LayerId>, StoreError> {
        let of_steps = layers.iter().filter(|layer| !layer.is_of_image());
        let mut unnamed: HashMap<String, LayerId> =
            of_steps.map(|layer| (layer.to_string(), layer.clone())).collect();
        if unnamed.is_empty() {
            return Ok(Vec::new());
        }
        let mut database = self.database();
        // Nobody may name one of them between the reading and the removal.
        let transaction =
            database.transaction_with_behavior(TransactionBehavior::Immediate).during("begin")?;
        keep_unnamed(&transaction, &mut unnamed)?;
        for layer in unnamed.keys() {
            for statement in ["DELETE FROM layers WHERE id = ?1", "DELETE FROM layer_blobs WHERE layer = ?1"]
            {
                transaction.execute(statement, [layer]).during("forget a layer")?;
            }
        }
        transaction.commit().during("forget a layer")?;
        Ok(unnamed.into_values().collect())
    }

    /// Records that a step made this layer now, on top of these. Like the layer, the record goes with a session that ends
    /// before a result names it.
    pub fn put_step_layer(&self, layer: &LayerId, below: &[LayerId]) -> Result<(), StoreError> {
        self.session().note_layer(layer)?;
        let below: Vec<String> = below.iter().map(ToString::to_string).collect();
        let database = self.database();
        database
            .execute(
                "INSERT OR IGNORE INTO layers VALUES (?1, ?2, ?3)",
                params![layer.to_string(), now(), below.join(" ")],
            )
            .during("record a layer")?;
        Ok(())
    }

    /// How a step made the layer. `None` for layers of images.
    pub fn step_layer(&self, layer: &LayerId) -> Result<Option<StepLayer>, StoreError> {
        let database = self.database();
        let mut query = database
            .prepare_cached("SELECT created, below FROM layers WHERE id = ?1")
            .during("prepare a query")?;
        let row = query.query_row([layer.to_string()], |row| {
            let below: String = row.get(1)?;
            let below = below.split_whitespace().filter_map(|id| id.parse().ok()).collect();
            Ok(StepLayer { created: row.get(0)?, below })
        });
        row.optional().during("read a layer")
    }

    /// The blob that a layer has in this compression. Layers of images are kept as they came, whatever is asked, unless it
    /// begins with [`RECOMPRESSED`].
    pub fn layer_blob(&self, layer: &LayerId, compression: &str) -> Result<Option<LayerBlob>, StoreError> {
        let database = self.database();
        let mut query = database
            .prepare_cached(
                "SELECT diff_id, media_type, digest, size, origin FROM layer_blobs WHERE layer = ?1 AND compression = ?2",
            )
            .during("prepare a query")?;
        let row = query.query_row(params![layer.to_string(), compression_of(layer, compression)], |row| {
            let digest = |column: usize| {
                let text: String = row.get(column)?;
                text.parse::<Digest>().map_err(|error| {
                    rusqlite::Error::FromSqlConversionFailure(
                        column,
                        rusqlite::types::Type::Text,
                        error.into(),
                    )
                })
            };
            let media_type: String = row.get(1)?;
            let size: i64 = row.get(3)?;
            Ok(LayerBlob {
                diff_id: digest(0)?,
                descriptor: Descriptor::new(media_type, digest(2)?, u64::try_from(size).unwrap_or(0)),
                origin: row.get(4)?,
            })
        });
        row.optional().during("read a layer's blob")
    }

    /// Records a layer's blob.
    pub fn put_layer_blob(
        &self,
        layer: &LayerId,
        compression: &str,
        blob: &LayerBlob,
    ) -> Result<(), StoreError> {
        let database = self.database();
        let size = i64::try_from(blob.descriptor.size).unwrap_or(i64::MAX);
        database
            .execute(
                "INSERT OR REPLACE INTO layer_blobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    layer.to_string(),
                    compression_of(layer, compression),
                    blob.diff_id.to_string(),
                    blob.descriptor.media_type,
                    blob.descriptor.digest.to_string(),
                    size,
                    blob.origin,
                ],
            )
            .during("record a layer's blob")?;
        Ok(())
    }
}

/// Takes out the layers that a result names.
fn keep_unnamed(database: &Connection, layers: &mut HashMap<String, LayerId>) -> Result<(), StoreError> {
    let mut query = database.prepare_cached("SELECT value FROM results").during("prepare a query")?;
    let mut rows = query.query([]).during("look for results with layers")?;
    while let Some(row) = rows.next().during("look for results with layers")? {
        let value = row.get_ref(0).and_then(|value| Ok(value.as_str()?));
        let value = value.during("look for results with layers")?;
        for word in value.split(|c: char| !c.is_ascii_alphanumeric()) {
            layers.remove(word);
        }
    }
    Ok(())
}

/// What the compression of an image's layer begins with that is another one than it came in.
pub const RECOMPRESSED: &str = "again as ";

fn compression_of<'a>(layer: &LayerId, compression: &'a str) -> &'a str {
    match layer.is_of_image() && !compression.starts_with(RECOMPRESSED) {
        true => "as it came",
        false => compression,
    }
}
