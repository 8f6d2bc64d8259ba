//! Runs the process that a JSON specification on standard input describes, with this process's output, and exits as
//! it did. For the integration tests, which need a program that calls `run_if_supervisor`.

use std::io::{self, Read};
use std::process::ExitCode;
use std::thread;

use gantry_sandbox::{Error, Exit, Sandbox, Spec};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    if let Some(code) = gantry_sandbox::run_if_supervisor() {
        return Ok(code);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    match run(&serde_json::from_str(&text)?)? {
        Exit::Code(code) => Ok(ExitCode::from(u8::try_from(code)?)),
        Exit::Signal(signal) => Ok(ExitCode::from(u8::try_from(128 + signal)?)),
    }
}

fn run(spec: &Spec) -> Result<Exit, Error> {
    let running = Sandbox::default().spawn(spec)?;
    thread::scope(|scope| {
        scope.spawn(|| io::copy(&mut &running.stdout, &mut io::stdout()));
        scope.spawn(|| io::copy(&mut &running.stderr, &mut io::stderr()));
    });
    running.handle.wait()
}
