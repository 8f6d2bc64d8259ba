//! Runs real processes in real sandboxes. Needs root (CAP_SYS_ADMIN) and a static busybox.
#![allow(clippy::unwrap_used, reason = "a fixture that fails should fail the test")]

mod confinement;
mod death;
mod fixture;
mod mounts;
mod outcome;
mod trees;
