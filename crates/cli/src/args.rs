//! The command line: names, values and help of all flags, as `docker buildx` has them.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use gantry_release::Secret;

use crate::{command, exit};

/// Builds, verifies and publishes multi-architecture container images, without a daemon.
#[derive(Debug, Parser)]
#[command(name = "gantry", version, max_term_width = 100, after_help = EXIT_CODES, args_override_self = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// What the process was started with.
    pub(crate) fn of_process() -> Result<Self, clap::Error> {
        let mut command = command();
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

/// The command line, with what scripts write to `docker buildx build`: switches with a value, `--push=false`.
fn command() -> clap::Command {
    Cli::command().mut_subcommand("build", |build| build.mut_args(with_value))
}

fn with_value(argument: Arg) -> Arg {
    match argument.get_action() {
        ArgAction::SetTrue => argument
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .hide_default_value(true)
            .value_name("BOOL")
            .value_parser(boolean),
        _ => argument,
    }
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 build failed, 2 usage or configuration, 3 not allowed, 4 not found, \
5 verification failed, 6 publish failed, 10 internal error, 128+n ended by signal n";

/// Flags of all commands.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Directory in which results are kept
    /// [default: /var/lib/gantry for root, else $XDG_DATA_HOME/gantry]
    #[arg(long, global = true, env = "GANTRY_ROOT", value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Registry that speaks plain HTTP (those on loopback do without this)
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    pub(crate) plain_http: Vec<String>,
    /// Mirror of a registry (of Docker Hub, without `HOST=`), asked before it; `http://` where it speaks no TLS
    #[arg(long, global = true, value_name = "[HOST=]MIRROR[/PATH]")]
    pub(crate) registry_mirror: Vec<String>,
    /// Configuration file of the project
    /// [default: gantry.toml here or above, up to the root of the git work tree]
    #[arg(long, global = true, env = "GANTRY_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile, for one or several platforms
    Build(Box<Build>),
    /// Publish an image that was built before, or end a publish that was interrupted
    Publish(Box<Publish>),
    /// Verify that images are what they say they are, without running anything
    Verify(Verify),
    /// Look at, copy, name and combine images in registries and OCI layouts
    #[command(subcommand)]
    Image(command::image::Image),
    /// Keep copies of other people's images up to date in a registry of your own
    Vendor(command::vendor::Vendor),
    /// Log in to a registry: try a user name and a password, and keep them where docker does
    Login(Login),
    /// Forget the credentials for a registry
    Logout(Logout),
    /// Ask about registries
    #[command(subcommand)]
    Registry(RegistryCommand),
}

/// When tags move.
#[derive(Debug, Args)]
pub(crate) struct TagPolicyArgs {
    /// When a tag that exists may be pointed at another image: always, never, or unless what it points at says that it is
    /// newer [default: overwrite, or `tag-policy` of `[publish]` in gantry.toml]
    #[arg(long, value_enum, value_name = "POLICY")]
    pub(crate) tag_policy: Option<PolicyArg>,
}

/// On which terms tags move.
#[derive(Debug, Args)]
pub(crate) struct TermsArgs {
    #[command(flatten)]
    pub(crate) policy: TagPolicyArgs,
    /// What a tag (every tag, without a name) has to point at for it to be written; `absent` if it must not exist
    #[arg(long, value_name = "[NAME=]sha256:…|absent")]
    pub(crate) expect_digest: Vec<String>,
    /// Command for `sh -c` that signs what was verified, before any tag moves; it finds GANTRY_REF, GANTRY_DIGEST,
    /// GANTRY_REPOSITORY, GANTRY_TAGS and GANTRY_PLATFORMS in its environment, and no tag moves if it fails
    #[arg(long, value_name = "COMMAND")]
    pub(crate) sign_cmd: Option<String>,
}

/// When a tag may be pointed at another image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyArg {
    /// Always
    Overwrite,
    /// Never, once it exists
    Immutable,
    /// Unless the image that it points at has a newer revision or creation
    Forward,
}

/// Flags of `gantry publish`.
#[derive(Debug, Args)]
#[command(override_usage = "gantry publish [OPTIONS] <RESULT>\n       gantry publish --list [--format json]")]
pub(crate) struct Publish {
    /// The result: its digest, the beginning of that (4 digits or more), a name that it was built under, or a metadata
    /// file
    #[arg(value_name = "RESULT", required_unless_present = "list")]
    pub(crate) result: Option<String>,
    /// Name to publish it under [default: those of the build, or of the publish that was interrupted]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
    /// What to do when programs of the result are for another architecture than its platform
    #[arg(long, value_enum, default_value_t = VerifyLevel::Enforce, value_name = "LEVEL")]
    pub(crate) verify: VerifyLevel,
    /// Forget that publishing this result was interrupted, and publish nothing
    #[arg(long, conflicts_with_all = ["list", "tag", "metadata_file", "iidfile"])]
    pub(crate) forget: bool,
    /// Show what can be published, the newest first, and what was interrupted
    #[arg(long, conflicts_with_all = ["result", "tag", "metadata_file", "iidfile"])]
    pub(crate) list: bool,
    /// How to show the list; what the document holds: docs/publishing.md
    #[arg(long, value_enum, default_value_t = Format::Text, conflicts_with = "result")]
    pub(crate) format: Format,
    /// Write digests of the result to this file, as JSON
    #[arg(long, value_name = "PATH")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Write the image's id to this file
    #[arg(long, value_name = "PATH")]
    pub(crate) iidfile: Option<PathBuf>,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto, env = "BUILDKIT_PROGRESS")]
    pub(crate) progress: ProgressMode,
    /// Show no progress, and print the image's digest
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Flags of `gantry login`.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// User name
    #[arg(short, long, value_name = "USER")]
    pub(crate) username: Option<String>,
    /// Password; other users of the machine can see it while the command runs
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin", value_parser = secret)]
    pub(crate) password: Option<Secret>,
    /// Take the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Registry [default: Docker Hub]
    #[arg(value_name = "SERVER")]
    pub(crate) server: Option<String>,
}

fn boolean(text: &str) -> Result<bool, &'static str> {
    gantry_release::parse_bool(text).ok_or("write true or false")
}

/// A path, or nothing: `--metadata-file=` of a script whose variable is not set.
fn maybe_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

/// Flags of `gantry logout`.
#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// Registry [default: Docker Hub]
    #[arg(value_name = "SERVER")]
    pub(crate) server: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Show which endpoints, mirrors, credentials and certificates would be used for an image, and why
    Explain(Explain),
}

/// Flags of `gantry registry explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// How to show it
    #[arg(long, value_enum, default_value_t = ExplainFormat::Text)]
    pub(crate) format: ExplainFormat,
    /// The image; nothing is sent to its registry
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
}

/// How to show an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Flags of `gantry build`.
#[derive(Debug, Args)]
#[command(override_usage = "gantry build [OPTIONS] <CONTEXT>")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub(crate) struct Build {
    /// Name of the Dockerfile (`-` for standard input) [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) file: Option<String>,
    /// Name for the image, `registry/name:tag`
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// Platforms to build for, `linux/amd64,linux/arm64` [default: DOCKER_DEFAULT_PLATFORM, else that of the last stage, else
    /// the machine's]
    #[arg(long, value_delimiter = ',', value_name = "PLATFORM")]
    pub(crate) platform: Vec<String>,
    /// Build-time variable; without a value, it is taken from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) build_arg: Vec<String>,
    /// Stage to build [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Label of the image
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<String>,
    /// Annotation of the image: `[TYPE[PLATFORM],…:]KEY=VALUE`, where a type is `manifest` (the default),
    /// `manifest-descriptor`, `index` or `index-descriptor`
    #[arg(long, value_name = "ANNOTATION")]
    pub(crate) annotation: Vec<String>,
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
    /// Push the image under its names: short for --output type=registry
    #[arg(long)]
    pub(crate) push: bool,
    /// Load the image into a Docker engine, with the `docker` command: short for --output type=docker
    #[arg(long)]
    pub(crate) load: bool,
    /// What to do with the result: `type=oci|docker|tar|local|image|registry|cacheonly`, with `dest=PATH`, `name=NAME`,
    /// `push=true`, `compression=zstd` and others after commas (see docs/outputs.md); a bare path is short for
    /// type=local,dest=PATH, and `-` for type=tar,dest=-
    #[arg(short, long, value_name = "SPEC")]
    pub(crate) output: Vec<String>,
    /// Attest the image: `type=provenance` or `type=sbom`, with `mode=min|max`, `version=v1|v0.2`, `builder-id=URI`,
    /// `reproducible=BOOL`, `format=spdx|cyclonedx` and others after commas
    #[arg(long, value_name = "SPEC")]
    pub(crate) attest: Vec<String>,
    /// Attest how the image was built: short for --attest type=provenance [default: false]
    #[arg(long, value_name = "BOOL|SPEC")]
    pub(crate) provenance: Option<String>,
    /// Attest which packages are in the image: short for --attest type=sbom [default: false]
    #[arg(long, value_name = "BOOL|SPEC")]
    pub(crate) sbom: Option<String>,
    /// Where attestations are found: in the `index` of the image, as with buildx, or only as `referrers` of its
    /// manifests, so that the image is as it would be without them [default: index]
    #[arg(long, value_name = "PLACE")]
    pub(crate) attest_in: Option<String>,
    /// Run every step, whatever earlier builds left
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Run every step of these stages, `a,b`
    #[arg(long, value_name = "STAGES")]
    pub(crate) no_cache_filter: Vec<String>,
    /// Further context by the name that the Dockerfile uses, for a stage or an image of that name:
    /// `NAME=PATH`, `docker-image://REF`, `oci-layout://PATH[:TAG][@DIGEST]`, or a git or http address
    #[arg(long, value_name = "NAME=SOURCE")]
    pub(crate) build_context: Vec<String>,
    /// Secret for `RUN --mount=type=secret`: `id=ID,src=PATH` or `id=ID,env=NAME`
    #[arg(long, value_name = "SPEC")]
    pub(crate) secret: Vec<String>,
    /// SSH agent for `RUN --mount=type=ssh`: `default`, `ID=SOCKET` or `ID=KEY,KEY`
    #[arg(long, value_name = "SPEC")]
    pub(crate) ssh: Vec<String>,
    /// What steps may have that they normally may not: `security.insecure` or `network.host`; with `buildx.local.delete`,
    /// an output may delete files anywhere but below the current directory
    #[arg(long, value_name = "ENTITLEMENT", value_delimiter = ',')]
    pub(crate) allow: Vec<String>,
    /// Network of steps that do not say: `default`, which is the machine's, `none` or `host`
    #[arg(long, value_name = "MODE")]
    pub(crate) network: Option<String>,
    /// Line for the /etc/hosts of steps; `host-gateway` is this machine
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub(crate) add_host: Vec<String>,
    /// Size of /dev/shm in steps [default: 64m]
    #[arg(long, value_name = "SIZE")]
    pub(crate) shm_size: Option<String>,
    /// Limit of processes in steps, `nofile=1024:2048`
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<String>,
    /// Control group of steps (accepted for compatibility: steps run in gantry's own)
    #[arg(long, value_name = "GROUP")]
    pub(crate) cgroup_parent: Option<String>,
    /// Ask the registry for every base image (always done; accepted for compatibility)
    #[arg(long)]
    pub(crate) pull: bool,
    /// What to do when programs of a base or of the result are for another architecture than its platform
    #[arg(long, value_enum, default_value_t = VerifyLevel::Enforce, value_name = "LEVEL")]
    pub(crate) verify: VerifyLevel,
    /// Write digests of the result to this file, as JSON
    #[arg(long, value_name = "PATH", value_parser = maybe_path())]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Write the image's id to this file
    #[arg(long, value_name = "PATH", value_parser = maybe_path())]
    pub(crate) iidfile: Option<PathBuf>,
    /// Answer a question instead of building: `check` (is the Dockerfile well written?), `outline` (which arguments and
    /// secrets does the target take?), `targets` (which stages are there?), `convertllb` (which graph?) or
    /// `subrequests.describe` (which questions do tools find?), with `format=json` after a comma; `check` exits with 1 if it finds something, but for `ignorestatus=true`
    #[arg(long, value_name = "METHOD", default_value = "build", hide_default_value = true)]
    pub(crate) call: String,
    /// Short for --call=check
    #[arg(long)]
    pub(crate) check: bool,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto, env = "BUILDKIT_PROGRESS")]
    pub(crate) progress: ProgressMode,
    /// Show no progress, and print the image's id
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) without_effect: WithoutEffect,
    /// Files that the Dockerfile copies: a directory, the address of a git repository or of an archive, or `-` for an
    /// archive or a Dockerfile on standard input
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: String,
}

/// Flags of Docker's builders that change nothing here. Each is accepted, as scripts have them.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub(crate) struct WithoutEffect {
    #[arg(long, hide = true)]
    rm: bool,
    #[arg(long, hide = true)]
    force_rm: bool,
    #[arg(long, hide = true)]
    compress: bool,
    #[arg(long, hide = true)]
    squash: bool,
    #[arg(long, hide = true)]
    isolation: Option<String>,
    #[arg(long, hide = true)]
    security_opt: Vec<String>,
    #[arg(short, long, hide = true)]
    memory: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    memory_swap: Option<String>,
    #[arg(short, long, hide = true)]
    cpu_shares: Option<String>,
    #[arg(long, hide = true)]
    cpu_period: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    cpu_quota: Option<String>,
    #[arg(long, hide = true)]
    cpuset_cpus: Option<String>,
    #[arg(long, hide = true)]
    cpuset_mems: Option<String>,
}

impl WithoutEffect {
    /// What whoever gave them should know.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let limits = [
            ("memory", &self.memory),
            ("memory-swap", &self.memory_swap),
            ("cpu-shares", &self.cpu_shares),
            ("cpu-period", &self.cpu_period),
            ("cpu-quota", &self.cpu_quota),
            ("cpuset-cpus", &self.cpuset_cpus),
            ("cpuset-mems", &self.cpuset_mems),
        ];
        let given = limits.iter().filter(|(_, value)| value.is_some());
        let mut warnings: Vec<String> = given
            .map(|(name, _)| format!("--{name} has no effect: steps have the limits of gantry itself"))
            .collect();
        if self.squash {
            warnings.push(
                "--squash has no effect: a last stage that copies the files has the same result".to_owned(),
            );
        }
        if !self.security_opt.is_empty() {
            warnings
                .push("--security-opt has no effect: RUN --security=insecure says it for a step".to_owned());
        }
        warnings
    }
}

const VERIFY_HELP: &str = "An IMAGE is a reference, an OCI layout, an archive of one or of `docker save`, or a result in the \
local store. Where that is not clear, a transport says it: docker://REF, oci:DIR[:NAME] (or oci-layout://), \
oci-archive:FILE[:NAME], docker-archive:FILE[:NAME], store:NAME. A name with a registry's host means the registry. What decides, and how to adjust it in gantry.toml: docs/verify.md";

/// Flags of `gantry verify`.
#[derive(Debug, Args)]
#[command(after_help = VERIFY_HELP)]
pub(crate) struct Verify {
    /// Platforms that it has to have, exactly these: `linux/amd64,linux/arm64`
    #[arg(long, value_delimiter = ',', value_name = "PLATFORM")]
    pub(crate) platform: Vec<String>,
    /// Read and hash every blob, also where it is known what is in it
    #[arg(long)]
    pub(crate) deep: bool,
    /// Read no layers, and say nothing about programs
    #[arg(long, conflicts_with = "deep")]
    pub(crate) no_bytes: bool,
    /// How to show the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// What to verify
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// How to show a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Text,
    /// A document for scripts
    Json,
}

/// How a build takes what verification finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VerifyLevel {
    /// Look at nothing
    Off,
    /// Warn
    Report,
    /// Refuse bases at FROM, and results before anything leaves the machine
    Enforce,
}

/// How to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// `tty` on a terminal, else `plain`
    #[value(alias = "")]
    Auto,
    /// Lines that change
    Tty,
    /// Lines that stay
    Plain,
    /// One JSON object per line, as BuildKit writes it
    Rawjson,
    /// Nothing, but the image's id
    Quiet,
    /// Nothing
    None,
}

/// Shows what is wrong with the command line, or the help that was asked for.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    // clap chooses the stream: help goes to standard output, errors to standard error.
    let shown = error.print();
    match (error.use_stderr(), shown) {
        (true, _) => ExitCode::from(exit::USAGE),
        (false, Ok(())) => std::io::stdout().flush().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        (false, Err(_)) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn what_scripts_write_to_docker() {
        let build = |arguments: &[&str]| {
            let words = ["gantry", "build"].iter().chain(arguments).chain(&["."]);
            let cli = Cli::from_arg_matches(&command().try_get_matches_from(words).unwrap()).unwrap();
            match cli.command {
                Command::Build(build) => *build,
                other => panic!("{other:?}"),
            }
        };
        let switches = build(&["--push=false", "--load", "--pull=true", "--no-cache", "--no-cache=0", "-q"]);
        let found = [switches.push, switches.load, switches.pull, switches.no_cache, switches.quiet];
        assert_eq!(found, [false, true, true, false, true]);
        let empty = build(&["--progress=", "--metadata-file=", "--target=", "--file="]);
        assert_eq!((empty.progress, empty.metadata_file), (ProgressMode::Auto, Some(PathBuf::new())));
        let old = build(&["--rm", "--force-rm=true", "-m", "2g", "--cpu-quota=-1", "--security-opt", "x"]);
        let warnings = old.without_effect.warnings();
        assert_eq!(warnings.len(), 3, "{warnings:?}");
    }
}
