//! What is done with a finished image: files for the user, a place in the store, or a registry.
//!
//! Files are complete before any tag is written, so that a full disk is found out before anybody sees the image.

mod archive;
mod docker;
mod files;
mod layout;

pub(crate) use archive::blocking;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use futures_util::future::try_join_all;
use gantry_oci::{Digest, Reference};
use tokio_util::sync::CancellationToken;

use crate::build::Image;
use crate::error::{Class, Error};
use crate::events::{Events, Step};
use crate::gantry::Gantry;
use crate::publish::{Publication, Publisher, Terms};
use crate::request::{BuildRequest, Dangling, Destination, Naming, Output};
use crate::results::origins;
use crate::whole_file::check_writable;

/// How long a cancelled output has to clean up after itself.
const GRACE: Duration = Duration::from_secs(1);

/// Finds what can be told to be wrong before anything is built.
pub(crate) fn check(request: &BuildRequest, environment: &[(OsString, OsString)]) -> Result<(), Error> {
    let mut to_stdout = 0;
    for output in &request.outputs {
        files::check_prefix(output)?;
        match output {
            Output::Push(names) if names.is_empty() && request.tags.is_empty() => {
                return Err(Error::new(Class::Usage, "there is no name to push to")
                    .hint("give one with --tag, or with name= in --output"));
            }
            Output::PushByDigest(names) if names.is_empty() => {
                return Err(Error::new(Class::Usage, "there is no repository to push to by digest")
                    .hint("give one with --tag, without a tag of its own, or with name= in --output"));
            }
            Output::PushByDigest(_) if !request.tags.is_empty() => {
                return Err(Error::new(Class::Usage, "a push by digest writes no tag")
                    .hint("give repositories alone to --tag, or leave out push-by-digest= in --output"));
            }
            Output::DockerArchive(..) if request.platforms.len() > 1 => {
                return Err(Error::new(Class::Usage, "an archive for `docker load` holds one platform")
                    .hint("use --output type=oci for several"));
            }
            _ => {}
        }
        match output {
            Output::OciArchive(to, _) | Output::DockerArchive(to, _) | Output::Tar(to, _) => match to {
                Destination::Stdout => to_stdout += 1,
                Destination::File(path) => check_destination(path)?,
                Destination::Docker(_) => drop(docker::find(environment)?),
            },
            Output::Local(path, _) | Output::OciDirectory(path, _) if path.exists() && !path.is_dir() => {
                let message = format!("cannot write into `{}`: it is no directory", path.display());
                return Err(Error::new(Class::Usage, message));
            }
            _ => {}
        }
    }
    if request.terms != Terms::default() && push_targets(request).is_empty() {
        return Err(Error::new(Class::Usage, "terms for tags are given, but nothing is pushed")
            .hint("add --push, or leave --tag-policy, --expect-digest and --sign-cmd to `gantry publish`"));
    }
    match to_stdout {
        0 | 1 => Ok(()),
        _ => Err(Error::new(Class::Usage, "two outputs cannot both go to standard output")),
    }
}

/// Finds out whether an archive could be written there. The directories that it needs are made for it.
fn check_destination(path: &Path) -> Result<(), Error> {
    match path.parent().is_some_and(|parent| !parent.as_os_str().is_empty() && !parent.exists()) {
        true => Ok(()),
        false => check_writable(path),
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
        for output in &request.outputs {
            if !matches!(output, Output::Push(_) | Output::PushByDigest(_) | Output::CacheOnly) {
                let names: Vec<_> = request.tags.iter().chain(output.names()).cloned().collect();
                self.write(output, &names).await?;
            }
        }
        let names = push_targets(request).into_iter().map(|target| target.of(self.image.root.digest));
        let names: Vec<_> = names.collect();
        if names.is_empty() {
            return Ok(());
        }
        let publication = Publication {
            root: self.image.root.clone(),
            referrers: self.image.referrers.clone(),
            platforms: self.image.platforms.iter().map(|built| built.report.platform.clone()).collect(),
            origins: origins(self.image),
            names,
        };
        let terms = self.gantry.completed(request.terms.clone());
        let publisher =
            Publisher { gantry: self.gantry, terms: &terms, events: self.events, cancel: self.cancel };
        publisher.publish(&[publication]).await
    }

    async fn write(&self, output: &Output, names: &[Reference]) -> Result<(), Error> {
        let step = Step::begin(self.events, format!("[output] {}", describe(output)));
        let write = async {
            match output {
                Output::OciArchive(to, _) => archive::oci(self, names, to).await,
                Output::OciDirectory(path, _) => layout::directory(self, names, path).await,
                Output::DockerArchive(to, _) => archive::docker(self, names, to).await,
                Output::Tar(to, form) => files::tar(self, to, form).await,
                Output::Local(path, form) => files::local(self, path, form).await,
                Output::Keep(_, naming) => self.keep(names, naming).await,
                Output::Push(_) | Output::PushByDigest(_) | Output::CacheOnly => Ok(()),
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
    async fn keep(&self, names: &[Reference], naming: &Naming) -> Result<(), Error> {
        self.fetch_all().await?;
        let digest = self.image.root.digest;
        let names = kept_names(names, naming, digest);
        self.gantry.store().name_image(&self.image.root, &names)?;
        Ok(())
    }

    /// Makes sure that all layers of the image are in the store.
    async fn fetch_all(&self) -> Result<(), Error> {
        let layers = self.image.platforms.iter().flat_map(|built| &built.layers);
        let fetches = layers.map(|layer| {
            let blob = &layer.blob;
            self.gantry.engine.fetch_layer(&blob.descriptor, blob.origin.as_deref().unwrap_or_default())
        });
        try_join_all(fetches).await?;
        Ok(())
    }
}

/// The names of an image in the store.
fn kept_names(given: &[Reference], naming: &Naming, digest: Digest) -> Vec<String> {
    let mut names: Vec<String> = given.iter().map(ToString::to_string).collect();
    if naming.canonical {
        names.extend(given.iter().map(|name| format!("{name}@{digest}")));
    }
    match &naming.dangling {
        Dangling::Always(prefix) => names.push(format!("{prefix}@{digest}")),
        Dangling::IfUnnamed(prefix) if given.is_empty() => names.push(format!("{prefix}@{digest}")),
        Dangling::IfUnnamed(_) | Dangling::No => {}
    }
    names
}

/// Where an image is pushed to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PushTarget {
    /// To a tag.
    Tag(Reference),
    /// To a repository, without a tag. The reference's own tag does not matter.
    Repository(Reference),
}

impl PushTarget {
    /// What was given, to find out where it is.
    pub(crate) fn reference(&self) -> &Reference {
        match self {
            Self::Tag(name) | Self::Repository(name) => name,
        }
    }

    /// The name of an image there.
    fn of(self, digest: Digest) -> Reference {
        match self {
            Self::Tag(name) => name,
            Self::Repository(name) => {
                format!("{}@{digest}", name.name()).parse().expect("a name and a digest are a reference")
            }
        }
    }
}

/// Everything that a request wants pushed, once each.
pub(crate) fn push_targets(request: &BuildRequest) -> Vec<PushTarget> {
    let mut targets = Vec::new();
    for output in &request.outputs {
        match output {
            Output::Push(names) => {
                targets.extend(request.tags.iter().chain(names).cloned().map(PushTarget::Tag));
            }
            Output::PushByDigest(names) => targets.extend(names.iter().cloned().map(PushTarget::Repository)),
            _ => {}
        }
    }
    targets.sort();
    targets.dedup();
    targets
}

/// All names that a request gives an image, in its order, once each; with the digest where it is pushed by that.
pub(crate) fn names(request: &BuildRequest, digest: Digest) -> Vec<Reference> {
    let mut names = request.tags.clone();
    for output in &request.outputs {
        let of_output = output.names().iter().cloned();
        match output {
            Output::PushByDigest(_) => {
                names.extend(of_output.map(|name| PushTarget::Repository(name).of(digest)));
            }
            _ => names.extend(of_output),
        }
    }
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// A name as scripts want to read it: one with a digest and no tag is its repository's.
pub(crate) fn shown_name(name: &Reference) -> String {
    match name.tag() {
        Some(_) => name.to_string(),
        None => name.name(),
    }
}

/// An output in words.
pub(crate) fn describe(output: &Output) -> String {
    let destination = |destination: &Destination| match destination {
        Destination::File(path) => path.display().to_string(),
        Destination::Stdout => "standard output".to_owned(),
        Destination::Docker(_) => "the Docker engine".to_owned(),
    };
    match output {
        Output::Push(_) => "push".to_owned(),
        Output::PushByDigest(_) => "push by digest".to_owned(),
        Output::Keep(..) => "keep in the local store".to_owned(),
        Output::OciArchive(to, _) => format!("OCI archive to {}", destination(to)),
        Output::OciDirectory(path, _) => format!("OCI layout to {}", path.display()),
        Output::DockerArchive(to, _) => format!("docker archive to {}", destination(to)),
        Output::CacheOnly => "nothing but the cache".to_owned(),
        Output::Tar(to, _) => format!("file system archive to {}", destination(to)),
        Output::Local(path, _) => format!("files to {}", path.display()),
    }
}

/// Waits until an output was cancelled and did not end by itself.
async fn stalled(cancel: &CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As BuildKit names them, with every combination of its fields.
    #[test]
    fn names_of_kept_images() {
        let digest = Digest::of("x");
        let always = || Dangling::Always("p".to_owned());
        let if_unnamed = || Dangling::IfUnnamed("p".to_owned());
        let (one, both) = ("r.io/a:1", format!("r.io/a:1 r.io/a:1@{digest}"));
        let dangling = format!("p@{digest}");
        for (names, canonical, prefix, kept) in [
            (&[one][..], false, Dangling::No, one.to_owned()),
            (&[one], true, Dangling::No, both.clone()),
            (&[one], false, always(), format!("{one} {dangling}")),
            (&[one], true, always(), format!("{both} {dangling}")),
            (&[one], true, if_unnamed(), both),
            (&[], true, always(), dangling.clone()),
            (&[], true, if_unnamed(), dangling),
            (&[], true, Dangling::No, String::new()),
        ] {
            let given: Vec<Reference> = names.iter().map(|name| name.parse().unwrap()).collect();
            let naming = Naming { canonical, dangling: prefix };
            assert_eq!(kept_names(&given, &naming, digest).join(" "), kept, "{names:?} {naming:?}");
        }
    }
}
