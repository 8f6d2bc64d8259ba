//! The final file tree of a build, as a bill of materials reads it: from the indexes of its layers, which keep the package
//! databases. No layer is read again for it, and none is unpacked.

use std::io;

use gantry_attest::sbom::{Inventory, ScanError, Tree, scan as scan_tree};
use gantry_engine::ExportedLayer;
use gantry_layer::{FileTree, NodeKind};

use crate::error::Error;
use crate::gantry::Gantry;
use crate::output::blocking;

/// Reads the package databases of a tree.
pub(super) async fn scan(
    gantry: &Gantry,
    layers: &[ExportedLayer],
) -> Result<Result<Inventory, ScanError>, Error> {
    let indexes = layers.iter().map(|layer| gantry.engine.layer_index(&layer.blob));
    let indexes = futures_util::future::try_join_all(indexes).await?;
    blocking(move || Ok(scan_tree(&Indexed(FileTree::merge(&indexes))))).await
}

struct Indexed(FileTree);

impl Tree for Indexed {
    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some((_, node)) = self.0.resolve(path.as_bytes()) else { return Ok(None) };
        let NodeKind::File(content) = &node.kind else { return Ok(None) };
        if content.size == 0 {
            return Ok(Some(Vec::new()));
        }
        // An index keeps neither what is too large nor what it does not know to be a database.
        match self.0.kept(path.as_bytes()).filter(|bytes| bytes.len() as u64 <= limit) {
            Some(bytes) => Ok(Some(bytes.to_vec())),
            None => Err(io::Error::other(format!(
                "the index of its layer does not keep its {} bytes",
                content.size
            ))),
        }
    }

    fn names(&self, directory: &str) -> io::Result<Vec<String>> {
        let names = self.0.kept_in(directory.as_bytes()).map(|(name, _)| name);
        Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use gantry_layer::{Limits, scan_layer};
    use gantry_testkit::{Entry, ImageBuilder};

    use super::*;

    fn indexed(entries: &[Entry]) -> Indexed {
        let image = ImageBuilder::new("linux/amd64").layer(entries).build();
        Indexed(FileTree::merge(&[scan_layer(&*image.blobs[0], Limits::default()).unwrap().index]))
    }

    /// A tree with at most one file, which remembers what it was asked for.
    #[derive(Default)]
    struct Asked {
        file: Option<String>,
        paths: RefCell<BTreeSet<String>>,
    }

    impl Tree for Asked {
        fn read(&self, path: &str, _limit: u64) -> io::Result<Option<Vec<u8>>> {
            self.paths.borrow_mut().insert(path.to_owned());
            Ok((self.file.as_deref() == Some(path)).then(|| b"no database".to_vec()))
        }

        fn names(&self, directory: &str) -> io::Result<Vec<String>> {
            self.paths.borrow_mut().insert(format!("{directory}/package"));
            Ok(Vec::new())
        }
    }

    #[test]
    fn an_index_keeps_everything_that_a_scan_reads() {
        let nothing = Asked::default();
        scan_tree(&nothing).unwrap();
        let mut paths = nothing.paths.into_inner();
        // Some are asked for only if another is there.
        for path in paths.clone() {
            let one = Asked { file: Some(path), ..Asked::default() };
            let _ = scan_tree(&one);
            paths.extend(one.paths.into_inner());
        }
        assert!(paths.len() > 10, "{paths:?}");
        for path in paths {
            let tree = indexed(&[Entry::file(&path, "content")]);
            assert_eq!(tree.read(&path, 100).unwrap().as_deref(), Some(&b"content"[..]), "{path} is kept");
        }
    }

    #[test]
    fn a_name_of_the_distribution_that_is_not_kept_is_none() {
        let package = "P:hello\nV:1.0-r0\nA:x86_64\n\n";
        let tree = indexed(&[
            Entry::file("opt/release", "ID=mine\n"),
            Entry::symlink("etc/os-release", "../opt/release"),
            Entry::file("lib/apk/db/installed", package),
        ]);
        let inventory = scan_tree(&tree).unwrap();
        assert_eq!(inventory.packages.len(), 1);
        assert_eq!(inventory.distro, Inventory::default().distro);
    }
}
