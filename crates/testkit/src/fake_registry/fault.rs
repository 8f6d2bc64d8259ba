//! How the fake registry misbehaves when it is told to.

use hyper::HeaderMap;

/// A request as a hook sees it, before anything of its body was read.
#[derive(Debug)]
pub struct Seen<'a> {
    /// How many requests came before this one.
    pub index: usize,
    /// The method.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
}

/// One way to spoil an exchange.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers this instead of serving the request; a body is not read first.
    Answer {
        /// The status.
        status: u16,
        /// Headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// Reads the request's body to its end, throws it away, and answers this status with these headers.
    ///
    /// The other kind of answer may overtake a large body, and the client then sees a lost connection instead.
    LateAnswer {
        /// The status.
        status: u16,
        /// Headers.
        headers: Vec<(String, String)>,
    },
    /// Takes so many bytes of the request's body (into the upload session, where there is one) and closes the
    /// connection without an answer.
    Drop {
        /// How many bytes.
        after: u64,
    },
    /// Serves the request, and closes the connection after so many bytes of the answer's body.
    Truncate {
        /// How many bytes.
        after: usize,
    },
    /// Serves the request, and sets these headers of the answer.
    Headers(Vec<(String, String)>),
    /// Serves the request, and sends this body instead of the right one.
    Body(Vec<u8>),
}

impl Fault {
    /// An answer with this status and nothing else.
    pub fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: Vec::new() }
    }

    /// An answer with this status and one header.
    pub fn status_with(status: u16, name: &str, value: &str) -> Self {
        Self::Answer { status, headers: vec![(name.to_owned(), value.to_owned())], body: Vec::new() }
    }
}
