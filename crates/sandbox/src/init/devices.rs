//! What is in `/dev`: the devices that every process may use, those of an insecure one, and links.
//!
//! There is no device cgroup. Instead all mounts of a sandboxed process are `nodev`, but for single device files that
//! are bind-mounted: the process may make device nodes, and cannot open them. An insecure one has plain nodes.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use super::root::Root;
use crate::error::During;
use crate::stage::Stage;
use crate::stubs::Kind;
use crate::{Error, Security, detached, raw};

/// A device file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Device {
    path: String,
    kind: FileType,
    major: u32,
    minor: u32,
}

/// Path, major and minor number of the character devices that every process has.
const DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The character devices that an insecure process has besides: the kernel's log, file systems in programs, virtual
/// machines, network interfaces and loop devices.
const INSECURE: [(&str, u32, u32); 6] = [
    ("/dev/kmsg", 1, 11),
    ("/dev/cuse", 10, 203),
    ("/dev/fuse", 10, 229),
    ("/dev/kvm", 10, 232),
    ("/dev/net/tun", 10, 200),
    ("/dev/loop-control", 10, 237),
];

const LOOP_MAJOR: u32 = 7;

/// How many loop devices there are above the first that nobody uses; as many as BuildKit has.
const SPARE_LOOP_DEVICES: u32 = 7;

const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// Only where the kernel has it.
const CORE_LINK: (&str, &str) = ("/dev/core", "/proc/kcore");

/// What `/dev` gets on this host.
#[derive(Debug)]
pub(super) struct Devices {
    security: Security,
    devices: Vec<Device>,
    links: Vec<(&'static str, &'static str)>,
}

impl Devices {
    /// Looks at the host, which is out of sight later.
    pub(super) fn of_host(security: Security) -> Self {
        let character = |(path, major, minor): (&str, u32, u32)| {
            let kind = FileType::CharacterDevice;
            Device { path: path.to_owned(), kind, major, minor }
        };
        let mut devices: Vec<_> = DEVICES.map(character).into();
        if security == Security::Insecure {
            devices.extend(INSECURE.map(character));
            devices.extend((0..=first_free_loop() + SPARE_LOOP_DEVICES).map(|minor| Device {
                path: format!("/dev/loop{minor}"),
                kind: FileType::BlockDevice,
                major: LOOP_MAJOR,
                minor,
            }));
        }
        let mut links = LINKS.to_vec();
        links.extend(Path::new(CORE_LINK.1).exists().then_some(CORE_LINK));
        Self { security, devices, links }
    }

    /// Puts them into the `/dev` of `root`. What is there already stays.
    pub(super) fn make(&self, root: &Root, stage: &mut Stage) -> Result<(), Error> {
        for device in &self.devices {
            if root.open(&device.path)?.is_some() {
                continue;
            }
            match self.security {
                Security::Sandbox => {
                    root.attach(&mounted(stage, device)?, &device.path, Kind::File)?;
                }
                Security::Insecure => {
                    let (directory, name) = root.parent(&device.path)?;
                    node(&directory, &name, device)?;
                }
            }
        }
        for (path, target) in &self.links {
            let (directory, name) = root.parent(path)?;
            match rustix::fs::symlinkat(*target, &directory, name) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error).during("create the link", path),
            }
        }
        Ok(())
    }
}

/// A mount of `/dev/null` to cover files with.
pub(super) fn nothing(stage: &mut Stage) -> Result<OwnedFd, Error> {
    let (path, major, minor) = DEVICES[0];
    mounted(stage, &Device { path: path.to_owned(), kind: FileType::CharacterDevice, major, minor })
}

/// A mount of a new device node: the host's own would let the process change the owner of that.
fn mounted(stage: &mut Stage, device: &Device) -> Result<OwnedFd, Error> {
    let path = stage.name();
    node(&rustix::fs::CWD, &path, device)?;
    detached::clone(&path)
}

fn node(directory: &impl AsFd, path: &Path, device: &Device) -> Result<(), Error> {
    let mode = Mode::from_raw_mode(0o666);
    let number = rustix::fs::makedev(device.major, device.minor);
    rustix::fs::mknodat(directory, path, device.kind, mode, number).needing(
        "CAP_MKNOD",
        "create the device",
        &device.path,
    )
}

/// The first loop device that nobody uses; 0 where the kernel has none.
fn first_free_loop() -> u32 {
    let control = File::options().read(true).write(true).open("/dev/loop-control");
    control.and_then(|control| raw::free_loop_device(control.as_fd())).unwrap_or(0)
}
