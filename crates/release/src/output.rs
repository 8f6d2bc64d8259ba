//! What is done with a finished image: files for the user, a place in the store, or a registry.
//!
//! Files are complete before any tag is written, so that a full disk is found out before anybody sees the image.

mod archive;
mod files;
mod layout;

pub(crate) use archive::blocking;

use std::time::Duration;

use futures_util::future::try_join_all;
use gantry_oci::Reference;
use tokio_util::sync::CancellationToken;

use crate::build::Image;
use crate::error::{Class, Error};
use crate::events::{Events, Step};
use crate::gantry::Gantry;
use crate::publish;
use crate::request::{BuildRequest, Destination, Output};
use crate::whole_file::check_writable;

/// How long a cancelled output has to clean up after itself.
const GRACE: Duration = Duration::from_secs(1);

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

/// A finished image on its way to where it is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Delivery<'a> {
    pub(crate) gantry: &'a Gantry,
    pub(crate) image: &'a Image,
    pub(crate) events: &'a dyn Events,
    pub(crate) cancel: &'a CancellationToken,
}

impl Delivery<'_> {
    /// Writes all outputs of the request.
    pub(crate) async fn write_all(&self, request: &BuildRequest) -> Result<(), Error> {
        let mut to_push = Vec::new();
        for output in &request.outputs {
            let names: Vec<_> = request.tags.iter().chain(output.names()).cloned().collect();
            match output {
                Output::Push(_) => to_push.extend(names),
                _ => self.write(output, &names).await?,
            }
        }
        to_push.sort();
        to_push.dedup();
        match to_push.is_empty() {
            true => Ok(()),
            false => publish::publish(self, &to_push).await,
        }
    }

    async fn write(&self, output: &Output, names: &[Reference]) -> Result<(), Error> {
        let step = Step::begin(self.events, format!("[output] {}", describe(output)));
        let write = async {
            match output {
                Output::OciArchive(to, _) => archive::oci(self, names, to).await,
                Output::OciDirectory(path, _) => layout::directory(self, names, path).await,
                Output::DockerArchive(to, _) => archive::docker(self, names, to).await,
                Output::Tar(to) => files::tar(self, to).await,
                Output::Local(path) => files::local(self, path).await,
                Output::Keep(_) => self.keep(names).await,
                Output::Push(_) => Ok(()),
            }
        };
        // What writes large files looks at the token itself; this ends waiting for a registry.
        let written = tokio::select! {
            written = write => written,
            () = stalled(self.cancel) => Err(Error::new(Class::Cancelled, "stopped while writing the result")),
        };
        match &written {
            Ok(()) => step.done(),
            Err(error) => step.failed(error.to_string()),
        }
        written
    }

    /// Makes the store's own layout name the image.
    async fn keep(&self, names: &[Reference]) -> Result<(), Error> {
        self.fetch_all().await?;
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.gantry.store().name_image(&self.image.root, &names)?;
        Ok(())
    }

    /// Makes sure that all layers of the image are in the store.
    async fn fetch_all(&self) -> Result<(), Error> {
        let layers = self.image.platforms.iter().flat_map(|built| &built.layers);
        try_join_all(layers.map(|layer| self.gantry.engine.fetch_layer(&layer.blob))).await?;
        Ok(())
    }
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

/// Waits until an output was cancelled and did not end by itself.
async fn stalled(cancel: &CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(GRACE).await;
}
