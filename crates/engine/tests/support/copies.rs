//! Copies as the front end makes them of COPY.

use std::collections::BTreeMap;

use gantry_llb::pb::file_action::Action;
use gantry_llb::{Builder, Edge, pb};
use gantry_oci::Digest;

/// The first output of a vertex.
pub(crate) fn edge(vertex: Digest) -> Edge {
    Edge { vertex, index: 0 }
}

/// What is known of a vertex with this name.
pub(crate) fn named(name: &str) -> pb::OpMetadata {
    let description = BTreeMap::from([("llb.customname".to_owned(), name.to_owned())]);
    pb::OpMetadata { description, ..pb::OpMetadata::default() }
}

/// COPY from a path to another.
pub(crate) fn copy(src: &str, dest: &str) -> pb::FileActionCopy {
    pb::FileActionCopy {
        src: src.into(),
        dest: dest.into(),
        mode: -1,
        timestamp: -1,
        follow_symlink: true,
        dir_copy_contents: true,
        create_dest_path: true,
        allow_wildcard: true,
        allow_empty_wildcard: true,
        ..pb::FileActionCopy::default()
    }
}

/// Adds a copy from `from` onto `base` (`None`: scratch).
pub(crate) fn add_copy(
    builder: &mut Builder,
    name: &str,
    base: Option<Digest>,
    from: Digest,
    copy: pb::FileActionCopy,
) -> Digest {
    let inputs: Vec<Edge> = base.into_iter().chain([from]).map(edge).collect();
    let action = pb::FileAction {
        input: if base.is_some() { 0 } else { -1 },
        secondary_input: i64::try_from(inputs.len()).expect("there are two at most") - 1,
        output: 0,
        action: Some(Action::Copy(copy)),
    };
    let file = pb::op::Op::File(pb::FileOp { actions: vec![action] });
    builder.add(pb::Op { op: Some(file), ..pb::Op::default() }, inputs, named(name))
}
