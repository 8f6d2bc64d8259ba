//! Runs one process, confined: the answer to "how does a RUN step execute?", with no notion of images.
//!
//! Every mount is made in a private mount namespace that dies with its only user, so nothing is ever mounted on
//! the host and nothing remains, not even after SIGKILL. This is the one crate of the workspace with `unsafe`
//! code, all of it in `raw.rs`.
//!
//! - [`Sandbox::spawn`] runs a process in new namespaces over an overlay root ([`Spec`] → [`Running`] → [`Exit`]).
//! - [`with_trees`] runs a closure in this process over privately mounted trees (used to copy between layers).
//! - [`binfmt`] tells how programs of another architecture would run; [`privileges`] what the caller lacks.
//!
//! Needs Linux 5.12 (`mount_setattr`) and CAP_SYS_ADMIN in the caller's user namespace.
//! A binary that spawns sandboxes from its own executable must call [`run_if_supervisor`] first thing in `main`.

pub mod binfmt;
pub mod privileges;

mod control;
mod detached;
mod error;
mod exec;
mod identity;
mod init;
mod mount;
mod network;
mod overlay;
mod raw;
mod resolve;
mod rlimit;
mod running;
mod seccomp;
mod spec;
mod stage;
mod stubs;
mod supervisor;
mod tree;

pub use error::Error;
pub use mount::{Mount, MountKind};
pub use rlimit::{Resource, Rlimit};
pub use running::{Exit, Handle, Killer, Running, Sandbox};
pub use spec::{Network, Process, Security, Spec, User};
pub use stubs::remove_stubs;
pub use supervisor::run_if_supervisor;
pub use tree::{Overlay, Tree, with_trees};
