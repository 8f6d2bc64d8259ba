//! `gantry image copy`

use std::process::ExitCode;

use clap::Args;
use gantry_oci::Platform;
use gantry_release::{Attached, CopyReport, CopyRequest, Error, PlatformForm, Platforms, Trust, copy};

use super::{location, perform, platforms, print};
use crate::args::{Global, ProgressMode, TagPolicyArgs};
use crate::failure::usage;
use crate::terms::tag_policy;

/// Flags of `gantry image copy`.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    #[command(flatten)]
    pub(crate) parts: Parts,
    /// Copy all tags of the repository
    #[arg(long)]
    all_tags: bool,
    /// Look at every part also where the destination has the image already
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    policy: TagPolicyArgs,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto, env = "BUILDKIT_PROGRESS")]
    progress: ProgressMode,
    /// Image: registry/name:tag, or `oci-layout://PATH[:TAG]` (a directory, or an archive that ends in .tar)
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where to
    #[arg(value_name = "DESTINATION")]
    destination: String,
}

/// Flags that say what of an image is copied, and what goes with it.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub(crate) struct Parts {
    /// Only these platforms of an index: with --trim or --sparse
    #[arg(long, value_delimiter = ',', value_name = "PLATFORM")]
    pub(crate) platform: Vec<String>,
    /// Copy the platforms as a new index of only them, with another digest [default with --platform]
    #[arg(long, conflicts_with = "sparse")]
    pub(crate) trim: bool,
    /// Copy the platforms with the original index, whose other entries are then not there
    #[arg(long)]
    pub(crate) sparse: bool,
    /// Copy what refers to the image, too: signatures, SBOMs, provenance
    #[arg(long)]
    pub(crate) referrers: bool,
    /// Copy the tags .sig, .att and .sbom that cosign made for the image, too
    #[arg(long)]
    pub(crate) cosign: bool,
}

impl Parts {
    /// In which form platforms are copied, if it was said.
    pub(crate) fn form(&self) -> Option<PlatformForm> {
        match (self.trim, self.sparse) {
            (true, _) => Some(PlatformForm::Trim),
            (false, true) => Some(PlatformForm::Sparse),
            (false, false) => None,
        }
    }

    /// The platforms; none for all.
    pub(crate) fn platforms(&self) -> Result<Vec<Platform>, Error> {
        platforms(&self.platform)
    }

    /// For copies of all platforms: they have no form.
    pub(crate) fn refuse_form_of_nothing(&self) -> Result<(), Error> {
        let flag = match self.form() {
            None => return Ok(()),
            Some(PlatformForm::Trim) => "--trim",
            Some(PlatformForm::Sparse) => "--sparse",
        };
        Err(usage(format!("{flag} says how some platforms are copied, and all are"))
            .hint("name platforms with --platform"))
    }

    /// What goes with the image.
    pub(crate) fn attached(&self) -> Attached {
        Attached::new(self.referrers, self.cosign)
    }
}

/// Runs the command. Prints what the copies are, by digest.
pub(super) async fn run(global: &Global, args: &Copy) -> Result<ExitCode, Error> {
    let wanted = args.parts.platforms()?;
    if wanted.is_empty() {
        args.parts.refuse_form_of_nothing()?;
    }
    let form = args.parts.form().unwrap_or(PlatformForm::Trim);
    let request = CopyRequest {
        source: location(&args.source)?,
        destination: location(&args.destination)?,
        platforms: Some(Platforms { wanted, form }).filter(|platforms| !platforms.wanted.is_empty()),
        attached: args.parts.attached(),
        trust: if args.force { Trust::Nothing } else { Trust::default() },
        policy: tag_policy(global, &args.policy)?,
        all_tags: args.all_tags,
    };
    let line = |report: &CopyReport| format!("{}\n", report.destination.pinned(report.digest));
    perform(
        global,
        args.progress,
        async |images| copy(images, &request).await,
        |reports| print(reports.iter().map(line).collect::<String>()),
    )
    .await
}
