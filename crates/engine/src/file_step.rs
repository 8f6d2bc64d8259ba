//! Executes a file operation: COPY, ADD and WORKDIR, in a layer of their own.

use std::path::Path;
use std::sync::Arc;

use gantry_llb::pb;
use gantry_sandbox::{Overlay, Tree, with_trees};
use gantry_store::Store;

use crate::blocking::blocking;
use crate::chain::LayerChain;
use crate::error::Fault;
use crate::file::{self, FileOperation, Source};
use crate::keys::Keyed;
use crate::new_layer::NewLayer;
use crate::output::{Output, tree_of};
use crate::reads::copies;
use crate::select::Item;
use crate::solver::Solver;

/// Applies the operation and keeps what it wrote.
pub(crate) async fn run(
    solver: &Solver,
    file: &pb::FileOp,
    keyed: &Arc<Keyed>,
    (base, inputs): (LayerChain, &[Output]),
) -> Result<Vec<Output>, Fault> {
    check_chain(file, inputs)?;
    let (engine, job) = (&solver.engine, &solver.job);
    job.unless_cancelled(engine.unpack(&base)).await?;
    for read in copies(file) {
        if let Some(Output::Tree(chain)) = inputs.get(read.input) {
            job.unless_cancelled(engine.unpack(chain)).await?;
        }
    }
    let cancel = job.cancel.clone();
    let (store, file, keyed) = (Arc::clone(&engine.store), file.clone(), Arc::clone(keyed));
    let inputs = inputs.to_vec();
    let tree = blocking(move || {
        let layer = NewLayer::start(&store, &base)?;
        with_mounts(&store, &inputs, layer.overlay(&store), |sources, root| {
            let operation = FileOperation {
                actions: &file.actions,
                sources: sources_of(&file, sources),
                selected: selected_of(&file, &keyed),
                cancel: &cancel,
            };
            file::apply(&operation, root)
        })?;
        layer.keep(&store)
    })
    .await?;
    Ok(vec![Output::Tree(tree)])
}

/// Fails unless each action builds on the one before it.
fn check_chain(file: &pb::FileOp, inputs: &[Output]) -> Result<(), Fault> {
    let count = i64::try_from(inputs.len()).unwrap_or(i64::MAX);
    for (position, action) in file.actions.iter().enumerate().skip(1) {
        let previous = count + i64::try_from(position).unwrap_or(i64::MAX) - 1;
        if action.input != previous {
            return Err(Fault::Unsupported("a file operation with several results".to_owned()));
        }
    }
    match file.actions.is_empty() {
        true => Err(Fault::Graph("a file operation has no actions".to_owned())),
        false => Ok(()),
    }
}

fn sources_of<'a>(file: &pb::FileOp, sources: &'a [Source]) -> Vec<Option<&'a Source>> {
    let mut of_action = vec![None; file.actions.len()];
    for read in copies(file) {
        of_action[read.position] = sources.get(read.input);
    }
    of_action
}

fn selected_of<'a>(file: &pb::FileOp, keyed: &'a Keyed) -> Vec<Option<&'a [Item]>> {
    let selected = |position| keyed.selected.get(&position).map(|selection| selection.items.as_slice());
    (0..file.actions.len()).map(selected).collect()
}

/// Calls `work` with every input as a source and with the root that is written to, all mounted for the duration of the
/// call.
fn with_mounts(
    store: &Store,
    inputs: &[Output],
    target: Overlay,
    work: impl FnOnce(&[Source], &Path) -> Result<(), Fault> + Send,
) -> Result<(), Fault> {
    let mut trees = vec![Tree::Overlay(target)];
    for input in inputs {
        if let Output::Tree(chain) = input {
            trees.push(tree_of(store, chain));
        }
    }
    // All at once: a second call inside of this one would cover what the first has mounted.
    with_trees(&trees, |paths| {
        let mut paths = paths.iter();
        let root = paths.next().expect("there is a path for each tree");
        let mut sources = Vec::new();
        for input in inputs {
            sources.push(match input {
                Output::Client(client) => client.source()?,
                Output::Tree(_) => Source::Tree(paths.next().expect("there is a path for each tree").clone()),
            });
        }
        work(&sources, root)
    })?
}
