//! SIGINT, SIGTERM and SIGHUP: the first stops the work in an orderly way, the second ends the process at once.
//!
//! Either way nothing is left behind: steps die with this process, and their files are removed by the next one. A hangup
//! that the caller ignores, as `nohup` does, stays ignored.

use std::fs;
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
        let ignored =
            fs::read_to_string("/proc/self/status").map(|status| ignored(&status)).unwrap_or_default();
        let hangup = Some(SignalKind::hangup()).filter(|hangup| !has(ignored, *hangup));
        for kind in [SignalKind::interrupt(), SignalKind::terminate()].into_iter().chain(hangup) {
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

/// The signals that a process ignores, as the kernel's set of bits, from the text of its `/proc/PID/status`.
fn ignored(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or_default()
}

/// Whether a set of signals has this one: signal 1 is the lowest bit.
fn has(set: u64, kind: SignalKind) -> bool {
    set >> (kind.as_raw_value() - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals() {
        let status = "Name:\tgantry\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\n";
        assert!(has(ignored(status), SignalKind::hangup()), "1 is in the set");
        assert!(!has(ignored(status), SignalKind::interrupt()), "2 is not");
        assert!(has(ignored(status), SignalKind::pipe()), "13 is");
        assert_eq!(ignored("Name:\tgantry\n"), 0);
    }
}
