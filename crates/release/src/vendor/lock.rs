//! The lock file, `thirdparty.lock`: what was copied, by digest. Drawn here:
//!
//! ```toml
//! version = 1
//!
//! [[image]]
//! source = "docker.io/alpine:3.15"       # as the list has it
//! source-digest = "sha256:…"             # what the tag was
//! destination = "alpine:3.15"            # below the prefix: one lock serves several environments
//! digest = "sha256:…"                    # of the copy
//! platforms = ["linux/amd64"]            # where not all were copied
//! form = "trim"                          # and how
//! ```
//!
//! Sorted by source, so that a change of one image is a change of one entry.

use std::collections::BTreeMap;

use gantry_oci::{Digest, Platform};
use serde::{Deserialize, Serialize};

use super::list::VendorImage;
use crate::copy::{PlatformForm, Platforms};

const VERSION: u32 = 1;
const HEAD: &str = "# What `gantry vendor` copied. It keeps this file; do not edit it.\n";

/// A lock file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    entries: BTreeMap<String, Entry>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) source: String,
    pub(super) source_digest: Digest,
    pub(super) destination: String,
    pub(super) digest: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) platforms: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) form: Option<Form>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Form {
    Trim,
    Sparse,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    image: Vec<Entry>,
}

/// Why a text is no lock file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LockError(String);

impl Lock {
    /// Reads a lock file.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let file: File =
            toml::from_str(text).map_err(|error| LockError(error.to_string().trim_end().to_owned()))?;
        if file.version != VERSION {
            let version = file.version;
            return Err(LockError(format!("it has version {version}, and this gantry knows only {VERSION}")));
        }
        let entry = |entry: Entry| (entry.source.clone(), entry);
        Ok(Self { entries: file.image.into_iter().map(entry).collect() })
    }

    /// The file's text. Equal contents give equal texts.
    pub fn render(&self) -> String {
        let file = File { version: VERSION, image: self.entries.values().cloned().collect() };
        HEAD.to_owned() + &toml::to_string(&file).expect("a lock is plain data")
    }

    pub(super) fn get(&self, image: &VendorImage) -> Option<&Entry> {
        self.entries.get(&key(image))
    }

    pub(super) fn put(&mut self, entry: Entry) {
        self.entries.insert(entry.source.clone(), entry);
    }

    /// Keeps only what the list has.
    pub(super) fn retain(&mut self, images: &[VendorImage]) {
        let known: Vec<String> = images.iter().map(key).collect();
        self.entries.retain(|source, _| known.contains(source));
    }

    /// Images of the lock that are not in the list.
    pub(super) fn beyond(&self, images: &[VendorImage]) -> Vec<&str> {
        let known: Vec<String> = images.iter().map(key).collect();
        self.entries.keys().filter(|source| !known.contains(source)).map(String::as_str).collect()
    }
}

impl Entry {
    /// The entry of an image that was copied.
    pub(super) fn new(
        image: &VendorImage,
        short: &str,
        platforms: Option<&Platforms>,
        (source_digest, digest): (Digest, Digest),
    ) -> Self {
        let (platforms, form) = recorded(platforms);
        Self { source: key(image), source_digest, destination: short.to_owned(), digest, platforms, form }
    }

    /// Whether the same platforms in the same form were copied.
    pub(super) fn has(&self, platforms: Option<&Platforms>) -> bool {
        (self.platforms.clone(), self.form) == recorded(platforms)
    }
}

fn recorded(platforms: Option<&Platforms>) -> (Vec<String>, Option<Form>) {
    let Some(Platforms { wanted, form }) = platforms else { return (Vec::new(), None) };
    let mut names: Vec<String> = wanted.iter().map(Platform::to_string).collect();
    names.sort();
    names.dedup();
    let form = match form {
        PlatformForm::Trim => Form::Trim,
        PlatformForm::Sparse => Form::Sparse,
    };
    (names, Some(form))
}

/// The image as the list has it. A digest that its tag is pinned to is not part of what it is called.
pub(super) fn key(image: &VendorImage) -> String {
    match image.source.tag() {
        Some(tag) => format!("{}:{tag}", image.name),
        None => format!("{}{}", image.name, image.tag()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_stable_and_sorted() {
        let mut lock = Lock::default();
        let digest = Digest::of("a");
        for (name, tag) in [("docker.io/b", "2"), ("docker.io/a", "1")] {
            let image = VendorImage::new(name, tag, Vec::new()).unwrap();
            let trim = Platforms {
                wanted: vec!["linux/arm64".parse().unwrap(), "amd64".parse().unwrap()],
                form: PlatformForm::Trim,
            };
            let platforms = Some(&trim).filter(|_| tag == "2");
            lock.put(Entry::new(&image, &format!("x:{tag}"), platforms, (digest, digest)));
        }
        let text = lock.render();
        let expected = format!(
            "{HEAD}version = 1\n\n[[image]]\nsource = \"docker.io/a:1\"\nsource-digest = \"{digest}\"\ndestination = \"x:1\"\ndigest = \"{digest}\"\n\n\
             [[image]]\nsource = \"docker.io/b:2\"\nsource-digest = \"{digest}\"\ndestination = \"x:2\"\ndigest = \"{digest}\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\nform = \"trim\"\n"
        );
        assert_eq!(text, expected);
        assert_eq!(Lock::parse(&text), Ok(lock));
        assert!(Lock::parse("version = 2").unwrap_err().to_string().contains("version 2"));
        assert!(Lock::parse("version = 1\nimages = []").is_err());
    }
}
