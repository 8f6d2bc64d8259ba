//! What can be told before any work: privileges and emulators that a graph needs and this machine lacks.

use gantry_llb::pb::op::Op;
use gantry_llb::{Definition, Source, Vertex, pb};
use gantry_oci::Platform;
use gantry_sandbox::binfmt::{Emulation, emulator};
use gantry_sandbox::privileges::privileges;

use crate::engine::Engine;
use crate::error::{EngineError, Fault};
use crate::solver::platform_of;

impl Engine {
    /// Fails where solving the definition is bound to fail on this machine.
    pub fn preflight(&self, definition: &Definition) -> Result<(), EngineError> {
        for vertex in definition.vertices() {
            check_supported(vertex).map_err(|fault| fault.at(&vertex.digest))?;
        }
        let steps = || {
            definition
                .vertices()
                .iter()
                .filter(|vertex| matches!(vertex.op.op, Some(Op::Exec(_) | Op::File(_))))
        };
        if let Some(first) = steps().next() {
            check_privileges().map_err(|fault| fault.at(&first.digest))?;
        }
        for vertex in steps().filter(|vertex| matches!(vertex.op.op, Some(Op::Exec(_)))) {
            let checked = platform_of(vertex).and_then(|platform| check_emulation(&platform));
            checked.map_err(|fault| fault.at(&vertex.digest))?;
        }
        Ok(())
    }
}

/// What this engine cannot execute is said before an hour of other steps has run.
fn check_supported(vertex: &Vertex) -> Result<(), Fault> {
    match vertex.op.op.as_ref() {
        Some(Op::Source(source)) => {
            Source::parse(source).map(|_| ()).map_err(|error| Fault::Unsupported(error.to_string()))
        }
        Some(Op::Exec(exec)) => check_exec(exec),
        Some(Op::File(_) | Op::Merge(_)) => Ok(()),
        Some(Op::Build(_)) => Err(Fault::Unsupported("a nested build".to_owned())),
        Some(Op::Diff(_)) => Err(Fault::Unsupported("a diff operation".to_owned())),
        None => Err(Fault::Graph("an operation has no kind".to_owned())),
    }
}

fn check_exec(exec: &pb::ExecOp) -> Result<(), Fault> {
    for mount in exec.mounts.iter().filter(|mount| mount.dest != "/") {
        match mount.mount_type() {
            pb::MountType::Secret => return Err(Fault::Unsupported("RUN --mount=type=secret".to_owned())),
            pb::MountType::Ssh => return Err(Fault::Unsupported("RUN --mount=type=ssh".to_owned())),
            pb::MountType::Bind if mount.output >= 0 => {
                return Err(Fault::Unsupported("a step with results besides its root".to_owned()));
            }
            _ => {}
        }
    }
    match exec.security() {
        pb::SecurityMode::Sandbox => Ok(()),
        // Nobody allowed it: there is no flag yet that could.
        pb::SecurityMode::Insecure => Err(Fault::Unsupported("RUN --security=insecure".to_owned())),
    }
}

/// Mounting layers and giving files their owners takes privileges that root has and a plain user has not.
fn check_privileges() -> Result<(), Fault> {
    let missing = privileges()?;
    let Some(first) = missing.first() else { return Ok(()) };
    let names: Vec<_> = missing.iter().map(|missing| missing.capability).collect();
    Err(Fault::NotPermitted {
        capabilities: names.join(", "),
        // One reason says what it is about; ten bury it.
        reason: first.why,
        hint: "run as root, or in a container that has these capabilities".to_owned(),
    })
}

/// Fails with advice where the kernel would say "exec format error".
pub(crate) fn check_emulation(platform: &Platform) -> Result<(), Fault> {
    let no_emulator = |reason: String, hint: &str| Fault::NoEmulator {
        platform: platform.to_string(),
        reason,
        hint: hint.to_owned(),
    };
    match emulator(platform.architecture())? {
        Emulation::Native | Emulation::Compatible | Emulation::Emulated { fixed: true, .. } => Ok(()),
        Emulation::Emulated { interpreter, .. } => Err(no_emulator(
            format!(
                "its emulator {} is registered without the flag F, so programs in images cannot reach it",
                interpreter.display()
            ),
            "install qemu-user-static, whose registration has the flag",
        )),
        Emulation::Missing => Err(no_emulator(
            "no emulator is registered with the kernel".to_owned(),
            "install one: `apt-get install qemu-user-static` on Debian and Ubuntu, which registers it with binfmt_misc",
        )),
    }
}
