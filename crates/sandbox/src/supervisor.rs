//! The supervisor: a single-threaded process between caller and sandbox. It exists because a multi-threaded
//! program cannot safely fork, and because somebody must outlive the caller by the moment that it takes to kill
//! what the caller left. It mounts nothing itself.

use std::env;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::unistd::ForkResult;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, waitpid};
use rustix::thread::UnshareFlags;

use crate::control::{self, Report};
use crate::error::During;
use crate::{Error, Exit, Spec, init, raw};

/// The hidden first argument that makes a program a supervisor.
pub(crate) const SUPERVISOR_ARG: &str = "--gantry-sandbox-supervisor";

/// Turns this process into a sandbox supervisor if it was started as one by [`Sandbox::spawn`](crate::Sandbox);
/// the caller must then leave `main` with the returned code. Call it first thing in `main`, before any thread
/// (thus any asynchronous runtime) is started.
pub fn run_if_supervisor() -> Option<ExitCode> {
    if env::args_os().nth(1)? != SUPERVISOR_ARG {
        return None;
    }
    // Without its socket there is nobody to tell.
    let Ok(control) = take_control() else { return Some(ExitCode::FAILURE) };
    Some(supervise(&control))
}

/// The control socket arrives as standard input; what runs in the sandbox gets `/dev/null` instead.
fn take_control() -> io::Result<UnixStream> {
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(control))
}

/// Reads the specification, runs it, reports. Returns in two processes: here, and in a child that failed.
fn supervise(control: &UnixStream) -> ExitCode {
    let report = match control::receive::<Spec>(control) {
        Ok(spec) => match start() {
            Ok(Started::Supervisor { child, lifeline: _lifeline }) => {
                attend(control, child).map(Report::Exited)
            }
            Ok(Started::Init { lifeline }) => {
                let Err(error) = init::run(&spec, &lifeline);
                Err(error)
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error).during("read", "the sandbox specification"),
    };
    // The caller takes the first report. A child's failure is sent before its end is seen, so it comes first.
    match control::send(control, &report.unwrap_or_else(Report::Failed)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Which side of the fork this is. The lifeline is a pipe that the supervisor holds open for as long as it lives,
/// which the child checks because a parent-death signal comes too late if the parent died before asking for it.
enum Started {
    Supervisor { child: Pid, lifeline: PipeWriter },
    Init { lifeline: PipeReader },
}

/// Forks the first process of a new pid namespace.
fn start() -> Result<Started, Error> {
    raw::unshare(UnshareFlags::NEWPID).needing("CAP_SYS_ADMIN", "unshare", "the pid namespace")?;
    let (reader, writer) = io::pipe().during("make", "a pipe")?;
    match raw::fork_single_threaded().during("fork", "the sandboxed process")? {
        ForkResult::Child => Ok(Started::Init { lifeline: reader }),
        ForkResult::Parent { child } => {
            let child = Pid::from_raw(child.as_raw()).expect("a forked child's id is positive");
            Ok(Started::Supervisor { child, lifeline: writer })
        }
    }
}

/// Waits for the child, and kills it when the caller asks for that or is gone.
fn attend(control: &UnixStream, child: Pid) -> Result<Exit, Error> {
    const ACTION: &str = "wait for";
    const OBJECT: &str = "the sandboxed process";
    release_output().during("release", "the output pipes")?;
    let ended = rustix::process::pidfd_open(child, PidfdFlags::empty()).during(ACTION, OBJECT)?;
    let mut events = [PollFd::new(&ended, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut events, None) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).during(ACTION, OBJECT),
        }
    }
    if events[0].revents().is_empty() {
        // The kernel kills the rest of the pid namespace with its first process. ESRCH: it just ended by itself.
        let _ = rustix::process::pidfd_send_signal(&ended, Signal::KILL);
    }
    loop {
        let status = match waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => status,
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error).during(ACTION, OBJECT),
        };
        if let Some(exit) =
            status.exit_status().map(Exit::Code).or(status.terminating_signal().map(Exit::Signal))
        {
            return Ok(exit);
        }
    }
}

/// Lets go of the pipes, so that their readers see the end as soon as the last process of the sandbox is gone.
fn release_output() -> io::Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
}
