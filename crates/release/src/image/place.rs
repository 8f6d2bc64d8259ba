//! Where an image is: `registry/name[:tag][@digest]`, or `oci-layout://path[:tag][@digest]` as buildx writes it;
//! skopeo's `oci:path[:tag]` is the same.
//!
//! A layout's path is a directory, or an archive where it ends in `.tar`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use gantry_oci::{Digest, Reference};

const LAYOUT: &str = "oci-layout://";
/// Skopeo's spelling, which `gantry verify` knows, too.
const LAYOUT_OF_SKOPEO: &str = "oci:";

/// Where an image is, or is to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a registry.
    Registry(Reference),
    /// In an OCI layout of this machine.
    Layout(LayoutPlace),
}

/// An image in an OCI layout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LayoutPlace {
    /// The directory or archive.
    pub path: PathBuf,
    /// The name in the layout's index.
    pub tag: Option<String>,
    /// The digest, which decides.
    pub digest: Option<Digest>,
}

/// Why a text is no location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlaceError(String);

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text.strip_prefix(LAYOUT).or_else(|| text.strip_prefix(LAYOUT_OF_SKOPEO)) {
            Some(rest) => layout(text, rest).map(Self::Layout),
            None => text
                .parse()
                .map(Self::Registry)
                .map_err(|error: gantry_oci::ReferenceError| PlaceError(error.to_string())),
        }
    }
}

fn layout(text: &str, rest: &str) -> Result<LayoutPlace, PlaceError> {
    let refuse = |reason: String| PlaceError(format!("`{text}` is not an OCI layout: {reason}"));
    let (rest, digest) = match rest.rsplit_once('@') {
        Some((rest, digest)) => {
            (rest, Some(digest.parse::<Digest>().map_err(|error| refuse(error.to_string()))?))
        }
        None => (rest, None),
    };
    // A colon after the last slash starts the tag.
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (rest, None),
    };
    if path.is_empty() {
        return Err(refuse("it has no path".to_owned()));
    }
    // The grammar of tags is that of references.
    if tag.is_some_and(|tag| format!("a.b/c:{tag}").parse::<Reference>().is_err()) {
        return Err(refuse(format!("`{}` is not a tag", tag.unwrap_or_default())));
    }
    Ok(LayoutPlace { path: PathBuf::from(path), tag: tag.map(str::to_owned), digest })
}

impl Place {
    /// The tag, if it has one.
    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Registry(reference) => reference.tag(),
            Self::Layout(layout) => layout.tag.as_deref(),
        }
    }

    /// The digest, if it has one.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Registry(reference) => reference.digest(),
            Self::Layout(layout) => layout.digest.as_ref(),
        }
    }

    /// The place without tag and digest: the repository, or the layout.
    pub fn name(&self) -> String {
        match self {
            Self::Registry(reference) => reference.name(),
            Self::Layout(layout) => format!("{LAYOUT}{}", layout.path.display()),
        }
    }

    /// The same place, and in it this digest.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        match self {
            Self::Registry(reference) => Self::Registry(reference.pinned(digest)),
            Self::Layout(layout) => Self::Layout(LayoutPlace { digest: Some(digest), ..layout.clone() }),
        }
    }

    /// The same place, and in it this tag, without a digest.
    pub(crate) fn tagged(&self, tag: &str) -> Self {
        match self {
            Self::Registry(reference) => {
                let text = format!("{}:{tag}", reference.name());
                Self::Registry(text.parse().expect("a repository's name and a valid tag make a reference"))
            }
            Self::Layout(layout) => Self::Layout(LayoutPlace {
                path: layout.path.clone(),
                tag: Some(tag.to_owned()),
                digest: None,
            }),
        }
    }
}

impl LayoutPlace {
    /// Whether the layout is one file.
    pub(crate) fn is_archive(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "tar") || self.path.is_file()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(f),
            Self::Layout(layout) => {
                f.write_str(&self.name())?;
                if let Some(tag) = &layout.tag {
                    write!(f, ":{tag}")?;
                }
                match &layout.digest {
                    Some(digest) => write!(f, "@{digest}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_and_references() {
        let digest = Digest::of("x");
        for (text, name, tag, digest) in [
            ("oci-layout://dir".to_owned(), "oci-layout://dir", None, None),
            ("oci-layout:///a/b.tar:v1".to_owned(), "oci-layout:///a/b.tar", Some("v1"), None),
            ("oci-layout://c:d/e".to_owned(), "oci-layout://c:d/e", None, None),
            (format!("oci-layout://d:t@{digest}"), "oci-layout://d", Some("t"), Some(digest)),
            ("oci:/a/b:v1".to_owned(), "oci-layout:///a/b", Some("v1"), None),
            ("busybox".to_owned(), "docker.io/library/busybox", Some("latest"), None),
        ] {
            let location: Place = text.parse().unwrap();
            assert_eq!(location.name(), name);
            assert_eq!((location.tag(), location.digest().copied()), (tag, digest), "{text}");
        }
        for bad in
            ["oci-layout://", "oci-layout://:tag", "oci-layout://d:t t", "oci-layout://d@sha256:1", "A"]
        {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
