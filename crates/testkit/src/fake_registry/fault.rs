//! How the fake registry spoils an exchange when it is told to.

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

impl Seen<'_> {
    /// The length of the body, as the client announces it; zero if it does not.
    pub fn length(&self) -> u64 {
        let length = self.headers.get("content-length").and_then(|length| length.to_str().ok());
        length.and_then(|length| length.parse().ok()).unwrap_or_default()
    }
}

/// One way to spoil an exchange.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers this instead of serving the request; a body is not read first, and the connection is then closed.
    Answer {
        /// The status.
        status: u16,
        /// Headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// Reads the request's body to its end, throws it away, and answers this status with these headers.
    LateAnswer {
        /// The status.
        status: u16,
        /// Headers.
        headers: Vec<(String, String)>,
    },
    /// Takes so many bytes of the request's body (into the upload session, where there is one), then answers this
    /// status and closes the connection.
    MidAnswer {
        /// How many bytes.
        after: u64,
        /// The status.
        status: u16,
    },
    /// Refuses the request with 401, with or without saying how to authenticate, whatever credentials it has.
    Refuse {
        /// Whether the answer has the registry's own challenge.
        challenge: bool,
        /// How many bytes of the body are taken first; `None` for all of them, which are thrown away.
        after: Option<u64>,
    },
    /// Makes every token that was given out invalid, then serves the request.
    Revoke,
    /// Takes so many bytes of the request's body (into the upload session, where there is one) and closes the
    /// connection without an answer.
    Drop {
        /// How many bytes.
        after: u64,
    },
    /// The same, by a reset.
    Reset {
        /// How many bytes.
        after: u64,
    },
    /// Serves the request, and closes the connection instead of answering.
    LoseAnswer,
    /// Serves the request, and closes the connection after so many bytes of the answer's body.
    Truncate {
        /// How many bytes.
        after: usize,
    },
    /// The same, by a reset.
    TruncateReset {
        /// How many bytes.
        after: usize,
    },
    /// Takes so many bytes of the request's body (into the upload session, where there is one), then nothing more,
    /// and never answers.
    StallRequest {
        /// How many bytes.
        after: u64,
    },
    /// Serves the request, sends the answer's headers and so many bytes of its body, and then nothing more.
    StallAnswer {
        /// How many bytes.
        after: usize,
    },
    /// Serves the request, and sends the answer's body byte by byte, one in a hundredth of a second.
    DripAnswer,
    /// Answers this status with a body that never ends.
    Endless {
        /// The status.
        status: u16,
        /// Headers.
        headers: Vec<(String, String)>,
        /// What the body repeats.
        piece: Vec<u8>,
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

    /// An answer with this status and the specification's error document.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#).into_bytes();
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self::Answer { status, headers, body }
    }
}
