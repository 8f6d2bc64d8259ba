//! SSH agents for `--ssh`: the user's own, by its socket, or one that is started for the keys that the user names.
//!
//! Such an agent is OpenSSH's, so that it reads every kind of key that the user's `ssh` reads. It lives as long as a
//! program that waits for us to close a pipe, and so ends however we end.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use gantry_store::{Store, TempDir};

use crate::error::{Class, Error};

/// Adds the keys, says so, and waits for the end of its input. Keys are read from standard input, because of a file that
/// others may read `ssh-add` would make a question of principle.
const SCRIPT: &str = r#"for key; do ssh-add -q - <"$key" || exit 1; done; echo ready; exec cat"#;
const SOCKET: &str = "agent";

/// The agents of a command.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    /// Their sockets by id.
    pub(crate) sockets: BTreeMap<String, PathBuf>,
    started: Vec<Started>,
}

/// An agent of ours. Dropping it ends it.
#[derive(Debug)]
struct Started {
    process: Child,
    _directory: TempDir,
}

impl Agents {
    /// Finds or starts an agent for each id: `paths` are one socket, or any number of keys.
    pub(crate) fn start(
        store: &Store,
        wanted: &BTreeMap<String, Vec<PathBuf>>,
        environment: &[(OsString, OsString)],
    ) -> Result<Self, Error> {
        let mut agents = Self::default();
        for (id, paths) in wanted {
            for path in paths {
                fs::metadata(path)
                    .map_err(|error| Error::io(&format!("use, for --ssh {id},"), path, &error))?;
            }
            let is_socket =
                |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
            let socket = match paths.as_slice() {
                [path] if is_socket(path) => path.clone(),
                paths if paths.iter().any(is_socket) => {
                    let message = format!("--ssh {id}: either one agent's socket or keys, not both");
                    return Err(Error::new(Class::Usage, message));
                }
                paths => agents.add(store, id, paths, environment)?,
            };
            agents.sockets.insert(id.clone(), socket);
        }
        Ok(agents)
    }

    fn add(
        &mut self,
        store: &Store,
        id: &str,
        keys: &[PathBuf],
        environment: &[(OsString, OsString)],
    ) -> Result<PathBuf, Error> {
        let directory = store.temp_dir()?;
        let mut process = spawn(directory.path(), keys, environment)
            .map_err(|error| no_agent(id, &format!("`ssh-agent` cannot be started: {error}")))?;
        let mut first = String::new();
        if let Some(stdout) = process.stdout.take() {
            // Whatever goes wrong, the line is missing.
            let _ = BufReader::new(stdout).read_line(&mut first);
        }
        if first.trim() != "ready" {
            let mut said = String::new();
            if let Some(mut stderr) = process.stderr.take() {
                let _ = stderr.read_to_string(&mut said);
            }
            let _ = process.wait();
            return Err(no_agent(id, said.trim()));
        }
        let socket = directory.path().join(SOCKET);
        self.started.push(Started { process, _directory: directory });
        Ok(socket)
    }
}

/// Starts the agent with a relative name for its socket: the address of a socket is too short for every path.
fn spawn(directory: &Path, keys: &[PathBuf], environment: &[(OsString, OsString)]) -> std::io::Result<Child> {
    let keys = keys.iter().map(fs::canonicalize).collect::<Result<Vec<_>, _>>()?;
    let path = environment.iter().filter(|(name, _)| name == "PATH");
    Command::new("ssh-agent")
        .args(["-a", SOCKET, "sh", "-c", SCRIPT, "sh"])
        .args(keys)
        .current_dir(directory)
        .env_clear()
        .envs(path.map(|(name, value)| (name, value)))
        // A key with a passphrase is refused: there is nobody to ask.
        .envs([("SSH_ASKPASS", "/bin/false"), ("SSH_ASKPASS_REQUIRE", "force"), ("LC_ALL", "C")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

fn no_agent(id: &str, reason: &str) -> Error {
    Error::new(Class::Usage, format!("cannot use the keys of --ssh {id}: {reason}")).hint(
        "keys need OpenSSH's ssh-agent and ssh-add, and no passphrase; a key with one can be added to your own agent",
    )
}

impl Drop for Started {
    fn drop(&mut self) {
        // Its waiting program ends with its input, and the agent with that.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
