//! Sources that are not files of the client: `http(s)` addresses and git repositories, for ADD and as contexts.

mod address;
mod git;

use gantry_llb::pb;
use gantry_oci::Checksum;

use crate::error::Fault;
use crate::paths;

pub(crate) use git::{Git, Shared};

/// What a file is called whose address has no name for it.
const UNNAMED: &str = "__unnamed__";

/// A source on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remote {
    /// One file.
    Http(String),
    /// A repository.
    Git(Git),
}

/// The operation that fetches a source, the capabilities that this needs, and the path of what was fetched.
pub(crate) type Operation = (pb::SourceOp, Vec<&'static str>, String);

impl Remote {
    /// The remote source that a text names; none if it is a path.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, Fault> {
        let git = Git::parse(text)?.map(Self::Git);
        Ok(git.or_else(|| is_http(text).then(|| Self::Http(text.to_owned()))))
    }

    /// The remote source that a text names as a context.
    pub(crate) fn parse_context(text: &str) -> Result<Option<Self>, Fault> {
        match Git::parse_implicit(text)? {
            Some(git) => Ok(Some(Self::Git(git))),
            None => Self::parse(text),
        }
    }

    /// The operation for ADD.
    pub(crate) fn operation(&self, shared: &mut Shared) -> Result<Operation, Fault> {
        match self {
            Self::Http(address) => http(address, &shared.checksum),
            Self::Git(git) => git.operation(shared),
        }
    }
}

fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn http(address: &str, checksum: &str) -> Result<Operation, Fault> {
    let name = address::file_name(address).unwrap_or_else(|| UNNAMED.to_owned());
    let mut source = pb::SourceOp { identifier: address.to_owned(), ..pb::SourceOp::default() };
    let mut caps = vec!["source.http"];
    if !checksum.is_empty() {
        let checksum: Checksum =
            checksum.parse().map_err(|error| Fault::semantics(format!("--checksum: {error}")))?;
        source.attrs.insert("http.checksum".to_owned(), checksum.to_string());
        caps.push("source.http.checksum");
    }
    let path = paths::join("/", &name);
    source.attrs.insert("http.filename".to_owned(), name);
    Ok((source, caps, path))
}
