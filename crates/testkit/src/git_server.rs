//! Repositories, made by the real `git`, behind its own daemon on a loopback port. A test that needs it fails where there
//! is no `git`.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The time of all commits, so that their ids are the same in each run.
const TIME: &str = "1500000000 +0000";
const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon with its repositories. It ends when this is dropped.
#[derive(Debug)]
pub struct GitServer {
    directory: TempDir,
    address: String,
    process: Child,
}

impl GitServer {
    /// Starts a daemon without repositories.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let probe = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let port = probe.local_addr().expect("it is bound").port();
        drop(probe);
        let address = format!("127.0.0.1:{port}");
        let process = git(directory.path())
            .args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", &format!("--port={port}")])
            .arg(format!("--base-path={}", directory.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("git can be started");
        let server = Self { directory, address, process };
        let begin = Instant::now();
        while TcpStream::connect(&server.address).is_err() {
            assert!(begin.elapsed() < PATIENCE, "git daemon does not listen");
            sleep(Duration::from_millis(20));
        }
        server
    }

    /// The address of a repository, `git://127.0.0.1:PORT/name`.
    pub fn url(&self, name: &str) -> String {
        format!("git://{}/{name}", self.address)
    }

    /// The directory that all repositories are in.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Where a repository is; it is made if it is not there.
    pub fn repository(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        if !path.exists() {
            std::fs::create_dir(&path).expect("a directory can be made");
            self.run(name, &["init", "--quiet", "--initial-branch=main"]);
        }
        path
    }

    /// Writes files into a repository and commits them. Returns the commit.
    pub fn commit(&self, name: &str, files: &[(&str, &str)]) -> String {
        let repository = self.repository(name);
        for (path, content) in files {
            let path = repository.join(path);
            std::fs::create_dir_all(path.parent().expect("a joined path has a parent"))
                .and_then(|()| std::fs::write(&path, content))
                .expect("a file can be written");
        }
        self.run(name, &["add", "--all"]);
        self.run(name, &["commit", "--quiet", "--allow-empty", "--message=test"]);
        self.run(name, &["rev-parse", "HEAD"])
    }

    /// Makes a repository with shell lines. Panics if one fails.
    pub fn script(&self, name: &str, lines: &str) {
        let repository = self.repository(name);
        let output =
            prepared("sh", &repository).args(["-c", &format!("set -eu; umask 022\n{lines}")]).output();
        let output = output.expect("there is a shell");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs git in a repository. Panics if it fails.
    pub fn run(&self, name: &str, arguments: &[&str]) -> String {
        let output = git(&self.repository_path(name)).args(arguments).output().expect("git can be started");
        assert!(
            output.status.success(),
            "git {arguments:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn repository_path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        // The daemon runs as a child of the `git` that was started, in one process group with nobody else.
        let _ = Command::new("kill").args(["--", &format!("-{}", self.process.id())]).status();
        let _ = self.process.wait();
    }
}

fn git(directory: &Path) -> Command {
    prepared("git", directory)
}

fn prepared(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).process_group(0).stdin(Stdio::null()).env_clear();
    command.envs([
        ("PATH", std::env::var("PATH").unwrap_or_default()),
        ("HOME", "/dev/null".to_owned()),
        ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ("GIT_AUTHOR_NAME", "test".to_owned()),
        ("GIT_AUTHOR_EMAIL", "test@example.org".to_owned()),
        ("GIT_AUTHOR_DATE", TIME.to_owned()),
        ("GIT_COMMITTER_NAME", "test".to_owned()),
        ("GIT_COMMITTER_EMAIL", "test@example.org".to_owned()),
        ("GIT_COMMITTER_DATE", TIME.to_owned()),
    ]);
    command
}
