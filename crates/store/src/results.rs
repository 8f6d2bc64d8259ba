//! Finished images: what was built, under which names, and out of which blobs, so that publishing can be repeated
//! without building.
//!
//! ```sql
//! image_results (root, descriptor, referrers, platforms, outputs, created)
//!                                    root: digest; descriptors as JSON; lists as JSON; created: Unix seconds, the latest
//! image_names   (root, name, built, published)   when it was last built and published under the name; the latter may be
//!                                                NULL
//! image_owners  (name, root)                     the image that was built or published under a name last
//! image_blobs   (root, digest, size, origin)     everything that the image is made of
//! ```
//!
//! A name is one image's: that of whoever said it last, in the order in which it was written down. Seconds would not do,
//! since two builds may end in one.
//!
//! A blob that `image_blobs` names is in use for as long as its result is recorded: whatever frees space keeps it, or
//! forgets the result as a whole. A blob with an origin may go: publishing fetches it from there again. So a result that
//! is listed can be published.

use std::collections::BTreeMap;

use gantry_oci::{Descriptor, Digest};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use serde_json::json;

use crate::error::During;
use crate::journal;
use crate::records::now;
use crate::{Store, StoreError};

/// Tables that were added after the format's first version: whoever does not know them does not need them.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS image_results (root TEXT PRIMARY KEY, descriptor TEXT NOT NULL, referrers TEXT NOT NULL,
    platforms TEXT NOT NULL, outputs TEXT NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS image_names (root TEXT NOT NULL, name TEXT NOT NULL, built INTEGER, published INTEGER,
    PRIMARY KEY (root, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS image_owners (name TEXT PRIMARY KEY, root TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS image_blobs (root TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, origin TEXT,
    PRIMARY KEY (root, digest)) WITHOUT ROWID;
";

/// An image that a build made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// The index, or the manifest if it is for one platform.
    pub root: Descriptor,
    /// Manifests that name it, or a part of it, as their subject.
    pub referrers: Vec<Descriptor>,
    /// The platforms, in the order of the build.
    pub platforms: Vec<String>,
    /// What became of it, in words: `push`, `OCI archive to app.tar`.
    pub outputs: Vec<String>,
}

/// A finished image, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageResult {
    /// The image.
    pub image: BuiltImage,
    /// When it was last built, in Unix seconds.
    pub created: i64,
    /// The names that it was built or published under.
    pub names: Vec<ImageName>,
}

/// A name of a finished image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    /// The full reference.
    pub name: String,
    /// When it was last built under it, in Unix seconds.
    pub built: Option<i64>,
    /// When it was last published under it, in Unix seconds.
    pub published: Option<i64>,
    /// Whether no other image was built or published under it since.
    pub is_current: bool,
}

/// A blob of a finished image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// `host/repository` from which it can be read, if it is a base layer.
    pub origin: Option<String>,
}

pub(crate) fn create_tables(database: &Connection) -> Result<(), StoreError> {
    database.execute_batch(SCHEMA).during("create the tables of results")
}

impl Store {
    /// Records that an image was built now under these names, out of these blobs.
    pub fn put_image_result(
        &self,
        image: &BuiltImage,
        names: &[String],
        blobs: &[ImageBlob],
    ) -> Result<(), StoreError> {
        let root = image.root.digest.to_string();
        let mut database = self.database();
        let transaction = database.transaction().during("begin")?;
        transaction
            .execute(
                "INSERT OR REPLACE INTO image_results VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    root,
                    json!(image.root).to_string(),
                    json!(image.referrers).to_string(),
                    json!(image.platforms).to_string(),
                    json!(image.outputs).to_string(),
                    now()
                ],
            )
            .during("record an image")?;
        for name in names {
            transaction
                .execute(
                    "INSERT INTO image_names VALUES (?1, ?2, ?3, NULL)
                     ON CONFLICT (root, name) DO UPDATE SET built = excluded.built",
                    params![root, name, now()],
                )
                .during("record an image's name")?;
            claim(&transaction, &root, name)?;
        }
        for blob in blobs {
            let size = i64::try_from(blob.size).unwrap_or(i64::MAX);
            transaction
                .execute(
                    "INSERT OR REPLACE INTO image_blobs VALUES (?1, ?2, ?3, ?4)",
                    params![root, blob.digest.to_string(), size, blob.origin],
                )
                .during("record an image's blob")?;
        }
        transaction.commit().during("record an image")
    }

    /// Records that an image was published now under a name.
    pub fn put_image_published(&self, root: &Digest, name: &str) -> Result<(), StoreError> {
        let root = root.to_string();
        let mut database = self.database();
        let transaction = database.transaction().during("begin")?;
        transaction
            .execute(
                "INSERT INTO image_names VALUES (?1, ?2, NULL, ?3)
                 ON CONFLICT (root, name) DO UPDATE SET published = excluded.published",
                params![root, name, now()],
            )
            .during("record that an image was published")?;
        claim(&transaction, &root, name)?;
        transaction.commit().during("record that an image was published")
    }

    /// All finished images, the newest first.
    pub fn image_results(&self) -> Result<Vec<ImageResult>, StoreError> {
        let database = self.database();
        let mut names = names(&database)?;
        let mut query = database
            .prepare_cached(
                "SELECT descriptor, referrers, platforms, outputs, created FROM image_results
                 ORDER BY created DESC, root",
            )
            .during("prepare a query")?;
        let results = query.query_map([], result_of).during("read the images")?;
        let mut results = results.collect::<Result<Vec<_>, _>>().during("read the images")?;
        for result in &mut results {
            result.names = names.remove(&result.image.root.digest.to_string()).unwrap_or_default();
        }
        Ok(results)
    }

    /// Where the blobs of a finished image can be read, for those that have such a place.
    pub fn image_origins(&self, root: &Digest) -> Result<BTreeMap<Digest, String>, StoreError> {
        let database = self.database();
        let mut query = database
            .prepare_cached("SELECT digest, origin FROM image_blobs WHERE root = ?1 AND origin IS NOT NULL")
            .during("prepare a query")?;
        let rows = query
            .query_map([root.to_string()], |row| Ok((parsed(row, 0)?, row.get(1)?)))
            .during("read an image's blobs")?;
        rows.collect::<Result<_, _>>().during("read an image's blobs")
    }
}

/// Gives a name to an image, and takes it from the unfinished publications of others.
fn claim(database: &Connection, root: &str, name: &str) -> Result<(), StoreError> {
    database
        .execute(
            "INSERT INTO image_owners VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET root = excluded.root",
            [name, root],
        )
        .during("record whose a name is")?;
    journal::take_name(database, root, name)
}

fn names(database: &Connection) -> Result<BTreeMap<String, Vec<ImageName>>, StoreError> {
    let mut query = database
        .prepare_cached(
            "SELECT image_names.root, name, built, published, image_owners.root = image_names.root
             FROM image_names JOIN image_owners USING (name) ORDER BY image_names.root, name",
        )
        .during("prepare a query")?;
    let rows = query.query_map([], |row| {
        let name = ImageName {
            name: row.get(1)?,
            built: row.get(2)?,
            published: row.get(3)?,
            is_current: row.get(4)?,
        };
        Ok((row.get::<_, String>(0)?, name))
    });
    let mut names: BTreeMap<String, Vec<ImageName>> = BTreeMap::new();
    for row in rows.during("read the images' names")? {
        let (root, name) = row.during("read the images' names")?;
        names.entry(root).or_default().push(name);
    }
    Ok(names)
}

fn result_of(row: &Row<'_>) -> rusqlite::Result<ImageResult> {
    Ok(ImageResult {
        image: BuiltImage {
            root: from_json(row, 0)?,
            referrers: from_json(row, 1)?,
            platforms: from_json(row, 2)?,
            outputs: from_json(row, 3)?,
        },
        created: row.get(4)?,
        names: Vec::new(),
    })
}

fn from_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| unreadable(column, error))
}

/// A column that holds a value in its text form.
pub(crate) fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

#[cfg(test)]
mod tests {
    use gantry_oci::media_type;

    use super::*;

    fn image(content: &str) -> BuiltImage {
        BuiltImage {
            root: Descriptor::of(media_type::INDEX, content.as_bytes()),
            referrers: Vec::new(),
            platforms: vec!["linux/amd64".to_owned()],
            outputs: vec!["push".to_owned()],
        }
    }

    #[test]
    fn a_result_keeps_its_names_blobs_and_where_it_went() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (one, two) = (image("one"), image("two"));
        let base = ImageBlob { digest: Digest::of("base"), size: 4, origin: Some("r.io/base".to_owned()) };
        let own = ImageBlob { digest: Digest::of("own"), size: 3, origin: None };
        store.put_image_result(&one, &["r.io/a:1".to_owned()], &[base.clone(), own]).unwrap();
        store.put_image_result(&two, &[], &[]).unwrap();
        // Built again under another name, and published under a third.
        store.put_image_result(&one, &["r.io/a:2".to_owned()], &[]).unwrap();
        store.put_image_published(&one.root.digest, "r.io/b:1").unwrap();
        store.put_image_published(&one.root.digest, "r.io/a:1").unwrap();

        let results = store.image_results().unwrap();
        assert_eq!(results.len(), 2);
        let found = results.iter().find(|result| result.image == one).unwrap();
        let names: Vec<_> = found
            .names
            .iter()
            .map(|name| (name.name.as_str(), name.built.is_some(), name.published.is_some()))
            .collect();
        assert_eq!(names, [("r.io/a:1", true, true), ("r.io/a:2", true, false), ("r.io/b:1", false, true)]);
        assert!(found.created > 0);
        let origins = store.image_origins(&one.root.digest).unwrap();
        assert_eq!(origins.into_iter().collect::<Vec<_>>(), [(base.digest, "r.io/base".to_owned())]);
    }

    #[test]
    fn a_name_is_that_of_the_image_that_got_it_last() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (one, two) = (image("one"), image("two"));
        let owner = |name: &str| {
            let results = store.image_results().unwrap();
            let owns = |result: &&ImageResult| {
                result.names.iter().any(|known| known.name == name && known.is_current)
            };
            let owners: Vec<_> = results.iter().filter(owns).map(|result| result.image.root.digest).collect();
            assert_eq!(owners.len(), 1, "{results:?}");
            owners[0]
        };
        let build = |image: &BuiltImage, name: &str| {
            store.put_image_result(image, &[name.to_owned()], &[]).unwrap();
        };
        // All within one second, in both orders of the digests.
        for _ in 0..2 {
            build(&one, "r.io/a:1");
            build(&two, "r.io/a:1");
            build(&one, "r.io/a:2");
            assert_eq!((owner("r.io/a:1"), owner("r.io/a:2")), (two.root.digest, one.root.digest));
            store.put_image_published(&one.root.digest, "r.io/a:1").unwrap();
            assert_eq!(owner("r.io/a:1"), one.root.digest);
            build(&two, "r.io/a:2");
            assert_eq!(owner("r.io/a:2"), two.root.digest);
        }
    }
}
