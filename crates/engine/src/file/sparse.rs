//! The bytes of a file into another, holes kept: a large file that is mostly holes costs neither its size on disk nor the
//! time to write it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;

/// What `st_blocks` counts.
const BLOCK: u64 = 512;

/// Copies as many bytes as the file had when it was looked at, into an empty file. What is added to it meanwhile is not
/// waited for.
pub(super) fn copy(source: &File, size: u64, target: &File) -> io::Result<()> {
    let may_have_holes = source.metadata()?.blocks() < size.div_ceil(BLOCK);
    if !may_have_holes {
        return copy_range(source, 0..size, target);
    }
    let mut position = 0;
    while let Some(start) = seek(source, rustix::fs::SeekFrom::Data(position))?.filter(|start| *start < size)
    {
        let end = seek(source, rustix::fs::SeekFrom::Hole(start))?.unwrap_or(size).min(size);
        copy_range(source, start..end, target)?;
        position = end;
    }
    target.set_len(size)
}

fn copy_range(mut source: &File, range: std::ops::Range<u64>, mut target: &File) -> io::Result<()> {
    source.seek(SeekFrom::Start(range.start))?;
    target.seek(SeekFrom::Start(range.start))?;
    io::copy(&mut source.take(range.end - range.start), &mut target).map(drop)
}

/// Where it is found; `None` if there is none before the end of the file.
fn seek(file: &File, what: rustix::fs::SeekFrom) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, what) {
        Ok(position) => Ok(Some(position)),
        Err(Errno::NXIO) => Ok(None),
        // Where holes cannot be asked for, all is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => match what {
            rustix::fs::SeekFrom::Data(position) => Ok(Some(position)),
            _ => Ok(None),
        },
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// More than any file system rounds a hole up to.
    const FAR: u64 = 64 << 20;

    #[test]
    fn holes_stay_holes() {
        // Where data is, and the size.
        for (data, size) in
            [(&[][..], 0), (&[][..], FAR), (&[0][..], 5), (&[0, FAR][..], FAR + 5), (&[FAR][..], 2 * FAR)]
        {
            let (source, target) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            source.set_len(size).unwrap();
            data.iter().for_each(|at| source.write_all_at(b"bytes", *at).unwrap());
            copy(&source, size, &target).unwrap();
            let found = target.metadata().unwrap();
            assert_eq!(found.len(), size, "{data:?}");
            assert!(found.blocks() * BLOCK < FAR / 2, "{data:?} of {size} has {} blocks", found.blocks());
            for at in data {
                let mut bytes = [0; 5];
                target.read_exact_at(&mut bytes, *at).unwrap();
                assert_eq!(&bytes, b"bytes", "{data:?} of {size}");
            }
        }
    }

    #[test]
    fn what_grows_is_not_waited_for() {
        let (source, target) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        source.write_all_at(b"more than was there", 0).unwrap();
        copy(&source, 4, &target).unwrap();
        assert_eq!(target.metadata().unwrap().len(), 4);
    }
}
