//! What a step only reads of its inputs: the sources of its copies, and what its mounts show besides its root.
//!
//! Nothing of that is in its result but by its own doing, so its content is enough for the step's key.

use std::borrow::Cow;

use gantry_llb::pb::file_action::Action;
use gantry_llb::pb::op::Op;
use gantry_llb::pb::{self, FileActionCopy};

use crate::select::whole;

/// A part of an input that is only read.
#[derive(Debug)]
pub(crate) struct Read<'a> {
    /// Which of the step's actions or mounts reads.
    pub(crate) position: usize,
    /// Which of its inputs.
    pub(crate) input: usize,
    /// What of it, as a copy would name it.
    pub(crate) what: Cow<'a, FileActionCopy>,
}

/// All that a step only reads.
pub(crate) fn reads(op: &Op) -> Vec<Read<'_>> {
    match op {
        Op::File(file) => copies(file).collect(),
        Op::Exec(exec) => shown(exec).collect(),
        _ => Vec::new(),
    }
}

/// The copies of a file operation.
pub(crate) fn copies(file: &pb::FileOp) -> impl Iterator<Item = Read<'_>> {
    file.actions.iter().enumerate().filter_map(|(position, action)| match &action.action {
        Some(Action::Copy(copy)) => {
            let input = usize::try_from(action.secondary_input).ok()?;
            Some(Read { position, input, what: Cow::Borrowed(copy) })
        }
        _ => None,
    })
}

/// The mounts of a command that show a tree. What is written to them is thrown away.
fn shown(exec: &pb::ExecOp) -> impl Iterator<Item = Read<'static>> {
    let shows = |mount: &pb::Mount| {
        mount.dest != "/" && matches!(mount.mount_type(), pb::MountType::Bind | pb::MountType::Cache)
    };
    let mounts = exec.mounts.iter().enumerate().filter(move |(_, mount)| shows(mount));
    mounts.filter_map(|(position, mount)| {
        let what = whole(&format!("/{}", mount.selector.trim_start_matches('/')));
        let what = Cow::Owned(FileActionCopy { follow_symlink: true, ..what });
        Some(Read { position, input: usize::try_from(mount.input).ok()?, what })
    })
}
