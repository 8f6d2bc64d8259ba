//! The stage: a private mount namespace with an empty tmpfs in it, where trees and files are prepared before they
//! move to their places. Everything is gone with the last thread of the namespace, and the host sees none of it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;

use crate::error::During;
use crate::overlay::{self, Layers};
use crate::{Error, Tree, raw};

/// Where the tmpfs is mounted: a directory that every Linux system has, and in which nobody keeps layers,
/// contexts or anything else that a build reads.
const STAGE: &str = "/sys";

const SYS_ADMIN: &str = "CAP_SYS_ADMIN";

/// The stage of the calling thread.
#[derive(Debug)]
pub(crate) struct Stage {
    entries: usize,
}

impl Stage {
    /// Moves the calling thread into a new mount namespace. There is no way back: the thread should end soon.
    pub(crate) fn enter() -> Result<Self, Error> {
        raw::unshare(UnshareFlags::NEWNS).needing(SYS_ADMIN, "unshare", "the mount namespace")?;
        // What the host unmounts must not be kept busy here, hence "downstream" and not "private".
        let propagation = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", propagation).during("change the propagation of", "/")?;
        rustix::mount::mount("tmpfs", STAGE, "tmpfs", MountFlags::NOSUID, c"mode=0700").needing(
            SYS_ADMIN,
            "mount the stage on",
            STAGE,
        )?;
        Ok(Self { entries: 0 })
    }

    /// A name on the stage that is not in use.
    pub(crate) fn name(&mut self) -> PathBuf {
        self.entries += 1;
        Path::new(STAGE).join(self.entries.to_string())
    }

    /// A new empty directory.
    pub(crate) fn directory(&mut self) -> Result<PathBuf, Error> {
        let path = self.name();
        fs::create_dir(&path).during("create", path.display())?;
        Ok(path)
    }

    /// A new empty directory with these permission bits.
    pub(crate) fn directory_of_mode(&mut self, mode: u32) -> Result<PathBuf, Error> {
        let path = self.directory()?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).during("create", path.display())?;
        Ok(path)
    }

    /// A new file.
    pub(crate) fn file(&mut self, contents: &[u8], mode: u32, owner: (u32, u32)) -> Result<PathBuf, Error> {
        const ACTION: &str = "create";
        let path = self.name();
        let file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(contents)).during(ACTION, path.display())?;
        chown(&path, Some(owner.0), Some(owner.1)).during(ACTION, path.display())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).during(ACTION, path.display())?;
        Ok(path)
    }

    /// Where `tree` can be seen. Layers are mounted on the stage; a directory stays where it is.
    pub(crate) fn tree(&mut self, tree: &Tree) -> Result<PathBuf, Error> {
        match tree {
            Tree::Directory(path) => Ok(path.clone()),
            Tree::Layers(lower) => match &lower[..] {
                [] => self.directory(),
                [only] => Ok(only.clone()),
                several => {
                    let lower: Vec<&Path> = several.iter().map(PathBuf::as_path).collect();
                    self.overlay(Layers { lower: &lower, upper: None })
                }
            },
            Tree::Overlay(tree) if tree.lower.is_empty() => Ok(tree.upper.clone()),
            Tree::Overlay(tree) => {
                let lower: Vec<&Path> = tree.lower.iter().map(PathBuf::as_path).collect();
                self.overlay(Layers { lower: &lower, upper: Some((&tree.upper, &tree.work)) })
            }
        }
    }

    /// Mounts layers on the stage.
    pub(crate) fn overlay(&mut self, layers: Layers<'_>) -> Result<PathBuf, Error> {
        let target = self.directory()?;
        overlay::mount(layers, &target)?;
        Ok(target)
    }

    /// Unmounts what is mounted at `path` on the stage, and nothing elsewhere. Without this, the kernel ends a
    /// mount some time after the namespace's last thread, and an upper directory stays claimed until then.
    pub(crate) fn unmount(&self, path: &Path) -> Result<(), Error> {
        if !path.starts_with(STAGE) {
            return Ok(());
        }
        match rustix::mount::unmount(path, UnmountFlags::NOFOLLOW) {
            // An empty tree is a plain directory of the stage.
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
            // A file is still open: detached now, ended with the last user.
            Err(rustix::io::Errno::BUSY) => {
                rustix::mount::unmount(path, UnmountFlags::DETACH).during("unmount", path.display())
            }
            Err(error) => Err(error).during("unmount", path.display()),
        }
    }
}
