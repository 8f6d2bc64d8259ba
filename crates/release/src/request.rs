//! What a build is asked to do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use gantry_attest::options::{Mode as ProvenanceMode, Options as AttestationOptions};
use gantry_dockerfile::RunOptions;
use gantry_engine::{BaseLayers, Compression, Entitlement, Secrets};
use gantry_oci::{Platform, Reference};

use crate::annotation::Annotation;
use crate::context::{ContextSource, NamedSource};
use crate::publish::Terms;
use crate::verify::VerifyPolicy;

/// One build: one Dockerfile, any number of platforms.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The build context.
    pub context: ContextSource,
    /// `--build-context`, by normalised name.
    pub contexts: BTreeMap<String, NamedSource>,
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
    /// How much provenance the report has, whether it is attested or not.
    pub reported_provenance: Option<ProvenanceMode>,
    /// Whether earlier results may be used.
    pub cache: CacheUse,
    /// Whether `FROM` always asks the registry (`--pull`). Tags are always resolved there; see `Registry`.
    pub pull: bool,
    /// What steps are given, and what they may do.
    pub steps: StepOptions,
    /// How the image is written.
    pub form: ImageForm,
    /// How bases and the result are verified.
    pub verify: VerifyPolicy,
}

/// The times of files in the layers that a build adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FileTimes {
    /// As they are.
    #[default]
    Kept,
    /// No later than `SOURCE_DATE_EPOCH`, if that is given (`rewrite-timestamp=true`).
    UntilEpoch,
}

/// How an image is written. All outputs of a build give the same image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageForm {
    /// The times of files in the layers that the build adds.
    pub times: FileTimes,
    /// The time of what the build adds.
    pub epoch: OutputEpoch,
    /// How layers that the build adds are compressed.
    pub compression: Compression,
    /// What becomes of the layers of its base.
    pub base_layers: BaseLayers,
    /// Whose media types the documents and layers have.
    pub media_types: MediaTypes,
}

/// Whose media types an image has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MediaTypes {
    /// OCI's.
    #[default]
    Oci,
    /// Docker's, for registries and engines that know no others.
    Docker,
}

/// What an output takes for `SOURCE_DATE_EPOCH` (`source-date-epoch=`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutputEpoch {
    /// What the build has.
    #[default]
    OfBuild,
    /// This time, in seconds since 1970, or none.
    Given(Option<i64>),
}

impl OutputEpoch {
    /// The time, given that of the build.
    pub(crate) fn or(self, of_build: Option<i64>) -> Option<i64> {
        match self {
            Self::OfBuild => of_build,
            Self::Given(time) => time,
        }
    }
}

/// How the files of a result that is no image are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesForm {
    /// The time of all files.
    pub epoch: OutputEpoch,
    /// Which platforms get a directory of their own.
    pub split: PlatformSplit,
    /// What becomes of other files in the directory.
    pub others: OtherFiles,
    /// What the names of attestations begin with.
    pub attestation_prefix: String,
}

/// Which platforms get a directory of their own (`platform-split=`). In an archive, only several have one, and always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlatformSplit {
    /// Each, if there are several.
    #[default]
    Several,
    /// Each.
    Always,
    /// None: their files must not have names in common.
    Never,
}

/// What becomes of the files that are where the result goes, and no part of it (`mode=`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OtherFiles {
    /// They stay.
    #[default]
    Stay,
    /// They are deleted.
    Go,
}

/// What steps are given, and what they may do.
#[derive(Debug, Clone, Default)]
pub struct StepOptions {
    /// `--network`, `--add-host`, `--shm-size`, `--ulimit`, `--cgroup-parent`.
    pub run: RunOptions,
    /// `--secret`.
    pub secrets: Secrets,
    /// `--ssh`, by id: one agent's socket, or keys.
    pub ssh: BTreeMap<String, Vec<PathBuf>>,
    /// `--allow`.
    pub allow: BTreeSet<Entitlement>,
}

/// Where a Dockerfile comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dockerfile {
    /// `Dockerfile`, or `dockerfile`, in the context.
    InContext,
    /// This file: of this machine, unless the context is somewhere else; or of a web server, if it is an address.
    File(PathBuf),
    /// This text, read from standard input.
    Text(Vec<u8>),
}

/// Whether results of earlier builds may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheUse {
    /// Yes.
    Use,
    /// Yes, but not those of these stages (`--no-cache-filter`).
    IgnoreStages(Vec<String>),
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
    Tar(Destination, FilesForm),
    /// The file system as files.
    Local(PathBuf, FilesForm),
    /// Nothing: it stays in the cache.
    CacheOnly,
}

/// Under which names an image is kept, besides those that were given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Naming {
    /// Each of those with the digest, too (`name-canonical`).
    pub canonical: bool,
    /// A name for what may have no other.
    pub dangling: Dangling,
}

/// Whether an image is kept under a prefix and its digest (`dangling-name-prefix`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Dangling {
    /// No.
    #[default]
    No,
    /// Under this one.
    Always(String),
    /// Under this one if no name was given (`danging-name-empty-only`, as BuildKit spells it).
    IfUnnamed(String),
}

/// Where an archive goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To this file, which appears when it is complete.
    File(PathBuf),
    /// To standard output.
    Stdout,
    /// Into a Docker engine, with its command; in this of its contexts, if one is named.
    Docker(Option<String>),
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
            Self::Tar(..) | Self::Local(..) | Self::CacheOnly => &[],
        }
    }

    /// The same, to be changed; `None` if what it writes has no names.
    pub fn names_mut(&mut self) -> Option<&mut Vec<Reference>> {
        match self {
            Self::Push(names)
            | Self::PushByDigest(names)
            | Self::Keep(names, _)
            | Self::OciArchive(_, names)
            | Self::OciDirectory(_, names)
            | Self::DockerArchive(_, names) => Some(names),
            Self::Tar(..) | Self::Local(..) | Self::CacheOnly => None,
        }
    }

    /// Whether it goes to standard output.
    pub fn is_to_stdout(&self) -> bool {
        match self {
            Self::OciArchive(to, _) | Self::DockerArchive(to, _) | Self::Tar(to, _) => {
                *to == Destination::Stdout
            }
            _ => false,
        }
    }
}
