//! One subject's images: config against index, blobs against manifest, programs against platform.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use gantry_layer::{FileTree, LayerIndex};
use gantry_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform};

use super::Depth;
use super::blobs;
use super::content::{Content, Problem, blocking};
use super::document::{Documents, Listed};
use super::programs;
use super::report::{Check, CheckName, ImageReport, Outcome};
use super::rules::CompiledRules;
use crate::error::Error;
use crate::gantry::Gantry;

/// Layers read at once: enough to keep a line busy, few enough to leave memory and other people's registries alone.
const LAYERS_AT_ONCE: usize = 4;

/// What images are examined with.
pub(crate) struct Examination<'a> {
    pub(crate) gantry: &'a Gantry,
    pub(crate) content: &'a Content,
    pub(crate) depth: Depth,
    pub(crate) rules: &'a CompiledRules,
}

/// What is known about one image before its layers are read.
struct Known<'a> {
    listed: &'a Listed,
    config: Option<ImageConfig>,
    report: ImageReport,
}

/// What reading a layer gave, or what is wrong with it.
type Layers = HashMap<(Digest, Digest), Result<Arc<LayerIndex>, String>>;

impl Examination<'_> {
    /// Examines all images. Layers that several have are read once.
    pub(crate) async fn images(&self, documents: &Documents) -> Result<Vec<ImageReport>, Error> {
        let configs = documents.images.iter().map(|listed| self.known(listed));
        let mut known = futures_util::future::try_join_all(configs).await?;
        let missing = blobs::missing(self.content, &documents.images).await?;
        for image in &mut known {
            image.report.checks.push(blobs::check(image.listed, &missing));
        }
        if self.depth == Depth::Everything {
            for image in known.iter_mut().filter(|image| image.config.is_none()) {
                let check = self.blobs(image.listed, CheckName::Content, &missing).await?;
                image.report.checks.push(check);
            }
        }
        if self.depth != Depth::Documents {
            let layers = self.layers(&known, &missing).await?;
            for image in &mut known {
                self.judge(image, &layers).await?;
            }
        }
        Ok(known.into_iter().map(|image| image.report).collect())
    }

    /// The blobs of attestations and the like: there, and with `--deep` what they should be.
    pub(crate) async fn attestations(&self, documents: &Documents) -> Result<Vec<Check>, Error> {
        let missing = blobs::missing(self.content, &documents.attached).await?;
        let mut checks = Vec::new();
        for listed in &documents.attached {
            let check = match self.depth {
                Depth::Everything => self.blobs(listed, CheckName::Attestations, &missing).await?,
                Depth::Documents | Depth::Programs => blobs::check(listed, &missing),
            };
            checks.extend((check.outcome == Outcome::Fail).then_some(check));
        }
        Ok(checks)
    }

    /// Reads all blobs of what is no image of ours to understand.
    async fn blobs(
        &self,
        listed: &Listed,
        name: CheckName,
        missing: &blobs::Missing,
    ) -> Result<Check, Error> {
        let mut count = 0;
        for blob in listed.blobs().filter(|blob| !missing.is_elsewhere(blob)) {
            match self.content.prove(blob).await {
                Ok(()) => count += 1,
                Err(Problem::Image(problem)) => return Ok(Check::fail(name, problem)),
                Err(Problem::Error(error)) => return Err(error),
            }
        }
        Ok(Check::pass(name, format!("{count} blobs read, with the right digests")))
    }

    async fn known<'l>(&self, listed: &'l Listed) -> Result<Known<'l>, Error> {
        let mut report = ImageReport {
            platform: listed.descriptor.platform.clone(),
            manifest: listed.descriptor.digest,
            outcome: Outcome::Pass,
            checks: Vec::new(),
            programs: None,
        };
        if !listed.has_image_config() {
            report.checks.push(check_foreign_config(report.platform.as_ref(), &listed.manifest));
            return Ok(Known { listed, config: None, report });
        }
        let config = match self.content.blob(&listed.manifest.config).await {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| format!("the config is not valid: {error}"))
            }
            Err(Problem::Image(problem)) => Err(format!("the config: {problem}")),
            Err(Problem::Error(error)) => return Err(error),
        };
        let config: Option<ImageConfig> = match config {
            Ok(config) => Some(config),
            Err(problem) => {
                report.checks.push(Check::fail(CheckName::Config, problem));
                None
            }
        };
        if let Some(config) = &config {
            report.checks.push(check_config(report.platform.as_ref(), config));
            report.checks.push(check_layers(listed, config));
            report.platform = report.platform.or_else(|| config.platform());
        }
        Ok(Known { listed, config, report })
    }

    /// The indexes of all layers of all images.
    async fn layers(&self, images: &[Known<'_>], missing: &blobs::Missing) -> Result<Layers, Error> {
        let mut wanted: BTreeMap<(Digest, Digest), &Descriptor> = BTreeMap::new();
        for image in images {
            let Some(config) = &image.config else { continue };
            for (layer, diff_id) in image.listed.manifest.layers.iter().zip(&config.rootfs.diff_ids) {
                if missing.has(layer) {
                    wanted.insert((layer.digest, *diff_id), layer);
                }
            }
        }
        let read = wanted
            .into_iter()
            .map(|(key, layer)| async move { Ok::<_, Error>((key, self.layer(layer, &key.1).await?)) });
        stream::iter(read).buffer_unordered(LAYERS_AT_ONCE).try_collect().await
    }

    async fn layer(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
    ) -> Result<Result<Arc<LayerIndex>, String>, Error> {
        let store = self.gantry.store();
        if self.depth == Depth::Programs {
            let known = store.layer_index(&layer.digest, diff_id)?;
            if let Some(index) = known.and_then(|bytes| LayerIndex::decode(&bytes).ok()) {
                return Ok(Ok(Arc::new(index)));
            }
        }
        let scanned = match self.content.scan(layer).await {
            Ok(scanned) => scanned,
            Err(Problem::Image(problem)) => return Ok(Err(problem)),
            Err(Problem::Error(error)) => return Err(error),
        };
        if scanned.diff_id != *diff_id {
            let found = scanned.diff_id;
            return Ok(Err(format!(
                "layer {}: its content is {found}, but the config says {diff_id}",
                layer.digest
            )));
        }
        if let Ok(bytes) = scanned.index.encode() {
            store.put_layer_index(&layer.digest, diff_id, &bytes)?;
        }
        Ok(Ok(Arc::new(scanned.index)))
    }

    /// What the layers say: whether they are what they should be, and what their programs are for.
    async fn judge(&self, image: &mut Known<'_>, layers: &Layers) -> Result<(), Error> {
        let Some(config) = &image.config else { return Ok(()) };
        let listed = image.listed.manifest.layers.iter().zip(&config.rootfs.diff_ids);
        let found: Vec<_> = listed.map(|(layer, diff_id)| layers.get(&(layer.digest, *diff_id))).collect();
        let problems: Vec<_> =
            found.iter().filter_map(|found| found.and_then(|found| found.as_ref().err())).collect();
        let checks = &mut image.report.checks;
        let (all, known) = (found.len(), found.iter().flatten().count());
        checks.push(match (problems.first(), self.depth) {
            (Some(first), _) => Check::fail(CheckName::Content, (*first).clone()),
            (None, _) if known < all => {
                Check::skip(CheckName::Content, format!("only {known} of {all} layers can be read"))
            }
            (None, Depth::Everything) => Check::pass(
                CheckName::Content,
                format!("{all} of {all} layers read, with the right digests and diff ids"),
            ),
            (None, _) => Check::pass(CheckName::Content, format!("{all} of {all} layers known")),
        });
        let indexes: Option<Vec<_>> =
            found.into_iter().map(|found| found.and_then(|found| found.as_ref().ok()).cloned()).collect();
        let (Some(indexes), Some(platform)) = (indexes, &image.report.platform) else {
            let detail = "without all layers nothing can be said about its programs";
            checks.push(Check::skip(CheckName::Programs, detail));
            return Ok(());
        };
        let (container, platform, rules) = (config.config.clone(), platform.clone(), self.rules.clone());
        let judge = move || programs::judge(&FileTree::merge(&indexes), &container, &platform, &rules);
        let judgement = blocking(judge).await?;
        checks.extend(judgement.checks);
        image.report.programs = Some(judgement.counts);
        Ok(())
    }
}

/// The check of a config that is no image's. A runtime takes whatever is listed for its platform, and can only fail with
/// it; what is listed for none, nobody takes for an image.
fn check_foreign_config(listed: Option<&Platform>, manifest: &Manifest) -> Check {
    let detail = format!("it is no image but {}", manifest.config.media_type);
    match listed {
        Some(listed) => Check::fail(CheckName::Config, format!("it is listed for {listed}, and {detail}")),
        None => Check::skip(CheckName::Config, detail),
    }
}

fn check_config(listed: Option<&Platform>, config: &ImageConfig) -> Check {
    let name = CheckName::Config;
    // What the config does not say it does not contradict: for years nobody wrote variants there.
    let is_silent = |listed: &Platform, found: &Platform| {
        config.variant.is_empty()
            && (listed.os(), listed.architecture()) == (found.os(), found.architecture())
    };
    let parts =
        |platform: &Platform| [platform.os(), platform.architecture(), platform.variant()].map(str::to_owned);
    match (listed, config.platform()) {
        (Some(listed), Some(found)) if parts(listed) == parts(&found) => Check::pass(name, found.to_string()),
        (Some(listed), Some(found)) if is_silent(listed, &found) => {
            Check::warn(name, format!("it is listed for {listed}, and its config names no variant"))
        }
        (Some(listed), Some(found)) => {
            Check::fail(name, format!("it is listed for {listed}, and its config says {found}"))
        }
        (Some(listed), None) => {
            Check::fail(name, format!("it is listed for {listed}, and its config names no platform"))
        }
        (None, Some(found)) => Check::pass(name, found.to_string()),
        (None, None) => Check::fail(name, "its config names no platform"),
    }
}

fn check_layers(listed: &Listed, config: &ImageConfig) -> Check {
    let (layers, diff_ids) = (listed.manifest.layers.len(), config.rootfs.diff_ids.len());
    match layers == diff_ids {
        true => Check::pass(CheckName::Layers, format!("{layers}")),
        false => Check::fail(
            CheckName::Layers,
            format!("the manifest has {layers} layers, the config {diff_ids} diff ids"),
        ),
    }
}
