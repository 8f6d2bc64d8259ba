//! The journal of publishing: what was to be published and how far it came, so that a publish that was killed is known
//! and can be ended.
//!
//! ```sql
//! publications     (id, root, names, terms, state, started)
//!                           id: digest of root and names; names: JSON list; terms: the caller's own text, under which
//!                           conditions; state: `uploading`, `proven`; started: Unix seconds
//! publication_tags (id, name)                        tags that were written
//! publication_lost (id, name)                        names that another image was built or published under since it began
//! ```
//!
//! A row is there before the first byte is sent and goes when the last tag is written: what is listed is unfinished.
//! Whoever works on a publication holds the lock `publish-HEX` of its id, so an unfinished one whose lock is free was
//! killed. Blobs need no journal: the registry says which it has.

use gantry_oci::Digest;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use serde_json::json;

use crate::error::During;
use crate::records::now;
use crate::results::parsed;
use crate::{Lock, Store, StoreError};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS publications (id TEXT PRIMARY KEY, root TEXT NOT NULL, names TEXT NOT NULL,
    terms TEXT NOT NULL, state TEXT NOT NULL, started INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS publication_tags (id TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (id, name))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS publication_lost (id TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (id, name))
    WITHOUT ROWID;
";

/// How far a publication came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicationState {
    /// Content is being sent.
    Uploading,
    /// Everything is there and was read back; tags may have been written.
    Proven,
}

/// A publication that was begun and did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The digest of the root and the names.
    pub id: Digest,
    /// The image.
    pub root: Digest,
    /// The names that it is to have.
    pub names: Vec<String>,
    /// Under which conditions, in the words of whoever began it.
    pub terms: String,
    /// How far it came.
    pub state: PublicationState,
    /// When it began, in Unix seconds.
    pub started: i64,
    /// The names whose tags were written.
    pub tagged: Vec<String>,
    /// The names that another image was built or published under since: they are not this one's any more.
    pub lost: Vec<String>,
}

impl Publication {
    /// The names that it still has a right to.
    pub fn kept(&self) -> impl Iterator<Item = &String> {
        self.names.iter().filter(|name| !self.lost.contains(name))
    }
}

pub(crate) fn create_tables(database: &Connection) -> Result<(), StoreError> {
    database.execute_batch(SCHEMA).during("create the tables of the journal")
}

impl Store {
    /// The id of a publication of this image under these names.
    pub fn publication_id(root: &Digest, names: &[String]) -> Digest {
        // Names have no line feeds.
        Digest::of(format!("{root}\n{}", names.join("\n")))
    }

    /// Takes a publication's lock if nobody works on it.
    pub fn try_lock_publication(&self, id: &Digest) -> Result<Option<Lock>, StoreError> {
        self.try_lock(&format!("publish-{}", id.hex()))
    }

    /// Notes that a publication begins, or begins again: then what is known of its tags stays, and all names are its own
    /// once more.
    pub fn begin_publication(
        &self,
        root: &Digest,
        names: &[String],
        terms: &str,
    ) -> Result<Digest, StoreError> {
        let id = Self::publication_id(root, names);
        let mut database = self.database();
        let transaction = database.transaction().during("begin")?;
        transaction
            .execute(
                "INSERT INTO publications VALUES (?1, ?2, ?3, ?4, 'uploading', ?5)
                 ON CONFLICT (id) DO UPDATE SET terms = excluded.terms, state = excluded.state",
                params![id.to_string(), root.to_string(), json!(names).to_string(), terms, now()],
            )
            .during("begin a publication")?;
        transaction
            .execute("DELETE FROM publication_lost WHERE id = ?1", [id.to_string()])
            .during("begin a publication")?;
        transaction.commit().during("begin a publication")?;
        Ok(id)
    }

    /// Notes that everything was read back.
    pub fn publication_proven(&self, id: &Digest) -> Result<(), StoreError> {
        self.database()
            .execute("UPDATE publications SET state = 'proven' WHERE id = ?1", [id.to_string()])
            .during("note that a publication is proven")?;
        Ok(())
    }

    /// Notes that a tag was written.
    pub fn publication_tagged(&self, id: &Digest, name: &str) -> Result<(), StoreError> {
        self.database()
            .execute("INSERT OR IGNORE INTO publication_tags VALUES (?1, ?2)", params![id.to_string(), name])
            .during("note that a tag was written")?;
        Ok(())
    }

    /// Forgets a publication: it is done, or nobody wants it any more.
    pub fn end_publication(&self, id: &Digest) -> Result<(), StoreError> {
        let mut database = self.database();
        let transaction = database.transaction().during("begin")?;
        for table in ["publication_tags", "publication_lost", "publications"] {
            transaction
                .execute(&format!("DELETE FROM {table} WHERE id = ?1"), [id.to_string()])
                .during("end a publication")?;
        }
        transaction.commit().during("end a publication")
    }

    /// All unfinished publications, the oldest first; also those that a living process works on.
    pub fn publications(&self) -> Result<Vec<Publication>, StoreError> {
        let database = self.database();
        let mut query = database
            .prepare_cached(
                "SELECT id, root, names, terms, state, started FROM publications ORDER BY started, id",
            )
            .during("prepare a query")?;
        let rows = query.query_map([], publication_of).during("read the journal")?;
        let mut found = rows.collect::<Result<Vec<_>, _>>().during("read the journal")?;
        for publication in &mut found {
            publication.tagged = names_in(&database, "publication_tags", &publication.id)?;
            publication.lost = names_in(&database, "publication_lost", &publication.id)?;
        }
        Ok(found)
    }
}

/// Takes a name that another image is now built or published under from unfinished publications.
pub(crate) fn take_name(database: &Connection, root: &str, name: &str) -> Result<(), StoreError> {
    database
        .execute(
            "INSERT OR IGNORE INTO publication_lost
             SELECT row.id, ?1 FROM publications AS row, json_each(row.names) AS name
             WHERE name.value = ?1 AND row.root <> ?2",
            [name, root],
        )
        .during("take a name from unfinished publications")?;
    Ok(())
}

fn publication_of(row: &Row<'_>) -> rusqlite::Result<Publication> {
    let names: String = row.get(2)?;
    let names = serde_json::from_str(&names)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, Type::Text, error.into()))?;
    let state: String = row.get(4)?;
    Ok(Publication {
        id: parsed(row, 0)?,
        root: parsed(row, 1)?,
        names,
        terms: row.get(3)?,
        state: if state == "proven" { PublicationState::Proven } else { PublicationState::Uploading },
        started: row.get(5)?,
        tagged: Vec::new(),
        lost: Vec::new(),
    })
}

fn names_in(database: &Connection, table: &str, id: &Digest) -> Result<Vec<String>, StoreError> {
    let mut query = database
        .prepare_cached(&format!("SELECT name FROM {table} WHERE id = ?1 ORDER BY name"))
        .during("prepare a query")?;
    let rows = query.query_map([id.to_string()], |row| row.get(0)).during("read the journal")?;
    rows.collect::<Result<_, _>>().during("read the journal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_listed_until_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let names = ["r.io/a:1", "r.io/a:2"].map(str::to_owned);
        let root = Digest::of("root");
        let id = store.begin_publication(&root, &names, "terms").unwrap();
        let lock = store.try_lock_publication(&id).unwrap();
        assert!(lock.is_some() && store.try_lock_publication(&id).unwrap().is_none());
        store.publication_proven(&id).unwrap();
        store.publication_tagged(&id, &names[0]).unwrap();
        drop(store);

        // Another process, after the first was killed.
        let store = Store::open(directory.path()).unwrap();
        let [found] = store.publications().unwrap().try_into().unwrap();
        assert_eq!(
            (found.root, found.terms.as_str(), found.state),
            (root, "terms", PublicationState::Proven)
        );
        assert_eq!((found.names.as_slice(), found.tagged.as_slice()), (&names[..], &names[..1]));
        assert_eq!(store.begin_publication(&root, &names, "other").unwrap(), id, "it is the same one");
        let [again] = store.publications().unwrap().try_into().unwrap();
        assert_eq!((again.terms.as_str(), again.state), ("other", PublicationState::Uploading));
        assert_eq!(again.tagged, names[..1], "what was written stays known");
        store.end_publication(&id).unwrap();
        assert_eq!(store.publications().unwrap(), []);
    }

    #[test]
    fn names_that_another_image_got_are_lost_until_it_begins_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let names = ["r.io/a:1", "r.io/a:2", "r.io/a:3"].map(str::to_owned);
        let (old, new) = (Digest::of("old"), Digest::of("new"));
        // What was there before it began takes nothing from it.
        store.put_image_published(&new, &names[2]).unwrap();
        store.begin_publication(&old, &names, "terms").unwrap();
        let kept = || {
            let [found] = store.publications().unwrap().try_into().unwrap();
            found.kept().cloned().collect::<Vec<_>>()
        };
        store.put_image_published(&old, &names[1]).unwrap();
        assert_eq!(kept(), names);
        store.put_image_published(&new, &names[0]).unwrap();
        assert_eq!(kept(), names[1..]);
        store.begin_publication(&old, &names, "terms").unwrap();
        assert_eq!(kept(), names);
    }
}
