//! Hashes what arrives, beside what is done with it: writing and hashing take about the same time, and need not wait
//! for each other.

use bytes::Bytes;
use gantry_oci::{Digest, Hasher};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Below this the thread would cost more than it saves.
const WORTH_A_THREAD: u64 = 1024 * 1024;
/// Pieces that may wait for the hasher. Each is at most a read buffer of the connection.
const PIECES_AHEAD: usize = 8;

/// A digest in the making.
pub(super) enum Hashing {
    Here(Hasher),
    Elsewhere { pieces: mpsc::Sender<Bytes>, digest: JoinHandle<Digest> },
}

impl Hashing {
    /// Of a blob of this size.
    pub(super) fn of(size: u64) -> Self {
        if size < WORTH_A_THREAD {
            return Self::Here(Hasher::new());
        }
        let (pieces, mut waiting) = mpsc::channel::<Bytes>(PIECES_AHEAD);
        let digest = tokio::task::spawn_blocking(move || {
            let mut hasher = Hasher::new();
            while let Some(piece) = waiting.blocking_recv() {
                hasher.update(&piece);
            }
            hasher.finish()
        });
        Self::Elsewhere { pieces, digest }
    }

    pub(super) async fn update(&mut self, piece: Bytes) {
        match self {
            Self::Here(hasher) => hasher.update(&piece),
            Self::Elsewhere { pieces, .. } => {
                pieces.send(piece).await.expect("the hasher listens until nothing more can come");
            }
        }
    }

    pub(super) async fn finish(self) -> Digest {
        match self {
            Self::Here(hasher) => hasher.finish(),
            Self::Elsewhere { pieces, digest } => {
                drop(pieces);
                digest.await.expect("hashing does not panic, and nobody cancels it")
            }
        }
    }
}
