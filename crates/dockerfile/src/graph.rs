//! The graph while it grows, before its vertices have digests.
//!
//! Which files of the build context are wanted is known only when every instruction was seen, and the context is an
//! input of many vertices. So vertices refer to one another by number until the end, when [`Graph::finish`] gives
//! them to the LLB builder in order.

use std::collections::HashMap;

use gantry_llb::{Builder, Definition, Edge, pb};

use crate::error::Lines;

/// A vertex by its number. Inputs have smaller numbers than their users.
pub(crate) type NodeId = usize;

/// The growing graph.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
}

/// A vertex.
#[derive(Debug)]
pub(crate) struct Node {
    /// What it does.
    pub(crate) recipe: Recipe,
    /// What is known about it.
    pub(crate) metadata: pb::OpMetadata,
    /// The lines that it comes from, if any.
    pub(crate) lines: Option<Lines>,
}

/// What a vertex does.
#[derive(Debug)]
pub(crate) enum Recipe {
    /// Fetches something.
    Source {
        /// What.
        source: pb::SourceOp,
        /// For which platform, if that matters.
        platform: Option<pb::Platform>,
    },
    /// Runs a command; the mounts are in order, and their inputs are not numbered yet.
    Exec {
        /// The command, without mounts.
        exec: Box<pb::ExecOp>,
        /// The mounts with what they mount.
        mounts: Vec<(Option<NodeId>, pb::Mount)>,
        /// The platform to run on.
        platform: pb::Platform,
    },
    /// Changes files, one action after another.
    File {
        /// What is changed; nothing to begin with, if none.
        base: Option<NodeId>,
        /// The actions, with what they copy from. Owners by name refer to the base.
        actions: Vec<(Option<NodeId>, pb::file_action::Action)>,
    },
    /// Lays one tree over another.
    Merge([NodeId; 2]),
}

/// The index that says that there is no input or no output.
pub(crate) const NONE: i64 = -1;

impl Graph {
    /// Adds a vertex.
    pub(crate) fn add(&mut self, recipe: Recipe, metadata: pb::OpMetadata, lines: Option<&Lines>) -> NodeId {
        self.nodes.push(Node { recipe, metadata, lines: lines.cloned() });
        self.nodes.len() - 1
    }

    /// A vertex, to change it.
    pub(crate) fn node_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node]
    }

    /// The definition of what `root` gives.
    pub(crate) fn finish(self, root: Option<NodeId>, source: pb::SourceInfo) -> Definition {
        let mut builder = Builder::new();
        let order = self.in_order(root);
        let mut nodes: Vec<Option<Node>> = self.nodes.into_iter().map(Some).collect();
        let mut edges: Vec<Option<Edge>> = vec![None; nodes.len()];
        let mut located = false;
        for id in order {
            let node = nodes[id].take().expect("the order has each vertex once");
            let (op, inputs) = operation(node.recipe, &edges);
            let vertex = builder.add(op, inputs, node.metadata);
            if let Some(lines) = node.lines {
                builder.locate(&vertex, location(&lines));
                // A file that no vertex comes from is no part of the source map.
                located = true;
            }
            edges[id] = Some(Edge { vertex, index: 0 });
        }
        builder.finish(root.and_then(|root| edges[root]), located.then_some(source).into_iter().collect())
    }

    /// What is needed, inputs before users, in the order in which BuildKit's client goes through a graph: where vertices
    /// turn out to be one, it says which name comes last.
    fn in_order(&self, root: Option<NodeId>) -> Vec<NodeId> {
        let mut order = Vec::new();
        let mut seen = vec![false; self.nodes.len()];
        let mut open: Vec<(NodeId, Vec<NodeId>)> = Vec::new();
        let mut next = root;
        loop {
            if let Some(id) = next
                && !std::mem::replace(&mut seen[id], true)
            {
                let mut inputs = self.nodes[id].recipe.inputs();
                inputs.reverse();
                open.push((id, inputs));
            }
            let Some((id, inputs)) = open.last_mut() else { return order };
            next = inputs.pop();
            if next.is_none() {
                order.push(*id);
                open.pop();
            }
        }
    }
}

impl Recipe {
    /// The inputs in the order in which BuildKit's client follows them.
    fn inputs(&self) -> Vec<NodeId> {
        match self {
            Self::Source { .. } => Vec::new(),
            Self::Exec { mounts, .. } => mounts.iter().filter_map(|(source, _)| *source).collect(),
            Self::File { base, actions } => {
                base.iter().copied().chain(actions.iter().rev().filter_map(|(source, _)| *source)).collect()
            }
            Self::Merge(layers) => layers.to_vec(),
        }
    }
}

/// Numbers inputs in the order of their first use: equal ones have one number.
#[derive(Default)]
struct Inputs {
    list: Vec<Edge>,
    numbers: HashMap<Edge, usize>,
}

impl Inputs {
    fn index(&mut self, edge: Option<Edge>) -> i64 {
        let Some(edge) = edge else { return NONE };
        let index = self.numbers.entry(edge).or_insert_with(|| {
            self.list.push(edge);
            self.list.len() - 1
        });
        *index as i64
    }
}

fn operation(recipe: Recipe, edges: &[Option<Edge>]) -> (pb::Op, Vec<Edge>) {
    let edge = |node: NodeId| edges[node].expect("inputs come first");
    let mut inputs = Inputs::default();
    let (op, platform) = match recipe {
        Recipe::Source { source, platform } => (pb::op::Op::Source(source), platform),
        Recipe::Exec { mut exec, mounts, platform } => {
            exec.mounts = number_mounts(mounts, &mut inputs, edge);
            (pb::op::Op::Exec(*exec), Some(platform))
        }
        Recipe::File { base, actions } => {
            (pb::op::Op::File(number_actions(base.map(edge), actions, &mut inputs, edge)), None)
        }
        Recipe::Merge(layers) => {
            inputs.list = layers.map(edge).to_vec();
            let input = |input| pb::MergeInput { input };
            (pb::op::Op::Merge(pb::MergeOp { inputs: vec![input(0), input(1)] }), None)
        }
    };
    let constraints = Some(pb::WorkerConstraints::default());
    (pb::Op { op: Some(op), platform, constraints, ..pb::Op::default() }, inputs.list)
}

/// Gives mounts the numbers of their inputs, and those that may be used further the numbers of their outputs.
fn number_mounts(
    mounts: Vec<(Option<NodeId>, pb::Mount)>,
    inputs: &mut Inputs,
    edge: impl Fn(NodeId) -> Edge,
) -> Vec<pb::Mount> {
    let mut outputs = 0;
    let number = |(source, mut mount): (Option<NodeId>, pb::Mount)| {
        mount.input = inputs.index(source.map(&edge));
        if mount.output != NONE && mount.mount_type() == pb::MountType::Bind {
            mount.output = outputs;
            outputs += 1;
        }
        mount
    };
    mounts.into_iter().map(number).collect()
}

/// Chains actions: each changes what the one before it left, and only the last one's result leaves the operation.
fn number_actions(
    base: Option<Edge>,
    actions: Vec<(Option<NodeId>, pb::file_action::Action)>,
    inputs: &mut Inputs,
    edge: impl Fn(NodeId) -> Edge,
) -> pb::FileOp {
    let base = inputs.index(base);
    let sources: Vec<i64> = actions.iter().map(|(source, _)| inputs.index(source.map(&edge))).collect();
    let (first_result, last) = (inputs.list.len() as i64, actions.len() - 1);
    let chain = |(index, (_, mut action)): (usize, (_, pb::file_action::Action))| {
        if let Some(owner) = owner_mut(&mut action) {
            refer_to(base, owner);
        }
        pb::FileAction {
            input: if index == 0 { base } else { first_result + index as i64 - 1 },
            secondary_input: sources[index],
            output: if index == last { 0 } else { NONE },
            action: Some(action),
        }
    };
    pb::FileOp { actions: actions.into_iter().enumerate().map(chain).collect() }
}

fn owner_mut(action: &mut pb::file_action::Action) -> Option<&mut pb::ChownOpt> {
    match action {
        pb::file_action::Action::Copy(copy) => copy.owner.as_mut(),
        pb::file_action::Action::Mkdir(mkdir) => mkdir.owner.as_mut(),
        pb::file_action::Action::Mkfile(mkfile) => mkfile.owner.as_mut(),
        _ => None,
    }
}

/// Names are looked up in the files of the base.
fn refer_to(base: i64, owner: &mut pb::ChownOpt) {
    for user in [&mut owner.user, &mut owner.group].into_iter().flatten() {
        if let Some(pb::user_opt::User::ByName(name)) = &mut user.user {
            name.input = base;
        }
    }
}

/// One range per line, as BuildKit writes it.
fn location(lines: &Lines) -> pb::Location {
    let range = |line: u32| {
        let position = pb::Position { line: i32::try_from(line).unwrap_or(i32::MAX), character: 0 };
        pb::Range { start: Some(position.clone()), end: Some(position) }
    };
    pb::Location { source_index: 0, ranges: lines.clone().map(range).collect() }
}
