//! Nothing survives the caller, however it dies.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use gantry_sandbox::{Sandbox, Spec};

use crate::fixture::{Fixture, RUNNER};

/// Killing takes milliseconds; this is for a machine that does a hundred other things.
const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn root_sigkill_of_the_caller_ends_everything() {
    let fixture = Fixture::new();
    let marker = format!("{}", 100_000 + std::process::id());
    let script = format!("sleep {marker} & sleep {marker} & echo ready; wait");
    let on_sys = || {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.lines().filter(|line| line.split(' ').nth(4) == Some("/sys")).count()
    };
    let before = on_sys();
    let mut caller = Caller::start(&fixture.shell(&script));
    assert_eq!(caller.line(), "ready\n");
    await_processes(&marker, 3);

    caller.kill();
    await_processes(&marker, 0);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(fixture.path("").to_str().unwrap()), "{mounts}");
    assert_eq!(on_sys(), before, "the stage was never seen here");
}

#[test]
fn root_dropping_a_run_ends_it() {
    let fixture = Fixture::new();
    let marker = format!("{}", 200_000 + std::process::id());
    let running = Sandbox::new(RUNNER).spawn(&fixture.shell(&format!("echo; sleep {marker}"))).unwrap();
    BufReader::new(&running.stdout).read_line(&mut String::new()).unwrap();
    drop(running);
    await_processes(&marker, 0);
}

#[test]
fn root_children_end_with_the_first_process() {
    let fixture = Fixture::new();
    let marker = format!("{}", 300_000 + std::process::id());
    // The child holds the pipes: their end shows that it is gone.
    fixture.output(&format!("sleep {marker} &"));
    assert_eq!(processes_with(&marker), 0);
}

/// A process that runs a sandbox; killed at the end, however the test ends.
struct Caller(Child);

impl Caller {
    fn start(spec: &Spec) -> Self {
        let mut child = Command::new(RUNNER).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&serde_json::to_vec(spec).unwrap()).unwrap();
        Self(child)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.kill();
    }
}

fn processes_with(marker: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("cmdline"));
    processes.filter_map(|path| fs::read(path).ok()).filter(|line| contains(line, marker.as_bytes())).count()
}

fn contains(line: &[u8], marker: &[u8]) -> bool {
    line.windows(marker.len()).any(|part| part == marker)
}

/// A process that is in the middle of execve has no command line, hence not at once.
fn await_processes(marker: &str, count: usize) {
    let start = Instant::now();
    while processes_with(marker) != count {
        assert!(start.elapsed() < DEADLINE, "{} processes, not {count}", processes_with(marker));
        thread::yield_now();
    }
}
