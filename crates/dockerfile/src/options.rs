//! What a conversion is told, what it asks for, and what it gives.

use std::collections::BTreeMap;

use gantry_llb::{Definition, pb};
use gantry_oci::{Digest, ImageConfig, Platform, Reference};

use crate::context::RemoteContext;
use crate::error::Lines;
use crate::lint::Warning;

/// How to convert.
#[derive(Debug, Clone)]
pub struct Options {
    /// The Dockerfile's name, for the source map.
    pub filename: String,
    /// The stage to build; the last one if none is named.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`: set on the result, over the labels of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// The platform to build for.
    pub platform: Platform,
    /// The platform that the builder runs on.
    pub build_platform: Platform,
    /// Which results of earlier builds may be used.
    pub cache: CachePolicy,
    /// How image references are resolved.
    pub pull: ResolveMode,
    /// The patterns of the ignore file.
    pub exclude: Vec<String>,
    /// Whether several platforms are built at once: the names of steps then say which they are for.
    pub multi_platform: bool,
    /// The session that serves the build context; none if empty.
    pub session: String,
    /// The build context, if it is not a directory of the client's.
    pub context: Option<RemoteContext>,
    /// `--build-context`, by name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// What every RUN is given.
    pub run: RunOptions,
}

impl Options {
    /// Options for one platform that ask for nothing special.
    pub fn new(platform: Platform, build_platform: Platform) -> Self {
        Self {
            filename: "Dockerfile".to_owned(),
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platform,
            build_platform,
            cache: CachePolicy::Use,
            pull: ResolveMode::Default,
            exclude: Vec::new(),
            multi_platform: false,
            session: String::new(),
            context: None,
            contexts: BTreeMap::new(),
            run: RunOptions::default(),
        }
    }
}

/// Which results of earlier builds may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePolicy {
    /// All.
    Use,
    /// None (`--no-cache`).
    Ignore,
    /// All but those of these stages (`--no-cache-filter`).
    IgnoreStages(Vec<String>),
}

impl CachePolicy {
    /// Whether results of a stage of this name may not be used.
    pub(crate) fn ignores(&self, stage: Option<&str>) -> bool {
        match self {
            Self::Use => false,
            Self::Ignore => true,
            Self::IgnoreStages(names) => {
                names.iter().any(|name| name.eq_ignore_ascii_case(stage.unwrap_or_default()))
            }
        }
    }
}

/// How image references are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolveMode {
    /// As the engine likes.
    Default,
    /// At the registry (`--pull`).
    Pull,
    /// From what is there, if it is.
    Local,
}

/// A build context besides the main one (`--build-context name=…`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// `docker-image://`.
    Image {
        /// The image.
        reference: Reference,
        /// How it was written, which is what its step is called.
        written: String,
    },
    /// A directory of the client's.
    Local {
        /// A name that tells it from other directories of the same name, for the cache.
        shared_key: String,
        /// The patterns of its own ignore file.
        exclude: Vec<String>,
    },
    /// A repository or a file of a web server.
    Remote(RemoteContext),
    /// An image in a layout of the client's.
    Layout {
        /// The layout's name.
        store: String,
        /// The context's name as that of an image, with the digest of the one that is meant.
        reference: Reference,
    },
    /// Nothing: `docker-image://scratch`.
    Scratch,
}

impl NamedContext {
    /// What a directory is called in the graph that is the context of this name: the names of the build context and of the
    /// Dockerfile's directory are taken.
    pub fn local_name(name: &str) -> String {
        match name {
            "context" | "dockerfile" => format!("_{name}"),
            name => name.to_owned(),
        }
    }
}

/// What every RUN is given besides what the Dockerfile says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// `--network`, unless an instruction has its own.
    pub network: Option<pb::NetMode>,
    /// `--add-host`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// `--shm-size` in bytes; 0 leaves the default.
    pub shm_size: u64,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--cgroup-parent`; none if empty.
    pub cgroup_parent: String,
}

/// A resource limit of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// `nofile` and the like.
    pub name: String,
    /// The soft limit.
    pub soft: i64,
    /// The hard limit.
    pub hard: i64,
}

/// An image that the conversion has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRequest {
    /// Which image.
    pub reference: Reference,
    /// For which platform.
    pub platform: Platform,
    /// The layout that it is in, if not a registry.
    pub layout: Option<String>,
    /// The lines that name it.
    pub lines: Lines,
}

/// A source whose time the conversion has to know.
#[derive(Debug, Clone)]
pub struct TimeRequest {
    /// The value of `SOURCE_DATE_EPOCH` that names it.
    pub value: String,
    /// The source alone. Its time is that of its commit, or when the server says that it was modified, or, for an archive,
    /// that of its newest file.
    pub source: Definition,
}

/// What is known about an image.
#[derive(Debug, Clone)]
pub struct ImageInfo {
    /// The digest that the reference stands for: of the index, where there is one.
    pub digest: Digest,
    /// The config for the platform.
    pub config: ImageConfig,
}

impl ImageInfo {
    /// Whether it has no layers. Images in the oldest form say so in their history alone.
    pub(crate) fn is_empty(&self) -> bool {
        self.config.rootfs.diff_ids.is_empty() && self.config.history.iter().all(|entry| entry.empty_layer)
    }
}

/// The images, and the times of sources, known so far.
#[derive(Debug, Clone, Default)]
pub struct Images {
    images: BTreeMap<(Reference, Platform), ImageInfo>,
    times: BTreeMap<String, Option<i64>>,
}

impl Images {
    /// Notes what a reference stands for on a platform.
    pub fn insert(&mut self, reference: Reference, platform: Platform, info: ImageInfo) {
        self.images.insert((reference, platform), info);
    }

    /// Notes what a value of `SOURCE_DATE_EPOCH` that is no number stands for, in seconds since 1970; none if nobody
    /// knows.
    pub fn insert_time(&mut self, value: String, time: Option<i64>) {
        self.times.insert(value, time);
    }

    /// What is known about the time that a value stands for.
    pub(crate) fn time(&self, value: &str) -> Option<Option<i64>> {
        self.times.get(value).copied()
    }

    /// What is known about an image.
    pub(crate) fn get(&self, reference: &Reference, platform: &Platform) -> Option<&ImageInfo> {
        self.images.get(&(reference.clone(), platform.clone()))
    }
}

/// How far a conversion, or a question about one, came.
#[derive(Debug)]
pub enum Conversion<T = Converted> {
    /// It needs to know these images and has to be called again. Triggers of an image may need more.
    NeedsImages(Vec<ImageRequest>),
    /// It needs to know when a source was last changed, and has to be called again.
    NeedsTime(TimeRequest),
    /// It is done.
    Done(Box<T>),
}

/// A converted Dockerfile.
#[derive(Debug)]
pub struct Converted {
    /// What to build.
    pub definition: Definition,
    /// The image's config, with its whole history, without layers (`rootfs.diff_ids`) and without times for what
    /// this build adds. Its layers are those of the base and one per history entry that is not an `empty_layer`.
    pub config: ImageConfig,
    /// What is doubtful about the Dockerfile.
    pub warnings: Vec<Warning>,
    /// The image that the target is, at last, based on; none if that is `scratch`.
    pub base: Option<(Reference, Platform)>,
    /// `SOURCE_DATE_EPOCH`, seconds since 1970: the time of everything that this build adds.
    pub epoch: Option<i64>,
}
