//! What is done with a finished image: files for the user, a place in the store, or a registry.
//!
//! Files are complete before any tag is written, so that a full disk is found out before anybody sees the image.

mod archive;
mod files;
mod layout;

use std::time::Duration;

use gantry_engine::ExportedLayer;
use gantry_oci::Reference;
use tokio_util::sync::CancellationToken;

use crate::build::Image;
use crate::error::{Class, Error};
use crate::events::{Events, Step};
use crate::gantry::Gantry;
use crate::publish;
use crate::request::{BuildRequest, Destination, Output};
use crate::whole_file::check_writable;

/// Finds what can be told to be wrong before anything is built.
pub(crate) fn check(request: &BuildRequest) -> Result<(), Error> {
    let mut to_stdout = 0;
    for output in &request.outputs {
        match output {
            Output::Push(names) if names.is_empty() && request.tags.is_empty() => {
                return Err(Error::new(Class::Usage, "there is no name to push to")
                    .hint("give one with --tag, or with name= in --output"));
            }
            Output::DockerArchive(..) if request.platforms.len() > 1 => {
                return Err(Error::new(Class::Usage, "an archive for `docker load` holds one platform")
                    .hint("use --output type=oci for several"));
            }
            _ => {}
        }
        match output {
            Output::OciArchive(to, _) | Output::DockerArchive(to, _) | Output::Tar(to) => match to {
                Destination::Stdout => to_stdout += 1,
                Destination::File(path) => check_writable(path)?,
            },
            _ => {}
        }
    }
    match to_stdout {
        0 | 1 => Ok(()),
        _ => Err(Error::new(Class::Usage, "two outputs cannot both go to standard output")),
    }
}

/// Writes all outputs.
pub(crate) async fn write_all(
    gantry: &Gantry,
    request: &BuildRequest,
    image: &Image,
    events: &dyn Events,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let mut to_push = Vec::new();
    for output in &request.outputs {
        match output {
            Output::Push(names) => to_push.extend(names.iter().chain(&request.tags).cloned()),
            _ => write(gantry, request, image, output, (events, cancel)).await?,
        }
    }
    to_push.sort();
    to_push.dedup();
    if to_push.is_empty() {
        return Ok(());
    }
    publish::publish(gantry, image, &to_push, (events, cancel)).await
}

async fn write(
    gantry: &Gantry,
    request: &BuildRequest,
    image: &Image,
    output: &Output,
    (events, cancel): (&dyn Events, &CancellationToken),
) -> Result<(), Error> {
    let step = Step::begin(events, format!("[output] {}", describe(output)));
    let names = &request.tags;
    let write = async {
        match output {
            Output::OciArchive(destination, more) => {
                archive::oci(gantry, image, &all(names, more), destination, cancel).await
            }
            Output::OciDirectory(path, more) => {
                layout::directory(gantry, image, &all(names, more), path).await
            }
            Output::DockerArchive(destination, more) => {
                archive::docker(gantry, image, &all(names, more), destination, cancel).await
            }
            Output::Tar(destination) => files::tar(gantry, image, destination, cancel).await,
            Output::Local(path) => files::local(gantry, image, path, cancel).await,
            Output::Keep(more) => keep(gantry, image, &all(names, more)).await,
            Output::Push(_) => Ok(()),
        }
    };
    // What writes large files looks at the token itself; this ends waiting for a registry.
    let written = tokio::select! {
        written = write => written,
        () = stalled(cancel) => Err(Error::new(Class::Cancelled, "stopped while writing the result")),
    };
    match written {
        Ok(()) => step.done(),
        Err(error) => {
            step.failed(error.to_string());
            return Err(error);
        }
    }
    Ok(())
}

fn describe(output: &Output) -> String {
    let destination = |destination: &Destination| match destination {
        Destination::File(path) => path.display().to_string(),
        Destination::Stdout => "standard output".to_owned(),
    };
    match output {
        Output::Push(_) => "push".to_owned(),
        Output::Keep(_) => "keep in the local store".to_owned(),
        Output::OciArchive(to, _) => format!("OCI archive to {}", destination(to)),
        Output::OciDirectory(path, _) => format!("OCI layout to {}", path.display()),
        Output::DockerArchive(to, _) => format!("docker archive to {}", destination(to)),
        Output::Tar(to) => format!("file system archive to {}", destination(to)),
        Output::Local(path) => format!("files to {}", path.display()),
    }
}

/// How long a cancelled output has to clean up after itself.
const GRACE: Duration = Duration::from_secs(1);

/// Waits until an output was cancelled and did not end by itself.
async fn stalled(cancel: &CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

fn all(names: &[Reference], more: &[Reference]) -> Vec<Reference> {
    names.iter().chain(more).cloned().collect()
}

/// Makes the store's own layout name the image.
async fn keep(gantry: &Gantry, image: &Image, names: &[Reference]) -> Result<(), Error> {
    fetch_all(gantry, image).await?;
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    gantry.store().name_image(&image.root, &names)?;
    Ok(())
}

/// Makes sure that all layers of the image are in the store.
pub(crate) async fn fetch_all(gantry: &Gantry, image: &Image) -> Result<(), Error> {
    let layers = image.platforms.iter().flat_map(|built| &built.layers);
    futures_util::future::try_join_all(
        layers.map(|layer: &ExportedLayer| gantry.engine.fetch_layer(&layer.blob)),
    )
    .await?;
    Ok(())
}
