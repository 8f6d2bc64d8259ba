//! A network of a test's own, with nothing but the loopback interface: there a server can have a port that one of the machine's
//! may have, too.

use std::panic::resume_unwind;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Runs a test on a thread with a network of its own, which the programs and threads that it starts share. Needs root.
///
/// # Panics
/// If the test does, or if there is no `ip`.
pub fn in_own_network(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network");
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(
                up.is_ok_and(|status| status.success()),
                "the loopback interface comes up: install iproute2"
            );
            test();
        });
        thread.join().unwrap_or_else(|panic| resume_unwind(panic));
    });
}
