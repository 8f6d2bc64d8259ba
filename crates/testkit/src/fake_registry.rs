//! A registry of the OCI distribution specification in the test's own process, on a loopback port.
//!
//! It is strict where a client's mistakes would show (digests, upload state, scopes), keeps a log of every
//! exchange, and misbehaves where [`FakeRegistry::on_request`] tells it to. It runs on a thread of its own, so
//! that it serves asynchronous tests and child processes alike.

mod access;
mod chaos;
mod content;
mod endpoints;
mod fault;
mod quirk;
mod reply;
mod server;
mod upload;

use std::sync::Arc;
use std::thread::JoinHandle;

use gantry_oci::{Digest, Reference};
use hyper::body::Bytes;
use tokio::sync::oneshot;

pub use access::Access;
pub use chaos::chaos;
pub use fault::{Fault, Seen};
pub use quirk::Quirk;
use server::State;

use crate::ImageTarget;

/// One request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, empty if there was none.
    pub query: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `Range` or `Content-Range` header.
    pub range: Option<String>,
    /// How many bytes of a body arrived.
    pub received: u64,
    /// The status that was answered; `None` if the connection was dropped instead.
    pub status: Option<u16>,
}

/// A running registry; it ends when dropped.
#[derive(Debug)]
pub struct FakeRegistry {
    state: Arc<State>,
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeRegistry {
    /// Starts a registry that is empty and open to everybody.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port can be bound");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let state = Arc::new(State::default());
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&state);
        let thread = std::thread::spawn(move || server::run(listener, served, stopped));
        Self { state, port, stop: Some(stop), thread: Some(thread) }
    }

    /// Starts a registry with this access control.
    pub fn with_access(access: Access) -> Self {
        let registry = Self::start();
        registry.set_access(access);
        registry
    }

    /// Replaces the access control. Tokens that were given out lose their validity.
    pub fn set_access(&self, access: Access) {
        self.state.doorkeeper().set(access);
    }

    /// Makes every token that was given out invalid.
    pub fn revoke_tokens(&self) {
        self.state.doorkeeper().revoke();
    }

    /// How many tokens were given out.
    pub fn tokens_issued(&self) -> usize {
        self.state.doorkeeper().issued()
    }

    /// Installs a hook that sees every request before it is served and may spoil it; it replaces the one before.
    pub fn on_request(&self, hook: impl FnMut(&Seen<'_>) -> Option<Fault> + Send + 'static) {
        self.state.set_hook(Box::new(hook));
    }

    /// Makes the registry differ from the specification in these ways and no others.
    pub fn set_quirks(&self, quirks: &[Quirk]) {
        self.state.set_quirks(quirks);
    }

    /// How many bytes of blobs arrived in uploads, spoiled ones included.
    pub fn uploaded_bytes(&self) -> u64 {
        self.log().iter().filter(|one| one.path.contains("/blobs/uploads/")).map(|one| one.received).sum()
    }

    /// All exchanges so far, oldest first.
    pub fn log(&self) -> Vec<Exchange> {
        self.state.log()
    }

    /// The exchanges with this method whose path contains `part`.
    pub fn logged(&self, method: &str, part: &str) -> Vec<Exchange> {
        self.log().into_iter().filter(|one| one.method == method && one.path.contains(part)).collect()
    }

    /// A reference into this registry, from `repository[:tag][@digest]`.
    pub fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.host()).parse().expect("the test names a valid reference")
    }

    /// The bytes of a blob, if the repository has it.
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        self.state.content().blob(repository, digest)
    }

    /// The digest, media type and bytes of a manifest, by tag or digest.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(Digest, String, Bytes)> {
        self.state.content().manifest(repository, reference)
    }
}

impl ImageTarget for FakeRegistry {
    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        self.state.content().put_blob(repository, Bytes::copy_from_slice(bytes))
    }

    fn put_manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, bytes: &[u8]) -> Digest {
        self.state.content().put_manifest(repository, tag, media_type, Bytes::copy_from_slice(bytes))
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
