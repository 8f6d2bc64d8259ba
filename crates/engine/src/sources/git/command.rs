//! Runs the machine's `git` so that neither the machine's settings nor a hostile repository steer it.
//!
//! It sees no configuration of the system or the user, no hooks, no credential helpers, and asks nobody. It speaks four
//! protocols, so that a submodule cannot name a file of this machine. What it must not show (tokens) reaches it
//! through its environment, which others cannot read.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use gantry_llb::{LogStream, ProgressEvent};
use gantry_oci::Digest;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::login::Login;
use super::words::Words;
use crate::engine::Job;
use crate::error::{Fault, GitCause};

/// More than any answer that is read.
const MAX_ANSWER: u64 = 16 << 20;
/// As much of what it says as explains a failure.
const MAX_TAIL: usize = 4 << 10;

/// What git and ssh say where somebody is not let in, or nobody was there to ask who they are.
const NOT_ALLOWED: [&str; 5] = [
    "terminal prompts disabled",
    "Authentication failed",
    "Permission denied (",
    "returned error: 401",
    "returned error: 403",
];
/// What ssh says where a host has not the key that it should have.
const UNKNOWN_HOST: [&str; 1] = ["Host key verification failed"];

/// What no repository and no user can change. Background work would outlive the build; a transfer on the web that stands
/// still for five minutes is dead.
const CONFIGURATION: [(&str, &str); 11] = [
    ("advice.detachedHead", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("credential.helper", ""),
    ("fetch.recurseSubmodules", "false"),
    ("gc.auto", "0"),
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "300"),
    ("init.defaultBranch", "master"),
    ("maintenance.auto", "false"),
];

/// After how many seconds ssh gives up a server: one that does not let it connect, and one that has not answered five
/// times what it asks in each silent minute. It does not see the settings of the web's transfers.
const PATIENCE: [(&str, u32); 3] =
    [("ConnectTimeout", 30), ("ServerAliveInterval", 60), ("ServerAliveCountMax", 5)];

/// What `git` may see of the caller's environment.
const PASSED_ON: [&str; 12] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAPATH",
];

/// `git` for one repository.
pub(super) struct Git<'a> {
    job: &'a Job,
    /// The step that its words are shown in.
    vertex: Digest,
    environment: Vec<(OsString, OsString)>,
    configuration: Vec<(String, String)>,
    /// What is not to be shown, should it say it.
    hidden: Option<String>,
}

/// The file with the certificate authorities to believe. `git` does not read the variable that everything else in a
/// build reads, so it is told under its own name.
fn authorities(caller: &[(OsString, OsString)]) -> Option<&OsStr> {
    let variable = |wanted: &str| caller.iter().find(|(name, value)| name == wanted && !value.is_empty());
    variable("GIT_SSL_CAINFO").or_else(|| variable("SSL_CERT_FILE")).map(|(_, path)| path.as_os_str())
}

/// How to log in over SSH.
#[derive(Debug, Default)]
pub(super) struct Ssh {
    /// The agent's socket.
    pub(super) agent: Option<PathBuf>,
    /// The only host keys to accept.
    pub(super) known_hosts: Option<PathBuf>,
    /// Where host keys that are met for the first time are noted.
    pub(super) new_hosts: PathBuf,
}

impl<'a> Git<'a> {
    /// `git` that has `home`, an empty directory, for everything that it would look for in a home.
    pub(super) fn new(
        job: &'a Job,
        vertex: Digest,
        caller: &[(OsString, OsString)],
        home: &Path,
        ssh: &Ssh,
    ) -> Self {
        let passed = caller.iter().filter(|(name, _)| PASSED_ON.iter().any(|passed| name == passed));
        let mut environment: Vec<_> = passed.cloned().collect();
        let mut set = |name: &str, value: &OsStr| environment.push((name.into(), value.to_owned()));
        for (name, value) in [
            ("GIT_ALLOW_PROTOCOL", "git:http:https:ssh"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            // Submodules are initialised, too; the machine's templates may hold hooks, and would be in the layer.
            ("GIT_TEMPLATE_DIR", ""),
            ("GIT_TERMINAL_PROMPT", "0"),
            // What it says is read.
            ("LC_ALL", "C"),
        ] {
            set(name, value.as_ref());
        }
        set("HOME", home.as_os_str());
        set("XDG_CONFIG_HOME", home.as_os_str());
        let users_home = caller.iter().find(|(name, _)| name == "HOME").map(|(_, home)| Path::new(home));
        set("GIT_SSH_COMMAND", ssh.command(users_home).as_ref());
        if let Some(authorities) = authorities(caller) {
            set("GIT_SSL_CAINFO", authorities);
        }
        if let Some(agent) = &ssh.agent {
            set("SSH_AUTH_SOCK", agent.as_os_str());
        }
        let configuration = CONFIGURATION.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { job, vertex, environment, configuration: configuration.into(), hidden: None }
    }

    /// Adds a setting.
    pub(super) fn configure(&mut self, name: String, value: String) {
        self.configuration.push((name, value));
    }

    /// Adds what the shown address of the repository needs to be as good as the whole one, and keeps `credentials` out of
    /// what is shown.
    pub(super) fn log_in(&mut self, login: Login, credentials: &str) {
        self.configuration.extend(login.configuration);
        let variable = |(name, value): (&str, Vec<u8>)| (name.into(), OsString::from_vec(value));
        self.environment.extend(login.environment.into_iter().map(variable));
        self.hidden = Some(credentials.to_owned());
    }

    /// Runs it, and returns its standard output. The error is what it said, for who knows what was being tried.
    pub(super) async fn run<S: AsRef<OsStr>>(
        &self,
        directory: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<String, GitFailure> {
        let mut child = self.start(directory, arguments).map_err(|error| {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => "there is no `git` on this machine".to_owned(),
                _ => format!("`git` cannot be started: {error}"),
            };
            GitFailure::Failed { reason, tail: String::new() }
        })?;
        let group = group_of(&child);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let (answer, tail) = tokio::join!(read_all(stdout), self.pass_on(stderr));
            (child.wait().await, answer, tail)
        };
        tokio::pin!(work);
        let (status, answer, tail) = tokio::select! {
            done = &mut work => done,
            () = self.job.cancel.cancelled() => {
                // Not reaped yet, so the number is still its own. What it wrote to may be removed when it is gone.
                let _ = group.map(|group| kill_process_group(group, Signal::KILL));
                let _ = work.await;
                return Err(GitFailure::Cancelled);
            }
        };
        match status {
            Ok(status) if status.success() => Ok(answer),
            Ok(status) => Err(GitFailure::Failed { reason: reason(&tail, &status.to_string()), tail }),
            Err(error) => Err(GitFailure::Failed { reason: error.to_string(), tail }),
        }
    }

    fn start<S: AsRef<OsStr>>(
        &self,
        directory: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> std::io::Result<Child> {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(directory);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("GIT_CONFIG_COUNT", self.configuration.len().to_string());
        for (index, (name, value)) in self.configuration.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), name);
            command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // It starts helpers of its own, which have to end with it.
        command.process_group(0).spawn()
    }

    /// Shows what it says, and keeps the end of it.
    async fn pass_on(&self, stderr: Option<impl AsyncRead + Unpin>) -> String {
        let mut tail = String::new();
        let Some(mut stderr) = stderr else { return tail };
        let mut words = Words::hiding(self.hidden.as_deref());
        let mut buffer = vec![0; MAX_TAIL];
        while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
            self.show(&words.add(&buffer[..read]), &mut tail);
        }
        self.show(&words.end(), &mut tail);
        tail
    }

    fn show(&self, text: &str, tail: &mut String) {
        if text.is_empty() {
            return;
        }
        let (vertex, stream, data) = (self.vertex, LogStream::Stderr, text.as_bytes().to_vec());
        self.job.progress.event(ProgressEvent::Log { vertex, stream, data });
        tail.push_str(text);
        let surplus = tail.len().saturating_sub(MAX_TAIL);
        let surplus = (surplus..tail.len()).find(|at| tail.is_char_boundary(*at)).unwrap_or_default();
        tail.drain(..surplus);
    }
}

async fn read_all(stdout: Option<impl AsyncRead + Unpin>) -> String {
    let mut answer = Vec::new();
    if let Some(stdout) = stdout {
        // An answer that breaks off is judged by the status.
        let _ = stdout.take(MAX_ANSWER).read_to_end(&mut answer).await;
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The line that says what was wrong.
fn reason(tail: &str, status: &str) -> String {
    let lines = tail.lines().map(str::trim);
    let fatal = lines.rev().find_map(|line| line.strip_prefix("fatal: ").or(line.strip_prefix("error: ")));
    fatal.map_or_else(|| format!("git ended with {status}"), str::to_owned)
}

/// Why a run of `git` failed.
#[derive(Debug)]
pub(super) enum GitFailure {
    /// By itself.
    Failed {
        /// In a sentence.
        reason: String,
        /// The end of what it said.
        tail: String,
    },
    /// Because the build was stopped.
    Cancelled,
}

impl GitFailure {
    /// The fault, given what was tried on what.
    pub(super) fn during(self, action: &'static str, remote: &str) -> Fault {
        let cause = self.cause();
        match self {
            Self::Failed { reason, tail } => {
                Fault::Git { action, remote: remote.to_owned(), reason, tail, cause }
            }
            Self::Cancelled => Fault::Cancelled,
        }
    }

    fn cause(&self) -> GitCause {
        match () {
            () if self.says(&UNKNOWN_HOST) => GitCause::UnknownHost,
            () if self.says(&NOT_ALLOWED) => GitCause::Denied,
            () => GitCause::Other,
        }
    }

    /// Whether it said one of these.
    pub(super) fn says(&self, words: &[&str]) -> bool {
        matches!(self, Self::Failed { tail, .. } if words.iter().any(|word| tail.contains(word)))
    }
}

/// The process group that a child leads.
fn group_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

impl Ssh {
    /// The command that git runs for `ssh://`, for a shell: with no settings, keys or questions of the user's.
    fn command(&self, users_home: Option<&Path>) -> OsString {
        let mut command = OsString::from("ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none");
        for (name, seconds) in PATIENCE {
            command.push(format!(" -o {name}={seconds}"));
        }
        let mut option = |name: &str, values: &[&Path]| {
            let values: Vec<String> = values.iter().map(|path| file_name(path)).collect();
            command.push(format!(" -o {name}={}", quoted(&values.join(" "))));
        };
        // Of the two, ssh replaces tokens like `%h` in the user's only.
        let users = |path: &Path| PathBuf::from(path.to_string_lossy().replace('%', "%%"));
        match &self.known_hosts {
            Some(file) => {
                option("UserKnownHostsFile", &[&users(file)]);
                option("GlobalKnownHostsFile", &[Path::new("/dev/null")]);
                command.push(" -o StrictHostKeyChecking=yes");
            }
            // A host that the user or the machine knows must be the one that they know.
            None => {
                let home = users_home.map(|home| home.join(".ssh/known_hosts"));
                let known: Vec<&Path> =
                    home.as_deref().into_iter().chain([Path::new("/etc/ssh/ssh_known_hosts")]).collect();
                option("UserKnownHostsFile", &[&users(&self.new_hosts)]);
                option("GlobalKnownHostsFile", &known);
                command.push(" -o StrictHostKeyChecking=accept-new");
            }
        }
        if self.agent.is_none() {
            command.push(" -o IdentityAgent=none");
        }
        command
    }
}

/// One name in a list of files, which ssh splits at blanks that are not in double quotes.
fn file_name(path: &Path) -> String {
    format!("\"{}\"", path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\""))
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ssh itself makes of a command.
    fn understood(ssh: &Ssh, home: Option<&Path>) -> Vec<String> {
        let command = format!("{} -G host.test", ssh.command(home).into_string().unwrap());
        let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn ssh_knows_only_what_it_is_told() {
        let mut ssh = Ssh { new_hosts: "/t/it's 5% \"new\" \\ %h".into(), ..Ssh::default() };
        let found = understood(&ssh, Some(Path::new("/users/my %h")));
        for line in [
            "userknownhostsfile /t/it's 5% \"new\" \\ %h",
            "globalknownhostsfile /users/my %h/.ssh/known_hosts /etc/ssh/ssh_known_hosts",
            "stricthostkeychecking accept-new",
            "identityagent none",
            "batchmode yes",
            "connecttimeout 30",
            "serveraliveinterval 60",
            "serveralivecountmax 5",
        ] {
            assert!(found.iter().any(|found| found == line), "{line} in {found:#?}");
        }
        let command = ssh.command(Some(Path::new("/users/my %h"))).into_string().unwrap();
        let two = "-o GlobalKnownHostsFile='\"/users/my %h/.ssh/known_hosts\" \"/etc/ssh/ssh_known_hosts\"'";
        assert!(command.contains(two), "they are two files: {command}");
        (ssh.known_hosts, ssh.agent) = (Some("/t/my hosts".into()), Some("/t/agent".into()));
        let found = understood(&ssh, None);
        for line in
            ["userknownhostsfile /t/my hosts", "globalknownhostsfile /dev/null", "stricthostkeychecking true"]
        {
            assert!(found.iter().any(|found| found == line), "{line} in {found:#?}");
        }
        assert!(!found.iter().any(|line| line == "identityagent none"));
    }

    #[test]
    fn certificate_authorities() {
        let chosen = |variables: &[(&str, &str)]| {
            let caller: Vec<_> = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
            authorities(&caller).map(OsStr::to_owned)
        };
        assert_eq!(chosen(&[("SSL_CERT_FILE", "/a"), ("GIT_SSL_CAINFO", "/b")]), Some("/b".into()));
        assert_eq!(chosen(&[("SSL_CERT_FILE", "/a"), ("GIT_SSL_CAINFO", "")]), Some("/a".into()));
        assert_eq!(chosen(&[("SSL_CERT_DIR", "/a")]), None);
    }

    #[test]
    fn the_reason_is_what_git_says_last() {
        assert_eq!(reason("Cloning\nfatal: no such thing\n", "exit status: 128"), "no such thing");
        assert_eq!(reason("hm\n", "signal: 9"), "git ended with signal: 9");
    }
}
