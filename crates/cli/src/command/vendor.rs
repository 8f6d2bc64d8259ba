//! `gantry vendor`: the list and the lock file are read and written here, the rest is the use case's.

mod config;
mod report;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use gantry_release::{
    Attached, Class, Error, Lock, PlatformForm, Platforms, VendorMode, VendorReport, VendorRequest,
    parse_list, vendor, write_file,
};

use self::config::Section;
use super::image::{Parts, perform};
use crate::args::{Global, ProgressMode};
use crate::exit;
use crate::failure::{self, usage};

/// The list of images, where nothing else is said.
const LIST: &str = "thirdparty.txt";
/// The lock file of a list that is in gantry.toml.
const LOCK: &str = "thirdparty.lock";

/// Flags of `gantry vendor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes besides the general ones: 5 if --check finds something out of date, or --locked a \
source that has moved; if images failed, the code of the gravest failure. The list, the lock file and gantry.toml's \
[vendor] are described in docs/vendor.md."
)]
pub(crate) struct Vendor {
    /// List of images [default: thirdparty.txt, or [vendor] of gantry.toml]
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Where the copies are: docker.io/alpine:3 becomes PREFIX/alpine:3
    #[arg(long, value_name = "PREFIX")]
    to: Option<String>,
    #[command(flatten)]
    parts: Parts,
    /// Lock file [default: beside the list, with .lock in the place of its extension]
    #[arg(long, value_name = "PATH")]
    lock: Option<PathBuf>,
    /// Copy only what the lock file has; a source that has moved since is an error
    #[arg(long, conflicts_with = "check")]
    locked: bool,
    /// Change nothing, and tell what is out of date
    #[arg(long)]
    check: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto, env = "BUILDKIT_PROGRESS")]
    progress: ProgressMode,
}

/// How to print the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns, for people
    Table,
    /// One JSON document
    Json,
}

/// Runs the command.
pub(crate) async fn run(global: &Global, args: &Vendor) -> Result<ExitCode, Error> {
    let section = config::read(global)?;
    let (request, lock_path) = request(args, section)?;
    let earlier = request.lock.clone();
    let work = async |images: &gantry_release::Images| vendor(images, &request).await;
    perform(global, args.progress, work, |report| {
        if request.mode == VendorMode::Update && earlier.as_ref() != Some(&report.lock) {
            let text = report.lock.render();
            write_file(&lock_path, |out| out.write_all(text.as_bytes())).map_err(|error| {
                Error::new(Class::Internal, format!("cannot write `{}`: {error}", lock_path.display()))
            })?;
        }
        report::print(&report, args.format == Format::Json)?;
        conclude(&report)
    })
    .await
}

/// The exit code; failures are shown, the gravest last.
fn conclude(report: &VendorReport) -> Result<ExitCode, Error> {
    if let Some(worst) = report.worst() {
        let others = report.results.iter().filter_map(|result| result.error.as_ref());
        others.filter(|error| !std::ptr::eq(*error, worst)).for_each(failure::show);
        return Ok(exit::report(worst));
    }
    match report.is_out_of_date() {
        false => Ok(ExitCode::SUCCESS),
        true => {
            let fresh = |result: &&gantry_release::VendorResult| {
                result.state == gantry_release::VendorState::UpToDate
            };
            let (all, fresh) = (report.results.len(), report.results.iter().filter(fresh).count());
            let message = format!("{} of {all} images are out of date", all - fresh);
            Err(Error::new(Class::Verification, message)
                .hint("run `gantry vendor` without --check to copy them"))
        }
    }
}

fn request(args: &Vendor, section: Section) -> Result<(VendorRequest, PathBuf), Error> {
    let list = list(args, &section)?;
    let images = match &list {
        Some(path) => parse_list(&path.display().to_string(), &read_list(path)?)?,
        None => section.images()?,
    };
    let to = args.to.clone().or_else(|| section.to.clone()).ok_or_else(|| {
        usage("there is no place for the copies").hint(
            "name it with --to, as in `--to registry.example/project/thirdparty`, or as `to` in [vendor]",
        )
    })?;
    let lock_path = match (&args.lock, &section.lock, &list) {
        (Some(path), _, _) | (None, Some(path), _) => path.clone(),
        (None, None, Some(list)) => list.with_extension("lock"),
        (None, None, None) => PathBuf::from(LOCK),
    };
    let mode = match (args.check, args.locked) {
        (true, _) => VendorMode::Check,
        (false, true) => VendorMode::Locked,
        (false, false) => VendorMode::Update,
    };
    let form = args.parts.form().or(section.form()).unwrap_or(PlatformForm::Trim);
    let wanted = match args.parts.platforms()? {
        flags if !flags.is_empty() => flags,
        _ => section.platforms()?,
    };
    let platforms = Some(Platforms { wanted, form }).filter(|platforms| !platforms.wanted.is_empty());
    if platforms.is_none() && images.iter().all(|image| image.platforms.is_empty()) {
        args.parts.refuse_form_of_nothing()?;
    }
    let request = VendorRequest {
        images,
        to,
        platforms,
        form,
        attached: Attached::new(
            args.parts.referrers || section.referrers,
            args.parts.cosign || section.cosign,
        ),
        mode,
        lock: read_lock(&lock_path)?,
    };
    Ok((request, lock_path))
}

/// The list's file; none if gantry.toml has the images.
fn list(args: &Vendor, section: &Section) -> Result<Option<PathBuf>, Error> {
    if let Some(path) = &args.file {
        return Ok(Some(path.clone()));
    }
    match (section.has_images(), Path::new(LIST).exists()) {
        (true, true) => Err(usage(format!("both {LIST} and [vendor] of gantry.toml list images"))
            .hint(format!("choose the list with --file {LIST}, or keep only one of the two"))),
        (true, false) => Ok(None),
        (false, true) => Ok(Some(PathBuf::from(LIST))),
        (false, false) => Err(usage(format!("there is no {LIST}, and no [vendor.images] in gantry.toml"))
            .hint("name a list with --file; a line of it is `docker.io/alpine: 3.20`")),
    }
}

fn read_list(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path)
        .map_err(|error| usage(format!("cannot read the list `{}`: {error}", path.display())))
}

fn read_lock(path: &Path) -> Result<Option<Lock>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Lock::parse(&text).map(Some).map_err(|error| {
            usage(format!("`{}` is not a lock file:\n{error}", path.display()))
                .hint("remove it, and `gantry vendor` writes a new one")
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(usage(format!("cannot read `{}`: {error}", path.display()))),
    }
}
