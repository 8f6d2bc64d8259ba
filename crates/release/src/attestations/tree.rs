//! The final file tree of a build, as a bill of materials reads it.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use gantry_attest::sbom::{Inventory, ScanError, Tree, scan as scan_tree};
use gantry_engine::LayerChain;
use rustix::fs::{CWD, Dir, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::error::Error;
use crate::gantry::Gantry;

/// Reads the package databases of a tree.
pub(super) async fn scan(gantry: &Gantry, chain: &LayerChain) -> Result<Result<Inventory, ScanError>, Error> {
    let scan = |root: &Path| Mounted::open(root).map(|tree| scan_tree(&tree));
    let scanned = gantry.engine.with_tree(chain, scan).await?;
    scanned.map_err(|error| Error::io("open", Path::new("the tree"), &error))
}

/// A tree that is mounted somewhere. Links lead nowhere outside it: the kernel sees to that.
struct Mounted(OwnedFd);

impl Mounted {
    fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, root, flags, Mode::empty())?))
    }

    fn inside(&self, path: &str, flags: OFlags) -> io::Result<Option<OwnedFd>> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match openat2(&self.0, path, flags, Mode::empty(), resolve).map_err(io::Error::from) {
            Ok(file) => Ok(Some(file)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Tree for Mounted {
    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.inside(path, OFlags::empty())? else { return Ok(None) };
        let file = File::from(file);
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > limit {
            true => Err(io::Error::other(format!("it has more than {limit} bytes"))),
            false => Ok(Some(bytes)),
        }
    }

    fn names(&self, directory: &str) -> io::Result<Vec<String>> {
        let Some(directory) = self.inside(directory, OFlags::DIRECTORY)? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in Dir::read_from(directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !matches!(name.as_str(), "." | "..") {
                names.push(name);
            }
        }
        Ok(names)
    }
}
