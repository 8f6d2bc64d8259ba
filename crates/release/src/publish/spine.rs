//! The spine of a graph: the outputs whose layers are layers of the result, and not only sources of copies.
//!
//! Each is a beginning of the result's chain, or, below a merge, a part of it. So what is on the spine can be uploaded as
//! soon as it is there, while the steps above it still run.

use std::collections::HashSet;

use gantry_llb::pb::op::Op;
use gantry_llb::{Definition, Edge, Vertex};

/// The edges whose trees the result has in it, with the result's own.
pub(crate) fn spine(definition: &Definition) -> HashSet<Edge> {
    let mut spine = HashSet::new();
    let mut open: Vec<Edge> = definition.root().into_iter().collect();
    while let Some(edge) = open.pop() {
        if spine.insert(edge)
            && let Some(vertex) = definition.vertex(&edge.vertex)
        {
            open.extend(below(vertex, edge.index));
        }
    }
    spine
}

/// What one output of a vertex is made on.
fn below(vertex: &Vertex, output: u32) -> Vec<Edge> {
    let input = |index: i64| usize::try_from(index).ok().and_then(|index| vertex.inputs.get(index)).copied();
    match vertex.op.op.as_ref() {
        Some(Op::Exec(exec)) => {
            let root = exec.mounts.iter().find(|mount| mount.output == i64::from(output));
            root.and_then(|mount| input(mount.input)).into_iter().collect()
        }
        Some(Op::File(file)) => {
            file.actions.first().and_then(|action| input(action.input)).into_iter().collect()
        }
        Some(Op::Merge(merge)) => merge.inputs.iter().filter_map(|one| input(one.input)).collect(),
        Some(Op::Source(_) | Op::Build(_) | Op::Diff(_)) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use gantry_dockerfile::{Conversion, Images, Options, convert};
    use gantry_oci::Platform;

    use super::*;

    #[test]
    fn what_is_only_copied_from_is_not_on_it() {
        let text = "FROM scratch AS from\nCOPY a /from\n\
                    FROM scratch\nCOPY b /one\nRUN [\"/run\"]\nCOPY --link c /linked\nCOPY --from=from /from /two\n";
        let platform: Platform = "linux/amd64".parse().unwrap();
        let options = Options::new(platform.clone(), platform);
        let Conversion::Done(converted) = convert(text.as_bytes(), &options, &Images::default()).unwrap()
        else {
            panic!("nothing has to be resolved")
        };
        let definition = converted.definition;
        let spine = spine(&definition);
        let on: HashSet<_> = spine.iter().map(|edge| edge.vertex).collect();
        let named = |part: &str| {
            let mut found = definition.vertices().iter().filter(|vertex| vertex.name().contains(part));
            found.next().unwrap_or_else(|| panic!("a vertex is named {part}")).digest
        };
        for part in ["COPY b /one", "RUN", "COPY --link", "COPY --from"] {
            assert!(on.contains(&named(part)), "{part} is in the result");
        }
        assert!(!on.contains(&named("COPY a /from")));
        assert!(!on.contains(&named("load build context")));
    }
}
