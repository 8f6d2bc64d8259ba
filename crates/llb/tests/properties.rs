//! Definitions survive the wire, equal operations are one vertex, and keys do not run into one another.

use gantry_llb::key::KeyWriter;
use gantry_llb::{Builder, Definition, Edge, pb};
use gantry_oci::Digest;
use proptest::prelude::*;

/// Adds steps: each runs a command on the result of an earlier one, or on none.
fn build(steps: &[(String, usize)]) -> (Vec<Digest>, Definition) {
    let mut builder = Builder::new();
    let mut digests: Vec<Digest> = Vec::new();
    for (command, on) in steps {
        let inputs: Vec<Edge> = match on.checked_rem(digests.len() + 1) {
            Some(index) if index < digests.len() => vec![Edge { vertex: digests[index], index: 0 }],
            _ => Vec::new(),
        };
        let meta = pb::Meta { args: vec![command.clone()], cwd: "/".to_owned(), ..pb::Meta::default() };
        let exec = pb::ExecOp { meta: Some(meta), ..pb::ExecOp::default() };
        let op = pb::Op { op: Some(pb::op::Op::Exec(exec)), ..pb::Op::default() };
        digests.push(builder.add(op, inputs, pb::OpMetadata::default()));
    }
    let root = digests.last().map(|vertex| Edge { vertex: *vertex, index: 0 });
    (digests, builder.finish(root, Vec::new()))
}

proptest! {
    #[test]
    fn definitions_come_back(steps in prop::collection::vec(("[a-c]{0,2}", 0_usize..8), 1..12)) {
        let (digests, definition) = build(&steps);
        let wire = definition.to_pb();
        let back = Definition::from_pb(wire.clone()).expect("it was made by us");
        prop_assert_eq!(back.to_pb(), wire);
        prop_assert_eq!(back.root(), definition.root());
        // Vertices are in topological order, each once, and only what the root needs.
        for (position, vertex) in back.vertices().iter().enumerate() {
            prop_assert!(digests.contains(&vertex.digest));
            for edge in &vertex.inputs {
                prop_assert!(back.vertices()[..position].iter().any(|earlier| earlier.digest == edge.vertex));
            }
        }
        prop_assert_eq!(build(&steps).0, digests, "the same operations have the same names");
    }

    #[test]
    fn damaged_definitions_are_refused_or_read(bytes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4)) {
        let wire = pb::Definition { def: bytes, ..pb::Definition::default() };
        let _ = Definition::from_pb(wire);
    }

    #[test]
    fn different_parts_give_different_keys(
        one in prop::collection::vec("[ab]{0,3}", 0..4),
        other in prop::collection::vec("[ab]{0,3}", 0..4),
    ) {
        let key = |parts: &[String]| {
            let mut writer = KeyWriter::new("test");
            for part in parts {
                writer.part(part);
            }
            writer.finish()
        };
        prop_assert_eq!(key(&one) == key(&other), one == other);
    }
}
