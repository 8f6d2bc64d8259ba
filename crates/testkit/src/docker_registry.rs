//! Docker's own registry as a child process: the proof that what works with the fake works with the real one.
//!
//! It listens on a port that the kernel chooses and says which one in its log, so two tests never meet. It dies with
//! the object, and with the test process: `setpriv` ties its life to that of the thread that started it, and that
//! thread does nothing but wait.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use gantry_oci::{Digest, Reference};

use crate::ImageTarget;

mod http;

const CONFIG: &str = "version: 0.1
log: {level: info, formatter: text}
storage: {filesystem: {rootdirectory: STORAGE}, delete: {enabled: true}}
http: {addr: '127.0.0.1:0'}
";

/// A running registry with an empty store of its own.
#[derive(Debug)]
pub struct DockerRegistry {
    address: String,
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl DockerRegistry {
    /// Starts the registry and waits until it listens. Panics if the program is missing.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let config = directory.path().join("config.yml");
        let storage = directory.path().join("storage");
        std::fs::write(&config, CONFIG.replace("STORAGE", &storage.to_string_lossy()))
            .expect("the config is written");
        let (stop, stopped) = channel();
        let (listening, address) = channel();
        let keeper = std::thread::spawn(move || keep(&config, &listening, &stopped));
        let address = address.recv().ok().flatten().expect("docker-registry runs: install docker-registry");
        Self { address, stop: Some(stop), keeper: Some(keeper), _directory: directory }
    }

    /// A reference into this registry, from `repository[:tag][@digest]`.
    pub fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.address).parse().expect("the test names a valid reference")
    }
}

/// Runs the registry until told to stop.
fn keep(config: &std::path::Path, listening: &Sender<Option<String>>, stopped: &Receiver<()>) {
    let child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
        .arg(config)
        .env("OTEL_TRACES_EXPORTER", "none")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else { return };
    let drain = announce(&mut child, listening.clone());
    let _ = stopped.recv();
    let _ = child.kill();
    let _ = child.wait();
    let _ = drain.join();
}

/// Reads the log for the address, and on, so that the registry never waits for a full pipe.
fn announce(child: &mut Child, listening: Sender<Option<String>>) -> JoinHandle<()> {
    let log = child.stderr.take().expect("the log is piped");
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("listening on ") {
                let address = rest.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).next();
                let _ = listening.send(address.map(str::to_owned));
            }
        }
        let _ = listening.send(None);
    })
}

impl ImageTarget for DockerRegistry {
    fn host(&self) -> String {
        self.address.clone()
    }

    fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let start = http::send(&self.address, "POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
        let location = start.header("location").expect("the registry gives the address of the upload");
        let path = location
            .split_once("://")
            .map_or(location, |(_, rest)| &rest[rest.find('/').unwrap_or(rest.len())..]);
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}digest={digest}");
        let end = http::send(&self.address, "PUT", &path, "application/octet-stream", bytes);
        assert_eq!(end.status, 201, "storing blob {digest}: {}", end.text());
        digest
    }

    fn put_manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let name = tag.map_or_else(|| digest.to_string(), str::to_owned);
        let end = http::send(
            &self.address,
            "PUT",
            &format!("/v2/{repository}/manifests/{name}"),
            media_type,
            bytes,
        );
        assert_eq!(end.status, 201, "storing manifest {digest}: {}", end.text());
        digest
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}
