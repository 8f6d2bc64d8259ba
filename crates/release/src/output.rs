//! What is done with a finished image: files for the user, a place in the store, or a registry.
//!
//! Files are complete before any tag is written, so that a full disk is found out before anybody sees the image.

mod archive;
mod files;
mod layout;

use gantry_engine::ExportedLayer;
use gantry_oci::Reference;
use tokio_util::sync::CancellationToken;

use crate::build::Image;
use crate::error::{Class, Error};
use crate::events::{Event, Events, Step};
use crate::gantry::Gantry;
use crate::publish;
use crate::request::{BuildRequest, Destination, Output};

/// Finds what can be told to be wrong before anything is built.
pub(crate) fn check(request: &BuildRequest) -> Result<(), Error> {
    let mut to_stdout = 0;
    for output in &request.outputs {
        match output {
            Output::Push(names) if names.is_empty() && request.tags.is_empty() => {
                return Err(Error::new(Class::Usage, "there is no name to push to")
                    .hint("give one with --tag, or with name= in --output"));
            }
            Output::DockerArchive(_) if request.platforms.len() > 1 => {
                return Err(Error::new(Class::Usage, "an archive for `docker load` holds one platform")
                    .hint("use --output type=oci for several"));
            }
            _ => {}
        }
        to_stdout += usize::from(matches!(
            output,
            Output::OciArchive(Destination::Stdout)
                | Output::DockerArchive(Destination::Stdout)
                | Output::Tar(Destination::Stdout)
        ));
    }
    match to_stdout {
        0 | 1 => Ok(()),
        _ => Err(Error::new(Class::Usage, "two outputs cannot both go to standard output")),
    }
}

/// Writes all outputs; the tags that were written are returned.
pub(crate) async fn write_all(
    gantry: &Gantry,
    request: &BuildRequest,
    image: &Image,
    events: &dyn Events,
    cancel: &CancellationToken,
) -> Result<Vec<Reference>, Error> {
    let mut to_push = Vec::new();
    for output in &request.outputs {
        match output {
            Output::Push(names) => to_push.extend(names.iter().chain(&request.tags).cloned()),
            _ => write(gantry, request, image, output, events).await?,
        }
    }
    to_push.sort();
    to_push.dedup();
    if to_push.is_empty() {
        return Ok(Vec::new());
    }
    let published = tokio::select! {
        published = publish::publish(gantry, image, &to_push, events) => published?,
        () = cancel.cancelled() => return Err(Error::new(Class::Cancelled, "stopped while publishing")),
    };
    for reference in &published {
        events.event(Event::Tagged { reference: reference.clone(), digest: image.root.digest });
    }
    Ok(published)
}

async fn write(
    gantry: &Gantry,
    request: &BuildRequest,
    image: &Image,
    output: &Output,
    events: &dyn Events,
) -> Result<(), Error> {
    let step = Step::begin(events, format!("[output] {}", describe(output)));
    let names = &request.tags;
    let written = match output {
        Output::OciArchive(destination) => archive::oci(gantry, image, names, destination).await,
        Output::OciDirectory(path) => layout::directory(gantry, image, names, path).await,
        Output::DockerArchive(destination) => archive::docker(gantry, image, names, destination).await,
        Output::Tar(destination) => files::tar(gantry, image, destination).await,
        Output::Local(path) => files::local(gantry, image, path).await,
        Output::Keep(more) => keep(gantry, image, names.iter().chain(more)).await,
        Output::Push(_) => Ok(()),
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
        Output::OciArchive(to) => format!("OCI archive to {}", destination(to)),
        Output::OciDirectory(path) => format!("OCI layout to {}", path.display()),
        Output::DockerArchive(to) => format!("docker archive to {}", destination(to)),
        Output::Tar(to) => format!("file system archive to {}", destination(to)),
        Output::Local(path) => format!("files to {}", path.display()),
    }
}

/// Makes the store's own layout name the image.
async fn keep(gantry: &Gantry, image: &Image, names: impl Iterator<Item = &Reference>) -> Result<(), Error> {
    fetch_all(gantry, image).await?;
    let names: Vec<String> = names.map(ToString::to_string).collect();
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
