//! A user's archive unpacked into a root file system, as `ADD` does.
//!
//! Unlike a layer, the archive describes files and nothing else: no name in it is a whiteout. It is unpacked as if its
//! destination were the root of everything, so `..` and absolute links end there, and as the reference does it reads
//! no further than the archive's end.

use std::io::Read;
use std::path::Path;

use crate::compression::Decompressed;
use crate::entry::Kind;
use crate::error::LayerError;
use crate::extract::{Extracted, Extractor, Target};
use crate::limits::Limits;
use crate::root::{self, Root};
use crate::tar_reader::TarReader;

/// Unpacks a tar, plain or compressed, into the directory `dest` of the tree `root`.
///
/// `dest` is resolved inside `root` and made if it is missing. The archive's own links and names are resolved inside
/// `dest`, and nothing outside it is touched. `owner` replaces the owners that the archive records.
///
/// # Errors
/// When the archive is damaged, beyond a limit, refused, of an unsupported compression, or a file cannot be made.
pub fn extract_archive(
    archive: impl Read + Send,
    root: &Path,
    dest: &str,
    owner: Option<(u32, u32)>,
) -> Result<Extracted, LayerError> {
    let limits = Limits::default();
    let dest = root::clean(dest.as_bytes());
    let outer = Root::open(root).map_err(|error| LayerError::path("open", root, error))?;
    let (inner, _) = outer
        .make_directories(&dest)
        .map_err(|error| LayerError::file("make the directory", &dest, error))?;

    let mut extractor = Extractor::new(Root::without_detours(inner), Target::Merged { owner }, limits);
    let mut archive = TarReader::new(Decompressed::new(archive, limits)?);
    while let Some(entry) = archive.next_entry()? {
        if let Some(path) = extractor.admit(&entry)? {
            extractor.make(&path, &entry, &mut archive)?;
        }
    }
    extractor.finish()
}

/// Whether the stream starts like an archive that ADD unpacks: a tar, by itself or in a compression that is known.
///
/// Looks inside a compression, so that a compressed text is no archive. What cannot be read is none.
pub fn is_archive(file: impl Read + Send) -> bool {
    let Ok(decompressed) = Decompressed::new(file, Limits::default()) else { return false };
    let mut archive = TarReader::new(decompressed);
    // An entry that is refused shows that it is an archive as well as any other.
    let has_entry = matches!(archive.next_entry(), Ok(Some(_)) | Err(LayerError::Refused { .. }));
    // So does a header for all entries where there are none: `git archive` of an empty tree.
    has_entry || archive.has_global_header()
}

/// The modification time, in seconds since 1970, of the newest file in an archive. `None` if there is no file in it, or if
/// it is no archive.
pub fn newest_file(archive: impl Read + Send) -> Option<i64> {
    let mut archive = TarReader::new(Decompressed::new(archive, Limits::default()).ok()?);
    let mut newest = None;
    loop {
        match archive.next_entry() {
            Ok(Some(entry)) if matches!(entry.kind, Kind::File) => {
                newest = newest.max(Some(entry.mtime.seconds));
            }
            Ok(Some(_)) => {}
            Ok(None) => return newest,
            Err(_) => return None,
        }
    }
}
