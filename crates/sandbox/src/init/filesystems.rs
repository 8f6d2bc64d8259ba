//! The file systems that every sandbox has: `/proc`, `/sys` and `/dev`, as the OCI runtime specification lists them
//! for Linux, with the parts hidden or read-only that Docker hides by default.
//!
//! There is no device cgroup. Instead all mounts are `nodev`, but for single device files that are bind-mounted:
//! the process may make device nodes, and cannot open them.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::mount::MountAttrFlags;

use super::root::Root;
use crate::error::During;
use crate::stage::Stage;
use crate::stubs::Kind;
use crate::{Error, Security, Spec, detached};

/// Shows nothing: they leak or change state of the host.
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

/// Name, major and minor number of the devices in `/dev`.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const DEV_LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// The group `tty` of practically every distribution.
const TTY_GROUP: &str = "5";

/// Docker's limit on what the process can put directly into `/dev`.
const DEV_SIZE: &str = "65536k";

const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const NOTHING: MountAttrFlags = NOSUID.union(NODEV).union(NOEXEC);

/// What to mount, as far as it depends on the host.
#[derive(Debug)]
pub(super) struct Filesystems {
    cgroup_unified: bool,
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
        Self { cgroup_unified, security: spec.security, shm_size: spec.shm_size }
    }

    /// Mounts all of them.
    pub(super) fn mount(&self, root: &Root, stage: &mut Stage) -> Result<(), Error> {
        root.attach(&detached::filesystem("proc", &[], NOTHING)?, "/proc", Kind::Directory)?;
        let writable = match self.security {
            Security::Sandbox => MountAttrFlags::MOUNT_ATTR_RDONLY,
            Security::Insecure => MountAttrFlags::empty(),
        };
        root.attach(&detached::filesystem("sysfs", &[], NOTHING | writable)?, "/sys", Kind::Directory)?;
        if self.cgroup_unified {
            let cgroup = detached::filesystem("cgroup2", &[], NOTHING | writable)?;
            root.attach(&cgroup, "/sys/fs/cgroup", Kind::Directory)?;
        }
        self.mount_dev(root, stage)
    }

    fn mount_dev(&self, root: &Root, stage: &mut Stage) -> Result<(), Error> {
        let attributes = match self.security {
            Security::Sandbox => NOSUID | NODEV | NOEXEC,
            Security::Insecure => NOSUID | NOEXEC,
        };
        let dev = detached::filesystem("tmpfs", &[("mode", "755"), ("size", DEV_SIZE)], attributes)?;
        for (link, target) in DEV_LINKS {
            rustix::fs::symlinkat(target, &dev, link).during("create the link /dev/", link)?;
        }
        root.attach(&dev, "/dev", Kind::Directory)?;
        for (name, major, minor) in DEVICES {
            let device = device(stage, major, minor)?;
            root.attach(&device, &format!("/dev/{name}"), Kind::File)?;
        }
        let pts = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", TTY_GROUP)];
        root.attach(&detached::filesystem("devpts", &pts, NOSUID | NOEXEC)?, "/dev/pts", Kind::Directory)?;
        let size = self.shm_size.to_string();
        let shm = detached::filesystem("tmpfs", &[("mode", "1777"), ("size", &size)], NOTHING)?;
        root.attach(&shm, "/dev/shm", Kind::Directory)?;
        root.attach(&detached::filesystem("mqueue", &[], NOTHING)?, "/dev/mqueue", Kind::Directory)
    }
}

/// A mount of a new device node: the host's own would let the process change the owner of that.
fn device(stage: &mut Stage, major: u32, minor: u32) -> Result<OwnedFd, Error> {
    let path = stage.name();
    let mode = Mode::from_raw_mode(0o666);
    let number = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::CharacterDevice, mode, number).needing(
        "CAP_MKNOD",
        "create a device in",
        path.display(),
    )?;
    detached::clone(&path)
}

/// Hides what is [`MASKED`], and protects what is [`READ_ONLY`].
pub(super) fn mask(root: &Root, stage: &mut Stage) -> Result<(), Error> {
    let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY;
    let nothing = stage.directory()?;
    for path in MASKED {
        let Some(found) = root.open(path)? else { continue };
        let stat = rustix::fs::statat(&found, "", AtFlags::EMPTY_PATH).during("mask", path)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let mount = detached::clone(&nothing)?;
            detached::set_attributes(&mount, NOTHING | read_only)?;
            root.attach(&mount, path, Kind::Directory)?;
        } else {
            root.attach(&device(stage, 1, 3)?, path, Kind::File)?;
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
