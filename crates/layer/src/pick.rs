//! Single files out of a layer's archive: the few whose content an index does not keep and somebody wants after all.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use crate::entry::Kind;
use crate::error::LayerError;
use crate::limits::Limits;
use crate::root;
use crate::stream::while_decompressing;
use crate::tar_reader::TarReader;

/// Bytes of all files together: they are held in memory.
const MAX_PICKED: u64 = 512 << 20;

/// Reads a layer blob to its end, and gives the contents of the regular files at these clean paths, those that it has. Of
/// several entries with one path the last counts.
///
/// # Errors
/// When the blob is damaged, beyond a limit, or of an unsupported compression.
pub fn pick_files(
    blob: impl Read + Send,
    limits: Limits,
    wanted: &BTreeSet<Vec<u8>>,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, LayerError> {
    let picked = while_decompressing(blob, limits, |tar| {
        let mut archive = TarReader::new(tar);
        let mut picked: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        while let Some(entry) = archive.next_entry()? {
            let path = root::clean(&entry.name);
            if entry.kind != Kind::File || !wanted.contains(&path) {
                continue;
            }
            picked.remove(&path);
            let held: u64 = picked.values().map(|bytes| bytes.len() as u64).sum();
            if entry.size > MAX_PICKED - held.min(MAX_PICKED) {
                return Err(LayerError::Limit { what: "bytes of single files", limit: MAX_PICKED });
            }
            let mut bytes = Vec::new();
            archive.content().read_to_end(&mut bytes).map_err(LayerError::reading)?;
            picked.insert(path, bytes);
        }
        archive.drain()?;
        Ok(picked)
    })?;
    Ok(picked.value)
}

#[cfg(test)]
mod tests {
    use gantry_testkit::{Entry, ImageBuilder};

    use super::*;

    #[test]
    fn of_one_path_the_last_file_counts_and_nothing_else_is_read() {
        let layer = [
            Entry::file("a/b", "first"),
            Entry::file("a/c", "unwanted"),
            Entry::file("./a/b", "second"),
            Entry::symlink("link", "a/b"),
        ];
        let image = ImageBuilder::new("linux/amd64").layer(&layer).build();
        let wanted = [&b"a/b"[..], b"link", b"absent"].map(<[u8]>::to_vec).into();
        let picked = pick_files(&*image.blobs[0], Limits::default(), &wanted).unwrap();
        assert_eq!(picked, BTreeMap::from([(b"a/b".to_vec(), b"second".to_vec())]));
        let cut = &image.blobs[0][..image.blobs[0].len() / 2];
        assert!(pick_files(cut, Limits::default(), &wanted).is_err());
    }
}
