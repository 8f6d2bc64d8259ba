//! The caller's side: starts a supervisor (this executable again, single-threaded, so that it may fork) and
//! follows one run. Blocking; an asynchronous caller reads the pipes with its own reactor and waits on a thread.

use std::io::{self, ErrorKind, PipeReader};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;

use rustix::mount::MountAttrFlags;
use serde::{Deserialize, Serialize};

use crate::control::{self, Report};
use crate::error::Errno;
use crate::supervisor::SUPERVISOR_ARG;
use crate::{Error, Spec, detached};

/// Starts sandboxed processes.
#[derive(Debug, Clone)]
pub struct Sandbox {
    supervisor: PathBuf,
}

impl Default for Sandbox {
    /// Re-executes the running program, which must call [`run_if_supervisor`](crate::run_if_supervisor).
    fn default() -> Self {
        Self::new("/proc/self/exe")
    }
}

impl Sandbox {
    /// Uses the program at `supervisor`, which must call [`run_if_supervisor`](crate::run_if_supervisor).
    pub fn new(supervisor: impl Into<PathBuf>) -> Self {
        Self { supervisor: supervisor.into() }
    }

    /// Starts `spec`. It returns before the process is set up: failures of that come from [`Handle::wait`].
    ///
    /// # Errors
    /// [`Error::InvalidSpec`], [`Error::NotPermitted`] without CAP_SYS_ADMIN, or [`Error::Supervisor`] if that
    /// cannot be started.
    pub fn spawn(&self, spec: &Spec) -> Result<Running, Error> {
        spec.validate()?;
        let (stdout, stdout_writer) = io::pipe().map_err(failed("make the pipes of"))?;
        let (stderr, stderr_writer) = io::pipe().map_err(failed("make the pipes of"))?;
        let (ours, theirs) = UnixStream::pair().map_err(failed("make the socket of"))?;
        let program = self.write_protected()?;
        // Resolved by the child before the descriptor closes at its execve.
        let child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            .arg(SUPERVISOR_ARG)
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(stdout_writer)
            .stderr(stderr_writer)
            // A Ctrl-C at the terminal is for the caller alone, who then decides what to kill.
            .process_group(0)
            .spawn()
            .map_err(failed("start"))?;
        let handle = Handle { control: Arc::new(ours), supervisor: child };
        match control::send(&*handle.control, spec) {
            Ok(()) => Ok(Running { stdout, stderr, handle }),
            // It ended before it had read everything: how it ended says more than EPIPE.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(handle.died()),
            Err(error) => Err(failed("write to")(error)),
        }
    }
}

impl Sandbox {
    /// The supervisor's program through a read-only mount of its own. Programs in the sandbox can execute
    /// `/proc/self/exe` and so get hold of the file that the sandbox was entered from; were that mount writable, a
    /// root user in there could replace this very program (CVE-2019-5736 in another runtime).
    fn write_protected(&self) -> Result<OwnedFd, Error> {
        let mount = detached::clone(&self.supervisor)?;
        detached::set_attributes(&mount, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
        Ok(mount)
    }
}

/// A process that was started.
#[derive(Debug)]
pub struct Running {
    /// What the process writes to standard output. Must be drained, or the process blocks.
    pub stdout: PipeReader,
    /// What the process writes to standard error. Must be drained, or the process blocks.
    pub stderr: PipeReader,
    /// Its life.
    pub handle: Handle,
}

/// The life of a process: dropping this kills the process and everything that descends from it.
#[derive(Debug)]
pub struct Handle {
    control: Arc<UnixStream>,
    supervisor: Child,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this status, 0 to 255.
    Code(i32),
    /// It was ended by this signal.
    Signal(i32),
}

impl Handle {
    /// A handle to kill the process from elsewhere.
    pub fn killer(&self) -> Killer {
        Killer { control: Arc::clone(&self.control) }
    }

    /// Waits for the end. When it returns, no process of the sandbox is left.
    ///
    /// # Errors
    /// Why the process could not be run; [`Error::SupervisorDied`] if nothing is known.
    pub fn wait(mut self) -> Result<Exit, Error> {
        match control::receive(&*self.control) {
            Ok(report) => {
                self.supervisor.wait().map_err(failed("wait for"))?;
                match report {
                    Report::Exited(exit) => Ok(exit),
                    Report::Failed(error) => Err(error),
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                Err(self.died())
            }
            Err(error) => Err(failed("read from")(error)),
        }
    }

    fn died(mut self) -> Error {
        match self.supervisor.wait() {
            Ok(status) => Error::SupervisorDied { status: status.to_string() },
            Err(error) => failed("wait for")(error),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.killer().kill();
        // Reaped already, or ends at once: the supervisor kills the process and reports to nobody.
        let _ = self.supervisor.wait();
    }
}

/// Kills a running process; see [`Handle::killer`].
#[derive(Debug, Clone)]
pub struct Killer {
    control: Arc<UnixStream>,
}

impl Killer {
    /// Sends SIGKILL to the process and all that descends from it. Does nothing if it has ended.
    pub fn kill(&self) {
        // The supervisor takes end of file as the request. It fails only if the supervisor is gone.
        let _ = self.control.shutdown(Shutdown::Write);
    }
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::Supervisor { action: action.into(), errno: Errno::from(error).0 }
}
