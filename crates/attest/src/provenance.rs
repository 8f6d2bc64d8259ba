//! Provenance: what was built, from what, how and by whom, as SLSA says it.
//!
//! [`Provenance`] is what is known about one platform's build. The predicates made of it have the fields of BuildKit's,
//! its extensions (`buildkit_…`) included, so that what reads those reads ours; the build types are gantry's own. They
//! hold nothing that differs between two equal builds: no id of the run, and no times unless somebody gave them.
//!
//! In mode `min` there are no build arguments, labels, secrets or file contents; `max` adds arguments, the ids of
//! secrets, the Dockerfile, the steps of the graph and the layers. Credentials in URLs are in neither.

mod v02;
mod v1;

use std::collections::{BTreeMap, BTreeSet};

use gantry_oci::{Descriptor, Digest, Platform};
use serde_json::{Value, json};

use crate::options::{Mode, SlsaVersion};
use crate::redact;
use crate::statement::predicate_type;

/// What is known about how one platform's image was built.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// A URI of who built it; may be empty.
    pub builder_id: String,
    /// The platform that the build ran on.
    pub builder_platform: Platform,
    /// What was asked for.
    pub request: Request,
    /// What it was built from, apart from local files, which have no address.
    pub dependencies: Vec<Dependency>,
    /// Whether a step could reach the network.
    pub network: bool,
    /// The repository and revision that the context belongs to (`source`, `revision`).
    pub vcs: BTreeMap<String, String>,
    /// Whether whoever asks for it claims that the build is reproducible.
    pub reproducible: bool,
    /// When it began and ended, RFC 3339.
    pub times: Option<(String, String)>,
    /// What mode `max` adds.
    pub details: Details,
}

/// What a build was asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The front end's name.
    pub frontend: String,
    /// The Dockerfile's name.
    pub filename: String,
    /// Where the context comes from, if that is no local directory, with its digest if it has one.
    pub context: Option<Dependency>,
    /// Options of the front end by BuildKit's names: `build-arg:X`, `label:X`, `target`.
    pub args: BTreeMap<String, String>,
    /// Secrets that steps could read.
    pub secrets: Vec<Secret>,
    /// Keys that steps could use, by the ids of their agents.
    pub ssh: Vec<Secret>,
    /// Local directories, by name.
    pub locals: BTreeSet<String>,
}

/// A secret, which is known by its id and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret {
    /// The id.
    pub id: String,
    /// Whether the build goes on without it.
    pub optional: bool,
}

/// Something that the build read, by address and digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// A package URL for images, else a URL.
    pub uri: String,
    /// The algorithm (`sha256`, or `sha1` for commits) and the digest in hexadecimal; none if it is not known.
    pub digest: Option<(String, String)>,
}

/// The graph, its sources and its result.
#[derive(Debug, Clone, Default)]
pub struct Details {
    /// The steps, inputs before users, the last of which names the result.
    pub steps: Vec<Step>,
    /// The files that the steps come from.
    pub sources: Vec<SourceFile>,
    /// Which lines of them a step comes from, in BuildKit's form.
    pub locations: BTreeMap<Digest, Value>,
    /// The layers of the result, and the step's output that they are.
    pub layers: Option<(Digest, u32, Vec<Descriptor>)>,
}

/// One operation of the graph.
#[derive(Debug, Clone)]
pub struct Step {
    /// The digest of the operation's bytes.
    pub digest: Digest,
    /// The operation without its inputs, in BuildKit's JSON.
    pub op: Value,
    /// The steps, and which output of theirs, that it uses.
    pub inputs: Vec<(Digest, u32)>,
}

/// A file that steps come from.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Its name.
    pub filename: String,
    /// Its language.
    pub language: String,
    /// Its text.
    pub text: String,
}

impl Dependency {
    /// A commit of a repository.
    pub fn commit(url: impl Into<String>, commit: &str) -> Self {
        let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
        Self { uri: url.into(), digest: Some((algorithm.to_owned(), commit.to_owned())) }
    }

    /// Content with this digest.
    pub fn content(uri: impl Into<String>, digest: &Digest) -> Self {
        Self { uri: uri.into(), digest: Some(("sha256".to_owned(), digest.hex().to_owned())) }
    }

    fn to_json(&self) -> Value {
        match self.digest_json() {
            Some(digest) => json!({ "uri": self.uri, "digest": digest }),
            None => json!({ "uri": self.uri }),
        }
    }

    fn digest_json(&self) -> Option<Value> {
        self.digest.as_ref().map(|(algorithm, hex)| json!({ algorithm: hex }))
    }
}

impl Provenance {
    /// The predicate's type and the predicate.
    pub fn predicate(&self, mode: Mode, version: SlsaVersion) -> (&'static str, Value) {
        let (kind, mut predicate) = match version {
            SlsaVersion::V1 => (predicate_type::PROVENANCE_V1, v1::predicate(self, mode)),
            SlsaVersion::V02 => (predicate_type::PROVENANCE_V02, v02::predicate(self, mode)),
        };
        redact::document(&mut predicate);
        (kind, predicate)
    }

    /// Whether everything that the build read is among the dependencies, with its digest: local files never are.
    pub fn has_all_dependencies(&self) -> bool {
        self.request.locals.is_empty()
            && self.dependencies.iter().all(|dependency| dependency.digest.is_some())
    }

    fn is_hermetic(&self) -> bool {
        self.has_all_dependencies() && !self.network
    }

    /// Whether the request says all that it was, in this mode.
    fn has_whole_request(&self, mode: Mode) -> bool {
        let is_private = |name: &String| is_private(name);
        !self.request.frontend.is_empty() && (mode == Mode::Max || !self.request.args.keys().any(is_private))
    }

    fn dependencies_json(&self) -> Vec<Value> {
        let sorted: BTreeSet<_> = self.dependencies.iter().collect();
        sorted.into_iter().map(Dependency::to_json).collect()
    }
}

/// Whether only mode `max` may tell an argument: its value is the user's.
fn is_private(name: &str) -> bool {
    name.starts_with("build-arg:") || name.starts_with("label:")
}

#[cfg(test)]
mod tests;
