//! What a verification found: named checks with an outcome and a sentence each, fit for people and for scripts.
//!
//! ```json
//! { "subject": "…", "digest": "sha256:…", "mediaType": "…", "outcome": "pass|warn|fail",
//!   "checks": [{ "name": "platforms", "outcome": "pass|warn|fail|skip", "detail": "…" }],
//!   "images": [{ "platform": "linux/arm64", "manifest": "sha256:…", "outcome": "…", "checks": […],
//!                "programs": { "native": 40, "foreign": 1, "byArchitecture": { "arm64": 40, "amd64": 1 },
//!                              "foreignExamples": ["usr/lib/x is an x86-64 program"] } }] }
//! ```

use std::collections::BTreeMap;

use gantry_oci::{Descriptor, Digest, Platform};
use serde::{Deserialize, Serialize, Serializer};

/// Everything found about one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// What was verified, as the user named it.
    pub subject: String,
    /// Of the index, or of the manifest if there is none.
    pub digest: Digest,
    /// The type of the same.
    pub media_type: String,
    /// The worst of all checks.
    pub outcome: Outcome,
    /// What concerns the whole.
    pub checks: Vec<Check>,
    /// One for each platform, in the order of the index.
    pub images: Vec<ImageReport>,
}

/// Everything found about the image for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageReport {
    /// The platform that the index says, else the config; none if neither does.
    #[serde(serialize_with = "as_text")]
    pub platform: Option<Platform>,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The worst of its checks.
    pub outcome: Outcome,
    /// The checks.
    pub checks: Vec<Check>,
    /// The programs in it, if they were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programs: Option<ProgramCounts>,
}

/// How many programs and libraries are for which architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramCounts {
    /// For the image's own.
    pub native: u64,
    /// For another; without those that the rules allow.
    pub foreign: u64,
    /// By the names that OCI has for them; `other` for machines that have none.
    pub by_architecture: BTreeMap<String, u64>,
    /// The first of the foreign ones.
    pub foreign_examples: Vec<String>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Which.
    pub name: CheckName,
    /// How it went.
    pub outcome: Outcome,
    /// What was found, as a phrase.
    pub detail: String,
}

/// How a check went. Later is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It could not be made, or there was nothing to look at.
    Skip,
    /// All is well.
    Pass,
    /// Something is doubtful, and may be meant so.
    Warn,
    /// The image is not what it says it is.
    Fail,
}

/// The names of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckName {
    /// The platforms are those that were asked for, once each.
    Platforms,
    /// Index and manifests have the digests, sizes and types that name them.
    Documents,
    /// Attestations and other referrers point at images that are here.
    Attestations,
    /// The config is for the platform that the index says.
    Config,
    /// There is a diff id for each layer.
    Layers,
    /// All blobs are there with their sizes.
    Blobs,
    /// All blobs have their digests, and layers their diff ids.
    Content,
    /// The program that a container starts is for the platform.
    EntryPoint,
    /// Shells are for the platform.
    Shells,
    /// Dynamic loaders are for the platform.
    Loaders,
    /// The C library is for the platform.
    CLibrary,
    /// Most programs in the directories of PATH are for the platform.
    PathPrograms,
    /// Files that the rules name as deciding are for the platform.
    Rules,
    /// What was found of programs in all.
    Programs,
}

impl CheckName {
    /// The name as reports have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Platforms => "platforms",
            Self::Documents => "documents",
            Self::Attestations => "attestations",
            Self::Config => "config",
            Self::Layers => "layers",
            Self::Blobs => "blobs",
            Self::Content => "content",
            Self::EntryPoint => "entry-point",
            Self::Shells => "shells",
            Self::Loaders => "loaders",
            Self::CLibrary => "c-library",
            Self::PathPrograms => "path-programs",
            Self::Rules => "rules",
            Self::Programs => "programs",
        }
    }
}

impl Check {
    pub(crate) fn new(name: CheckName, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { name, outcome, detail: detail.into() }
    }

    pub(crate) fn pass(name: CheckName, detail: impl Into<String>) -> Self {
        Self::new(name, Outcome::Pass, detail)
    }

    pub(crate) fn warn(name: CheckName, detail: impl Into<String>) -> Self {
        Self::new(name, Outcome::Warn, detail)
    }

    pub(crate) fn fail(name: CheckName, detail: impl Into<String>) -> Self {
        Self::new(name, Outcome::Fail, detail)
    }

    pub(crate) fn skip(name: CheckName, detail: impl Into<String>) -> Self {
        Self::new(name, Outcome::Skip, detail)
    }
}

/// The worst outcome of checks; of none it is a pass.
pub(crate) fn worst<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Outcome {
    let worst = checks.into_iter().map(|check| check.outcome).max();
    worst.unwrap_or(Outcome::Pass).max(Outcome::Pass)
}

/// Platforms as people write them, and not in parts.
fn as_text<S: Serializer>(platform: &Option<Platform>, serializer: S) -> Result<S::Ok, S::Error> {
    match platform {
        Some(platform) => serializer.collect_str(platform),
        None => serializer.serialize_none(),
    }
}

impl VerifyReport {
    /// A report that says nothing yet.
    pub(crate) fn new(subject: String, root: &Descriptor) -> Self {
        let (digest, media_type) = (root.digest, root.media_type.clone());
        Self { subject, digest, media_type, outcome: Outcome::Pass, checks: Vec::new(), images: Vec::new() }
    }

    /// With the outcomes that follow from the checks.
    pub(crate) fn concluded(mut self) -> Self {
        for image in &mut self.images {
            image.outcome = worst(&image.checks);
        }
        let images = self.images.iter().map(|image| image.outcome).max();
        self.outcome = worst(&self.checks).max(images.unwrap_or(Outcome::Pass));
        self
    }

    /// What failed first, in one sentence.
    pub fn first_failure(&self) -> Option<String> {
        let of_image = |image: &ImageReport| {
            let failed = image.checks.iter().find(|check| check.outcome == Outcome::Fail)?;
            let platform = image.platform.as_ref().map(ToString::to_string);
            Some(format!("{}: {}", platform.unwrap_or_else(|| image.manifest.to_string()), failed.detail))
        };
        let whole = self.checks.iter().find(|check| check.outcome == Outcome::Fail);
        whole.map(|check| check.detail.clone()).or_else(|| self.images.iter().find_map(of_image))
    }
}
