//! Waiting for what another process does: by looking again until it is so, never by hoping that a time is enough.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Looks often enough to meet a step that lives for a second.
const INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `look` finds something; panics with what was awaited when `patience` ends first.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < patience, "{what} did not happen within {patience:?}");
        sleep(INTERVAL);
    }
}

/// Whether a process runs that has `marker` among its arguments.
pub(crate) fn is_running(marker: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("/proc can be read").flatten();
    processes.map(|entry| fs::read(entry.path().join("cmdline")).unwrap_or_default()).any(|arguments| {
        // The program's own name does not count: only a step has the marker as a whole argument.
        arguments.split(|byte| *byte == 0).any(|argument| argument == marker.as_bytes())
    })
}
