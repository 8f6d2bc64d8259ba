//! Docker's own registry as a child process: the proof that what works with the fake works with the real one.
//!
//! It listens on a port that the kernel chooses and says which one in its log, so two tests never meet.

use gantry_oci::{Digest, Reference};

use crate::ImageTarget;
use crate::server_process::ServerProcess;

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
    _process: ServerProcess,
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
        let command = ["docker-registry", "serve", &config.to_string_lossy()];
        let (process, address) = ServerProcess::start(&command, listening_on)
            .expect("docker-registry runs: install docker-registry");
        Self { address, _process: process, _directory: directory }
    }

    /// A reference into this registry, from `repository[:tag][@digest]`.
    pub fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.address).parse().expect("the test names a valid reference")
    }
}

/// The address in the line of the log that has it.
fn listening_on(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on ")?;
    rest.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).next().map(str::to_owned)
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
