//! `gantry build`: plan → solve and export per platform → assemble → outputs.
//!
//! All platforms are built before anything leaves the machine. Where one fails, the others are stopped and the error
//! of the one that failed is reported.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use gantry_dockerfile::Converted;
use gantry_engine::{BaseLayers, EngineError, ExportedLayer, Fault, LayerChain, LayerForm, Solver};
use gantry_llb::{Definition, Progress, ProgressEvent, Vertex};
use gantry_oci::{Descriptor, Digest, Platform};
use tokio_util::sync::CancellationToken;

use crate::annotation::{self, AnnotationLevel};
use crate::assemble::{self, Parts, Times};
use crate::attestations::{self, Attestation, Facts};
use crate::context::{self, Client, Input};
use crate::error::{Class, Error};
use crate::events::{Event, Events, Step};
use crate::findings;
use crate::gantry::Gantry;
use crate::output::{self, Delivery};
use crate::plan::{self, NoPlan, Sources, plan};
use crate::publish::EarlyUploads;
use crate::report::{BuildReport, PlatformReport};
use crate::request::{BuildRequest, FileTimes, ImageForm, MediaTypes};
use crate::results;
use crate::verify;

/// What was built for one platform.
#[derive(Debug)]
pub(crate) struct Built {
    /// Digests of everything.
    pub(crate) report: PlatformReport,
    /// The layers, with where base layers can be read.
    pub(crate) layers: Vec<ExportedLayer>,
    /// The tree, for outputs that want files.
    pub(crate) chain: LayerChain,
    /// What is attested about it.
    pub(crate) attestations: Vec<Attestation>,
    /// `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: Option<i64>,
    /// When the image was made.
    pub(crate) created: Option<String>,
}

/// A complete image in the local store.
#[derive(Debug)]
pub(crate) struct Image {
    /// The index, or the manifest if it is for one platform.
    pub(crate) root: Descriptor,
    /// Manifests that have it, or a part of it, as their subject.
    pub(crate) referrers: Vec<Descriptor>,
    /// In the order of the request.
    pub(crate) platforms: Vec<Built>,
    /// When it was made, as layouts say of it.
    pub(crate) created: Option<String>,
}

/// Builds and does with the result what the request asks for.
///
/// Returns when everything is done. When it returns an error, no process is left running, and no tag has moved unless
/// the error says so. `cancel` stops it.
pub async fn build(
    gantry: &Gantry,
    mut request: BuildRequest,
    events: Arc<dyn Events>,
    cancel: CancellationToken,
) -> Result<BuildReport, Error> {
    let started = SystemTime::now();
    let asked = if request.platforms.is_empty() { Asked::Nothing } else { Asked::Platforms };
    if asked == Asked::Nothing {
        request.platforms.push(Platform::host());
    }
    check(&request, &gantry.environment)?;
    gantry.registries.report_to(&events);
    let client = tokio::task::block_in_place(|| Client::prepare(gantry, &request))?;
    // Stopping the siblings of a failed platform must not look like the user's own wish to stop.
    let stop = cancel.child_token();
    let progress = Arc::new(Relay(Arc::clone(&events)));
    let solver = Solver::new(gantry.engine.clone(), client.job(&request, progress, stop.clone()));
    let input = context::read(&client, &solver, &request).await?;
    let sources = Sources { images: &gantry.registry, client: &client, solver: &solver };
    let mut plans = tokio::select! {
        plans = plans(sources, &input, &request, events.as_ref()) => plans?,
        () = cancel.cancelled() => return Err(Error::new(Class::Cancelled, "stopped before anything was built")),
    };
    if asked == Asked::Nothing {
        plans.iter_mut().for_each(plan::take_platform_of_base);
    }
    let work = Work { gantry, request: &request, input: &input, started, events: &events, cancel: &cancel };
    let image = work.solve_and_upload(solver, &stop, plans).await?;
    events.event(Event::Built { digest: image.root.digest });
    verify::check_built(gantry, &image, &request, events.as_ref(), &cancel).await?;
    let names = output::names(&request, image.root.digest);
    let outputs = request.outputs.iter().map(output::describe).collect();
    results::record(gantry.store(), &image, &names, outputs)?;
    let delivery = Delivery { gantry, image: &image, events: events.as_ref(), cancel: &cancel };
    delivery.write_all(&request).await?;
    let platforms = image.platforms.into_iter().map(|built| built.report).collect();
    let names = names.iter().map(output::shown_name).collect();
    Ok(BuildReport { root: image.root, platforms, names })
}

/// What the user said about platforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// These are wanted.
    Platforms,
    /// What the Dockerfile says, else the host's.
    Nothing,
}

fn check(request: &BuildRequest, environment: &[(OsString, OsString)]) -> Result<(), Error> {
    for (position, platform) in request.platforms.iter().enumerate() {
        if request.platforms[..position].contains(platform) {
            return Err(Error::new(Class::Usage, format!("platform {platform} is asked for twice")));
        }
        if platform.os() != "linux" {
            let message = format!("cannot build for {platform}: the embedded engine builds Linux images");
            return Err(Error::new(Class::Usage, message));
        }
    }
    annotation::check(&request.annotations, &request.platforms)?;
    if request.form.media_types == MediaTypes::Docker {
        annotation::check_docker(&request.annotations)?;
        if !request.attestations.is_empty() {
            return Err(Error::new(Class::Usage, "an image with Docker's media types has no attestations")
                .hint("leave oci-mediatypes=false out, or --attest, --provenance and --sbom"));
        }
    }
    let pushed: Vec<_> = output::push_targets(request).iter().map(|to| to.reference().clone()).collect();
    request.terms.check(&pushed)?;
    output::check(request, environment)
}

/// Converts for all platforms at once.
async fn plans(
    sources: Sources<'_>,
    input: &Input,
    request: &BuildRequest,
    events: &dyn Events,
) -> Result<Vec<(Platform, Converted)>, Error> {
    let step = Step::begin(events, "[internal] load metadata of base images");
    let plans = request.platforms.iter().map(|platform| async move {
        let converted = plan(sources, input, request, platform).await?;
        Ok::<_, NoPlan>((platform.clone(), converted))
    });
    let plans = match futures_util::future::try_join_all(plans).await {
        Ok(plans) => plans,
        Err(NoPlan { error, warnings }) => {
            step.failed(error.to_string());
            findings::report(input, &warnings, events);
            return Err(error);
        }
    };
    step.done();
    if let Some((_, first)) = plans.first() {
        findings::report(input, &first.warnings, events);
    }
    Ok(plans)
}

/// What the parts of one build share.
#[derive(Clone, Copy)]
struct Work<'a> {
    gantry: &'a Gantry,
    request: &'a BuildRequest,
    input: &'a Input,
    /// When the command began.
    started: SystemTime,
    events: &'a Arc<dyn Events>,
    cancel: &'a CancellationToken,
}

impl Work<'_> {
    /// Builds, and uploads what is ready while it builds if the result is to be pushed.
    async fn solve_and_upload(
        &self,
        solver: Solver,
        stop: &CancellationToken,
        plans: Vec<(Platform, Converted)>,
    ) -> Result<Image, Error> {
        let pushed: Vec<_> =
            output::push_targets(self.request).iter().map(|to| to.reference().clone()).collect();
        // Layers whose times or compression are to be changed are other layers than those that are ready first.
        let form = self.request.form;
        let others = form.times == FileTimes::UntilEpoch || form.base_layers == BaseLayers::Recompressed;
        if pushed.is_empty() || others {
            return self.solve_all(&solver, stop, plans).await;
        }
        let (observer, early) = EarlyUploads::of(plans.iter().map(|(_, plan)| &plan.definition));
        let mut uploads =
            pin!(early.run(self.gantry, &pushed, form.compression, self.events.as_ref()).fuse());
        let solver = solver.observed_by(observer);
        // The uploads end when the observer is gone, and that goes with the solver.
        let mut build = pin!(async move { self.solve_all(&solver, stop, plans).await });
        let image = loop {
            tokio::select! {
                // A build that fails drops its uploads.
                image = &mut build => break image?,
                () = &mut uploads, if !uploads.is_terminated() => {}
            }
        };
        if !uploads.is_terminated() {
            tokio::select! {
                () = uploads => {}
                () = self.cancel.cancelled() => {
                    return Err(Error::new(Class::Cancelled, "stopped while uploading layers"));
                }
            }
        }
        Ok(image)
    }

    /// Builds all platforms at once and assembles the image.
    async fn solve_all(
        &self,
        solver: &Solver,
        stop: &CancellationToken,
        plans: Vec<(Platform, Converted)>,
    ) -> Result<Image, Error> {
        for (_, converted) in &plans {
            let allowed = &self.request.steps.allow;
            let checked = self.gantry.engine.preflight(&converted.definition, allowed);
            checked.map_err(|error| located(error, self.input, &converted.definition))?;
        }
        let policy = &self.request.verify;
        verify::check_bases(self.gantry, self.input, &plans, policy, self.events.as_ref(), self.cancel)
            .await?;
        let builds = plans.into_iter().map(|(platform, converted)| async move {
            let built = self.solve(solver, stop, platform, converted).await;
            if built.is_err() {
                stop.cancel();
            }
            built
        });
        let results = futures_util::future::join_all(builds).await;
        let platforms = first_failure(results)?;
        let reports: Vec<_> = platforms.iter().map(|built| built.report.clone()).collect();
        let store = self.gantry.store();
        let attached = attestations::attach(store, &self.request.attestations, &platforms)?;
        let root = match reports.as_slice() {
            [one] if attached.in_index.is_empty() => Descriptor { platform: None, ..one.manifest.clone() },
            several => {
                let types = self.request.form.media_types;
                assemble::index(store, several, &attached.in_index, &self.request.annotations, types)?
            }
        };
        let created = platforms.iter().filter_map(|built| built.created.clone()).max();
        Ok(Image { root, referrers: attached.referrers, platforms, created })
    }

    async fn solve(
        &self,
        solver: &Solver,
        stop: &CancellationToken,
        platform: Platform,
        converted: Converted,
    ) -> Result<Built, Error> {
        let definition = &converted.definition;
        let chain = solver.solve(definition).await.map_err(|error| located(error, self.input, definition))?;
        let image_form = self.request.form;
        let epoch = converted.epoch;
        let clamp_mtime = image_form.epoch.or(epoch).filter(|_| image_form.times == FileTimes::UntilEpoch);
        let ImageForm { compression, base_layers, .. } = image_form;
        let form = LayerForm { compression, clamp_mtime, base_layers };
        let layers = tokio::select! {
            layers = self.gantry.engine.export(&chain, form) => layers?,
            () = stop.cancelled() => {
                return Err(Error::new(Class::Cancelled, "stopped while compressing layers"));
            }
        };
        let at = |level| annotation::at(&self.request.annotations, level, Some(&platform));
        let parts = Parts {
            config: converted.config,
            times: Times { of_build: epoch, latest: image_form.epoch.or(epoch) },
            types: image_form.media_types,
            layers: layers.clone(),
            annotations: at(AnnotationLevel::Manifest),
            descriptor_annotations: at(AnnotationLevel::ManifestDescriptor),
        };
        let (mut report, created) = assemble::image(self.gantry.store(), &platform, parts)?;
        let facts =
            Facts { request: self.request, input: self.input, definition, epoch, started: self.started };
        let attestations = tokio::select! {
            made = attestations::make(self.gantry, facts, &report, &layers) => made?,
            () = stop.cancelled() => return Err(Error::new(Class::Cancelled, "stopped while attesting")),
        };
        report.provenance =
            self.request.reported_provenance.map(|mode| attestations::reported(facts, mode, &report));
        Ok(Built { report, layers, chain, attestations, epoch, created })
    }
}

/// All results, or the error that made the others stop.
fn first_failure<T>(results: Vec<Result<T, Error>>) -> Result<Vec<T>, Error> {
    let mut cancelled = None;
    let mut built = Vec::new();
    for result in results {
        match result {
            Ok(value) => built.push(value),
            Err(error) if error.class == Class::Cancelled => cancelled = Some(error),
            Err(error) => return Err(error),
        }
    }
    cancelled.map_or(Ok(built), Err)
}

/// The error with the lines of the Dockerfile that its vertex comes from.
fn located(error: EngineError, input: &Input, definition: &Definition) -> Error {
    let lines = error.vertex.and_then(|vertex| lines_of(definition, &vertex));
    let cancelled = matches!(*error.fault, Fault::Cancelled);
    let error = Error::from(error);
    match lines {
        Some((_, lines)) if !cancelled => error.at(input.excerpt(lines)),
        _ => error,
    }
}

/// The lines of a vertex, or of what uses it: a source has none of its own.
fn lines_of(definition: &Definition, vertex: &Digest) -> Option<(usize, RangeInclusive<u32>)> {
    let uses = |user: &&Arc<Vertex>| user.inputs.iter().any(|input| input.vertex == *vertex);
    definition.lines(vertex).or_else(|| {
        let mut users = definition.vertices().iter().filter(uses);
        users.find_map(|user| definition.lines(&user.digest))
    })
}

/// Passes an engine's events on.
struct Relay(Arc<dyn Events>);

impl Progress for Relay {
    fn event(&self, event: ProgressEvent) {
        self.0.event(Event::Progress(event));
    }
}
