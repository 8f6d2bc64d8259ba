//! OpenSSH's server on the loopback interface, which lets the user who runs the test in with one key, to do nothing but
//! git's side of a transfer. With it, that key, an agent that holds it, and the server's own key for `known_hosts`.
//!
//! Panics with a sentence where `sshd`, `ssh-agent` or `ssh-keygen` is missing.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::server_process::ServerProcess;

/// Where Debian has it. It insists on being called by its whole path.
const SSHD: &str = "/usr/sbin/sshd";
/// Where it locks itself in, as root. Not there on a machine on which the service never ran.
const EMPTY: &str = "/run/sshd";
const STANDARD_PORT: u16 = 22;
/// Ports that are tried: between finding one that is free and listening there, another program may take it.
const MAX_PORTS: usize = 5;
/// What may be asked for: git's own shell refuses everything else. The path is the test's, because that of a login may
/// lack the `git` that the test uses.
const CONFIG: &str = "ListenAddress ADDRESS
HostKey DIRECTORY/host
AuthorizedKeysFile DIRECTORY/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
ForceCommand PATH='PATHS' exec git shell -c \"$SSH_ORIGINAL_COMMAND\"
";

/// A running server. It ends when this is dropped.
#[derive(Debug)]
pub struct SshServer {
    address: SocketAddrV4,
    user: String,
    directory: TempDir,
    _process: ServerProcess,
}

/// An agent that holds the key that the server lets in. It ends when this is dropped.
#[derive(Debug)]
pub struct SshAgent {
    socket: PathBuf,
    _process: ServerProcess,
}

impl SshServer {
    /// Starts a server on a port of its own.
    pub fn start() -> Self {
        let mut said = String::new();
        for _ in 0..MAX_PORTS {
            let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
            let port = probe.local_addr().expect("it is bound").port();
            drop(probe);
            match Self::start_at(port) {
                Ok(server) => return server,
                Err(log) if log.contains("in use") => said = log,
                Err(log) => failed(&log),
            }
        }
        failed(&said)
    }

    /// Starts a server on the standard port, for addresses that cannot name a port. Needs a network in which no other server
    /// is there: see [`in_own_network`](crate::in_own_network).
    pub fn start_at_standard_port() -> Self {
        Self::start_at(STANDARD_PORT).unwrap_or_else(|log| failed(&log))
    }

    /// Starts a server. The error is what it says.
    fn start_at(port: u16) -> Result<Self, String> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let place = directory.path();
        make_key(&place.join("host"));
        make_key(&place.join("user"));
        // It fails where it is not allowed, and there it is not needed.
        let _ = fs::create_dir_all(EMPTY);
        let config = CONFIG
            .replace("ADDRESS", &address.to_string())
            .replace("DIRECTORY", &place.to_string_lossy())
            .replace("PATHS", &std::env::var("PATH").unwrap_or_default());
        let file = place.join("config");
        fs::write(&file, config).expect("the config is written");
        let command = [SSHD, "-D", "-e", "-f", &file.to_string_lossy()];
        let ready = |line: &str| line.contains("Server listening on").then_some(());
        let (process, ()) = ServerProcess::start(&command, ready)?;
        Ok(Self { address, user: user(), directory, _process: process })
    }

    /// `user@host`, for an address without a port.
    pub fn login(&self) -> String {
        format!("{}@{}", self.user, self.address.ip())
    }

    /// The address of a path of this machine, `ssh://user@host:port/path`.
    pub fn url(&self, path: &Path) -> String {
        format!("ssh://{}:{}{}", self.login(), self.address.port(), path.display())
    }

    /// The private key that is let in.
    pub fn key(&self) -> PathBuf {
        self.directory.path().join("user")
    }

    /// A private key that is not.
    pub fn strange_key(&self) -> PathBuf {
        let path = self.directory.path().join("strange");
        if !path.exists() {
            make_key(&path);
        }
        path
    }

    /// The line of `known_hosts` that names the server's own key.
    pub fn known_host(&self) -> String {
        self.line_of_known_hosts("host")
    }

    /// A line of `known_hosts` that names another key.
    pub fn impostor(&self) -> String {
        self.line_of_known_hosts("user")
    }

    fn line_of_known_hosts(&self, key: &str) -> String {
        let public = self.directory.path().join(format!("{key}.pub"));
        let public = fs::read_to_string(public).expect("ssh-keygen made it");
        match self.address.port() {
            STANDARD_PORT => format!("{} {public}", self.address.ip()),
            port => format!("[{}]:{port} {public}", self.address.ip()),
        }
    }

    /// Starts an agent that holds the key.
    pub fn agent(&self) -> SshAgent {
        let socket = self.directory.path().join("agent");
        let _ = fs::remove_file(&socket);
        let path = socket.to_string_lossy();
        // It says where it listens, on standard output.
        let command = ["sh", "-c", "exec ssh-agent -D -a \"$0\" >&2", &path];
        let ready = |line: &str| line.starts_with("SSH_AUTH_SOCK=").then_some(());
        let (process, ()) =
            ServerProcess::start(&command, ready).expect("ssh-agent, of openssh-client, runs");
        let added = Command::new("ssh-add").arg("-q").arg(self.key()).env("SSH_AUTH_SOCK", &socket).status();
        assert!(added.is_ok_and(|status| status.success()), "ssh-add adds a key");
        SshAgent { socket, _process: process }
    }
}

impl SshAgent {
    /// What `SSH_AUTH_SOCK` has to be.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

fn failed(log: &str) -> ! {
    panic!("sshd does not run (it comes with openssh-server): {log}")
}

fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status();
    assert!(made.is_ok_and(|status| status.success()), "ssh-keygen makes a key: install openssh-client");
}

/// The name of the user who runs the test.
fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("there is `id`");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
