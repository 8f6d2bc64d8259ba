//! What a build starts from, looked at before it does any work.
//!
//! Everything built on a base with programs for another machine is wrong, and shows it an hour later or not at all. The
//! indexes that this needs are made by unpacking the base, which its steps need anyway, and the verdict is kept: a
//! later build reads nothing for it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use gantry_dockerfile::Converted;
use gantry_engine::BaseUse;
use gantry_layer::FileTree;
use gantry_llb::key::KeyWriter;
use gantry_llb::pb::op::Op;
use gantry_llb::{Definition, Source, Vertex};
use gantry_oci::{Digest, Platform, Reference};
use tokio_util::sync::CancellationToken;

use super::content::blocking;
use super::programs;
use super::report::Outcome;
use super::rules::{VerifyMode, VerifyPolicy};
use crate::context::Input;
use crate::error::{Class, Error};
use crate::events::{Event, Events, Step};
use crate::gantry::Gantry;

/// What is recorded of a base that is what it says.
const FINE: &str = "fine";

/// A base of a build.
#[derive(Clone)]
struct Base {
    base_use: BaseUse,
    lines: Option<RangeInclusive<u32>>,
}

/// Refuses bases whose programs are for another machine than their platform.
pub(crate) async fn check_bases(
    gantry: &Gantry,
    input: &Input,
    plans: &[(Platform, Converted)],
    policy: &VerifyPolicy,
    events: &dyn Events,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    tokio::select! {
        checked = check_all(gantry, input, plans, policy, events) => checked,
        () = cancel.cancelled() => Err(Error::new(Class::Cancelled, "stopped while looking at base images")),
    }
}

async fn check_all(
    gantry: &Gantry,
    input: &Input,
    plans: &[(Platform, Converted)],
    policy: &VerifyPolicy,
    events: &dyn Events,
) -> Result<(), Error> {
    if policy.mode == VerifyMode::Off {
        return Ok(());
    }
    let mut unknown = BTreeMap::new();
    for ((reference, platform), base) in plans.iter().flat_map(|(_, plan)| bases(&plan.definition)) {
        let key = verdict_key(&reference, &platform, policy);
        if gantry.store().result(&key)?.as_deref() != Some(FINE) {
            let known: &mut Base = unknown.entry((reference, platform)).or_insert_with(|| base.clone());
            known.base_use = known.base_use.max(base.base_use);
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let step = Step::begin(events, "[internal] check the programs of base images");
    let checks = unknown.iter().map(|((reference, platform), base)| async move {
        let excerpt = |lines| input.excerpt(lines);
        let excerpt = base.lines.clone().map(excerpt);
        let at = |error: Error| Error { excerpt: excerpt.clone(), ..error };
        match check_base(gantry, reference, platform, base.base_use, policy).await {
            Ok(None) => Ok(()),
            Ok(Some(found)) if policy.mode == VerifyMode::Report => {
                events.event(Event::Warning {
                    message: refusal(reference, platform, &found).message,
                    hints: Vec::new(),
                });
                Ok(())
            }
            Ok(Some(found)) => Err(at(refusal(reference, platform, &found))),
            Err(error) => Err(at(error)),
        }
    });
    match futures_util::future::try_join_all(checks).await {
        Ok(_) => {
            step.done();
            Ok(())
        }
        Err(error) => {
            step.failed(error.to_string());
            Err(error)
        }
    }
}

/// What is wrong with the programs of a base, if anything is.
async fn check_base(
    gantry: &Gantry,
    reference: &Reference,
    platform: &Platform,
    base_use: BaseUse,
    policy: &VerifyPolicy,
) -> Result<Option<String>, Error> {
    let rules = policy.rules.compile()?;
    let (config, indexes) = gantry.engine.image_index(reference, platform, base_use).await?;
    let wanted = platform.clone();
    let judge = move || programs::judge(&FileTree::merge(&indexes), &config.config, &wanted, &rules);
    let judgement = blocking(judge).await?;
    if let Some(failed) = judgement.checks.into_iter().find(|check| check.outcome == Outcome::Fail) {
        return Ok(Some(failed.detail));
    }
    gantry.store().put_result(&[verdict_key(reference, platform, policy)], FINE)?;
    Ok(None)
}

fn refusal(reference: &Reference, platform: &Platform, found: &str) -> Error {
    let message = format!("`{}` says it is for {platform}, but {found}", reference.familiar());
    Error::new(Class::Verification, message)
        .hint("whoever published the image mixed up its platforms: use another tag or digest")
        .hint(
            "if it is meant to be so, `[verify]` in gantry.toml can allow it, and --verify=report only warns",
        )
}

/// The base is pinned to a digest, so that the verdict on it stays true.
fn verdict_key(reference: &Reference, platform: &Platform, policy: &VerifyPolicy) -> Digest {
    let mut key = KeyWriter::new("gantry base verdict 2");
    key.part(reference.digest().map(ToString::to_string).unwrap_or_default()).part(platform.to_string());
    policy.rules.write_key(&mut key);
    key.finish()
}

/// The images that trees of the graph start from; not those that files are only copied from.
fn bases(definition: &Definition) -> Vec<((Reference, Platform), Base)> {
    let mut uses: BTreeMap<Digest, BaseUse> = BTreeMap::new();
    let mut note = |vertex: Digest, base_use: BaseUse| {
        let known = uses.entry(vertex).or_insert(base_use);
        *known = base_use.max(*known);
    };
    for vertex in definition.vertices() {
        let input = |index: i64| usize::try_from(index).ok().and_then(|index| vertex.inputs.get(index));
        match vertex.op.op.as_ref() {
            Some(Op::Exec(exec)) => {
                let roots = exec.mounts.iter().filter(|mount| mount.dest == "/");
                roots
                    .filter_map(|mount| input(mount.input))
                    .for_each(|edge| note(edge.vertex, BaseUse::Files));
            }
            Some(Op::File(file)) => {
                let changed = file.actions.iter().filter_map(|action| input(action.input));
                changed.for_each(|edge| note(edge.vertex, BaseUse::Files));
            }
            Some(Op::Merge(_)) => {
                vertex.inputs.iter().for_each(|edge| note(edge.vertex, BaseUse::Layers));
            }
            _ => {}
        }
    }
    definition.root().into_iter().for_each(|root| note(root.vertex, BaseUse::Layers));
    let images = uses.into_iter().filter_map(|(digest, base_use)| {
        let vertex = definition.vertex(&digest)?;
        let lines = definition.lines(&digest).map(|(_, lines)| lines);
        Some((image_of(vertex)?, Base { base_use, lines }))
    });
    images.collect()
}

fn image_of(vertex: &Vertex) -> Option<(Reference, Platform)> {
    let Some(Op::Source(source)) = vertex.op.op.as_ref() else { return None };
    let Ok(Source::Image(reference)) = Source::parse(source) else { return None };
    let platform = vertex.op.platform.as_ref()?;
    let platform = Platform::new(&platform.os, &platform.architecture, &platform.variant).ok()?;
    Some((reference, platform))
}
