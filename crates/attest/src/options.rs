//! What is asked for: the attributes of `--attest`, `--provenance` and `--sbom`, in buildx's words.
//!
//! An attribute that means nothing here is refused: one that was mistyped would be missed only when somebody needs the
//! attestation.

use std::collections::BTreeMap;

/// Which attestations to make, and where they go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The provenance, if one is wanted.
    pub provenance: Option<ProvenanceOptions>,
    /// The bill of materials, if one is wanted.
    pub sbom: Option<SbomOptions>,
    /// What each type was asked to be held by. One manifest holds all of an image, so they have to agree.
    held: BTreeMap<&'static str, Held>,
    /// Where all of them are found, if that was said apart from the types.
    place: Option<Place>,
    /// What holds them, if that was said apart from the types.
    form: Option<Form>,
}

/// What was said about where one type of attestation goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Held {
    place: Option<Place>,
    form: Option<Form>,
}

/// How to make the provenance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenanceOptions {
    /// How much it tells.
    pub mode: Mode,
    /// Of which version of SLSA's specification it is.
    pub version: SlsaVersion,
    /// A URI of who builds; empty if nobody said.
    pub builder_id: String,
    /// Whether to say that the build is reproducible, which nobody checks.
    pub reproducible: bool,
    /// Whether only images have it, not directories and archives of files.
    pub inline_only: bool,
    /// Whether to fail where it cannot name everything that was read.
    pub complete_materials: bool,
    /// Whether it tells when the build ran.
    pub times: Times,
    /// Its name among files.
    pub filename: String,
}

/// How to make the bill of materials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SbomOptions {
    /// The document's format.
    pub format: SbomFormat,
}

/// How much provenance tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing whose value is the user's.
    Min,
    /// Everything but secrets.
    Max,
}

/// Whether provenance tells when the build ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// No, so that equal builds have equal provenance.
    Omitted,
    /// Yes.
    Told,
}

/// A version of SLSA's specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlsaVersion {
    /// v1.
    V1,
    /// v0.2.
    V02,
}

/// The format of a bill of materials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SbomFormat {
    /// SPDX 2.3, JSON.
    Spdx,
    /// CycloneDX 1.6, JSON.
    CycloneDx,
}

/// Where attestations are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// In the image's index, as with BuildKit.
    #[default]
    Index,
    /// With the image's manifest as their subject and nowhere else: the image is as it would be without them.
    Referrers,
}

/// What holds the attestations of one manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// An OCI artifact, whose subject is the manifest.
    #[default]
    Artifact,
    /// What looks like an image, as older BuildKit makes it.
    Image,
}

/// Why attributes are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// A type of attestation that there is not.
    #[error("`{0}` is not a type of attestation: there are provenance and sbom")]
    Kind(String),
    /// No such attribute.
    #[error("type={kind} has no attribute `{name}`: it has {known}")]
    Name {
        /// The type of attestation.
        kind: &'static str,
        /// The attribute.
        name: String,
        /// Those that it has.
        known: &'static str,
    },
    /// A value that an attribute cannot have.
    #[error("{name}={value}: it is {known}")]
    Value {
        /// The attribute.
        name: String,
        /// The value.
        value: String,
        /// What it can be.
        known: &'static str,
    },
    /// An image that scans.
    #[error(
        "generator={0}: an image that makes the bill of materials cannot be used, gantry reads the package databases itself"
    )]
    Generator(String),
    /// Attributes that contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
}

const PROVENANCE_ATTRIBUTES: &str = "mode, version, builder-id, reproducible, inline-only, complete-materials, timestamps, filename, disabled, in and oci-artifact";
const SBOM_ATTRIBUTES: &str = "format, generator, disabled, in and oci-artifact";
const BOOLEAN: &str = "true or false";

impl Default for ProvenanceOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Max,
            version: SlsaVersion::V1,
            builder_id: String::new(),
            reproducible: false,
            inline_only: false,
            complete_materials: false,
            times: Times::Omitted,
            filename: "provenance.json".to_owned(),
        }
    }
}

impl Options {
    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.provenance.is_none() && self.sbom.is_none()
    }

    /// Where attestations are found.
    pub fn place(&self) -> Place {
        self.places().next().unwrap_or_default()
    }

    /// What holds them.
    pub fn form(&self) -> Form {
        self.forms().next().unwrap_or_default()
    }

    /// Says where all of them are found.
    pub fn set_place(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// Says whether artifacts with a subject hold all of them.
    pub fn set_artifacts(&mut self, artifacts: bool) {
        self.form = Some(if artifacts { Form::Artifact } else { Form::Image });
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        self.place.into_iter().chain(self.held.values().filter_map(|held| held.place))
    }

    fn forms(&self) -> impl Iterator<Item = Form> {
        self.form.into_iter().chain(self.held.values().filter_map(|held| held.form))
    }

    /// Takes over one attestation: its type and its attributes. A later one of the same type replaces an earlier one, as
    /// a whole. [`Options::check`] tells whether all of them can be had together.
    pub fn set(&mut self, kind: &str, attributes: &BTreeMap<String, String>) -> Result<(), OptionError> {
        let disabled = match attributes.get("disabled") {
            Some(value) => boolean("disabled", value)?,
            None => false,
        };
        let mut held = Held::default();
        let kind = match kind {
            "provenance" => {
                let options = provenance_options(&mut held, attributes)?;
                self.provenance = (!disabled).then_some(options);
                "provenance"
            }
            "sbom" => {
                let options = sbom_options(&mut held, attributes)?;
                self.sbom = (!disabled).then_some(options);
                "sbom"
            }
            other => return Err(OptionError::Kind(other.to_owned())),
        };
        match disabled {
            true => self.held.remove(kind),
            false => self.held.insert(kind, held),
        };
        Ok(())
    }

    /// Refuses what cannot be had together.
    pub fn check(&self) -> Result<(), OptionError> {
        let (place, form) = (self.place(), self.form());
        if self.places().any(|other| other != place) {
            return Err(OptionError::Contradiction(
                "in=index and in=referrers are both asked for: all attestations of an image are found in one place",
            ));
        }
        if self.forms().any(|other| other != form) {
            return Err(OptionError::Contradiction(
                "oci-artifact=true and oci-artifact=false are both asked for: one manifest holds all attestations",
            ));
        }
        match (place, form) {
            (Place::Referrers, Form::Image) => Err(OptionError::Contradiction(
                "oci-artifact=false has no subject, so its attestations are found in the index only",
            )),
            _ => Ok(()),
        }
    }
}

fn provenance_options(
    held: &mut Held,
    attributes: &BTreeMap<String, String>,
) -> Result<ProvenanceOptions, OptionError> {
    let mut options = ProvenanceOptions::default();
    for (name, value) in attributes {
        match name.as_str() {
            "mode" => options.mode = mode(value)?,
            "version" => options.version = version(value)?,
            "builder-id" => options.builder_id.clone_from(value),
            "filename" => options.filename = file_name(value)?,
            "reproducible" => options.reproducible = boolean(name, value)?,
            "inline-only" => options.inline_only = boolean(name, value)?,
            "complete-materials" => options.complete_materials = boolean(name, value)?,
            "timestamps" => options.times = if boolean(name, value)? { Times::Told } else { Times::Omitted },
            "capture-usage" if !boolean(name, value)? => {}
            _ => set_common(held, "provenance", PROVENANCE_ATTRIBUTES, (name, value))?,
        }
    }
    Ok(options)
}

fn sbom_options(held: &mut Held, attributes: &BTreeMap<String, String>) -> Result<SbomOptions, OptionError> {
    let mut options = SbomOptions { format: SbomFormat::Spdx };
    for (name, value) in attributes {
        match name.as_str() {
            "format" => options.format = format(value)?,
            // What buildx sets where it is told of no generator.
            "generator" if value.is_empty() => {}
            "generator" => return Err(OptionError::Generator(value.clone())),
            _ => set_common(held, "sbom", SBOM_ATTRIBUTES, (name, value))?,
        }
    }
    Ok(options)
}

fn set_common(
    held: &mut Held,
    kind: &'static str,
    known: &'static str,
    (name, value): (&String, &String),
) -> Result<(), OptionError> {
    match name.as_str() {
        "disabled" => {}
        "in" => held.place = Some(place(name, value)?),
        "oci-artifact" => {
            held.form = Some(if boolean(name, value)? { Form::Artifact } else { Form::Image });
        }
        _ => return Err(OptionError::Name { kind, name: name.clone(), known }),
    }
    Ok(())
}

impl std::str::FromStr for Place {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        place("in", text)
    }
}

fn place(name: &str, value: &str) -> Result<Place, OptionError> {
    match value {
        "index" => Ok(Place::Index),
        "referrers" => Ok(Place::Referrers),
        _ => Err(refused(name, value, "index or referrers")),
    }
}

fn mode(value: &str) -> Result<Mode, OptionError> {
    match value {
        "min" => Ok(Mode::Min),
        // An older name of the same.
        "max" | "full" => Ok(Mode::Max),
        _ => Err(refused("mode", value, "min or max")),
    }
}

fn version(value: &str) -> Result<SlsaVersion, OptionError> {
    match value {
        "v1" => Ok(SlsaVersion::V1),
        "v0.2" => Ok(SlsaVersion::V02),
        _ => Err(refused("version", value, "v1 or v0.2")),
    }
}

fn format(value: &str) -> Result<SbomFormat, OptionError> {
    match value {
        "spdx" | "spdx-json" => Ok(SbomFormat::Spdx),
        "cyclonedx" | "cyclonedx-json" => Ok(SbomFormat::CycloneDx),
        _ => Err(refused("format", value, "spdx or cyclonedx")),
    }
}

/// A name that stays in the directory that it is written to.
fn file_name(value: &str) -> Result<String, OptionError> {
    match value {
        "" | "." | ".." => Err(refused("filename", value, "the name of a file")),
        _ if value.contains(['/', '\\', '\0']) => {
            Err(refused("filename", value, "a name without a directory"))
        }
        _ => Ok(value.to_owned()),
    }
}

/// A truth value as Go's `strconv.ParseBool` reads it.
fn boolean(name: &str, value: &str) -> Result<bool, OptionError> {
    parse_bool(value).ok_or_else(|| refused(name, value, BOOLEAN))
}

/// A truth value as Go's `strconv.ParseBool` reads it: what `--provenance=false` and its like may be.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn refused(name: &str, value: &str, known: &'static str) -> OptionError {
    OptionError::Value { name: name.to_owned(), value: value.to_owned(), known }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(options: &mut Options, text: &str) -> Result<(), OptionError> {
        let mut attributes: BTreeMap<String, String> = text
            .split(',')
            .map(|field| field.split_once('=').unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let kind = attributes.remove("type").unwrap();
        options.set(&kind, &attributes)
    }

    #[test]
    fn accepted() {
        let mut options = Options::default();
        set(&mut options, "type=provenance,mode=min,version=v0.2,builder-id=https://b,inline-only=1")
            .unwrap();
        let provenance = options.provenance.clone().unwrap();
        assert_eq!((provenance.mode, provenance.version), (Mode::Min, SlsaVersion::V02));
        assert!(provenance.inline_only && provenance.builder_id == "https://b");
        set(&mut options, "type=sbom,format=cyclonedx,generator=,in=referrers").unwrap();
        assert_eq!(options.sbom, Some(SbomOptions { format: SbomFormat::CycloneDx }));
        assert_eq!(options.place(), Place::Referrers);
        set(&mut options, "type=provenance,capture-usage=false").unwrap();
        assert_eq!(options.provenance, Some(ProvenanceOptions::default()), "the last one counts, as a whole");
        set(&mut options, "type=provenance,disabled=true").unwrap();
        assert_eq!(options.provenance, None);
    }

    #[test]
    fn refused() {
        for (text, message) in [
            ("type=vex", "not a type"),
            ("type=provenance,mode=all", "min or max"),
            ("type=provenance,moed=min", "no attribute `moed`"),
            ("type=provenance,version=1", "v1 or v0.2"),
            ("type=provenance,filename=../x", "without a directory"),
            ("type=provenance,reproducible=yes", "true or false"),
            ("type=provenance,capture-usage=true", "no attribute `capture-usage`"),
            ("type=sbom,generator=docker/scout-sbom-indexer", "reads the package databases itself"),
            ("type=sbom,format=syft", "spdx or cyclonedx"),
            ("type=sbom,in=referrers,oci-artifact=false", "no subject"),
        ] {
            let mut options = Options::default();
            let error = set(&mut options, text).and_then(|()| options.check()).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn all_are_held_in_one_place() {
        let both = |first: &str, second: &str| {
            let mut options = Options::default();
            set(&mut options, first).unwrap();
            set(&mut options, second).unwrap();
            options.check().map(|()| (options.place(), options.form())).map_err(|error| error.to_string())
        };
        for (first, second, message) in [
            ("type=sbom,in=referrers", "type=provenance,in=index", "in one place"),
            ("type=sbom,oci-artifact=0", "type=provenance,oci-artifact=1", "one manifest holds all"),
            ("type=sbom,oci-artifact=0", "type=provenance,in=referrers", "no subject"),
        ] {
            for (first, second) in [(first, second), (second, first)] {
                let error = both(first, second).unwrap_err();
                assert!(error.contains(message), "{first} {second}: {error}");
            }
        }
        for (first, second, place, form) in [
            ("type=sbom,in=referrers", "type=provenance,mode=min", Place::Referrers, Form::Artifact),
            ("type=sbom,in=referrers", "type=sbom,format=spdx", Place::Index, Form::Artifact),
            ("type=sbom,in=referrers", "type=sbom,disabled=1", Place::Index, Form::Artifact),
            ("type=sbom,oci-artifact=0", "type=provenance,in=index", Place::Index, Form::Image),
        ] {
            assert_eq!(both(first, second), Ok((place, form)), "{first} {second}");
        }
    }
}
