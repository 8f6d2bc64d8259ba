//! `[vendor]` of `gantry.toml`:
//!
//! ```toml
//! [vendor]
//! to = "registry.example/project/thirdparty"
//! platforms = ["linux/amd64", "linux/arm64"]   # default: all
//! form = "trim"                                # or "sparse"
//! referrers = true
//! cosign = true
//! lock = "thirdparty.lock"
//!
//! [vendor.images]
//! "docker.io/alpine" = ["3.19", "3.20"]
//! "docker.io/golang" = { tags = ["1.22"], platforms = ["linux/amd64"] }
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use gantry_oci::Platform;
use gantry_release::{Error, PlatformForm, VendorImage};
use serde::Deserialize;

use crate::args::Global;
use crate::config;
use crate::failure::usage;

/// The project's configuration.
const FILE: &str = "gantry.toml";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    vendor: Section,
}

/// What the section says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Section {
    pub(super) to: Option<String>,
    platforms: Vec<String>,
    form: Option<Form>,
    pub(super) referrers: bool,
    pub(super) cosign: bool,
    pub(super) lock: Option<PathBuf>,
    images: BTreeMap<String, Tags>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Trim,
    Sparse,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "tags are a list, or a table with `tags` and `platforms`")]
enum Tags {
    List(Vec<String>),
    Table(Table),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    tags: Vec<String>,
    #[serde(default)]
    platforms: Vec<String>,
}

/// Reads the section; one that is not there says nothing.
pub(super) fn read(global: &Global) -> Result<Section, Error> {
    let Some(path) = config::project(global) else { return Ok(Section::default()) };
    match fs::read_to_string(path) {
        Ok(text) => parse(&text),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound) => Ok(Section::default()),
        Err(error) => Err(usage(format!("cannot read `{FILE}`: {error}"))),
    }
}

fn parse(text: &str) -> Result<Section, Error> {
    let file: File = toml::from_str(text)
        .map_err(|error| usage(format!("`{FILE}` is not valid:\n{error}").trim_end().to_owned()))?;
    Ok(file.vendor)
}

impl Section {
    /// Whether it lists images.
    pub(super) fn has_images(&self) -> bool {
        !self.images.is_empty()
    }

    /// The images, in the order of their names.
    pub(super) fn images(&self) -> Result<Vec<VendorImage>, Error> {
        let mut images = Vec::new();
        for (name, tags) in &self.images {
            let (tags, platforms) = match tags {
                Tags::List(tags) => (tags, Vec::new()),
                Tags::Table(table) => (&table.tags, parsed(&table.platforms)?),
            };
            if tags.is_empty() {
                return Err(usage(format!("{FILE}: [vendor.images]: `{name}` has no tags")));
            }
            for tag in tags {
                let image = VendorImage::new(name, tag, platforms.clone());
                images.push(image.map_err(|error| usage(format!("{FILE}: [vendor.images]: {error}")))?);
            }
        }
        Ok(images)
    }

    /// In which form platforms are copied.
    pub(super) fn form(&self) -> Option<PlatformForm> {
        self.form.map(|form| match form {
            Form::Trim => PlatformForm::Trim,
            Form::Sparse => PlatformForm::Sparse,
        })
    }

    /// The platforms of images that do not say themselves which.
    pub(super) fn platforms(&self) -> Result<Vec<Platform>, Error> {
        parsed(&self.platforms)
    }
}

fn parsed(texts: &[String]) -> Result<Vec<Platform>, Error> {
    texts
        .iter()
        .map(|text| text.parse().map_err(|error| usage(format!("{FILE}: [vendor]: {error}"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section() {
        let text = "[registries.\"a\"]\nhttp = true\n[vendor]\nto = \"r/t\"\nplatforms = [\"amd64\"]\nform = \"sparse\"\n\
                    [vendor.images]\n\"b/c\" = { tags = [\"1\"], platforms = [\"linux/arm64\"] }\na = [\"1\", \"2\"]\n";
        let section = parse(text).unwrap();
        let images = section.images().unwrap();
        let shown: Vec<_> =
            images.iter().map(|image| format!("{} {:?}", image.source, image.platforms.len())).collect();
        assert_eq!(shown, ["docker.io/library/a:1 0", "docker.io/library/a:2 0", "docker.io/b/c:1 1"]);
        assert_eq!((section.form(), section.platforms().unwrap().len()), (Some(PlatformForm::Sparse), 1));
        for bad in
            ["[vendor]\nfrom = \"x\"", "[vendor.images]\na = \"1\"", "[vendor.images]\na = { tag = [\"1\"] }"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("[vendor.images]\nA = [\"1\"]").unwrap().images().is_err());
        assert!(!parse("").unwrap().has_images());
    }
}
