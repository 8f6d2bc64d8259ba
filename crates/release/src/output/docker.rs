//! Images into a Docker engine, through its own command: `docker load` knows where the engine is and how to reach it.

use std::io::{self, BufWriter, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::error::{Class, Error};

/// The command.
const DOCKER: &str = "docker";
/// Of what it says when it fails, so many bytes are told.
const LONGEST_COMPLAINT: u64 = 4 << 10;

/// Gives `write` the standard input of `docker load`, and waits until it is done. Blocks.
pub(super) fn load(
    context: Option<&str>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let mut child = start(context)?;
    let mut stderr = child.stderr.take().expect("it is piped").take(LONGEST_COMPLAINT);
    // Read while it is written, so that neither side waits for the other.
    let complaint = thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        let _ = io::copy(stderr.get_mut(), &mut io::sink());
        String::from_utf8_lossy(&text).trim().to_owned()
    });
    let mut out = BufWriter::new(child.stdin.take().expect("it is piped"));
    let written = write(&mut out).and_then(|()| out.flush());
    if written.is_err() {
        // Half an archive must not be loaded.
        let _ = child.kill();
    }
    drop(out);
    let status = child.wait().map_err(|error| failed(&error.to_string()))?;
    let complaint = complaint.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    match (status.success(), written) {
        (true, Ok(())) => Ok(()),
        (false, _) if !complaint.is_empty() => Err(failed(&complaint)),
        (_, Err(error)) => Err(failed(&error.to_string())),
        (false, Ok(())) => Err(failed(&format!("it ended with {status}"))),
    }
}

fn start(context: Option<&str>) -> Result<Child, Error> {
    let mut command = Command::new(DOCKER);
    command.args(context.iter().flat_map(|context| ["--context", *context])).arg("load");
    // What it prints is for people, and standard output is the caller's.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::new(Class::Usage, "there is no `docker` command to load the image with")
                .hint("write an archive, --output type=docker,dest=FILE, or push the image")
        }
        _ => failed(&error.to_string()),
    })
}

fn failed(reason: &str) -> Error {
    Error::new(Class::Internal, format!("`docker load` failed: {reason}"))
}
