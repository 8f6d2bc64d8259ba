//! The first process of the sandbox, from the fork to its execve: it gives itself namespaces, a root and mounts,
//! moves in, gives up what it must not have, and becomes the user's program.

mod filesystems;
mod root;
mod sources;

use std::convert::Infallible;
use std::io::PipeReader;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use crate::error::During;
use crate::stage::Stage;
use crate::{Error, Network, Security, Spec, exec, identity, network, raw};

use filesystems::Filesystems;
use root::Root;

/// What files get created with: not writable by group and others, as in other container engines.
const UMASK: Mode = Mode::WGRP.union(Mode::WOTH);

/// Becomes the process of `spec`, or says why not.
pub(crate) fn run(spec: &Spec, lifeline: &PipeReader) -> Result<Infallible, Error> {
    die_with_supervisor(lifeline)?;
    // Modes that are given here are meant as given.
    rustix::process::umask(Mode::empty());
    unshare_namespaces(spec)?;
    move_into_root(spec)?;
    configure(spec)?;
    raw::reset_signals().during("reset", "the signals")?;
    raw::close_on_exec_all().during("close", "inherited descriptors")?;
    enter(&spec.process.cwd)?;
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

/// Everything about mounts: when it returns, the sandbox's root is `/` and nothing of the host is in sight.
fn move_into_root(spec: &Spec) -> Result<(), Error> {
    let filesystems = Filesystems::before_staging(spec);
    let mut stage = Stage::enter()?;
    let sources = sources::prepare(&mut stage, &spec.mounts, spec.security)?;
    let mut points: Vec<_> = Filesystems::POINTS.to_vec();
    points.extend(sources.iter().map(|source| (source.dest, source.kind)));
    let root = Root::assemble(spec, &points, &mut stage)?;
    filesystems.mount(&root, &mut stage)?;
    for source in &sources {
        root.attach(&source.mount, source.dest, source.kind)?;
    }
    if spec.security == Security::Sandbox {
        filesystems::mask(&root, &mut stage)?;
    }
    root.pivot()
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

/// Enters the working directory by its path in the new root. Magic links are refused: `/proc/self/fd/N` would lead
/// to wherever a descriptor that is still open points.
fn enter(cwd: &str) -> Result<(), Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat2(
        rustix::fs::CWD,
        Path::new(cwd),
        flags,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    );
    match directory {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(Error::MissingCwd(cwd.to_owned())),
        directory => {
            let directory = directory.during("open the working directory", cwd)?;
            rustix::process::fchdir(directory).during("enter the working directory", cwd)
        }
    }
}
