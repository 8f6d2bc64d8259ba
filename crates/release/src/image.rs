//! Images where they are: in registries and in OCI layouts. Looking at them, naming them, making indexes of them.
//!
//! [`Images`] is what these commands work with. It needs no store: nothing that only moves or names images keeps
//! anything on this machine.

pub(crate) mod annotate;
pub(crate) mod create;
mod go_json;
mod inspect;
pub(crate) mod layout;
pub(crate) mod layout_writer;
mod place;
mod read;
pub(crate) mod roots;
pub(crate) mod source;
mod tag;
pub(crate) mod target;
mod template;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use gantry_oci::ImageErrorKind;
use gantry_registry::{Fault, Registry, RegistryError};
use tokio_util::sync::CancellationToken;

pub use create::{CreateRequest, CreateSource, Created, annotate, create};
pub use inspect::{InspectForm, inspect};
pub use place::{LayoutPlace, Place, PlaceError};
pub use read::{blob, config, digest, list_tags, manifest};
pub use tag::tag;

use crate::error::{Class, Error};
use crate::events::Events;
use crate::registries::{Registries, RegistrySettings};

/// What commands on images work with. One per command.
#[derive(Clone)]
pub struct Images {
    pub(crate) registry: Registry,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) cancel: CancellationToken,
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Images").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl Images {
    /// Touches no network. The work ends when `cancel` is cancelled.
    pub fn new(settings: RegistrySettings, events: Arc<dyn Events>, cancel: CancellationToken) -> Self {
        let registries = Registries::new(settings);
        registries.report_to(&events);
        Self { registry: registries.client, events, cancel }
    }

    /// Does the work unless the command is stopped first.
    pub(crate) async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            result = work => result,
            () = self.cancel.cancelled() => Err(Error::new(Class::Cancelled, "stopped")),
        }
    }
}

/// The error of an exchange with a registry, in whichever direction.
pub(crate) fn of_registry(error: &RegistryError) -> Error {
    // What an upload could not read from another registry is that registry's fault.
    let source = match &error.fault {
        Fault::Source(source) => source.get_ref().and_then(|inner| inner.downcast_ref::<RegistryError>()),
        _ => None,
    };
    if let Some(source) = source {
        return of_registry(source);
    }
    let kind = error.kind();
    let class = match kind {
        ImageErrorKind::NotFound | ImageErrorKind::NoPlatform => Class::NotFound,
        ImageErrorKind::Denied => Class::Denied,
        ImageErrorKind::Corrupt => Class::Verification,
        ImageErrorKind::Unavailable => Class::Publish,
    };
    let plain = Error { hints: error.fault.hints(), ..Error::new(class, error.to_string()) };
    match (kind, plain.hints.is_empty()) {
        (ImageErrorKind::NotFound, true) => plain.hint("check the name and the tag, and that it was pushed"),
        _ => plain,
    }
}
