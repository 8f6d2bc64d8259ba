//! What a build has made, now or earlier, looked at before anything leaves the machine.
//!
//! New layers have got their indexes while they were written, and those of the base while they were unpacked, so that
//! nothing is read again. The verdict on a config is kept: it names all layers and the command.

use gantry_layer::FileTree;
use gantry_llb::key::KeyWriter;
use gantry_oci::{Digest, ImageConfig, Platform};
use gantry_store::LayerBlob;
use tokio_util::sync::CancellationToken;

use super::content::blocking;
use super::programs;
use super::report::{Check, Outcome};
use super::rules::{VerifyMode, VerifyPolicy};
use crate::build::Image;
use crate::error::{Class, Error};
use crate::events::{Event, Events, Step};
use crate::gantry::Gantry;
use crate::request::{BuildRequest, Output};

/// Verifies every platform of an image that is going to be given away. Files of a build are none.
pub(crate) async fn check_built(
    gantry: &Gantry,
    image: &Image,
    request: &BuildRequest,
    events: &dyn Events,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let is_given_away =
        |output: &Output| !matches!(output, Output::Tar(..) | Output::Local(..) | Output::CacheOnly);
    if !request.outputs.iter().any(is_given_away) {
        return Ok(());
    }
    let candidates = image.platforms.iter().map(|built| Candidate {
        platform: built.report.platform.clone(),
        config: built.report.config.digest,
        layers: built.layers.iter().map(|layer| layer.blob.clone()).collect(),
    });
    check_programs(gantry, &candidates.collect::<Vec<_>>(), &request.verify, events, cancel).await
}

/// One platform of an image of the store, before it is given away.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// The platform that it says it is for.
    pub(crate) platform: Platform,
    /// Its config.
    pub(crate) config: Digest,
    /// Its layers, bottom first.
    pub(crate) layers: Vec<LayerBlob>,
}

/// Verifies every platform of an image. Costs nothing where it was done before by the same rules.
pub(crate) async fn check_programs(
    gantry: &Gantry,
    candidates: &[Candidate],
    policy: &VerifyPolicy,
    events: &dyn Events,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    if policy.mode == VerifyMode::Off {
        return Ok(());
    }
    let step = Step::begin(events, "[internal] verify the programs of the image");
    let checks = candidates.iter().map(|candidate| check_platform(gantry, candidate, policy));
    let doubts = tokio::select! {
        doubts = futures_util::future::try_join_all(checks) => doubts,
        () = cancel.cancelled() => Err(Error::new(Class::Cancelled, "stopped while verifying")),
    };
    let doubts = match doubts {
        Ok(doubts) => doubts,
        Err(error) => {
            step.failed(error.to_string());
            return Err(error);
        }
    };
    for (Candidate { platform, .. }, doubts) in candidates.iter().zip(doubts) {
        for Check { outcome, detail, .. } in doubts {
            let message = format!("the image for {platform}: {detail}");
            if outcome == Outcome::Fail && policy.mode == VerifyMode::Enforce {
                step.failed(message.clone());
                return Err(Error::new(Class::Verification, message).hint(
                    "if it is meant to be so, `[verify]` in gantry.toml can allow it, and --verify=report only warns",
                ));
            }
            events.event(Event::Warning { message, hints: Vec::new() });
        }
        step.say(format!("{platform} verified"));
    }
    step.done();
    Ok(())
}

/// What is wrong or doubtful about the programs of one platform.
async fn check_platform(
    gantry: &Gantry,
    Candidate { platform, config, layers }: &Candidate,
    policy: &VerifyPolicy,
) -> Result<Vec<Check>, Error> {
    let rules = policy.rules.compile()?;
    let key = verdict_key(config, platform, policy);
    if let Some(known) = gantry.store().result(&key)?
        && let Ok(doubts) = serde_json::from_str(&known)
    {
        return Ok(doubts);
    }
    let config: ImageConfig = serde_json::from_slice(&gantry.store().read_blob(config)?)
        .map_err(|error| Error::new(Class::Internal, format!("the new config cannot be read: {error}")))?;
    let indexes = layers.iter().map(|layer| gantry.engine.layer_index(layer));
    let indexes = futures_util::future::try_join_all(indexes).await?;
    let wanted = platform.clone();
    let judge = move || programs::judge(&FileTree::merge(&indexes), &config.config, &wanted, &rules);
    let judgement = blocking(judge).await?;
    let is_doubt = |check: &Check| matches!(check.outcome, Outcome::Warn | Outcome::Fail);
    let doubts: Vec<Check> = judgement.checks.into_iter().filter(is_doubt).collect();
    let text = serde_json::to_string(&doubts).expect("checks are plain data");
    gantry.store().put_result(&[key], &text)?;
    Ok(doubts)
}

fn verdict_key(config: &Digest, platform: &Platform, policy: &VerifyPolicy) -> Digest {
    let mut key = KeyWriter::new("gantry image verdict 2");
    key.part(config.to_string()).part(platform.to_string());
    policy.rules.write_key(&mut key);
    key.finish()
}
