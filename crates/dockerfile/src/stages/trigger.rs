//! Images that have to be known, and the triggers (ONBUILD) that they and stages leave to their children.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use gantry_oci::{Platform, Reference};

use super::{Base, Command, Origin, Reach, StageId, Stages};
use crate::error::{Error, Fault, Lines};
use crate::instruction::{Instruction, Kind};
use crate::lint::{Linter, Rule};
use crate::options::{ImageRequest, Images, NamedContext, Options};
use crate::parser;
use crate::platform::StagePlatform;

/// How many bytes the triggers of all stages may become: every child of a stage has its own. The images of real files have a
/// dozen triggers, and these come to a few kilobytes.
const MAX_FIRED: usize = 64 << 20;
/// How many bytes one of a trigger's text becomes at most: a word of one letter is a string of its own.
const FIRED_PER_BYTE: usize = 32;
/// How many bytes one of its lines becomes: what a trigger makes has all lines of the FROM for its place.
const FIRED_PER_LINE: usize = size_of::<gantry_llb::pb::Range>();

/// The triggers that stages leave to their children.
type Left = HashMap<StageId, Arc<[String]>>;

impl Stages {
    /// Adds the triggers of all stages that the target needs. Returns the images that have to be known first, and
    /// reports those that are for another platform.
    pub(crate) fn resolve(
        &mut self,
        reach: Reach,
        options: &Options,
        images: &Images,
        lint: &mut Linter,
    ) -> Result<Vec<ImageRequest>, Error> {
        let (mut judged, mut left) = (BTreeSet::new(), Left::new());
        loop {
            let within = self.within(reach);
            let missing = self.missing_images(&within, options, images);
            if !missing.is_empty() {
                return Ok(missing);
            }
            for stage in within.into_iter().filter(|stage| judged.insert(*stage)) {
                self.check_image(stage, options, images, lint);
            }
            let changed = self.fire_reachable(options, images, &mut left)?;
            self.refuse_misnamed()?;
            if !changed {
                return Ok(Vec::new());
            }
        }
    }

    /// Adds the triggers of all stages that the target needs, bases first, and of those that triggers need. Whether there
    /// are such; of their images, some may not be known yet.
    fn fire_reachable(&mut self, options: &Options, images: &Images, left: &mut Left) -> Result<bool, Error> {
        let mut seen = Vec::new();
        let mut open: BTreeSet<StageId> = self.reached_from(self.target, &mut seen).into_iter().collect();
        let mut changed = false;
        while let Some(stage) = open.pop_first() {
            let image = self.image(stage, options);
            let known = image.is_none_or(|(reference, platform)| images.get(reference, &platform).is_some());
            // Nothing is run on an anonymous stage; to fire there could go on without end.
            if self.list[stage].origin == Origin::Anonymous || self.list[stage].triggered || !known {
                continue;
            }
            self.list[stage].triggered = true;
            let triggers = self.triggers(stage, options, images, left);
            if self.fire(stage, &triggers, options)? {
                changed = true;
                for need in self.list[stage].needs.clone() {
                    open.extend(self.reached_from(need, &mut seen));
                }
            }
        }
        Ok(changed)
    }

    /// The image that a stage builds on directly, and the platform that is wanted of it.
    pub(crate) fn image(&self, stage: StageId, options: &Options) -> Option<(&Reference, Platform)> {
        let stage = &self.list[stage];
        match &stage.base {
            Base::Image(reference)
            | Base::Context(
                _,
                NamedContext::Image { reference, .. } | NamedContext::Layout { reference, .. },
            ) => {
                let wanted = stage.platform.as_ref().map_or(&options.platform, StagePlatform::platform);
                Some((reference, wanted.clone()))
            }
            _ => None,
        }
    }

    fn missing_images(&self, stages: &[StageId], options: &Options, images: &Images) -> Vec<ImageRequest> {
        let mut missing: Vec<ImageRequest> = Vec::new();
        let mut asked = BTreeSet::new();
        for stage in stages {
            let Some((reference, platform)) = self.image(*stage, options) else { continue };
            if images.get(reference, &platform).is_none() && asked.insert((reference, platform.clone())) {
                let lines = self.list[*stage].lines.clone();
                let layout = match &self.list[*stage].base {
                    Base::Context(_, NamedContext::Layout { store, .. }) => Some(store.clone()),
                    _ => None,
                };
                missing.push(ImageRequest { reference: reference.clone(), platform, layout, lines });
            }
        }
        missing
    }

    /// Reports a base that is for another platform than the one that was asked for.
    fn check_image(&self, stage: StageId, options: &Options, images: &Images, lint: &mut Linter) {
        let stage = &self.list[stage];
        let Base::Image(reference) = &stage.base else { return };
        let wanted = stage.platform.as_ref().map_or(&options.platform, StagePlatform::platform);
        let Some(info) = images.get(reference, wanted).filter(|info| !info.is_empty()) else { return };
        let config = &info.config;
        if config.os == wanted.os() && config.architecture == wanted.architecture() {
            return;
        }
        let found = Platform::new(&config.os, &config.architecture, &config.variant)
            .map_or_else(|_| format!("{}/{}", config.os, config.architecture), |found| found.to_string());
        let message = format!(
            "Base image {} was pulled with platform {found:?}, expected \"{wanted}\" for current build",
            stage.base_name
        );
        lint.report(Rule::InvalidBaseImagePlatform, None, &stage.lines, message);
    }

    fn triggers(&self, stage: StageId, options: &Options, images: &Images, left: &mut Left) -> Arc<[String]> {
        if let Base::Stage(base) = self.list[stage].base {
            let trigger = |command: &Command| match &command.instruction.kind {
                Kind::Onbuild(trigger) => Some(trigger.clone()),
                _ => None,
            };
            let triggers = || self.list[base].commands.iter().filter_map(trigger).collect();
            return Arc::clone(left.entry(base).or_insert_with(triggers));
        }
        let known =
            self.image(stage, options).and_then(|(reference, platform)| images.get(reference, &platform));
        known.and_then(|image| image.config.config.on_build.as_deref()).unwrap_or_default().into()
    }

    /// Puts triggers before the commands of a stage. Whether they need other stages.
    fn fire(&mut self, stage: StageId, triggers: &[String], options: &Options) -> Result<bool, Error> {
        let lines = self.list[stage].lines.clone();
        let mut commands = Vec::new();
        for trigger in triggers {
            let failed =
                |fault: Fault| fault.context(format_args!("trigger `{trigger}` of the base")).at(&lines);
            self.charge(trigger, &lines).map_err(|fault| fault.at(&lines))?;
            let mut node = parser::parse_one(trigger).map_err(failed)?;
            node.lines = lines.clone();
            let instruction = Instruction::read(&node, '\\', &mut Linter::default())?;
            if matches!(instruction.kind, Kind::From(_)) {
                return Err(failed(Fault::semantics("this instruction cannot be a trigger")));
            }
            let sources = self.sources(stage, &instruction, options)?;
            commands.push(Command { instruction, sources, is_trigger: true });
        }
        let needs_others = commands.iter().any(|command| !command.sources.is_empty());
        let stage = &mut self.list[stage];
        stage.steps += commands.len();
        stage.triggers += commands.len();
        stage.commands.splice(0..0, commands);
        Ok(needs_others)
    }

    /// Counts the bytes of a trigger at these lines.
    fn charge(&mut self, trigger: &str, lines: &Lines) -> Result<(), Fault> {
        let text = trigger.len().saturating_mul(FIRED_PER_BYTE);
        let places = lines.clone().count().saturating_mul(FIRED_PER_LINE);
        self.fired = self.fired.saturating_add(size_of::<Command>() + text + places);
        match self.fired > MAX_FIRED {
            true => Err(Fault::semantics(format!(
                "the triggers (ONBUILD) of all bases together grow beyond {} MiB",
                MAX_FIRED >> 20
            ))
            .hint("let fewer stages build on a base with triggers")),
            false => Ok(()),
        }
    }
}
