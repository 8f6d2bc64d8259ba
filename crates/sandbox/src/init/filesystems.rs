//! The file systems that every sandbox has: `/proc`, `/sys` and `/dev`, as the OCI runtime specification lists them
//! for Linux, with the parts hidden or read-only that Docker hides by default.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType};
use rustix::mount::MountAttrFlags;

use super::devices::{self, Devices};
use super::root::Root;
use super::sources::{Origin, Source};
use crate::error::During;
use crate::stage::Stage;
use crate::stubs::Kind;
use crate::{Error, Security, Spec, detached};

/// Shows nothing: they leak or change state of the host. `/proc/interrupts` is in Docker's list and not in
/// BuildKit's; it tells programs what others type.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Can be read only: settings of the host.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The permission bits of a directory that hides another.
const HIDING_MODE: u32 = 0o1777;

/// The group `tty` of practically every distribution.
const TTY_GROUP: &str = "5";

/// Docker's limit on what the process can put directly into `/dev`.
const DEV_SIZE: &str = "65536k";

const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const NOTHING: MountAttrFlags = NOSUID.union(NODEV).union(NOEXEC);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standard {
    Proc,
    Dev,
    Pts,
    Shm,
    Mqueue,
    Sys,
    Cgroup,
}

impl Standard {
    /// All, outer ones first.
    const ALL: [Self; 7] =
        [Self::Proc, Self::Dev, Self::Pts, Self::Shm, Self::Mqueue, Self::Sys, Self::Cgroup];

    fn dest(self) -> &'static str {
        match self {
            Self::Proc => "/proc",
            Self::Dev => "/dev",
            Self::Pts => "/dev/pts",
            Self::Shm => "/dev/shm",
            Self::Mqueue => "/dev/mqueue",
            Self::Sys => "/sys",
            Self::Cgroup => "/sys/fs/cgroup",
        }
    }
}

/// What to mount, as far as it depends on the host.
#[derive(Debug)]
pub(super) struct Filesystems {
    cgroup_unified: bool,
    devices: Devices,
    security: Security,
    shm_size: u64,
}

impl Filesystems {
    /// The mount points that the root must have.
    pub(super) const POINTS: [(&'static str, Kind); 3] =
        [("/proc", Kind::Directory), ("/sys", Kind::Directory), ("/dev", Kind::Directory)];

    /// Looks at the host, which the stage covers later.
    pub(super) fn before_staging(spec: &Spec) -> Self {
        const CGROUP2_SUPER_MAGIC: rustix::fs::FsWord = 0x6367_7270;
        let cgroup_unified =
            rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|stat| stat.f_type == CGROUP2_SUPER_MAGIC);
        let devices = Devices::of_host(spec.security);
        Self { cgroup_unified, devices, security: spec.security, shm_size: spec.shm_size }
    }

    /// Mounts all of them, and the sources: one that is for the place of a standard file system in its stead, the
    /// others afterwards.
    pub(super) fn mount(&self, root: &Root, sources: &[Source<'_>], stage: &mut Stage) -> Result<(), Error> {
        let instead = |standard: Standard| sources.iter().find(|source| is_at(source, standard));
        for standard in Standard::ALL {
            match instead(standard) {
                Some(source) => source.attach(root)?,
                None => self.mount_standard(standard, root)?,
            }
        }
        for source in sources {
            if !Standard::ALL.into_iter().any(|standard| is_at(source, standard)) {
                source.attach(root)?;
            }
        }
        // Who mounts files of their own there has devices of their own.
        if instead(Standard::Dev).is_none_or(|source| source.origin != Origin::Bind) {
            self.devices.make(root, stage)?;
        }
        Ok(())
    }

    fn mount_standard(&self, standard: Standard, root: &Root) -> Result<(), Error> {
        match self.make(standard)? {
            Some(mount) => root.attach(&mount, standard.dest(), Kind::Directory),
            None => Ok(()),
        }
    }

    fn make(&self, standard: Standard) -> Result<Option<OwnedFd>, Error> {
        let read_only = match self.security {
            Security::Sandbox => MountAttrFlags::MOUNT_ATTR_RDONLY,
            Security::Insecure => MountAttrFlags::empty(),
        };
        let made = match standard {
            Standard::Proc => detached::filesystem("proc", &[], NOTHING),
            Standard::Dev => {
                let attributes = match self.security {
                    Security::Sandbox => NOSUID | NODEV,
                    Security::Insecure => NOSUID,
                };
                detached::filesystem("tmpfs", &[("mode", "755"), ("size", DEV_SIZE)], attributes)
            }
            Standard::Pts => {
                let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", TTY_GROUP)];
                detached::filesystem("devpts", &options, NOSUID | NOEXEC)
            }
            Standard::Shm => {
                let size = self.shm_size.to_string();
                let options = [("source", "shm"), ("mode", "1777"), ("size", &size)];
                detached::filesystem("tmpfs", &options, NOTHING)
            }
            Standard::Mqueue => detached::filesystem("mqueue", &[], NOTHING),
            Standard::Sys => detached::filesystem("sysfs", &[], NOTHING | read_only),
            Standard::Cgroup if self.cgroup_unified => {
                detached::filesystem("cgroup2", &[], NOTHING | read_only)
            }
            Standard::Cgroup => return Ok(None),
        };
        made.map(Some)
    }
}

fn is_at(source: &Source<'_>, standard: Standard) -> bool {
    source.dest.trim_end_matches('/') == standard.dest()
}

/// Hides what is [`MASKED`], and protects what is [`READ_ONLY`].
pub(super) fn mask(root: &Root, stage: &mut Stage) -> Result<(), Error> {
    let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY;
    let nothing = stage.directory_of_mode(HIDING_MODE)?;
    for path in MASKED {
        let Some(found) = root.open(path)? else { continue };
        let stat = rustix::fs::statat(&found, "", AtFlags::EMPTY_PATH).during("mask", path)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let mount = detached::clone(&nothing)?;
            detached::set_attributes(&mount, NOTHING | read_only)?;
            root.attach(&mount, path, Kind::Directory)?;
        } else {
            root.attach(&devices::nothing(stage)?, path, Kind::File)?;
        }
    }
    for path in READ_ONLY {
        let Some(found) = root.open(path)? else { continue };
        let mount = detached::clone_at(&found.as_fd(), path)?;
        detached::set_attributes(&mount, NOTHING | read_only)?;
        root.attach(&mount, path, Kind::Directory)?;
    }
    Ok(())
}
