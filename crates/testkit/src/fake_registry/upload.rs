//! Upload sessions of the fake registry.
//!
//! The address of a session carries its state in the query, as the address of Docker's registry does: a client
//! that does not use a `Location` verbatim is found out.

use std::collections::HashMap;

use hyper::body::Bytes;

/// All open sessions.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    sessions: HashMap<u64, Vec<u8>>,
    last: u64,
}

impl Uploads {
    pub(super) fn start(&mut self) -> u64 {
        self.last += 1;
        self.sessions.insert(self.last, Vec::new());
        self.last
    }

    /// How many bytes a session has; `None` if there is no such session.
    pub(super) fn len(&self, id: u64) -> Option<u64> {
        self.sessions.get(&id).map(|bytes| bytes.len() as u64)
    }

    pub(super) fn append(&mut self, id: u64, bytes: &[u8]) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.extend_from_slice(bytes);
        }
    }

    pub(super) fn finish(&mut self, id: u64) -> Option<Bytes> {
        self.sessions.remove(&id).map(Bytes::from)
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
