//! `gantry image create` and `gantry image annotate`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, Args};
use gantry_oci::Digest;
use gantry_release::{
    Class, CreateRequest, CreateSource, Created, Error, Place, annotate, create, write_file,
};
use serde_json::json;

use super::{location, perform, platforms, print};
use crate::annotation_spec::parse_all as annotations;
use crate::args::{Global, ProgressMode, TagPolicyArgs};
use crate::failure::usage;
use crate::terms::tag_policy;

/// Flags of `gantry image create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Name for the new image; several may be in several repositories
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,
    /// Add the sources to what the first --tag is now
    #[arg(long)]
    append: bool,
    /// Read a source from a file: a descriptor as JSON, a name or a digest
    #[arg(short, long, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// Print the new image instead of pushing it
    #[arg(long)]
    dry_run: bool,
    /// Annotation, `[LEVEL[PLATFORM],…:]KEY=VALUE`, where LEVEL is manifest, index or manifest-descriptor
    #[arg(long, value_name = "ANNOTATION")]
    annotation: Vec<String>,
    /// Only these platforms of the sources
    #[arg(short, long, value_delimiter = ',', value_name = "PLATFORM")]
    platform: Vec<String>,
    /// Make an index also of a single manifest, instead of copying it as it is
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true, num_args = 0..=1,
          require_equals = true, default_missing_value = "true")]
    prefer_index: bool,
    #[command(flatten)]
    policy: TagPolicyArgs,
    #[command(flatten)]
    output: Output,
    /// Images, digests, or descriptors as JSON
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
}

/// Flags of `gantry image annotate`.
#[derive(Debug, Args)]
pub(crate) struct Annotate {
    /// Annotation, `[LEVEL[PLATFORM],…:]KEY=VALUE`, where LEVEL is manifest, index or manifest-descriptor
    #[arg(long, value_name = "ANNOTATION", required = true)]
    annotation: Vec<String>,
    /// Name for the annotated image [default: the image's own]
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,
    /// Print the annotated index or manifest instead of pushing it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
    /// Image: registry/name:tag, or `oci-layout://PATH[:TAG]`
    #[arg(value_name = "NAME")]
    name: String,
}

/// Flags that say what is told.
#[derive(Debug, Args)]
struct Output {
    /// Write the descriptor of the new image to this file, as JSON
    #[arg(long, value_name = "PATH")]
    metadata_file: Option<PathBuf>,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto, env = "BUILDKIT_PROGRESS")]
    progress: ProgressMode,
}

/// Runs `gantry image create`.
pub(super) async fn run(global: &Global, args: &Create) -> Result<ExitCode, Error> {
    if args.sources.is_empty() && args.file.is_empty() {
        return Err(usage("no sources are given"));
    }
    let tags = tags(&args.tag)?;
    if tags.is_empty() && !args.dry_run {
        return Err(
            usage("the new image has no name").hint("give one with --tag, or look at it with --dry-run")
        );
    }
    let mut sources = Vec::new();
    if args.append {
        sources.extend(tags.first().cloned().map(CreateSource::Name));
    }
    for path in &args.file {
        let text = fs::read_to_string(path)
            .map_err(|error| usage(format!("--file: cannot read `{}`: {error}", path.display())))?;
        sources.push(source(text.trim())?);
    }
    for text in &args.sources {
        sources.push(source(text)?);
    }
    let request = CreateRequest {
        sources,
        tags,
        annotations: annotations(&args.annotation)?,
        platforms: platforms(&args.platform)?,
        prefer_index: args.prefer_index,
        policy: tag_policy(global, &args.policy)?,
        dry_run: args.dry_run,
    };
    let work = async |images: &gantry_release::Images| create(images, &request).await;
    perform(global, mode(args.dry_run, &args.output), work, |created| show(&created, &request, &args.output))
        .await
}

/// Runs `gantry image annotate`.
pub(super) async fn run_annotate(global: &Global, args: &Annotate) -> Result<ExitCode, Error> {
    let image = location(&args.name)?;
    let tags = tags(&args.tag)?;
    if tags.is_empty() && image.digest().is_some() && !args.dry_run {
        return Err(usage(format!(
            "`{}` is named by a digest, and the annotated image has another",
            args.name
        ))
        .hint("give it a name with --tag"));
    }
    let request = CreateRequest {
        sources: vec![CreateSource::Name(image.clone())],
        tags: if tags.is_empty() { vec![image] } else { tags },
        annotations: annotations(&args.annotation)?,
        dry_run: args.dry_run,
        ..CreateRequest::default()
    };
    let work = async |images: &gantry_release::Images| annotate(images, &request).await;
    perform(global, mode(args.dry_run, &args.output), work, |created| show(&created, &request, &args.output))
        .await
}

fn mode(dry_run: bool, output: &Output) -> ProgressMode {
    if dry_run { ProgressMode::Quiet } else { output.progress }
}

fn tags(texts: &[String]) -> Result<Vec<Place>, Error> {
    texts
        .iter()
        .map(|text| match location(text)? {
            tag if tag.digest().is_none() => Ok(tag),
            _ => Err(usage(format!("--tag: `{text}` has a digest, which only the result can have"))),
        })
        .collect()
}

/// A digest, a descriptor as JSON, or a name.
fn source(text: &str) -> Result<CreateSource, Error> {
    if text.starts_with('{') {
        let value = serde_json::from_str(text)
            .map_err(|error| usage(format!("a source is not a descriptor: {error}")))?;
        return Ok(CreateSource::Descriptor(value));
    }
    if text.starts_with("sha256:") {
        let digest: Digest = text.parse().map_err(|error| usage(format!("{error}")))?;
        return Ok(CreateSource::Digest(digest));
    }
    location(text).map(CreateSource::Name)
}

fn show(created: &Created, request: &CreateRequest, output: &Output) -> Result<ExitCode, Error> {
    if request.dry_run {
        return print([created.bytes.as_slice(), b"\n"].concat());
    }
    if let Some(path) = &output.metadata_file {
        metadata(path, created, request)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The keys are buildx's.
fn metadata(path: &Path, created: &Created, request: &CreateRequest) -> Result<(), Error> {
    let mut names: Vec<String> = request.tags.iter().map(Place::name).collect();
    names.sort();
    names.dedup();
    let document = json!({
        "containerimage.descriptor": created.descriptor,
        "containerimage.digest": created.descriptor.digest,
        "image.name": names.join(","),
    });
    let text = serde_json::to_string_pretty(&document).expect("metadata is plain data") + "\n";
    write_file(path, |out| out.write_all(text.as_bytes()))
        .map_err(|error| Error::new(Class::Internal, format!("cannot write `{}`: {error}", path.display())))
}
