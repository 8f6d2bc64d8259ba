//! Which privileges this process lacks for running sandboxes and for keeping files of any owner. Told beforehand,
//! because the kernel's EPERM comes late and explains nothing.

use rustix::thread::CapabilitySet;

use crate::Error;
use crate::error::During;

/// A capability that this process does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Its name as in capabilities(7), e.g. `CAP_SYS_ADMIN`.
    pub capability: &'static str,
    /// What it is needed for, as a sentence.
    pub why: &'static str,
}

const NEEDED: [(CapabilitySet, Missing); 10] = [
    need(CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN", "Namespaces and mounts are made for each step."),
    need(CapabilitySet::CHOWN, "CAP_CHOWN", "Files of layers belong to any user."),
    need(
        CapabilitySet::DAC_OVERRIDE,
        "CAP_DAC_OVERRIDE",
        "Files of layers may be readable by their owners only.",
    ),
    need(CapabilitySet::FOWNER, "CAP_FOWNER", "Modes and times of other users' files are set."),
    need(CapabilitySet::FSETID, "CAP_FSETID", "Set-user-id and set-group-id bits of layers are kept."),
    need(
        CapabilitySet::MKNOD,
        "CAP_MKNOD",
        "Every step has a /dev, and overlays mark deleted files by device nodes.",
    ),
    need(CapabilitySet::SETFCAP, "CAP_SETFCAP", "Layers may hold programs with file capabilities."),
    need(CapabilitySet::SETGID, "CAP_SETGID", "Steps run with the groups of their USER."),
    need(CapabilitySet::SETUID, "CAP_SETUID", "Steps run as their USER."),
    need(CapabilitySet::SETPCAP, "CAP_SETPCAP", "Steps run with fewer capabilities than this process has."),
];

const fn need(set: CapabilitySet, capability: &'static str, why: &'static str) -> (CapabilitySet, Missing) {
    (set, Missing { capability, why })
}

/// What this process lacks; empty if a build can run.
///
/// # Errors
/// If the kernel does not tell the capabilities.
pub fn privileges() -> Result<Vec<Missing>, Error> {
    let held = rustix::thread::capabilities(None).during("read", "the capabilities of this process")?;
    Ok(missing(held.effective))
}

fn missing(held: CapabilitySet) -> Vec<Missing> {
    NEEDED.iter().filter(|(set, _)| !held.contains(*set)).map(|(_, missing)| *missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_held_is_missing() {
        assert_eq!(missing(CapabilitySet::all()), []);
        assert_eq!(missing(CapabilitySet::empty()).len(), NEEDED.len());
        let names: Vec<_> =
            missing(CapabilitySet::all() - CapabilitySet::MKNOD).iter().map(|m| m.capability).collect();
        assert_eq!(names, ["CAP_MKNOD"]);
    }
}
