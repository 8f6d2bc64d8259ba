//! From text to graphs: the Dockerfile converted for each platform, with the images that it names resolved.
//!
//! A conversion says which images it has to know; they are resolved at once, and it is tried again. A tag is resolved
//! once for the command: all platforms and all retries use the digest that it had.

use std::fs::{self, File};
use std::path::Path;

use gantry_dockerfile::{
    CachePolicy, Conversion, Converted, ImageInfo, ImageRequest, Images, Options, ResolveMode, Warning,
    convert, warnings,
};
use gantry_engine::Solver;
use gantry_llb::Definition;
use gantry_oci::{ImageConfig, ImagePort, Platform};

use crate::context::{Client, Input};
use crate::error::{Class, Error, of_dockerfile};
use crate::request::{BuildRequest, CacheUse};

/// Triggers of an image may name further images, and theirs again. Nobody means to go deeper.
pub(crate) const MAX_ROUNDS: usize = 32;

/// Where a plan learns what it has to know.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// Images of registries.
    pub(crate) images: &'a dyn ImagePort,
    /// Images of the user's layouts.
    pub(crate) client: &'a Client,
    /// Everything else.
    pub(crate) solver: &'a Solver,
}

/// Why there is no plan.
pub(crate) struct NoPlan {
    /// Why.
    pub(crate) error: Error,
    /// What is doubtful about the input besides.
    pub(crate) warnings: Vec<Warning>,
}

/// Converts the input for one platform.
pub(crate) async fn plan(
    sources: Sources<'_>,
    input: &Input,
    request: &BuildRequest,
    platform: &Platform,
) -> Result<Converted, NoPlan> {
    let options = options(input, request, platform);
    let text = input.text.as_slice();
    let mut known = Images::default();
    answered(sources, input, &mut known, |known| convert(text, &options, known))
        .await
        .map_err(|error| NoPlan { error, warnings: warnings(text, &options, &known) })
}

/// Asks something about the input, and finds out what the answer depends on, until there is one.
pub(crate) async fn answered<T>(
    sources: Sources<'_>,
    input: &Input,
    known: &mut Images,
    ask: impl Fn(&Images) -> Result<Conversion<T>, gantry_dockerfile::Error>,
) -> Result<T, Error> {
    for _ in 0..MAX_ROUNDS {
        match ask(known).map_err(|error| of_dockerfile(error, input))? {
            Conversion::Done(done) => return Ok(*done),
            Conversion::NeedsImages(wanted) => learn(sources, input, wanted, known).await?,
            Conversion::NeedsTime(wanted) => {
                let time = time_of(sources.solver, &wanted.source).await?;
                known.insert_time(wanted.value, time);
            }
        }
    }
    let message =
        format!("the triggers of base images name further images more than {MAX_ROUNDS} levels deep");
    Err(Error::new(Class::Usage, message))
}

/// Resolves images, all at once.
pub(crate) async fn learn(
    sources: Sources<'_>,
    input: &Input,
    wanted: Vec<ImageRequest>,
    known: &mut Images,
) -> Result<(), Error> {
    let resolved = wanted.iter().map(|wanted| resolve(sources, input, wanted));
    let resolved = futures_util::future::try_join_all(resolved).await?;
    for (wanted, info) in wanted.into_iter().zip(resolved) {
        known.insert(wanted.reference, wanted.platform, info);
    }
    Ok(())
}

/// Makes the image one for the platform of its base, as with BuildKit where nobody asks for a platform: a
/// `FROM --platform=` in the Dockerfile says what the image is for.
pub(crate) fn take_platform_of_base((platform, converted): &mut (Platform, Converted)) {
    let Some((_, base)) = &converted.base else { return };
    platform.clone_from(base);
    let config = &mut converted.config;
    base.os().clone_into(&mut config.os);
    base.architecture().clone_into(&mut config.architecture);
    base.variant().clone_into(&mut config.variant);
}

/// What a conversion is told.
pub(crate) fn options(input: &Input, request: &BuildRequest, platform: &Platform) -> Options {
    Options {
        filename: input.name.clone(),
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        labels: request.labels.clone(),
        cache: match &request.cache {
            CacheUse::Use => CachePolicy::Use,
            CacheUse::IgnoreStages(stages) => CachePolicy::IgnoreStages(stages.clone()),
            CacheUse::Ignore => CachePolicy::Ignore,
        },
        pull: if request.pull { ResolveMode::Pull } else { ResolveMode::Default },
        exclude: input.exclude.clone(),
        multi_platform: request.platforms.len() > 1,
        context: input.context.clone(),
        contexts: input.contexts.clone(),
        run: request.steps.run.clone(),
        ..Options::new(platform.clone(), Platform::host())
    }
}

async fn resolve(sources: Sources<'_>, input: &Input, wanted: &ImageRequest) -> Result<ImageInfo, Error> {
    let excerpt = || input.excerpt(wanted.lines.clone());
    let layout = wanted.layout.as_deref().and_then(|name| sources.client.layout(name));
    let images = layout.map_or(sources.images, |layout| layout as &dyn ImagePort);
    let resolved = images.resolve(&wanted.reference, &wanted.platform).await;
    let resolved = resolved.map_err(|error| Error::from(error).at(excerpt()))?;
    let config: ImageConfig = serde_json::from_slice(&resolved.config).map_err(|error| {
        let message = format!("the config of `{}` cannot be read: {error}", wanted.reference.familiar());
        Error::new(Class::Verification, message).at(excerpt())
    })?;
    check_platform(wanted, &config).map_err(|error| error.at(excerpt()))?;
    let digest = *resolved.reference.digest().expect("a resolved image has a digest");
    Ok(ImageInfo { digest, config })
}

/// When a source was last changed: as its origin says, or as its newest file says, if it is an archive.
async fn time_of(solver: &Solver, source: &Definition) -> Result<Option<i64>, Error> {
    if let Some(time) = solver.source_time(source).await? {
        return Ok(Some(time));
    }
    let tree = solver.solve(source).await?;
    let newest = |root: &Path| {
        let entry = fs::read_dir(root).ok()?.next()?.ok()?;
        // A file from the web is alone in its tree; a repository has a time.
        let file =
            entry.file_type().is_ok_and(|kind| kind.is_file()).then(|| File::open(entry.path()).ok())??;
        gantry_layer::newest_file(file)
    };
    Ok(solver.engine().with_tree(&tree, newest).await?)
}

/// Refuses a base that is for another platform than its index says: everything built on it would be, too.
/// A config without a variant says nothing about it.
fn check_platform(wanted: &ImageRequest, config: &ImageConfig) -> Result<(), Error> {
    let variant = match config.variant.as_str() {
        "" => wanted.platform.variant(),
        variant => variant,
    };
    match Platform::new(&config.os, &config.architecture, variant).ok() {
        Some(found) if wanted.platform.accepts(&found).is_none() => {
            let message = format!(
                "`{}` is listed for {} but is an image for {found}",
                wanted.reference.familiar(),
                wanted.platform
            );
            Err(Error::new(Class::Verification, message)
                .hint("whoever published the image mixed up its platforms: use another tag or digest"))
        }
        _ => Ok(()),
    }
}
