//! Configuration: where files are, and what they say.
//!
//! `gantry.toml` in the working directory, `$XDG_CONFIG_HOME/gantry/config.toml` and `/etc/gantry/config.toml` have one
//! format; a setting of an earlier one wins:
//!
//! ```toml
//! [registries."registry.internal:5000"]
//! http = true    # speaks plain HTTP
//! ```
//!
//! `[verify]` is drawn in `config/verify.rs`.

mod verify;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gantry_release::{Class, Error, Rules, Settings};
use serde::Deserialize;

use crate::args::Global;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    registries: BTreeMap<String, Host>,
    verify: verify::VerifyTable,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Host {
    http: bool,
}

/// The settings from flags, environment and files.
pub(crate) fn settings(global: &Global) -> Result<Settings, Error> {
    let mut hosts: BTreeMap<String, Host> = BTreeMap::new();
    for path in files() {
        for (name, host) in read(&path)?.registries {
            hosts.entry(name).or_insert(host);
        }
    }
    let plain_http = hosts.into_iter().filter(|(_, host)| host.http).map(|(name, _)| name);
    Ok(Settings {
        root: root(global)?,
        docker_config: docker_config(),
        environment: env::vars_os().collect(),
        plain_http: plain_http.chain(global.plain_http.iter().cloned()).collect(),
    })
}

/// The rules of verification from all files.
pub(crate) fn verify_rules() -> Result<Rules, Error> {
    let mut table = verify::VerifyTable::default();
    for path in files() {
        table = table.or(read(&path)?.verify);
    }
    Ok(table.rules())
}

fn files() -> Vec<PathBuf> {
    let user = directory("XDG_CONFIG_HOME", ".config").map(|directory| directory.join("gantry/config.toml"));
    [Some(PathBuf::from("gantry.toml")), user, Some(PathBuf::from("/etc/gantry/config.toml"))]
        .into_iter()
        .flatten()
        .collect()
}

fn read(path: &Path) -> Result<File, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(File::default());
        }
        Err(error) => {
            return Err(Error::new(Class::Usage, format!("cannot read `{}`: {error}", path.display())));
        }
    };
    toml::from_str(&text).map_err(|error| {
        Error::new(Class::Usage, format!("`{}` is not valid:\n{error}", path.display()).trim_end().to_owned())
    })
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
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn docker_config() -> PathBuf {
    let directory =
        env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(|| home().map(|home| home.join(".docker")));
    directory.unwrap_or_default().join("config.json")
}

fn directory(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    set.or_else(|| home().map(|home| home.join(below_home)))
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute())
}
