//! SIGINT and SIGTERM: the first stops the work in an orderly way, the second ends the process at once.
//!
//! Either way nothing is left behind: steps die with this process, and their files are removed by the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use gantry_release::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure;

/// Watches for signals.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    received: Arc<AtomicU8>,
    /// Cancelled by the first signal.
    pub(crate) cancel: CancellationToken,
}

impl Signals {
    /// Starts watching.
    pub(crate) fn watch() -> Result<Self, Error> {
        let signals = Self { received: Arc::default(), cancel: CancellationToken::new() };
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let number = u8::try_from(kind.as_raw_value()).expect("signals have small numbers");
            let mut stream = signal(kind)
                .map_err(|error| failure::internal(format!("cannot watch for signals: {error}")))?;
            let signals = signals.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    let earlier = signals.received.swap(number, Ordering::Relaxed);
                    if earlier != 0 {
                        #[allow(clippy::exit, reason = "the user asked twice")]
                        std::process::exit(128 + i32::from(number));
                    }
                    signals.cancel.cancel();
                }
            });
        }
        Ok(signals)
    }

    /// The signal that came, if one did.
    pub(crate) fn received(&self) -> Option<u8> {
        Some(self.received.load(Ordering::Relaxed)).filter(|number| *number != 0)
    }
}
