//! Single files out of a tree, for who plans a build: a Dockerfile in a repository, say.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::chain::LayerChain;
use crate::engine::Engine;
use crate::error::{At, EngineError, Fault};
use crate::rooted;

impl Engine {
    /// The file at `path` in the tree, as far as its first `limit` bytes; `None` if there is none.
    ///
    /// Links are followed inside the tree only: what it holds came from somewhere else.
    pub async fn read_file(
        &self,
        chain: &LayerChain,
        path: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        let path = PathBuf::from(path);
        let read = self.with_tree(chain, move |root| read(root, &path, limit)).await?;
        read.map_err(Fault::anywhere)
    }
}

fn read(root: &Path, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Fault> {
    let real = rooted::resolve(root, path).reading(path)?;
    if !real.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(&real).and_then(|file| file.take(limit).read_to_end(&mut bytes)).reading(path)?;
    Ok(Some(bytes))
}
