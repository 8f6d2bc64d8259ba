//! Forwards the client's SSH agent to a step: a socket of the step's own, with the owner and mode that it asks for.
//!
//! What a step may ask for is the list of keys and signatures, and nothing else: it can neither remove the user's keys
//! nor lock the agent. The messages are those of `draft-ietf-sshm-ssh-agent`: a length of four bytes, a byte for
//! the type, the rest.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use gantry_store::{Store, TempDir};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::error::{At, Fault};

const SOCKET: &str = "agent";
/// OpenSSH's own limit on a message.
const MAX_MESSAGE: u32 = 256 << 10;
/// `SSH_AGENTC_REQUEST_IDENTITIES` and `SSH_AGENTC_SIGN_REQUEST`.
const FORWARDED: [u8; 2] = [11, 13];
/// `SSH_AGENT_FAILURE`, as a whole message.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// A socket that stands for an agent of the client's. Nobody serves it any more when this is dropped.
#[derive(Debug)]
pub(crate) struct AgentSocket {
    directory: TempDir,
    server: JoinHandle<()>,
}

impl AgentSocket {
    /// Listens, and passes on to the agent at `upstream`.
    pub(crate) fn start(
        store: &Store,
        upstream: &Path,
        (uid, gid): (u32, u32),
        mode: u32,
    ) -> Result<Self, Fault> {
        let directory = store.temp_dir()?;
        let path = directory.path().join(SOCKET);
        let listener = listen(directory.path()).at("listen on", &path)?;
        chown(&path, Some(uid), Some(gid)).at("set the owner of", &path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).at("set the mode of", &path)?;
        let server = tokio::spawn(serve(listener, upstream.to_owned()));
        Ok(Self { directory, server })
    }

    /// Where the socket is.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Binds by way of the directory's descriptor: the address of a socket is too short for every path.
fn listen(directory: &Path) -> io::Result<UnixListener> {
    let directory = File::open(directory)?;
    UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}

/// Connects in the same way.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let (Some(parent), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let directory = File::open(parent)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    UnixStream::connect(short).await
}

async fn serve(listener: UnixListener, upstream: PathBuf) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let upstream = upstream.clone();
        connections.spawn(async move {
            // Who is cut off knows; there is nobody else to tell.
            let _ = relay(client, &upstream).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Answers one connection's requests, one after the other.
async fn relay(mut client: UnixStream, upstream: &Path) -> io::Result<()> {
    let mut agent = connect(upstream).await?;
    while let Some(request) = message(&mut client).await? {
        let forwarded = request.get(4).is_some_and(|kind| FORWARDED.contains(kind));
        let answer = match forwarded {
            false => FAILURE.to_vec(),
            true => {
                agent.write_all(&request).await?;
                message(&mut agent).await?.ok_or(io::ErrorKind::UnexpectedEof)?
            }
        };
        client.write_all(&answer).await?;
    }
    Ok(())
}

/// The next message with its length; `None` at the end.
async fn message(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    let size = u32::from_be_bytes(length);
    if size > MAX_MESSAGE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; 4 + size as usize];
    message[..4].copy_from_slice(&length);
    stream.read_exact(&mut message[4..]).await?;
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that answers every message with its type and "!".
    fn parrot(path: &Path) -> JoinHandle<()> {
        let listener = UnixListener::bind(path).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                while let Ok(Some(request)) = message(&mut stream).await {
                    stream.write_all(&[0, 0, 0, 2, request[4], b'!']).await.unwrap();
                }
            }
        })
    }

    #[tokio::test]
    async fn only_listing_and_signing_pass() {
        let directory = tempfile::tempdir().unwrap();
        // Longer than the address of a socket may be.
        let store = Store::open(&directory.path().join("x".repeat(120))).unwrap();
        let upstream = directory.path().join("upstream");
        let agent = parrot(&upstream);
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let socket = AgentSocket::start(&store, &upstream, owner, 0o600).unwrap();
        let mut client = connect(&socket.path()).await.unwrap();
        // List, remove all, sign, lock, add, extension.
        for (kind, answer) in [(11, 11), (19, 5), (13, 13), (22, 5), (17, 5), (27, 5)] {
            client.write_all(&[0, 0, 0, 1, kind]).await.unwrap();
            assert_eq!(message(&mut client).await.unwrap().unwrap()[4], answer, "type {kind}");
        }
        client.write_all(&[0, 0, 0, 0]).await.unwrap();
        assert_eq!(message(&mut client).await.unwrap().unwrap(), FAILURE, "a message without a type");
        client.write_all(&[0xff; 4]).await.unwrap();
        assert_eq!(message(&mut client).await.unwrap(), None, "a message without end");
        drop(socket);
        agent.abort();
    }
}
