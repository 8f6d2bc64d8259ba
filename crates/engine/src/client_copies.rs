//! Copies of the client's files for steps that mount them: a step must not see what is ignored, and its key must be true.
//!
//! Only what a mount shows is copied, and once in a build, however many steps mount it.

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
use crate::error::{At, Fault};
use crate::file::{Look, MergedTimes, copy_items};
use crate::keys::Selection;
use crate::select::{Ownership, whole};

/// The copies of one build, by where they were selected and what. (Times are in no digest.)
#[derive(Debug, Default)]
pub(crate) struct ClientCopies(Mutex<HashMap<(PathBuf, Digest), Copy>>);

type Copy = Arc<OnceCell<Arc<TempDir>>>;

impl ClientCopies {
    /// A directory with the selection in it.
    pub(crate) async fn get(
        &self,
        store: &Arc<Store>,
        selection: &Arc<Selection>,
        cancel: &CancellationToken,
    ) -> Result<Arc<TempDir>, Fault> {
        let top = selection.items.iter().flat_map(|item| &item.entries).next();
        let place = top.map(|top| top.path.clone()).unwrap_or_default();
        let copy = {
            let mut copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(copies.entry((place, selection.content)).or_default())
        };
        let make = || {
            let (store, selection, cancel) = (Arc::clone(store), Arc::clone(selection), cancel.clone());
            blocking(move || {
                let copy = store.temp_dir()?;
                let path = copy.path();
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).at("set the mode of", path)?;
                copy_selected(&selection, path, &cancel)?;
                Ok(Arc::new(copy))
            })
        };
        copy.get_or_try_init(make).await.cloned()
    }
}

/// Copies the very files that were selected to a directory: the root's content, or what was selected by its name.
pub(crate) fn copy_selected(
    selection: &Selection,
    target: &Path,
    cancel: &CancellationToken,
) -> Result<(), Fault> {
    let (look, ownership) = (Look::new(None, -1), Ownership::Root);
    selection.items.iter().try_for_each(|item| {
        let action = FileActionCopy { dir_copy_contents: item.name.is_empty(), ..whole("/") };
        copy_items(
            std::slice::from_ref(item),
            &action,
            (look, ownership, MergedTimes::OfSource),
            target,
            cancel,
        )
    })
}

#[cfg(test)]
mod tests {
    use gantry_oci::Digest;

    use super::*;
    use crate::select::{SourceRoot, select};

    fn selection(root: &Path, directory: &str) -> Arc<Selection> {
        let source = SourceRoot { path: root, filter: None, ownership: Ownership::Root };
        let items = select(&source, &whole(directory)).unwrap();
        Arc::new(Selection { items, content: Digest::of(directory) })
    }

    #[tokio::test]
    async fn root_a_copy_is_what_was_selected_and_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let (store, context) = (Store::open(directory.path()).unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(context.path().join("d")).unwrap();
        fs::write(context.path().join("d/f"), "1").unwrap();
        fs::set_permissions(context.path().join("d"), fs::Permissions::from_mode(0o700)).unwrap();
        let (store, cancel, copies) = (Arc::new(store), CancellationToken::new(), ClientCopies::default());
        let (all, part) = (selection(context.path(), "/"), selection(context.path(), "/d"));
        let copy = copies.get(&store, &all, &cancel).await.unwrap();
        assert_eq!(fs::read(copy.path().join("d/f")).unwrap(), b"1");
        let again = copies.get(&store, &all, &cancel).await.unwrap();
        assert!(Arc::ptr_eq(&copy, &again));
        fs::write(context.path().join("d/f"), "other").unwrap();
        assert!(matches!(copies.get(&store, &part, &cancel).await, Err(Fault::Changed(_))));
        let part = selection(context.path(), "/d");
        let copy = copies.get(&store, &part, &cancel).await.unwrap();
        assert_eq!(fs::read(copy.path().join("d/f")).unwrap(), b"other");
        let mode = fs::metadata(copy.path().join("d")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "a directory that is mounted looks like itself");
    }
}
