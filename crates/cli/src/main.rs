//! The `gantry` command: arguments in, a use case of `gantry-release` called, its events and errors shown, an exit code.
//!
//! The one place that prints, reads the environment and configuration files, and ends the process.

mod annotation_spec;
mod args;
mod attest_spec;
mod build_flags;
mod command;
mod config;
mod exit;
mod failure;
mod metadata;
mod output_spec;
mod progress;
mod signals;
mod terms;

use std::process::ExitCode;
use std::time::Duration;

use crate::args::{Cli, Command, RegistryCommand};

/// How long abandoned work may take to tidy up. What is not tidy then, the next command removes.
const LINGER: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // The sandbox starts this program anew as the supervisor of a step, which must not have threads.
    if let Some(code) = gantry_sandbox::run_if_supervisor() {
        return code;
    }
    let cli = match Cli::of_process() {
        Ok(cli) => cli,
        Err(error) => return args::refuse(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(WALK_STACK)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&failure::internal(format!("cannot start the runtime: {error}"))),
    };
    let outcome = on_deep_stack(|| match &cli.command {
        Command::Build(build) => runtime.block_on(command::build::run(&cli.global, build)),
        Command::Publish(publish) => runtime.block_on(command::publish::run(&cli.global, publish)),
        Command::Verify(verify) => runtime.block_on(command::verify::run(&cli.global, verify)),
        Command::Login(login) => runtime.block_on(command::login::run(&cli.global, login)),
        Command::Logout(logout) => runtime.block_on(command::logout::run(&cli.global, logout)),
        Command::Registry(RegistryCommand::Explain(explain)) => {
            runtime.block_on(command::registry::explain(&cli.global, explain))
        }
        Command::Image(image) => runtime.block_on(command::image::run(&cli.global, image)),
        Command::Vendor(vendor) => runtime.block_on(command::vendor::run(&cli.global, vendor)),
    });
    // A step that was stopped is waited for where it runs. Threads that unpacked or copied for a build that failed or was
    // stopped may still be at it; whoever is the last to let go of the store removes its temporary files.
    runtime.shutdown_timeout(LINGER);
    match outcome {
        Some(Ok(code)) => code,
        Some(Err(error)) => exit::report(&error),
        // What happened where was printed when it happened.
        None => exit::report(&failure::internal("gantry itself is at fault: please report the lines above")),
    }
}

/// Stack for trees as deep as the engine walks down, also where calls are not optimised.
const WALK_STACK: usize = 32 << 20;

/// Stack for graphs as deep as the longest Dockerfiles: every step waits for the one below it. The kernel gives only what
/// is used.
const STACK: usize = 512 << 20;

/// Runs the command; `None` if it panicked.
fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        thread.expect("one thread can be started").join().ok()
    })
}
