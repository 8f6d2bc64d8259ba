//! The port through which files of the network arrive: a web client for the program, a table for a test.

use std::io::Write;
use std::time::SystemTime;

use gantry_oci::BoxFuture;

use crate::secrets::Secret;

/// What to fetch.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The address: `http` or `https`.
    pub url: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The header `Authorization`, which goes to no other host than that of `url`.
    pub authorization: Option<Secret>,
    /// What is here already; the server is asked to send only what differs.
    pub known: Option<Version>,
}

/// Tells one state of a file on a server from another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// The header `ETag`, as it was sent.
    pub etag: Option<String>,
    /// The header `Last-Modified`.
    pub modified: Option<SystemTime>,
}

/// What the server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// It is what was known.
    Unchanged,
    /// It has been written to the sink, whole.
    File {
        /// Which state of it this is.
        version: Version,
        /// The file's name in `Content-Disposition`.
        name: Option<String>,
    },
}

/// What class of fault kept a file from arriving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchErrorKind {
    /// The server has no such file.
    NotFound,
    /// Credentials are missing, wrong or not sufficient.
    Denied,
    /// The server cannot be reached, or answers nonsense.
    Unavailable,
}

/// Why a file did not arrive.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct FetchError {
    /// The class of the fault.
    pub kind: FetchErrorKind,
    /// What was done, on what, and why it failed.
    pub message: String,
}

/// Where files of the network come from.
pub trait FetchPort: Send + Sync {
    /// Fetches a file, following redirects to `http` and `https` only.
    ///
    /// On failure the sink may have received a part of the file: the caller discards it.
    fn fetch<'a>(
        &'a self,
        request: &'a FetchRequest,
        sink: &'a mut (dyn Write + Send),
    ) -> BoxFuture<'a, Result<Fetched, FetchError>>;
}
