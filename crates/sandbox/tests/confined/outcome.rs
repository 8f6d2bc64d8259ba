//! How a run ends, and which error tells why it never began.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;

use gantry_sandbox::{Error, Exit, Sandbox};

use crate::fixture::{Fixture, RUNNER, run};

#[test]
fn root_exit_codes_and_signals() {
    let fixture = Fixture::new();
    for (script, expected) in [
        ("true", Exit::Code(0)),
        ("exit 7", Exit::Code(7)),
        ("exit 255", Exit::Code(255)),
        // Process 1 of a pid namespace is immune to its own signals, but not to a fault.
        ("ulimit -t 1; while :; do :; done", Exit::Signal(9)),
    ] {
        assert_eq!(run(&fixture.shell(script)).unwrap().exit, expected, "{script}");
    }
}

#[test]
fn root_output_is_streamed_and_kept_apart() {
    let fixture = Fixture::new();
    let running = Sandbox::new(RUNNER).spawn(&fixture.shell("echo out; echo err >&2; sleep 1000")).unwrap();
    let mut line = String::new();
    BufReader::new(&running.stdout).read_line(&mut line).unwrap();
    assert_eq!(line, "out\n");
    line.clear();
    BufReader::new(&running.stderr).read_line(&mut line).unwrap();
    assert_eq!(line, "err\n");
    let killer = running.handle.killer();
    killer.kill();
    killer.kill();
    assert_eq!(running.handle.wait().unwrap(), Exit::Signal(9));
}

#[test]
fn root_errors_say_what_is_wrong() {
    let fixture = Fixture::new();
    let program = |name: &str, contents: &[u8], mode: u32| {
        let path = fixture.path("base/bin").join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    program("foreign", b"\x7fELF\x02\x01\x01not a program of any architecture, but long enough", 0o755);
    program("script", b"#!/no/such/interpreter\n", 0o755);
    program("data", b"#!/bin/sh\n", 0o644);
    let text = |name: &str| name.to_owned();
    for (args, expected) in [
        (vec!["nope"], Error::ProgramNotFound { program: text("nope"), path: text("/sbin:/bin") }),
        (vec!["/bin/nope"], Error::ProgramNotFound { program: text("/bin/nope"), path: text("/sbin:/bin") }),
        (vec!["foreign"], Error::ExecFormat { program: text("/bin/foreign") }),
        (vec!["script"], Error::MissingInterpreter { program: text("/bin/script") }),
        (vec!["data"], Error::Exec { program: text("/bin/data"), errno: 13 }),
    ] {
        assert_eq!(run(&fixture.spec(&args)).unwrap_err(), expected, "{args:?}");
    }
    fs::create_dir(fixture.path("base/here")).unwrap();
    program("../here/true", b"#!/bin/sh\n", 0o755);
    for path in [".:/bin", "../here:/bin"] {
        let mut spec = fixture.spec(&["true"]);
        spec.process.cwd = "/here".into();
        spec.process.env = vec![format!("PATH={path}")];
        let expected = Error::ProgramInWorkingDirectory { program: text("true"), path: text(path) };
        assert_eq!(run(&spec).unwrap_err(), expected);
        spec.process.cwd = "/etc/dir".into();
        fs::create_dir_all(fixture.path("base/etc/dir")).unwrap();
        assert_eq!(run(&spec).unwrap().exit, Exit::Code(0), "{path} has nothing there");
    }
    for cwd in ["/etc/passwd", "/proc/self/fd/1", "/proc/self/fd/3"] {
        let mut spec = fixture.spec(&["true"]);
        spec.process.cwd = cwd.into();
        assert_eq!(run(&spec).unwrap_err(), Error::MissingCwd(cwd.into()));
    }
}

#[test]
fn root_a_program_that_is_no_supervisor_is_told() {
    let fixture = Fixture::new();
    let error = match Sandbox::new("/bin/true").spawn(&fixture.spec(&["true"])) {
        Ok(running) => running.handle.wait().unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error, Error::SupervisorDied { status: "exit status: 0".into() });
}
