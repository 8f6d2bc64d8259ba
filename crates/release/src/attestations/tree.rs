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
