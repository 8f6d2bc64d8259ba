//! What can be told before any work: privileges and emulators that a graph needs and this machine lacks.

use std::collections::BTreeSet;

use gantry_llb::pb::op::Op;
use gantry_llb::{Definition, Source, SourceError, Vertex, pb};
use gantry_oci::Platform;
use gantry_sandbox::binfmt::{Emulation, emulator};
use gantry_sandbox::privileges::privileges;

use crate::engine::{Engine, Entitlement};
use crate::error::{EngineError, Fault};
use crate::solver::platform_of;

impl Engine {
    /// Fails where solving the definition is bound to fail on this machine, or with what is allowed.
    pub fn preflight(
        &self,
        definition: &Definition,
        allowed: &BTreeSet<Entitlement>,
    ) -> Result<(), EngineError> {
        for vertex in definition.vertices() {
            self.check(vertex, allowed).map_err(|fault| fault.at(&vertex.digest))?;
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

impl Engine {
    /// What this engine cannot or may not execute is said before an hour of other steps has run.
    fn check(&self, vertex: &Vertex, allowed: &BTreeSet<Entitlement>) -> Result<(), Fault> {
        match vertex.op.op.as_ref() {
            Some(Op::Source(source)) => self.check_source(source),
            Some(Op::Exec(exec)) => {
                check_mounts(exec)?;
                check_entitlements(exec, allowed)
            }
            Some(Op::File(_) | Op::Merge(_)) => Ok(()),
            Some(Op::Build(_)) => Err(Fault::Unsupported("a nested build".to_owned())),
            Some(Op::Diff(_)) => Err(Fault::Unsupported("a diff operation".to_owned())),
            None => Err(Fault::Graph("an operation has no kind".to_owned())),
        }
    }

    fn check_source(&self, source: &pb::SourceOp) -> Result<(), Fault> {
        match parse_source(source)? {
            Source::Http(_) | Source::Git(_) if self.network.is_none() => {
                Err(Fault::Unsupported("a source on the network".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// Parses a source; what is wrong with it is the user's fault where the user wrote it.
pub(crate) fn parse_source(source: &pb::SourceOp) -> Result<Source, Fault> {
    Source::parse(source).map_err(|error| match error {
        SourceError::Scheme(_) => Fault::Unsupported(error.to_string()),
        _ => Fault::BadSource(error.to_string()),
    })
}

fn check_mounts(exec: &pb::ExecOp) -> Result<(), Fault> {
    let has_output = |mount: &&pb::Mount| {
        mount.dest != "/" && mount.mount_type() == pb::MountType::Bind && mount.output >= 0
    };
    match exec.mounts.iter().find(has_output) {
        Some(_) => Err(Fault::Unsupported("a step with results besides its root".to_owned())),
        None => Ok(()),
    }
}

/// Fails if the step wants what nobody allowed.
pub(crate) fn check_entitlements(exec: &pb::ExecOp, allowed: &BTreeSet<Entitlement>) -> Result<(), Fault> {
    let insecure = exec.security() == pb::SecurityMode::Insecure;
    let host_network = exec.network() == pb::NetMode::Host;
    for (wanted, entitlement) in [(insecure, Entitlement::Insecure), (host_network, Entitlement::HostNetwork)]
    {
        if wanted && !allowed.contains(&entitlement) {
            return Err(Fault::NotEntitled(entitlement));
        }
    }
    Ok(())
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
