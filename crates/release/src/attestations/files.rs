//! Attestations beside files: for a result that is a directory or an archive of files, and no image.
//!
//! They are whole statements about those files, in `provenance.json` and `sbom.spdx.json` at the root of the result, as
//! with BuildKit.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use gantry_attest::Subject;
use gantry_engine::LayerChain;
use gantry_oci::Hasher;

use super::Attestation;
use crate::build::Built;
use crate::error::Error;
use crate::gantry::Gantry;

/// How much of a file is hashed at a time.
const CHUNK: usize = 1 << 16;

/// A file that is added to a result.
#[derive(Debug, Clone)]
pub(crate) struct AttestedFile {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The files that a platform's attestations are.
pub(crate) async fn files(gantry: &Gantry, built: &Built) -> Result<Vec<AttestedFile>, Error> {
    if built.attestations.iter().all(|made| made.file.is_none()) {
        return Ok(Vec::new());
    }
    let subjects = subjects(gantry, &built.chain).await?;
    let file = |made: &Attestation| {
        let bytes = made.statement.about(subjects.clone()).to_bytes();
        Some(AttestedFile { name: made.file.clone()?, bytes })
    };
    Ok(built.attestations.iter().filter_map(file).collect())
}

/// All regular files of the tree by path.
async fn subjects(gantry: &Gantry, chain: &LayerChain) -> Result<Vec<Subject>, Error> {
    let hash = |root: &Path| {
        let mut subjects = Vec::new();
        hash_directory(root, "", &mut subjects).map(|()| subjects)
    };
    let hashed = gantry.engine.with_tree(chain, hash).await?;
    hashed.map_err(|error| Error::io("hash the files of", Path::new("the result"), &error))
}

fn hash_directory(directory: &Path, prefix: &str, subjects: &mut Vec<Subject>) -> io::Result<()> {
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            hash_directory(&entry.path(), &format!("{path}/"), subjects)?;
        } else if kind.is_file() {
            let mut file = File::open(entry.path())?;
            let (mut hasher, mut buffer) = (Hasher::default(), vec![0; CHUNK]);
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    read => hasher.update(&buffer[..read]),
                }
            }
            subjects.push(Subject::new(path, &hasher.finish()));
        }
    }
    Ok(())
}
