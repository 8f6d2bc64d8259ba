//! Upload sessions of the fake registry.
//!
//! The address of a session carries its state in the query, as the address of Docker's registry does: a client
//! that does not use a `Location` verbatim is found out.

use std::collections::HashMap;

use hyper::body::Bytes;

/// All open sessions.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    sessions: HashMap<u64, Session>,
    last: u64,
}

/// One session.
#[derive(Debug, Default)]
struct Session {
    bytes: Vec<u8>,
    /// How many requests brought bytes.
    requests: usize,
    /// Where the last request's bytes begin.
    last_request: usize,
    /// Where the first request's bytes end.
    first_request: usize,
}

impl Uploads {
    pub(super) fn start(&mut self) -> u64 {
        self.last += 1;
        self.sessions.insert(self.last, Session::default());
        self.last
    }

    /// How many bytes a session has; `None` if there is no such session.
    pub(super) fn len(&self, id: u64) -> Option<u64> {
        self.sessions.get(&id).map(|session| session.bytes.len() as u64)
    }

    /// Where the bytes of the session's first request end.
    pub(super) fn first_request(&self, id: u64) -> u64 {
        self.sessions.get(&id).map_or(0, |session| session.first_request as u64)
    }

    /// Another request brings bytes.
    pub(super) fn request(&mut self, id: u64) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.requests += 1;
            session.last_request = session.bytes.len();
        }
    }

    pub(super) fn append(&mut self, id: u64, bytes: &[u8]) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.bytes.extend_from_slice(bytes);
            if session.requests == 1 {
                session.first_request = session.bytes.len();
            }
        }
    }

    /// Ends a session and returns its bytes, or those of its last request that brought any.
    pub(super) fn finish(&mut self, id: u64, last_only: bool) -> Bytes {
        let Some(session) = self.sessions.remove(&id) else { return Bytes::new() };
        match last_only {
            true => session.bytes[session.last_request..].to_vec().into(),
            false => session.bytes.into(),
        }
    }
}

/// The address of a session in its present state.
pub(super) fn location(repository: &str, id: u64, len: u64) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}?_state={len}%2Bx")
}

/// Whether a query carries the state that [`location`] put there.
pub(super) fn is_current(query: &[(String, String)], len: u64) -> bool {
    query.iter().any(|(name, value)| name == "_state" && *value == format!("{len}+x"))
}
