//! What a build is asked to do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gantry_attest::options::Options as AttestationOptions;
use gantry_oci::{Platform, Reference};

use crate::annotation::Annotation;
use crate::publish::Terms;
use crate::verify::VerifyPolicy;

/// One build: one Dockerfile, any number of platforms.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The build context.
    pub context: PathBuf,
    /// Where the Dockerfile is.
    pub dockerfile: Dockerfile,
    /// The stage to build; the last one if none is named.
    pub target: Option<String>,
    /// The platforms; the host's if none is named.
    pub platforms: Vec<Platform>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--tag`.
    pub tags: Vec<Reference>,
    /// What to do with the result.
    pub outputs: Vec<Output>,
    /// `--annotation`, and the annotations of all outputs.
    pub annotations: Vec<Annotation>,
    /// On which terms tags move.
    pub terms: Terms,
    /// `--attest`, `--provenance`, `--sbom`.
    pub attestations: AttestationOptions,
    /// Whether earlier results may be used.
    pub cache: CacheUse,
    /// Whether `FROM` always asks the registry (`--pull`). Tags are always resolved there; see `Registry`.
    pub pull: bool,
    /// How bases and the result are verified.
    pub verify: VerifyPolicy,
}

/// Where a Dockerfile comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dockerfile {
    /// `Dockerfile`, or `dockerfile`, in the context.
    InContext,
    /// This file.
    File(PathBuf),
    /// This text, read from standard input.
    Text(String),
}

/// Whether results of earlier builds may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheUse {
    /// Yes.
    Use,
    /// No: every step runs (`--no-cache`). Its results are kept for later builds all the same.
    Ignore,
}

/// What to do with the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Publish under these names, besides the request's tags, which count for every output of this kind.
    Push(Vec<Reference>),
    /// Publish to these repositories, without any tag: whoever makes an index of several builds wants that.
    PushByDigest(Vec<Reference>),
    /// Keep it in the local store, named in its `index.json`.
    Keep(Vec<Reference>, Naming),
    /// An OCI layout, as one archive, with further names.
    OciArchive(Destination, Vec<Reference>),
    /// An OCI layout, as a directory, with further names.
    OciDirectory(PathBuf, Vec<Reference>),
    /// An archive that `docker load` reads, with further names.
    DockerArchive(Destination, Vec<Reference>),
    /// The file system as one archive.
    Tar(Destination),
    /// The file system as files.
    Local(PathBuf),
}

/// Under which names an image is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Naming {
    /// Those that were given.
    #[default]
    AsGiven,
    /// Those, and each with the digest, too (`name-canonical`).
    WithDigest,
}

/// Where an archive goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To this file, which appears when it is complete.
    File(PathBuf),
    /// To standard output.
    Stdout,
}

impl Output {
    /// The names that this output gives the image, besides the request's tags.
    pub fn names(&self) -> &[Reference] {
        match self {
            Self::Push(names)
            | Self::PushByDigest(names)
            | Self::Keep(names, _)
            | Self::OciArchive(_, names)
            | Self::OciDirectory(_, names)
            | Self::DockerArchive(_, names) => names,
            Self::Tar(_) | Self::Local(_) => &[],
        }
    }

    /// Whether it goes to standard output.
    pub fn is_to_stdout(&self) -> bool {
        match self {
            Self::OciArchive(to, _) | Self::DockerArchive(to, _) | Self::Tar(to) => {
                *to == Destination::Stdout
            }
            _ => false,
        }
    }
}
