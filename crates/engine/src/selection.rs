//! What is read of the client's directories: looked at and hashed once in a build, whoever reads it, and copied once for steps
//! that mount it, since a step must not see what is ignored.
//!
//! What was hashed for a key is what is copied. If it is no longer that, the copy fails, so that no result is recorded
//! under the key of files that it was not made of.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gantry_llb::pb::FileActionCopy;
use gantry_oci::Digest;
use gantry_store::{Store, TempDir};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::blocking::blocking;
use crate::content;
use crate::error::{At, Fault};
use crate::file::{Look, MergedTimes, copy_items};
use crate::output::ClientDirectory;
use crate::select::{Item, Ownership, Wanted, select, whole};

/// Files of the client, as they were when they were hashed.
#[derive(Debug)]
pub(crate) struct Selection {
    /// What was selected.
    pub(crate) items: Vec<Item>,
    /// What it is.
    pub(crate) content: Digest,
    copy: OnceCell<TempDir>,
}

/// The selections of one directory.
#[derive(Debug, Default)]
pub(crate) struct Selections(Mutex<HashMap<Wanted, Cell>>);

type Cell = Arc<OnceCell<Arc<Selection>>>;

impl ClientDirectory {
    /// Selects and hashes what a copy names.
    pub(crate) async fn select(
        &self,
        store: &Arc<Store>,
        what: &FileActionCopy,
    ) -> Result<Arc<Selection>, Fault> {
        let cell = {
            let mut known = self.selections.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(Wanted::by(what)).or_default())
        };
        let look = || {
            let (store, client, what) = (Arc::clone(store), self.clone(), what.clone());
            blocking(move || {
                let source = client.source()?;
                let root = source.root();
                let items = select(&root, &what)?;
                let remembered = store.file_hashes();
                let content = content::digest(&items, root.ownership, Some(&remembered))?;
                remembered.flush()?;
                Ok(Arc::new(Selection { items, content, copy: OnceCell::new() }))
            })
        };
        cell.get_or_try_init(look).await.cloned()
    }

    /// All that takes part of it.
    pub(crate) async fn all(&self, store: &Arc<Store>) -> Result<Arc<Selection>, Fault> {
        self.select(store, &whole("/")).await
    }
}

impl Selection {
    /// A directory with the selection in it.
    pub(crate) async fn copied(
        self: &Arc<Self>,
        store: &Arc<Store>,
        cancel: &CancellationToken,
    ) -> Result<PathBuf, Fault> {
        let make = || {
            let (store, selection, cancel) = (Arc::clone(store), Arc::clone(self), cancel.clone());
            blocking(move || {
                let copy = store.temp_dir()?;
                let path = copy.path();
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).at("set the mode of", path)?;
                selection.copy_to(path, &cancel)?;
                Ok(copy)
            })
        };
        Ok(self.copy.get_or_try_init(make).await?.path().to_owned())
    }

    /// Copies it to a directory: the root's content, or what was selected by its name.
    pub(crate) fn copy_to(&self, target: &Path, cancel: &CancellationToken) -> Result<(), Fault> {
        let (look, ownership) = (Look::new(None, -1), Ownership::Root);
        self.items.iter().try_for_each(|item| {
            let action = FileActionCopy { dir_copy_contents: item.name.is_empty(), ..whole("/") };
            let item = std::slice::from_ref(item);
            copy_items(item, &action, (look, ownership, MergedTimes::OfSource), target, cancel)
        })
    }
}

#[cfg(test)]
mod tests {
    use gantry_llb::LocalFilter;

    use super::*;

    #[tokio::test]
    async fn root_files_are_looked_at_once_and_copied_once_as_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let (store, context) = (Store::open(directory.path()).unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(context.path().join("d")).unwrap();
        fs::write(context.path().join("d/f"), "1").unwrap();
        fs::set_permissions(context.path().join("d"), fs::Permissions::from_mode(0o700)).unwrap();
        let (store, cancel) = (Arc::new(store), CancellationToken::new());
        let client = || ClientDirectory {
            name: "context".to_owned(),
            directory: context.path().to_owned(),
            filter: LocalFilter::default(),
            selections: Arc::default(),
        };
        let build = client();
        let all = build.all(&store).await.unwrap();
        let copy = FileActionCopy { allow_wildcard: true, follow_symlink: true, mode: 7, ..whole("/.") };
        assert!(Arc::ptr_eq(&all, &build.select(&store, &copy).await.unwrap()), "COPY . asks for the same");
        let part = build.select(&store, &whole("/d")).await.unwrap();
        let excluding = FileActionCopy { exclude_patterns: vec!["d/f".to_owned()], ..whole("/") };
        assert_ne!(build.select(&store, &excluding).await.unwrap().content, all.content);

        let path = all.copied(&store, &cancel).await.unwrap();
        assert_eq!(fs::read(path.join("d/f")).unwrap(), b"1");
        assert_eq!(all.copied(&store, &cancel).await.unwrap(), path);
        fs::write(context.path().join("d/f"), "other").unwrap();
        assert!(matches!(part.copied(&store, &cancel).await, Err(Fault::Changed(_))));
        let later = client().select(&store, &whole("/d")).await.unwrap();
        let path = later.copied(&store, &cancel).await.unwrap();
        assert_eq!(fs::read(path.join("d/f")).unwrap(), b"other");
        let mode = fs::metadata(path.join("d")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "a directory that is mounted looks like itself");
    }
}
