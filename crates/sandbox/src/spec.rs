//! What to run: the complete description of one process and its surroundings. It travels as JSON to the
//! supervisor, over a pipe because environment and files may hold secrets; `Debug` does not show those.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Mount, Overlay, Rlimit};

/// One process to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The root file system. Its upper directory receives what the process writes, and nothing else.
    pub root: Overlay,
    /// Whether `/` (not the mounts on it) is read-only for the process.
    pub readonly_root: bool,
    /// Mounted as given, after the file systems that every sandbox has; one on the place of such a file system is
    /// mounted in its stead.
    pub mounts: Vec<Mount>,
    /// The process.
    pub process: Process,
    /// What it sees of the network.
    pub network: Network,
    /// What it may do.
    pub security: Security,
    /// The host name in its UTS namespace.
    pub hostname: String,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: u64,
}

/// Program, environment and identity. It becomes process 1 of its own pid namespace, with a pipe at its end as
/// standard input and umask 022.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The program and its arguments. A program without `/` is searched for in the PATH of `env`.
    pub args: Vec<String>,
    /// The whole environment, as `NAME=value`.
    pub env: Vec<String>,
    /// An absolute directory in the root. What of it is missing is made, for the user.
    pub cwd: String,
    /// Numeric identity.
    pub user: User,
    /// Limits that differ from the caller's.
    pub rlimits: Vec<Rlimit>,
}

impl Process {
    /// The value of `name` in the environment; the last one if it is given twice.
    pub(crate) fn env_var(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of the environment may be secrets.
        let names: Vec<_> = self.env.iter().map(|pair| pair.split('=').next().unwrap_or_default()).collect();
        f.debug_struct("Process")
            .field("args", &self.args)
            .field("env", &names)
            .field("cwd", &self.cwd)
            .field("user", &self.user)
            .field("rlimits", &self.rlimits)
            .finish()
    }
}

/// A numeric identity: names are the caller's to resolve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Real, effective and saved user id.
    pub uid: u32,
    /// Real, effective and saved group id.
    pub gid: u32,
    /// All supplementary groups.
    pub groups: Vec<u32>,
}

/// What the process sees of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The caller's network, unconfined.
    Host,
    /// A loopback interface and nothing else.
    None,
}

/// What the process may do; the two modes of the Dockerfile's `RUN --security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Security {
    /// Docker's default capabilities, masked `/proc`, read-only `/sys`, no devices, seccomp.
    Sandbox,
    /// All the capabilities of the caller, for any user, and none of these restrictions.
    Insecure,
}

impl Spec {
    /// Checks what can be told without touching the system.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let invalid = |message: String| Err(Error::InvalidSpec(message));
        if self.process.args.is_empty() {
            return invalid("no program to run".into());
        }
        if !self.process.cwd.starts_with('/') {
            return invalid(format!("working directory {:?} is not absolute", self.process.cwd));
        }
        if let Some(text) = self.process.args.iter().chain(&self.process.env).find(|text| text.contains('\0'))
        {
            return invalid(format!("NUL byte in {:?}", text.split(['=', '\0']).next().unwrap_or_default()));
        }
        match self.mounts.iter().find(|mount| !mount.dest.starts_with('/') || mount.components().is_empty()) {
            Some(mount) => invalid(format!("cannot mount on {:?}", mount.dest)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MountKind;

    fn spec() -> Spec {
        Spec {
            root: Overlay { lower: vec![], upper: "/u".into(), work: "/w".into() },
            readonly_root: false,
            mounts: vec![],
            process: Process {
                args: vec!["true".into()],
                env: vec!["TOKEN=hunter2".into(), "A=1".into(), "A=2".into()],
                cwd: "/".into(),
                user: User::default(),
                rlimits: vec![],
            },
            network: Network::None,
            security: Security::Sandbox,
            hostname: "h".into(),
            shm_size: 1 << 20,
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let file = |dest: &str| Mount {
            dest: dest.into(),
            kind: MountKind::File {
                contents: b"hunter2".to_vec(),
                mode: 0o400,
                uid: 0,
                gid: 0,
                readonly: true,
            },
        };
        type Change<'a> = Box<dyn Fn(&mut Spec) + 'a>;
        let table: [(&str, Change<'_>); 6] = [
            ("no program", Box::new(|spec| spec.process.args.clear())),
            ("not absolute", Box::new(|spec| spec.process.cwd = "src".into())),
            ("NUL byte in \"K\"", Box::new(|spec| spec.process.env.push("K=a\0b".into()))),
            ("cannot mount on \"/\"", Box::new(|spec| spec.mounts.push(file("/")))),
            ("cannot mount on \"/.\"", Box::new(|spec| spec.mounts.push(file("/.")))),
            ("cannot mount on \"a\"", Box::new(|spec| spec.mounts.push(file("a")))),
        ];
        assert_eq!(spec().validate(), Ok(()));
        for (expected, change) in table {
            let mut spec = spec();
            change(&mut spec);
            let error = spec.validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should say {expected}");
        }
    }

    #[test]
    fn debug_shows_no_secrets() {
        assert!(!format!("{:?}", spec()).contains("hunter2"));
    }

    #[test]
    fn the_last_value_of_a_variable_counts() {
        assert_eq!(spec().process.env_var("A"), Some("2"));
        assert_eq!(spec().process.env_var("TOK"), None);
    }
}
