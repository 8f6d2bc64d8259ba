//! The first process of the sandbox, from the fork to its execve: it gives itself namespaces, a root and mounts,
//! moves in, gives up what it must not have, and becomes the user's program.

mod devices;
mod filesystems;
mod root;
mod sources;

use std::convert::Infallible;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use crate::error::During;
use crate::stage::Stage;
use crate::stubs::{self, Kind};
use crate::{Error, Network, Security, Spec, detached, exec, identity, network, raw, resolve};

use filesystems::Filesystems;
use root::Root;
use sources::Source;

/// What files get created with: not writable by group and others, as in other container engines.
const UMASK: Mode = Mode::WGRP.union(Mode::WOTH);

/// Becomes the process of `spec`, or says why not.
pub(crate) fn run(spec: &Spec, lifeline: &PipeReader) -> Result<Infallible, Error> {
    die_with_supervisor(lifeline)?;
    // Modes that are given here are meant as given.
    rustix::process::umask(Mode::empty());
    unshare_namespaces(spec)?;
    leave_keyring()?;
    let unsealed = move_into_root(spec)?;
    configure(spec)?;
    raw::reset_signals().during("reset", "the signals")?;
    end_input()?;
    raw::close_on_exec_all().during("close", "inherited descriptors")?;
    enter(&spec.process.cwd)?;
    unsealed.iter().try_for_each(detached::make_read_only)?;
    identity::assume(&spec.process.user, spec.security)?;
    // The kernel forgets the parent-death signal when the identity changes.
    die_with_supervisor(lifeline)?;
    rustix::process::umask(UMASK);
    exec::exec(&spec.process)
}

fn die_with_supervisor(lifeline: &PipeReader) -> Result<(), Error> {
    const OBJECT: &str = "to the supervisor's life";
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).during("tie", OBJECT)?;
    let mut events = [PollFd::new(lifeline, PollFlags::IN)];
    rustix::event::poll(&mut events, Some(&Timespec::default())).during("tie", OBJECT)?;
    if events[0].revents().is_empty() { Ok(()) } else { Err(Errno::SRCH).during("tie", OBJECT) }
}

fn unshare_namespaces(spec: &Spec) -> Result<(), Error> {
    let mut flags = UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    if spec.network == Network::None {
        flags |= UnshareFlags::NEWNET;
    }
    raw::unshare(flags).needing("CAP_SYS_ADMIN", "unshare", "the namespaces")?;
    rustix::process::setsid().map(drop).during("make", "a session")
}

/// Leaves the session keyring, where the caller may have keys. Where that is not allowed the process will not be, either.
fn leave_keyring() -> Result<(), Error> {
    match raw::join_new_session_keyring() {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            Err(error).during("join", "a session keyring")
        }
        _ => Ok(()),
    }
}

/// Gives an empty pipe as standard input, as BuildKit does: programs that look for input in a pipe find that there is
/// none, and those that ask whether there is a pipe get the same answer.
fn end_input() -> Result<(), Error> {
    let (reader, _) = io::pipe().during("make", "a pipe")?;
    rustix::stdio::dup2_stdin(reader).during("set", "the standard input")
}

/// Everything about mounts: when it returns, the sandbox's root is `/` and nothing of the host is in sight. Gives the
/// mounts that have to be made read-only when the working directory is there.
fn move_into_root(spec: &Spec) -> Result<Vec<OwnedFd>, Error> {
    let filesystems = Filesystems::before_staging(spec);
    let mut stage = Stage::enter()?;
    let sources = sources::prepare(&mut stage, &spec.mounts, spec.security)?;
    let mut points: Vec<_> = Filesystems::POINTS.to_vec();
    points.extend(sources.iter().map(|source| (source.dest, source.kind)));
    let root = Root::assemble(spec, &points, &mut stage)?;
    root.make_directory(&spec.process.cwd, &spec.process.user)?;
    filesystems.mount(&root, &sources, &mut stage)?;
    if spec.security == Security::Sandbox {
        filesystems::mask(&root, &mut stage)?;
    }
    let mut unsealed: Vec<_> = sources.into_iter().filter_map(Source::unsealed).collect();
    unsealed.extend(root.pivot()?);
    Ok(unsealed)
}

fn configure(spec: &Spec) -> Result<(), Error> {
    rustix::system::sethostname(spec.hostname.as_bytes()).during("set the host name", &spec.hostname)?;
    if spec.network == Network::None {
        network::raise_loopback()?;
    }
    for limit in &spec.process.rlimits {
        let (resource, value) = limit.to_os();
        rustix::process::setrlimit(resource, value).needing(
            "CAP_SYS_RESOURCE",
            "set the resource limit",
            format!("{:?}", limit.resource),
        )?;
    }
    Ok(())
}

/// Enters the working directory by its path in the new root, and makes what mounts hid of it.
fn enter(cwd: &str) -> Result<(), Error> {
    let directory = match open_directory(cwd) {
        Err(Errno::NOENT) => {
            let root = open_directory("/").during("open", "/")?;
            let place = resolve::resolve(root.as_fd(), cwd)?;
            stubs::create(root.as_fd(), &place, Kind::Directory)?;
            open_directory(cwd)
        }
        directory => directory,
    };
    match directory {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(Error::MissingCwd(cwd.to_owned())),
        directory => {
            let directory = directory.during("open the working directory", cwd)?;
            rustix::process::fchdir(directory).during("enter the working directory", cwd)
        }
    }
}

/// Magic links are refused: `/proc/self/fd/N` would lead to wherever a descriptor that is still open points.
fn open_directory(path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(rustix::fs::CWD, Path::new(path), flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}
