//! `gantry image`: images where they are, without a store and without a build.

mod copy;
mod create;
mod inspect;
mod read;
mod tag;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use gantry_oci::Platform;
use gantry_release::{Class, Error, Events, Images, Place};

use crate::args::{Global, ProgressMode};
use crate::failure::usage;
use crate::signals::Signals;
use crate::{config, exit, progress};

pub(crate) use copy::Parts;

/// What to do with images.
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Show what an image is, as `docker buildx imagetools inspect` does
    Inspect(inspect::Inspect),
    /// Make an index of existing images, as `docker buildx imagetools create` does
    Create(Box<create::Create>),
    /// Give an image annotations
    Annotate(create::Annotate),
    /// Give an image further tags in its repository; nothing is copied
    Tag(tag::Tag),
    /// Copy an image, all its platforms and every byte as it is
    Copy(Box<copy::Copy>),
    /// List the tags of a repository
    Ls(read::Ls),
    /// Print the digest of an image
    Digest(read::Named),
    /// Print the manifest or index of an image
    Manifest(read::Named),
    /// Print the config of an image
    Config(read::Named),
    /// Print a blob
    Blob(read::Blob),
}

/// Runs the command.
pub(crate) async fn run(global: &Global, image: &Image) -> Result<ExitCode, Error> {
    match image {
        Image::Inspect(args) => inspect::run(global, args).await,
        Image::Create(args) => create::run(global, args).await,
        Image::Annotate(args) => create::run_annotate(global, args).await,
        Image::Tag(args) => tag::run(global, args).await,
        Image::Copy(args) => copy::run(global, args).await,
        Image::Ls(args) => read::ls(global, args).await,
        Image::Digest(args) => read::digest(global, args).await,
        Image::Manifest(args) => read::manifest(global, args).await,
        Image::Config(args) => read::config(global, args).await,
        Image::Blob(args) => read::blob(global, args).await,
    }
}

/// Does work on images, shows how it goes, and shows what came of it.
pub(crate) async fn perform<T>(
    global: &Global,
    mode: ProgressMode,
    work: impl AsyncFnOnce(&Images) -> Result<T, Error>,
    show: impl FnOnce(T) -> Result<ExitCode, Error>,
) -> Result<ExitCode, Error> {
    let settings = config::registries(global)?;
    let signals = Signals::watch()?;
    let display = Arc::new(progress::start(mode));
    let images = Images::new(settings, Arc::clone(&display) as Arc<dyn Events>, signals.cancel.clone());
    let done = work(&images).await;
    display.finish(done.is_ok());
    match (done, signals.received()) {
        (Ok(found), _) => show(found),
        // Whatever broke then broke because it was stopped.
        (Err(_), Some(signal)) => Ok(exit::of_signal(signal)),
        (Err(error), None) => Err(error),
    }
}

/// Writes a result to standard output, as it is.
pub(crate) fn print(bytes: impl AsRef<[u8]>) -> Result<ExitCode, Error> {
    let mut out = std::io::stdout();
    out.write_all(bytes.as_ref())
        .and_then(|()| out.flush())
        .map_err(|error| Error::new(Class::Internal, format!("cannot write to standard output: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

fn location(text: &str) -> Result<Place, Error> {
    text.parse().map_err(|error: gantry_release::PlaceError| usage(error.to_string()))
}

/// The platforms of a flag.
pub(crate) fn platforms(texts: &[String]) -> Result<Vec<Platform>, Error> {
    texts.iter().map(|text| text.parse().map_err(|error| usage(format!("--platform: {error}")))).collect()
}
