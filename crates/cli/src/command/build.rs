//! `gantry build`

use std::collections::BTreeMap;
use std::env;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use gantry_oci::{Platform, Reference};
use gantry_release::{
    BuildReport, BuildRequest, Class, Destination, Dockerfile, Error, Event, Events, Gantry, Naming, Output,
    VerifyMode, VerifyPolicy, build, check_writable,
};

use super::call;
use crate::args::{Build, Global, ProgressMode, VerifyLevel};
use crate::failure::usage;
use crate::output_spec::Pushed;
use crate::progress;
use crate::signals::Signals;
use crate::{annotation_spec, attest_spec, build_flags, config, exit, metadata, output_spec, terms};

/// The reproducible-builds convention.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The platform to build for, if no flag says it.
const PLATFORM: &str = "DOCKER_DEFAULT_PLATFORM";
/// How much provenance a metadata file has: `min`, `max` or `disabled`.
const METADATA_PROVENANCE: &str = "BUILDX_METADATA_PROVENANCE";
/// Whether a metadata file has the warnings of the build.
const METADATA_WARNINGS: &str = "BUILDX_METADATA_WARNINGS";

/// Runs the command.
pub(crate) async fn run(global: &Global, args: &Build) -> Result<ExitCode, Error> {
    let mode = progress::mode(args.quiet, args.progress)?;
    let files = [&args.metadata_file, &args.iidfile].map(given_path);
    let request = request(global, args)?;
    let method = match (args.check, args.call.as_str()) {
        (true, "build") => "check",
        (true, other) => {
            return Err(
                usage(format!("--check and --call={other} ask for two things")).hint("leave one of them out")
            );
        }
        (false, method) => method,
    };
    if let Some(asked) = call::parse(method)? {
        return call::run(global, args, &request, asked).await;
    }
    let prints_id = mode == ProgressMode::Quiet && !request.outputs.iter().any(Output::is_to_stdout);
    for path in files.into_iter().flatten() {
        check_writable(path)?;
    }
    let gantry = Gantry::open(config::settings(global)?)?;
    let signals = Signals::watch()?;
    let display = Arc::new(progress::start(mode));
    for message in args.without_effect.warnings() {
        display.event(Event::Warning { message, hints: Vec::new() });
    }
    let built = build(&gantry, request, Arc::clone(&display) as _, signals.cancel.clone()).await;
    display.finish(built.is_ok());
    match (built, signals.received()) {
        (Ok(report), _) => {
            let warnings = match metadata::with_warnings(&env::var(METADATA_WARNINGS).unwrap_or_default()) {
                true => display.warnings(),
                false => Vec::new(),
            };
            let [metadata_file, iidfile] = files;
            metadata::record(metadata_file, iidfile, &report, &warnings)?;
            if prints_id {
                print_id(&report)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        // Whatever broke then broke because it was stopped.
        (Err(_), Some(signal)) => Ok(exit::of_signal(signal)),
        (Err(error), None) => Err(error),
    }
}

fn print_id(report: &BuildReport) -> Result<(), Error> {
    writeln!(std::io::stdout(), "{}", report.image_id())
        .map_err(|error| Error::new(Class::Internal, format!("cannot write to standard output: {error}")))
}

fn request(global: &Global, args: &Build) -> Result<BuildRequest, Error> {
    let pushed = if args.push { Pushed::All } else { Pushed::AsSaid };
    let specs = output_spec::parse_all(&args.output, pushed)?;
    let form = output_spec::common_form(&specs)?;
    let artifacts = specs.iter().find_map(|spec| spec.artifacts);
    let annotations = specs.iter().flat_map(|spec| spec.annotations.clone());
    let annotations = annotations.chain(annotation_spec::parse_all(&args.annotation)?).collect();
    let mut outputs = outputs(args, specs.into_iter().map(|spec| spec.output).collect());
    let tags = tags(&args.tag, &mut outputs)?;
    build_flags::check_deleted(&outputs, &args.allow)?;
    Ok(BuildRequest {
        context: build_flags::main_context(&args.context),
        contexts: build_flags::named_contexts(&args.build_context)?,
        dockerfile: dockerfile(given(args.file.as_deref()))?,
        target: given(args.target.as_deref()).map(str::to_owned),
        platforms: platforms(&args.platform, env::var(PLATFORM).ok())?,
        build_args: build_args(&args.build_arg, config::proxies()?)?,
        labels: args.label.iter().map(|text| label(text)).collect::<Result<_, _>>()?,
        tags,
        outputs,
        annotations,
        terms: terms::terms(&args.terms)?,
        attestations: attest_spec::options(args, artifacts)?,
        reported_provenance: given_path(&args.metadata_file)
            .and_then(|_| metadata::provenance_mode(&env::var(METADATA_PROVENANCE).unwrap_or_default())),
        cache: build_flags::cache(args)?,
        pull: args.pull,
        verify: VerifyPolicy { mode: verify_mode(args.verify), rules: config::verify_rules(global)? },
        steps: build_flags::steps(args)?,
        form,
    })
}

/// The outputs with what `--push` and `--load` stand for if no output does it; the local store if there are none.
fn outputs(args: &Build, mut outputs: Vec<Output>) -> Vec<Output> {
    let pushes = |output: &Output| matches!(output, Output::Push(_) | Output::PushByDigest(_));
    if args.push && !outputs.iter().any(pushes) {
        outputs.push(Output::Push(Vec::new()));
    }
    let loads = |output: &Output| matches!(output, Output::DockerArchive(Destination::Docker(_), _));
    if args.load && !outputs.iter().any(loads) {
        outputs.push(Output::DockerArchive(Destination::Docker(None), Vec::new()));
    }
    if outputs.is_empty() {
        outputs.push(Output::Keep(Vec::new(), Naming::default()));
    }
    outputs
}

/// The names that `--tag` gives.
///
/// Beside a push by digest, those without a tag of their own are repositories for it, as with buildx: each output gets
/// them among its own names, where it says itself what they mean. If one has a tag, they stay tags.
fn tags(texts: &[String], outputs: &mut [Output]) -> Result<Vec<Reference>, Error> {
    let names: Vec<Reference> = texts.iter().map(|text| terms::tag(text)).collect::<Result<_, _>>()?;
    let by_digest = outputs.iter().any(|output| matches!(output, Output::PushByDigest(_)));
    if !by_digest || texts.iter().any(|text| output_spec::has_tag(text)) {
        return Ok(names);
    }
    for output in outputs {
        if let Some(own) = output.names_mut() {
            own.splice(..0, names.iter().cloned());
        }
    }
    Ok(Vec::new())
}

/// How strictly a result is verified.
pub(crate) fn verify_mode(level: VerifyLevel) -> VerifyMode {
    match level {
        VerifyLevel::Off => VerifyMode::Off,
        VerifyLevel::Report => VerifyMode::Report,
        VerifyLevel::Enforce => VerifyMode::Enforce,
    }
}

/// A value, unless it is empty: scripts write `--target=$TARGET` whether they have one or not.
fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn given_path(path: &Option<PathBuf>) -> Option<&Path> {
    path.as_deref().filter(|path| !path.as_os_str().is_empty())
}

/// The platforms of the flag, each once, or else that of the environment.
fn platforms(texts: &[String], default: Option<String>) -> Result<Vec<Platform>, Error> {
    let texts = texts.iter().map(String::as_str).filter(|text| !text.is_empty());
    let mut platforms = Vec::new();
    for text in texts {
        let platform = platform(text)?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    if let Some(text) = default.filter(|text| platforms.is_empty() && !text.is_empty()) {
        platforms.push(text.parse().map_err(|error| usage(format!("{PLATFORM}: {error}")))?);
    }
    Ok(platforms)
}

fn dockerfile(file: Option<&str>) -> Result<Dockerfile, Error> {
    match file {
        None => Ok(Dockerfile::InContext),
        Some("-") => {
            let mut text = Vec::new();
            std::io::stdin()
                .read_to_end(&mut text)
                .map_err(|error| usage(format!("cannot read the Dockerfile from standard input: {error}")))?;
            Ok(Dockerfile::Text(text))
        }
        Some(path) => Ok(Dockerfile::File(PathBuf::from(path))),
    }
}

/// A platform of the flag.
pub(crate) fn platform(text: &str) -> Result<Platform, Error> {
    text.parse().map_err(|error| usage(format!("--platform: {error}")))
}

/// The build arguments; the time of everything that is built may come from the environment, too, and proxies from
/// Docker's configuration, as with buildx.
fn build_args(
    texts: &[String],
    proxies: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Error> {
    let mut found = BTreeMap::new();
    if let Ok(epoch) = env::var(EPOCH)
        && !epoch.is_empty()
    {
        found.insert(EPOCH.to_owned(), epoch);
    }
    for text in texts {
        found.extend(build_arg(text)?);
    }
    for (name, proxy) in proxies {
        if !found.keys().any(|given: &String| given.eq_ignore_ascii_case(&name)) {
            found.insert(name, proxy);
        }
    }
    Ok(found)
}

/// A variable without a value is the environment's, or is left out.
fn build_arg(text: &str) -> Result<Option<(String, String)>, Error> {
    match text.split_once('=') {
        Some(("", _)) | None if text.is_empty() || text.starts_with('=') => {
            Err(usage(format!("--build-arg `{text}` has no name")))
        }
        Some((name, value)) => Ok(Some((name.to_owned(), value.to_owned()))),
        None => Ok(env::var(text).ok().map(|value| (text.to_owned(), value))),
    }
}

fn label(text: &str) -> Result<(String, String), Error> {
    match text.split_once('=') {
        Some(("", _)) => Err(usage(format!("--label `{text}` has no name"))),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None if text.is_empty() => Err(usage("--label is empty")),
        None => Ok((text.to_owned(), String::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beside_a_push_by_digest() {
        let name = |text: &str| text.parse::<Reference>().unwrap();
        let digest = |names: &[&str]| Output::PushByDigest(names.iter().map(|text| name(text)).collect());
        let keep =
            |names: &[&str]| Output::Keep(names.iter().map(|text| name(text)).collect(), Naming::default());
        for (texts, outputs, left, after) in [
            (&["r.io:5/a"][..], vec![digest(&[])], &[][..], vec![digest(&["r.io:5/a"])]),
            (
                &["a", "b"],
                vec![digest(&["c"]), keep(&[])],
                &[],
                vec![digest(&["a", "b", "c"]), keep(&["a", "b"])],
            ),
            (&["a", "b:1"], vec![digest(&["c"])], &["a", "b:1"], vec![digest(&["c"])]),
            (&["a"], vec![keep(&["c"])], &["a"], vec![keep(&["c"])]),
        ] {
            let (texts, mut outputs) =
                (texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>(), outputs);
            let left: Vec<_> = left.iter().map(|text| name(text)).collect();
            assert_eq!(tags(&texts, &mut outputs).unwrap(), left, "{texts:?}");
            assert_eq!(outputs, after, "{texts:?}");
        }
    }

    #[test]
    fn build_arguments() {
        let some = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(build_arg("A=b=c").unwrap(), some("A", "b=c"));
        assert_eq!(build_arg("A=").unwrap(), some("A", ""));
        assert_eq!(build_arg("A_VARIABLE_THAT_NOBODY_SETS").unwrap(), None);
        assert!(build_arg("=x").is_err() && build_arg("").is_err());
        let texts = ["A=1", "A=2"].map(str::to_owned);
        let proxies = [("HTTP_PROXY", "http://a"), ("NO_PROXY", "b")];
        let proxies = || proxies.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let found = build_args(&texts, proxies()).unwrap();
        assert_eq!((&*found["A"], &*found["HTTP_PROXY"]), ("2", "http://a"), "the last one counts");
        let found = build_args(&["http_proxy=".to_owned()], proxies()).unwrap();
        assert_eq!(found.get("HTTP_PROXY"), None, "what is said counts, even if it is nothing");
        assert_eq!(found["NO_PROXY"], "b");
    }

    #[test]
    fn platforms_that_are_asked_for() {
        let of = |texts: &[&str], default: Option<&str>| {
            let texts: Vec<_> = texts.iter().map(|&text| text.to_owned()).collect();
            platforms(&texts, default.map(str::to_owned))
                .map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        let arm = Some("linux/arm64");
        assert_eq!(
            of(&["linux/amd64", "linux/arm64", "linux/arm64/v8"], arm).unwrap(),
            "linux/amd64 linux/arm64"
        );
        assert_eq!(of(&[""], arm).unwrap(), "linux/arm64");
        assert_eq!(of(&[], Some("")).unwrap(), "");
        let error = of(&[], Some("a/b/c/d")).unwrap_err();
        assert!(error.message.starts_with("DOCKER_DEFAULT_PLATFORM: "), "{}", error.message);
    }
}
