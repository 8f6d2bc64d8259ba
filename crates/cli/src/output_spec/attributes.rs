//! The fields of one output, and what they mean together.

use std::io::IsTerminal;
use std::path::PathBuf;

use gantry_oci::Reference;
use gantry_release::{
    Annotation, Dangling, Destination, FileTimes, FilesForm, ImageForm, MediaTypes, Naming, OtherFiles,
    Output, OutputEpoch, PlatformSplit, parse_bool,
};

use super::compression::CompressionFields;
use super::{Pushed, Spec, has_tag};
use crate::{annotation_spec, terms};

/// What the fields say.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of its own")]
pub(super) struct Attributes {
    kind: Option<String>,
    dest: Option<String>,
    names: Vec<Reference>,
    push: bool,
    by_digest: bool,
    naming: NamingFields,
    /// A name that has a tag of its own.
    tagged: Option<String>,
    tar: Option<bool>,
    /// `store=false`: the image is not to be named here.
    unnamed: bool,
    unpack: bool,
    annotations: Vec<Annotation>,
    rewrite: bool,
    epoch: OutputEpoch,
    compression: CompressionFields,
    docker_types: bool,
    artifacts: Option<bool>,
    files: FilesFields,
    /// The context of Docker's command.
    context: Option<String>,
    /// The fields that only images have, and those that only files have, as they were written.
    of_images: Vec<String>,
    of_files: Vec<String>,
}

/// What the fields say of further names.
#[derive(Debug, Default)]
struct NamingFields {
    canonical: bool,
    dangling: Option<String>,
    dangling_if_unnamed: bool,
}

/// What the fields say of files.
#[derive(Debug, Default)]
struct FilesFields {
    split: PlatformSplit,
    others: OtherFiles,
    prefix: String,
}

impl Attributes {
    /// Takes over a field; its key is in lower case.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "type" => self.kind = Some(value.to_owned()),
            "dest" => self.dest = Some(value.to_owned()),
            "source-date-epoch" => self.epoch = epoch(value)?,
            "tar" => self.tar = Some(switch(key, value)?),
            "platform-split" | "mode" | "attestation-prefix" => {
                self.of_files.push(key.to_owned());
                self.set_of_files(key, value)?;
            }
            other if let Some(annotation) = annotation_spec::parse_field(other, value) => {
                self.annotations.push(annotation?);
            }
            other => {
                self.of_images.push(key.to_owned());
                self.set_of_images(other, value)?;
            }
        }
        Ok(())
    }

    fn set_of_files(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "platform-split" if boolean(key, value)? => self.files.split = PlatformSplit::Always,
            "platform-split" => self.files.split = PlatformSplit::Never,
            "mode" => {
                self.files.others = match value.trim().to_lowercase().as_str() {
                    "" | "copy" => OtherFiles::Stay,
                    "delete" => OtherFiles::Go,
                    _ => return Err(format!("mode= is copy or delete, not `{value}`")),
                }
            }
            _ => self.files.prefix = value.to_owned(),
        }
        Ok(())
    }

    fn set_of_images(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "name" => return self.set_names(value),
            "push" => self.push = switch(key, value)?,
            "push-by-digest" => self.by_digest = switch(key, value)?,
            "name-canonical" => self.naming.canonical = switch(key, value)?,
            "dangling-name-prefix" => {
                self.naming.dangling = Some(value.to_owned()).filter(|one| !one.is_empty());
            }
            // This is how BuildKit spells it.
            "danging-name-empty-only" | "dangling-name-empty-only" => {
                self.naming.dangling_if_unnamed = switch(key, value)?;
            }
            "store" => self.unnamed = !switch(key, value)?,
            // Trees are unpacked when they are needed, so there is nothing to do.
            "unpack" => self.unpack = switch(key, value)?,
            "context" => self.context = Some(value.to_owned()),
            "rewrite-timestamp" => self.rewrite = boolean(key, value)?,
            "compression" => self.compression.kind = Some(value.to_owned()),
            "compression-level" => {
                let level = value.parse().map_err(|_| format!("{key}= is a number, not `{value}`"))?;
                self.compression.level = Some(level);
            }
            "force-compression" => self.compression.force = switch(key, value)?,
            "oci-mediatypes" => self.docker_types = !boolean(key, value)?,
            "oci-artifact" => self.artifacts = Some(boolean(key, value)?),
            // Attestations are always those that were asked for.
            "attestation-inline" => drop(boolean(key, value)?),
            "prefer-nondist-layers" if boolean(key, value)? => {
                return Err(format!("{key}=true is not offered: layers keep the type that they came with"));
            }
            "prefer-nondist-layers" => {}
            "registry.insecure" if switch(key, value)? => {
                return Err(format!(
                    "{key}=true is not offered here: say which registry it is with --plain-http HOST, or in gantry.toml"
                ));
            }
            "registry.insecure" => {}
            other => return Err(format!("`{other}` is not a field that gantry knows")),
        }
        Ok(())
    }

    fn set_names(&mut self, value: &str) -> Result<(), String> {
        for name in value.split(',').filter(|name| !name.is_empty()) {
            let name = name.trim();
            self.names.push(terms::name(name)?);
            if has_tag(name) {
                self.tagged = Some(name.to_owned());
            }
        }
        Ok(())
    }

    /// What they mean, where the images of all outputs are pushed or where each says so itself.
    pub(super) fn spec(mut self, pushed: Pushed) -> Result<Spec, String> {
        let kind = self.kind.clone().ok_or("it has no type=")?;
        self.push |= pushed == Pushed::All && kind == "image";
        self.check(&kind)?;
        let annotations = std::mem::take(&mut self.annotations);
        let is_image = !matches!(kind.as_str(), "tar" | "local" | "cacheonly");
        let form = is_image.then(|| self.image_form()).transpose()?;
        let artifacts = self.artifacts;
        Ok(Spec { output: self.output(&kind)?, form, annotations, artifacts })
    }

    /// Finds what cannot be had together.
    fn check(&self, kind: &str) -> Result<(), String> {
        let refuse = |key: &str| Err(format!("{key}= does not go with type={kind}"));
        match kind {
            "tar" | "local" => {
                if let Some(key) = self.of_images.first() {
                    return refuse(key);
                }
                if !self.annotations.is_empty() {
                    return Err("annotations do not go with files".to_owned());
                }
            }
            "image" | "registry" | "oci" | "docker" => {
                if let Some(key) = self.of_files.first() {
                    return refuse(key);
                }
            }
            "cacheonly" => return Ok(()),
            other => {
                return Err(format!(
                    "`{other}` is not a type: there are oci, docker, tar, local, image, registry and cacheonly"
                ));
            }
        }
        let is_layout = matches!(kind, "oci" | "docker");
        match () {
            () if self.tar.is_some() && kind != "oci" => refuse("tar"),
            () if self.files.others == OtherFiles::Go && kind != "local" => refuse("mode"),
            () if self.push && is_layout => refuse("push"),
            () if (self.by_digest || self.naming.canonical) && is_layout => {
                Err(format!("push-by-digest= and name-canonical= do not go with type={kind}"))
            }
            () if self.naming.dangling.is_some() && kind != "image" => refuse("dangling-name-prefix"),
            () if self.naming.dangling.is_some() && self.push => {
                Err("dangling-name-prefix= does not go with a push".to_owned())
            }
            () if self.context.is_some() && kind != "docker" => refuse("context"),
            () if self.rewrite && self.unpack => {
                Err("unpack=true does not go with rewrite-timestamp=true".to_owned())
            }
            () => Ok(()),
        }
    }

    fn image_form(&self) -> Result<ImageForm, String> {
        let (compression, base_layers) = match self.compression.is_given() {
            true => self.compression.compression()?,
            false => Default::default(),
        };
        Ok(ImageForm {
            times: if self.rewrite { FileTimes::UntilEpoch } else { FileTimes::Kept },
            epoch: self.epoch,
            compression,
            base_layers,
            media_types: if self.docker_types { MediaTypes::Docker } else { MediaTypes::Oci },
        })
    }

    fn output(self, kind: &str) -> Result<Output, String> {
        let pushes = kind == "registry" || (kind == "image" && self.push);
        if let Some(name) = self.tagged.as_ref().filter(|_| self.by_digest) {
            return Err(format!("`{name}` has a tag, and a push by digest writes none"));
        }
        match kind {
            "registry" | "image" if pushes && self.by_digest => Ok(Output::PushByDigest(self.names)),
            "registry" | "image" if pushes => Ok(Output::Push(self.names)),
            "image" if self.by_digest => {
                Err("push-by-digest= does not go without push=true or --push".to_owned())
            }
            "image" if self.unnamed => Ok(Output::CacheOnly),
            "image" => Ok(Output::Keep(self.names, self.naming.naming())),
            "oci" if self.tar == Some(false) => Ok(Output::OciDirectory(self.path()?, self.names)),
            "oci" => Ok(Output::OciArchive(self.destination()?, self.names)),
            "docker" if self.dest.as_deref().is_none_or(str::is_empty) => {
                Ok(Output::DockerArchive(Destination::Docker(self.context), self.names))
            }
            "docker" => Ok(Output::DockerArchive(self.destination()?, self.names)),
            "tar" => Ok(Output::Tar(self.destination()?, self.files_form())),
            "local" => Ok(Output::Local(self.path()?, self.files_form())),
            _ => Ok(Output::CacheOnly),
        }
    }

    fn files_form(self) -> FilesForm {
        let FilesFields { split, others, prefix } = self.files;
        FilesForm { epoch: self.epoch, split, others, attestation_prefix: prefix }
    }

    fn path(&self) -> Result<PathBuf, String> {
        match self.dest.as_deref() {
            None | Some("" | "-") => Err("it needs dest= with a directory".to_owned()),
            Some(path) => Ok(PathBuf::from(path)),
        }
    }

    fn destination(&self) -> Result<Destination, String> {
        match self.dest.as_deref() {
            None | Some("" | "-") if std::io::stdout().is_terminal() => {
                Err("an archive is not for a terminal: give dest= or redirect standard output".to_owned())
            }
            None | Some("" | "-") => Ok(Destination::Stdout),
            Some(path) => Ok(Destination::File(PathBuf::from(path))),
        }
    }
}

impl NamingFields {
    fn naming(self) -> Naming {
        let dangling = match (self.dangling, self.dangling_if_unnamed) {
            (Some(prefix), true) => Dangling::IfUnnamed(prefix),
            (Some(prefix), false) => Dangling::Always(prefix),
            (None, _) => Dangling::No,
        };
        Naming { canonical: self.canonical, dangling }
    }
}

/// A time; the empty text says that there is none.
fn epoch(value: &str) -> Result<OutputEpoch, String> {
    if value.is_empty() {
        return Ok(OutputEpoch::Given(None));
    }
    let seconds: Option<i64> = value.parse().ok();
    match seconds.filter(|seconds| gantry_release::EPOCHS.contains(seconds)) {
        Some(seconds) => Ok(OutputEpoch::Given(Some(seconds))),
        None => Err(format!("source-date-epoch= is a number of seconds since 1970, not `{value}`")),
    }
}

/// A truth value as Go reads it.
fn boolean(key: &str, value: &str) -> Result<bool, String> {
    parse_bool(value).ok_or_else(|| format!("{key}= is true or false, not `{value}`"))
}

/// A truth value of a field that says yes if it says nothing.
fn switch(key: &str, value: &str) -> Result<bool, String> {
    if value.is_empty() { Ok(true) } else { boolean(key, value) }
}
