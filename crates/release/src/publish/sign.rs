//! The hook between verification and tags: a command of the user's that signs what was proven, or refuses it.
//!
//! It is run by `sh -c` once for each repository, with these variables besides the caller's own:
//!
//! ```text
//! GANTRY_REF         host/repository@sha256:…
//! GANTRY_DIGEST      sha256:…
//! GANTRY_REPOSITORY  host/repository
//! GANTRY_TAGS        the tags to be written there, separated by spaces; empty for a push by digest
//! GANTRY_PLATFORMS   linux/amd64,linux/arm64
//! ```
//!
//! What it writes is shown as progress. If it fails, no tag of any repository moves. All that it has started ends with it,
//! and with the command that runs it.

use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::{Proven, Publisher};
use crate::error::{Class, Error};
use crate::events::Step;

/// How long what a hook wrote before its end is waited for: it is in the pipe already.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Runs the hook for every repository, one after the other: it may want to talk to somebody.
pub(crate) async fn sign_all(publisher: &Publisher<'_>, proven: &[Proven<'_>]) -> Result<(), Error> {
    let Some(command) = &publisher.terms.sign else { return Ok(()) };
    for one in proven {
        let name = format!("{}@{}", one.names[0].name(), one.publication.root.digest);
        let step = Step::begin(publisher.events, format!("[publish] sign {name}"));
        match sign(publisher, command, one, &step).await {
            Ok(()) => step.done(),
            Err(error) => {
                step.failed(error.to_string());
                return Err(error);
            }
        }
    }
    Ok(())
}

async fn sign(
    publisher: &Publisher<'_>,
    command: &str,
    proven: &Proven<'_>,
    step: &Step<'_>,
) -> Result<(), Error> {
    let (repository, digest) = (proven.names[0].name(), proven.publication.root.digest);
    let tags: Vec<_> = proven.names.iter().filter_map(|name| name.tag()).collect();
    let platforms: Vec<_> = proven.publication.platforms.iter().map(ToString::to_string).collect();
    let failed = |reason: String| {
        Error::new(Class::Publish, format!("the command that signs {repository}@{digest} {reason}"))
            .hint("no tag was moved")
    };
    let child = Command::new("sh")
        .args(["-c", command])
        .env_clear()
        .envs(publisher.gantry.environment.iter().map(|(name, value)| (name, value)))
        .env("GANTRY_REF", format!("{repository}@{digest}"))
        .env("GANTRY_DIGEST", digest.to_string())
        .env("GANTRY_REPOSITORY", &repository)
        .env("GANTRY_TAGS", tags.join(" "))
        .env("GANTRY_PLATFORMS", platforms.join(","))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = child.map_err(|error| failed(format!("cannot be run: {error}")))?;
    let group = Group::of(&child);
    let stdout = child.stdout.take().expect("standard output is piped");
    let stderr = child.stderr.take().expect("standard error is piped");
    let ended = async {
        let status = child.wait().await;
        // What it left in the background would keep the pipes open.
        drop(group);
        status
    };
    let mut relays = pin!(async { tokio::join!(relay(stdout, step), relay(stderr, step)) }.fuse());
    let mut ended = pin!(ended);
    let status = loop {
        tokio::select! {
            status = &mut ended => break status,
            _ = &mut relays, if !relays.is_terminated() => {}
        }
    };
    if !relays.is_terminated() {
        // Only who has left the group can still hold them, and nobody waits for that one.
        let _ = tokio::time::timeout(DRAIN_TIME, relays).await;
    }
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("failed: {status}"))),
        Err(error) => Err(failed(format!("cannot be waited for: {error}"))),
    }
}

/// Shows what is written, line by line.
async fn relay(stream: impl AsyncRead + Unpin, step: &Step<'_>) {
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        step.say(String::from_utf8_lossy(&line));
    }
}

/// A process and all that it starts, which is killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    /// The group of a process that leads one and was not waited for.
    fn of(leader: &Child) -> Self {
        Self(leader.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}
