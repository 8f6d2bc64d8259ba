//! The `gantry` command: arguments in, a use case of `gantry-release` called, its events and errors shown, an exit code.
//!
//! The one place that prints, reads the environment and configuration files, and ends the process.

mod args;
mod command;
mod config;
mod exit;
mod failure;
mod metadata;
mod output_spec;
mod progress;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    // The sandbox starts this program anew as the supervisor of a step, which must not have threads.
    if let Some(code) = gantry_sandbox::run_if_supervisor() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return args::refuse(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&failure::internal(format!("cannot start the runtime: {error}"))),
    };
    let outcome = on_deep_stack(|| match &cli.command {
        Command::Build(build) => runtime.block_on(command::build::run(&cli.global, build)),
    });
    // A step that was stopped is waited for where it runs; what is left are idle threads.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}

/// Stack for graphs as deep as the longest Dockerfiles: every step waits for the one below it. The kernel gives only what
/// is used.
const STACK: usize = 512 << 20;

fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let thread = thread.expect("one thread can be started");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
