//! Images into a Docker engine, through its own command: `docker load` knows where the engine is and how to reach it.
//!
//! It ends with whoever wants it: when that is stopped, or when not the whole archive can be written.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::error::{Class, Error};

/// The command.
const DOCKER: &str = "docker";
/// Where it is looked for if the environment has no PATH, as a shell does.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Of what it says when it fails, so many bytes are told.
const LONGEST_COMPLAINT: u64 = 4 << 10;
/// How long the end of what it said is waited for: what it left behind may keep the pipe open.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Where the command is.
pub(super) fn find(environment: &[(OsString, OsString)]) -> Result<PathBuf, Error> {
    let path = environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    let mut places = std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH)));
    let found = places.find_map(|place| Some(place.join(DOCKER)).filter(|file| is_program(file)));
    found.ok_or_else(|| {
        Error::new(Class::Usage, "there is no `docker` command to load the image with")
            .hint("write an archive, --output type=docker,dest=FILE, or push the image")
    })
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Gives `write` the standard input of `docker load`, and waits until it is done or `cancel` is cancelled. Blocks, on a
/// thread of the runtime for such work.
pub(super) fn load(
    environment: &[(OsString, OsString)],
    context: Option<&str>,
    cancel: &CancellationToken,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let unusable = |error: io::Error| failed(&error.to_string());
    let mut child = start(environment, context)?;
    let input = child.stdin.take().expect("it is piped").into_owned_fd().map_err(unusable)?;
    // Read while it is written, so that neither side waits for the other.
    let complaint = tokio::spawn(complaint(child.stderr.take().expect("it is piped")));
    // A writer that waits for a command that does not read is freed by the command's end.
    let stop = cancel.child_token();
    let ended = tokio::spawn(ended(child, stop.clone()));
    let mut out = BufWriter::new(File::from(input));
    let written = write(&mut out).and_then(|()| out.flush());
    if written.is_err() {
        // Half an archive must not be loaded.
        stop.cancel();
    }
    drop(out);
    let runtime = Handle::current();
    let status = runtime.block_on(ended).map_err(io::Error::other).flatten().map_err(unusable)?;
    let complaint = runtime.block_on(async { tokio::time::timeout(DRAIN_TIME, complaint).await });
    let complaint = complaint.ok().and_then(Result::ok).unwrap_or_default();
    match (status.success(), written) {
        (true, Ok(())) => Ok(()),
        (false, _) if !complaint.is_empty() => Err(failed(&complaint)),
        (_, Err(error)) => Err(failed(&error.to_string())),
        (false, Ok(())) => Err(failed(&format!("it ended with {status}"))),
    }
}

fn start(environment: &[(OsString, OsString)], context: Option<&str>) -> Result<Child, Error> {
    let mut command = Command::new(find(environment)?);
    command.arg0(DOCKER).args(context.iter().flat_map(|context| ["--context", *context])).arg("load");
    command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
    // What it prints is for people, and standard output is the caller's.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().map_err(|error| failed(&error.to_string()))
}

/// Waits for the command's end, and brings it about when it is to stop.
async fn ended(mut child: Child, stop: CancellationToken) -> io::Result<ExitStatus> {
    tokio::select! {
        biased;
        status = child.wait() => status,
        () = stop.cancelled() => {
            child.start_kill()?;
            child.wait().await
        }
    }
}

/// The beginning of what the command says; it is read to its end.
async fn complaint(mut stderr: impl AsyncRead + Unpin) -> String {
    let mut text = Vec::new();
    let _ = (&mut stderr).take(LONGEST_COMPLAINT).read_to_end(&mut text).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn failed(reason: &str) -> Error {
    Error::new(Class::Internal, format!("`docker load` failed: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::archive::{Sink, to_destination};
    use crate::output::blocking;
    use crate::request::Destination;

    /// A busy machine starts a shell in less.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A directory with a command of this text.
    fn docker(script: &str) -> (tempfile::TempDir, Vec<(OsString, OsString)>) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(DOCKER);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", directory.path().display());
        let here = directory.path().as_os_str().to_owned();
        (directory, vec![("PATH".into(), path.into()), ("HERE".into(), here)])
    }

    #[test]
    fn the_command_is_found_in_the_path_of_the_environment() {
        let (directory, environment) = docker("");
        let file = directory.path().join(DOCKER);
        assert_eq!(find(&environment).unwrap(), file);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let only = [("PATH".into(), directory.path().as_os_str().to_owned())];
        assert_eq!(find(&only).unwrap_err().class, Class::Usage);
    }

    /// Neither a command that does not read nor one that does not end keeps whoever was stopped.
    #[tokio::test]
    async fn a_load_that_is_stopped_ends() {
        for script in [
            "echo $$ > $HERE/pid; exec tail -f /dev/null",
            "cat > $HERE/read; echo $$ > $HERE/pid; exec tail -f /dev/null",
        ] {
            let (directory, environment) = docker(script);
            let cancel = CancellationToken::new();
            let sink = Sink { to: Destination::Docker(None), environment, cancel: cancel.clone() };
            let reads = script.starts_with("cat");
            let load = tokio::spawn(blocking(move || {
                to_destination(&sink, |out| match reads {
                    true => out.write_all(b"all"),
                    false => io::copy(&mut io::repeat(0), out).map(drop),
                })
            }));
            let started = async {
                loop {
                    match fs::read_to_string(directory.path().join("pid")) {
                        Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
                        _ => tokio::task::yield_now().await,
                    }
                }
            };
            let pid = tokio::time::timeout(PATIENCE, started).await.expect("the command is started");
            cancel.cancel();
            assert_eq!(load.await.unwrap().unwrap_err().class, Class::Cancelled, "{script}");
            assert!(!Path::new("/proc").join(pid).exists(), "it is reaped");
        }
    }
}
