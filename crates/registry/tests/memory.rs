//! A blob passes through without being held: the process's peak memory does not follow the blob's size.
//!
//! Alone in its process, since the kernel counts per process. The registry is another process and keeps its own.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::io::{self, Read, Write};

use gantry_oci::{BlobSink, BlobSource, Descriptor, Digest, Hasher};
use gantry_registry::{Registry, RegistryConfig};
use gantry_testkit::DockerRegistry;

const SIZE: u64 = 256 * 1024 * 1024;
/// Buffers of the client, the sockets and the runtime; an eighth of the blob.
const ALLOWED_GROWTH: u64 = SIZE / 8;

struct Zeros(Digest);

impl Zeros {
    fn new() -> Self {
        let mut hasher = Hasher::new();
        let piece = vec![0; 1024 * 1024];
        for _ in 0..SIZE / 1024 / 1024 {
            hasher.update(&piece);
        }
        Self(hasher.finish())
    }
}

impl BlobSource for Zeros {
    fn digest(&self) -> Digest {
        self.0
    }

    fn size(&self) -> u64 {
        SIZE
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(io::repeat(0).take(SIZE - offset)))
    }
}

/// Counts and forgets.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobSink for Counter {
    fn start_again(&mut self) -> io::Result<()> {
        self.0 = 0;
        Ok(())
    }
}

fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn docker_registry_gets_a_large_blob_through_small_buffers() {
    let (registry, source) = (DockerRegistry::start(), Zeros::new());
    let (client, reference) = (Registry::new(RegistryConfig::default()), registry.reference("app"));
    let before = peak();
    client.push_blob(&reference, &source, None).await.unwrap();
    let mut counter = Counter(0);
    let blob = Descriptor::new("application/octet-stream", source.digest(), SIZE);
    client.fetch_blob(&reference, &blob, &mut counter).await.unwrap();
    assert_eq!(counter.0, SIZE);
    let growth = peak() - before;
    assert!(growth < ALLOWED_GROWTH, "the peak grew by {growth} bytes");
}
