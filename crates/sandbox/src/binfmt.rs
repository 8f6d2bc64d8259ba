//! How this machine would run programs of another architecture: by itself, in a 32-bit mode, or by an emulator that
//! somebody registered with the kernel's binfmt_misc (see the kernel's `admin-guide/binfmt-misc`).
//!
//! Entries are matched against the ELF header that such a program has, and not by their names, which differ between
//! distributions.

mod elf;
mod entry;

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::MemfdFlags;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

use crate::error::During;
use crate::tree::on_private_thread;
use crate::{Error, raw};

use elf::Machine;
use entry::Entry;

const BINFMT_MISC: &str = "/proc/sys/fs/binfmt_misc";

/// How programs of an architecture run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Emulation {
    /// It is this machine's architecture.
    Native,
    /// The processor runs it in a mode of its own, and the kernel allows that.
    Compatible,
    /// The kernel starts an emulator.
    Emulated {
        /// The emulator, as a path of the host.
        interpreter: PathBuf,
        /// Whether the kernel holds the emulator open (flag `F`), so that it need not exist in the root.
        fixed: bool,
    },
    /// They do not run.
    Missing,
}

/// Tells how programs of the OCI architecture `arch` run here. Variants of an architecture are the processor's
/// matter and are not told apart.
///
/// # Errors
/// [`Error::InvalidSpec`] for an architecture that is not known, otherwise what reading the kernel's table gave.
pub fn emulator(arch: &str) -> Result<Emulation, Error> {
    let unknown = || Error::InvalidSpec(format!("unknown architecture {arch:?}"));
    let machine = Machine::of(arch).ok_or_else(unknown)?;
    if arch == host_arch() {
        return Ok(Emulation::Native);
    }
    if let Some(entry) = entries()?.into_iter().find(|entry| entry.runs(&machine.header())) {
        return Ok(Emulation::Emulated { interpreter: entry.interpreter, fixed: entry.fixed });
    }
    match elf::smallest_program(host_arch(), arch) {
        Some(program) if runs(&program)? => Ok(Emulation::Compatible),
        _ => Ok(Emulation::Missing),
    }
}

/// This machine's architecture in OCI's words, if it has one.
fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// The enabled entries of the kernel's table.
fn entries() -> Result<Vec<Entry>, Error> {
    let directory = Path::new(BINFMT_MISC);
    // The file `status` tells whether it is mounted; "disabled" there switches all entries off.
    match fs::read_to_string(directory.join("status")) {
        Ok(status) => read_entries(directory, &status),
        Err(error) if error.kind() == io::ErrorKind::NotFound => on_private_thread(|| {
            if mount_privately().is_err() {
                // No kernel support, or no privilege: then no entry is of use either, or cannot be known.
                return Ok(Vec::new());
            }
            let status = fs::read_to_string(directory.join("status")).during("read", BINFMT_MISC)?;
            read_entries(directory, &status)
        }),
        Err(error) => Err(error).during("read", BINFMT_MISC),
    }
}

fn mount_privately() -> Result<(), Error> {
    raw::unshare(UnshareFlags::NEWNS).during("unshare", "the mount namespace")?;
    let propagation = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", propagation).during("change the propagation of", "/")?;
    rustix::mount::mount("binfmt_misc", BINFMT_MISC, "binfmt_misc", MountFlags::empty(), None)
        .during("mount", BINFMT_MISC)
}

fn read_entries(directory: &Path, status: &str) -> Result<Vec<Entry>, Error> {
    if status.trim() != "enabled" {
        return Ok(Vec::new());
    }
    let mut entries = Vec::new();
    for file in fs::read_dir(directory).during("read", BINFMT_MISC)? {
        let file = file.during("read", BINFMT_MISC)?;
        if file.file_name() == "register" || file.file_name() == "status" {
            continue;
        }
        let text = fs::read_to_string(file.path()).during("read", file.path().display())?;
        entries.extend(Entry::parse(&text));
    }
    Ok(entries)
}

/// Whether the kernel executes `program`, an ELF file that exits with status 0.
fn runs(program: &[u8]) -> Result<bool, Error> {
    const ACTION: &str = "try";
    const OBJECT: &str = "a program of another architecture";
    let file = rustix::fs::memfd_create("probe", MemfdFlags::CLOEXEC).during(ACTION, OBJECT)?;
    let mut file = fs::File::from(file);
    file.write_all(program).during(ACTION, OBJECT)?;
    file.set_permissions(fs::Permissions::from_mode(0o500)).during(ACTION, OBJECT)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let status = Command::new(path)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    Ok(status.is_ok_and(|status| status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_runs_its_own_programs() {
        assert_eq!(emulator(host_arch()), Ok(Emulation::Native));
        assert!(matches!(emulator("vax"), Err(Error::InvalidSpec(_))));
    }

    #[test]
    fn only_programs_of_this_kernel_run() {
        let foreign = [Machine::of("s390x").unwrap().header(), vec![0; 200]].concat();
        assert_eq!(runs(&foreign), Ok(false));
        assert_eq!(runs(&fs::read("/proc/self/exe").unwrap()[..100]), Ok(false));
    }
}
