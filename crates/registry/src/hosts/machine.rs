//! The files in which other programs of this machine keep what they know of registries, read in one place.
//!
//! They are not ours: what cannot be read or understood is a warning that names the file, and the rest counts.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{HostRule, buildkitd, certs_d, hosts_toml, registries_conf};

/// Where such files are.
#[derive(Debug, Clone)]
pub struct MachineFiles {
    /// The machine's directory of configuration, `/etc`.
    pub etc: PathBuf,
    /// The user's, `$XDG_CONFIG_HOME`.
    pub user: Option<PathBuf>,
    /// Docker's of the user, `~/.docker`.
    pub docker: Option<PathBuf>,
    /// A `registries.conf` to be read instead of the usual ones.
    pub registries_conf: Option<PathBuf>,
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    rules: Vec<HostRule>,
    warnings: Vec<String>,
}

impl MachineFiles {
    /// All rules, the most important first, and what could not be used.
    ///
    /// The order is: containerd's `hosts.toml`, `registries.conf`, directories of certificates, `buildkitd.toml`; of
    /// each, the user's before the machine's.
    pub fn read(&self) -> (Vec<HostRule>, Vec<String>) {
        let mut reading = Reading::default();
        let containerd = self.directories("containerd/certs.d");
        for directory in &containerd {
            reading.hosts_toml(directory);
        }
        self.read_registries_conf(&mut reading);
        let docker = self.docker.iter().map(|docker| docker.join("certs.d"));
        let docker = docker.chain(self.directories("docker/certs.d"));
        for directory in docker.chain(self.directories("containers/certs.d")).chain(containerd) {
            reading.certificates(&directory);
        }
        let buildx = self.docker.iter().map(|docker| docker.join("buildx/buildkitd.default.toml"));
        for path in self.directories("buildkit/buildkitd.toml").into_iter().chain(buildx) {
            reading.buildkitd(&path);
        }
        (reading.rules, reading.warnings)
    }

    /// A path below the user's configuration and below the machine's.
    fn directories(&self, below: &str) -> Vec<PathBuf> {
        self.user.iter().chain([&self.etc]).map(|root| root.join(below)).collect()
    }

    /// The user's file replaces the machine's; a drop-in replaces what was said of the same prefix before it.
    fn read_registries_conf(&self, reading: &mut Reading) {
        let (main, drop_ins) = match &self.registries_conf {
            Some(path) => (Some(path.clone()), Vec::new()),
            None => {
                let mains = self.directories("containers/registries.conf");
                let mut drop_ins = self.directories("containers/registries.conf.d");
                drop_ins.reverse();
                (mains.into_iter().find(|path| path.exists()), drop_ins)
            }
        };
        let confs = drop_ins.iter().flat_map(|directory| reading.list(directory));
        let confs: Vec<PathBuf> =
            confs.filter(|path| path.extension().is_some_and(|extension| extension == "conf")).collect();
        let mut rules: Vec<HostRule> = Vec::new();
        for path in main.into_iter().chain(confs) {
            let found = reading.parsed(&path, registries_conf::parse).unwrap_or_default();
            rules.retain(|old| found.iter().all(|new| new.pattern != old.pattern));
            rules.extend(found);
        }
        rules.sort_by_key(|rule| std::cmp::Reverse(registries_conf::length(&rule.pattern)));
        reading.rules.extend(rules);
    }
}

impl Reading {
    /// The rules of a directory with a directory for each host; the one for all hosts last.
    fn hosts_toml(&mut self, directory: &Path) {
        let (mut named, mut default) = (Vec::new(), Vec::new());
        for (name, path) in self.by_host(directory) {
            let file = path.join("hosts.toml");
            let rule = self.parsed(&file, |text, file| hosts_toml::parse(text, &name, file));
            if name == "_default" { default.extend(rule) } else { named.extend(rule) }
        }
        self.rules.extend(named.into_iter().chain(default));
    }

    fn certificates(&mut self, directory: &Path) {
        for (name, path) in self.by_host(directory) {
            self.certificates_of(&name, &path);
        }
    }

    fn certificates_of(&mut self, host: &str, directory: &Path) {
        let files = self.list(directory);
        match certs_d::parse(directory, host, &files) {
            Ok(rule) => self.rules.extend(rule),
            Err(reason) => self.warn(directory, reason),
        }
    }

    fn buildkitd(&mut self, path: &Path) {
        let Some(parsed) = self.parsed(path, buildkitd::parse) else { return };
        self.rules.extend(parsed.rules);
        for (host, directory) in parsed.directories {
            self.certificates_of(&host, &directory);
        }
    }

    /// What a parser makes of a file. `None` if there is none, or if it is of no use.
    fn parsed<T>(&mut self, path: &Path, parse: impl FnOnce(&str, &Path) -> Result<T, String>) -> Option<T> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => return None,
            Err(error) => {
                self.warn(path, error);
                return None;
            }
        };
        parse(&text, path).map_err(|reason| self.warn(path, reason)).ok()
    }

    /// The directories of a directory by their names.
    fn by_host(&mut self, directory: &Path) -> BTreeMap<String, PathBuf> {
        let all = self.list(directory).into_iter().filter(|path| path.is_dir());
        all.filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path.clone()))).collect()
    }

    /// The entries of a directory, sorted.
    fn list(&mut self, directory: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
        let mut entries: Vec<PathBuf> = match entries {
            Ok(entries) => entries,
            Err(error) => {
                if !is_absent(&error) {
                    self.warn(directory, error);
                }
                Vec::new()
            }
        };
        entries.sort();
        entries
    }

    fn warn(&mut self, path: &Path, reason: impl std::fmt::Display) {
        self.warnings.push(format!("`{}` is not used: {reason}", path.display()));
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
