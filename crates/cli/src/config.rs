//! Configuration: what flags, the environment and files say, put together in one place.
//!
//! Our own files have one format, drawn in `config/file.rs`; for each setting the first place that says it counts:
//!
//! 1. flags,
//! 2. the project's `gantry.toml`: that of `--config`, else the nearest in the working directory and the directories above
//!    it, up to the root of the git work tree,
//! 3. the user's, `$XDG_CONFIG_HOME/gantry/config.toml`,
//! 4. the machine's, `/etc/gantry/config.toml`,
//! 5. for registries: the files of other programs (`docs/registries.md`).

mod credentials;
mod file;
mod flags;
mod proxies;
mod publish;
mod verify;

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use gantry_release::{Class, Error, MachineFiles, Proxies, RegistrySettings, Rules, Settings, Terms};

use self::file::File;
use crate::args::Global;

/// Where the machine's configuration is, for tests and for machines that keep it elsewhere.
const ETC_VARIABLE: &str = "GANTRY_ETC";

/// The settings from flags, environment and files.
pub(crate) fn settings(global: &Global) -> Result<Settings, Error> {
    Ok(Settings { root: root(global)?, registries: registries(global)?, terms: publish_terms(global)? })
}

/// The part of the settings that commands without a store need.
pub(crate) fn registries(global: &Global) -> Result<RegistrySettings, Error> {
    let files = read_files(global)?;
    let mut hosts = flags::rules(global)?;
    let mut commands = Vec::new();
    for (path, file) in &files {
        let registries = file.registries(path);
        hosts.extend(registries.rules);
        commands.extend(registries.credentials);
    }
    let docker = docker_directory();
    Ok(RegistrySettings {
        hosts,
        machine: MachineFiles {
            etc: etc(),
            user: user_directory(),
            docker: docker.clone(),
            registries_conf: credentials::path("CONTAINERS_REGISTRIES_CONF"),
        },
        credentials: credentials::sources(commands, docker.as_deref(), user_directory().as_deref()),
        credential_store: docker.map(|directory| directory.join("config.json")),
        environment: env::vars_os().collect(),
        proxies: Proxies::from_variables(|name| env::var(name).ok())
            .map_err(|error| Error::new(Class::Usage, error.to_string()))?,
    })
}

/// The rules of verification from all files.
pub(crate) fn verify_rules(global: &Global) -> Result<Rules, Error> {
    let tables = read_files(global)?.into_iter().map(|(_, file)| file.verify);
    Ok(tables.reduce(verify::VerifyTable::or).unwrap_or_default().rules())
}

/// On which terms tags move where no flag says it, from all files.
pub(crate) fn publish_terms(global: &Global) -> Result<Terms, Error> {
    let tables = read_files(global)?.into_iter().map(|(_, file)| file.publish);
    Ok(tables.reduce(publish::PublishTable::or).unwrap_or_default().terms())
}

/// The build arguments for the proxies that Docker's configuration gives to every build.
pub(crate) fn proxies() -> Result<BTreeMap<String, String>, Error> {
    let engine = env::var("DOCKER_HOST").unwrap_or_default();
    match docker_directory() {
        Some(directory) => proxies::read(&directory.join("config.json"), &engine),
        None => Ok(BTreeMap::new()),
    }
}

/// Our own files, the most important first.
fn read_files(global: &Global) -> Result<Vec<(PathBuf, File)>, Error> {
    let project = project(global);
    let user = user_directory().map(|directory| directory.join("gantry/config.toml"));
    let mut files = Vec::new();
    for path in [project, user, Some(etc().join("gantry/config.toml"))].into_iter().flatten() {
        if let Some(file) = file::read(&path)? {
            files.push((path, file));
        } else if global.config.as_ref() == Some(&path) {
            return Err(Error::new(Class::NotFound, format!("there is no file `{}`", path.display())));
        }
    }
    Ok(files)
}

/// The project's file: that of `--config`, or the nearest.
pub(crate) fn project(global: &Global) -> Option<PathBuf> {
    global.config.clone().or_else(project_file)
}

/// The nearest `gantry.toml`, not above the root of a work tree, and not above the working directory outside of one.
fn project_file() -> Option<PathBuf> {
    const NAME: &str = "gantry.toml";
    let here = Path::new(NAME);
    if here.exists() {
        return Some(here.to_owned());
    }
    let directory = env::current_dir().ok()?;
    let root = directory.ancestors().find(|directory| directory.join(".git").exists())?;
    let inside = directory.ancestors().take_while(|directory| directory.starts_with(root));
    inside.map(|directory| directory.join(NAME)).find(|path| path.exists())
}

/// Where results are kept: the flag or GANTRY_ROOT, else root's place for state, else the user's place for data.
fn root(global: &Global) -> Result<PathBuf, Error> {
    if let Some(root) = &global.root {
        return Ok(root.clone());
    }
    let system = Path::new("/var/lib/gantry");
    if is_root() {
        return Ok(system.to_owned());
    }
    directory("XDG_DATA_HOME", ".local/share").map(|directory| directory.join("gantry")).ok_or_else(|| {
        Error::new(Class::Usage, "there is no place to keep results: HOME is not set")
            .hint("give one with --root")
    })
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn etc() -> PathBuf {
    credentials::path(ETC_VARIABLE).unwrap_or_else(|| PathBuf::from("/etc"))
}

fn user_directory() -> Option<PathBuf> {
    directory("XDG_CONFIG_HOME", ".config")
}

fn docker_directory() -> Option<PathBuf> {
    credentials::path("DOCKER_CONFIG").or_else(|| home().map(|home| home.join(".docker")))
}

fn directory(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    set.or_else(|| home().map(|home| home.join(below_home)))
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute())
}
