//! `gantry image ls`, `digest`, `manifest`, `config` and `blob`, which print what `crane` prints.

use std::process::ExitCode;

use clap::Args;
use gantry_oci::{Platform, Reference};
use gantry_release as release;
use gantry_release::{Error, Place};

use super::{location, perform, platforms, print};
use crate::args::{Global, ProgressMode};
use crate::failure::usage;

/// Arguments of `gantry image ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Repository, or oci-layout://PATH
    #[arg(value_name = "REPOSITORY")]
    repository: String,
}

/// Arguments of commands on one image.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The image for this platform, out of an index
    #[arg(short, long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Image: registry/name:tag, or `oci-layout://PATH[:TAG]`
    #[arg(value_name = "NAME")]
    name: String,
}

/// Arguments of `gantry image blob`.
#[derive(Debug, Args)]
pub(crate) struct Blob {
    /// Repository and digest of the blob
    #[arg(value_name = "REPOSITORY@DIGEST")]
    name: String,
}

impl Named {
    fn parse(&self) -> Result<(Place, Option<Platform>), Error> {
        let platform = platforms(self.platform.as_slice())?.pop();
        Ok((location(&self.name)?, platform))
    }
}

/// Prints the tags, one a line.
pub(super) async fn ls(global: &Global, args: &Ls) -> Result<ExitCode, Error> {
    let place = location(&args.repository)?;
    let lines = |tags: Vec<String>| tags.iter().map(|tag| format!("{tag}\n")).collect::<String>();
    perform(
        global,
        ProgressMode::Quiet,
        async |images| release::list_tags(images, &place).await,
        |tags| print(lines(tags)),
    )
    .await
}

/// Prints the digest.
pub(super) async fn digest(global: &Global, args: &Named) -> Result<ExitCode, Error> {
    let (name, platform) = args.parse()?;
    let work = async |images: &release::Images| release::digest(images, &name, platform.as_ref()).await;
    perform(global, ProgressMode::Quiet, work, |digest| print(format!("{digest}\n"))).await
}

/// Prints the manifest or index, byte for byte.
pub(super) async fn manifest(global: &Global, args: &Named) -> Result<ExitCode, Error> {
    let (name, platform) = args.parse()?;
    let work = async |images: &release::Images| release::manifest(images, &name, platform.as_ref()).await;
    perform(global, ProgressMode::Quiet, work, print).await
}

/// Prints the config, byte for byte.
pub(super) async fn config(global: &Global, args: &Named) -> Result<ExitCode, Error> {
    let (name, platform) = args.parse()?;
    let work = async |images: &release::Images| release::config(images, &name, platform.as_ref()).await;
    perform(global, ProgressMode::Quiet, work, print).await
}

/// Prints the blob as it arrives.
pub(super) async fn blob(global: &Global, args: &Blob) -> Result<ExitCode, Error> {
    let name: Reference = args.name.parse().map_err(|error| usage(format!("{error}")))?;
    let Some(digest) = name.digest().copied() else {
        return Err(usage(format!("`{}` names no blob", args.name))
            .hint("name it by its digest: repository@sha256:…"));
    };
    let work =
        async |images: &release::Images| release::blob(images, &name, &digest, std::io::stdout()).await;
    perform(global, ProgressMode::Quiet, work, |()| Ok(ExitCode::SUCCESS)).await
}
