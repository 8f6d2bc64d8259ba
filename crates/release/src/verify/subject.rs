//! What a user names when something is to be verified.
//!
//! Where it is not clear what a text means, skopeo's transports say it: `docker://REF`, `oci:PATH[:NAME]` or
//! `oci-layout://PATH[:NAME]`, `oci-archive:FILE[:NAME]`, `docker-archive:FILE[:NAME]`; `store:NAME` is ours, for a result in the local store.

use std::fmt;
use std::path::{Path, PathBuf};

use gantry_oci::{Digest, Reference};

use crate::error::{Class, Error};
use crate::gantry::Gantry;
use crate::image::{LayoutPlace, Place, PlaceError};

/// An image, or several for several platforms, somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// In a registry.
    Registry(Reference),
    /// In the local store: the full name or the digest of a result.
    Store(String),
    /// In an OCI layout, with the name or digest of one of its entries if it is not the only one.
    Layout(PathBuf, Option<String>),
    /// In an archive of an OCI layout or of `docker save`, with a name or digest likewise.
    Archive(PathBuf, Option<String>),
}

impl Subject {
    /// What a text means: with a transport, what that says; else a file or directory that is there, a digest or,
    /// without a registry's host, a name of the local store, and at last a reference.
    pub fn find(gantry: &Gantry, text: &str) -> Result<Self, Error> {
        if let Some(reference) = text.strip_prefix("docker://") {
            return Ok(Self::Registry(self::reference(reference)?));
        }
        if let Some(name) = text.strip_prefix("store:") {
            return Ok(Self::Store(full_name(name)?));
        }
        if text.starts_with("oci-layout://") {
            let place =
                text.parse().map_err(|error: PlaceError| Error::new(Class::Usage, error.to_string()))?;
            if let Place::Layout(LayoutPlace { path, tag, digest }) = place {
                let name = digest.map(|digest| digest.to_string()).or(tag);
                return Ok(match path.is_file() {
                    true => Self::Archive(path, name),
                    false => Self::Layout(path, name),
                });
            }
        }
        if let Some(path) = text.strip_prefix("oci:") {
            let (path, name) = path_and_name(path);
            return Ok(Self::Layout(path, name));
        }
        if let Some(path) = text.strip_prefix("oci-archive:").or_else(|| text.strip_prefix("docker-archive:"))
        {
            let (path, name) = path_and_name(path);
            return Ok(Self::Archive(path, name));
        }
        let path = Path::new(text);
        if path.is_file() {
            return Ok(Self::Archive(path.to_owned(), None));
        }
        if path.join("index.json").is_file() {
            return Ok(Self::Layout(path.to_owned(), None));
        }
        if text.starts_with(['/', '.']) {
            let message = format!("`{text}` is neither an archive nor a directory with an OCI layout");
            return Err(Error::new(Class::NotFound, message));
        }
        if text.parse::<Digest>().is_ok() {
            return Ok(Self::Store(text.to_owned()));
        }
        let reference = reference(text)?;
        // A step that checks what was published must not find what was built.
        let is_local = !names_a_host(text) && gantry.store().named_image(&reference.to_string())?.is_some();
        Ok(match is_local {
            true => Self::Store(reference.to_string()),
            false => Self::Registry(reference),
        })
    }
}

fn reference(text: &str) -> Result<Reference, Error> {
    text.parse().map_err(|error| Error::new(Class::Usage, format!("{error}")))
}

/// Whether a reference names its registry: its first part is one without which it would be another reference.
fn names_a_host(text: &str) -> bool {
    let Some((first, _)) = text.split_once('/') else { return false };
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// The name as the store has it.
fn full_name(text: &str) -> Result<String, Error> {
    if text.parse::<Digest>().is_ok() {
        return Ok(text.to_owned());
    }
    Ok(reference(text)?.to_string())
}

/// A path, and behind a colon a name; a path that is there is one as a whole.
fn path_and_name(text: &str) -> (PathBuf, Option<String>) {
    match text.split_once(':') {
        Some((path, name)) if !Path::new(text).exists() => (path.into(), Some(name.to_owned())),
        _ => (text.into(), None),
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path, name) = match self {
            Self::Registry(reference) => return write!(f, "docker://{reference}"),
            Self::Store(name) => return write!(f, "store:{name}"),
            Self::Layout(path, name) => ("oci", path, name),
            Self::Archive(path, name) => ("archive", path, name),
        };
        write!(f, "{kind}:{}", path.display())?;
        name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}
