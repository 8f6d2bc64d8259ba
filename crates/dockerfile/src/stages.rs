//! Stages: what each builds on, what it takes from others, and which of them the target needs.
//!
//! Stages live in one list. After those of the file come anonymous ones: images that only a `--from` names, and, as
//! in BuildKit, an empty one for every mount without a source; they count when a stage is named by its number.
//! Triggers of a base are added when the base is known, and may make more stages necessary.

mod arguments;
mod from;
mod graph;
mod trigger;

use std::collections::{BTreeMap, BTreeSet};

use gantry_oci::{Platform, Reference};

pub(crate) use arguments::Globals;
pub(crate) use graph::Reach;

use crate::error::{Error, Fault, Lines};
use crate::instruction::{self, Instruction, Kind, check_casing};
use crate::lint::{Linter, Rule};
use crate::options::{NamedContext, Options};
use crate::parser::Dockerfile;

/// The name of the base that is nothing.
pub(crate) const SCRATCH: &str = "scratch";
/// The names that mean something else than a stage.
const RESERVED: [&str; 2] = [SCRATCH, "context"];

/// A stage by its place in the list.
pub(crate) type StageId = usize;

/// All stages of a file.
#[derive(Debug)]
pub(crate) struct Stages {
    /// The stages, in the order of the file, anonymous ones behind them.
    pub(crate) list: Vec<Stage>,
    /// The one to build.
    pub(crate) target: StageId,
    /// The arguments before the first stage, with the predefined ones.
    pub(crate) globals: Globals,
    by_name: BTreeMap<String, StageId>,
    escape: char,
}

/// A stage.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Its name, if it was given one.
    pub(crate) name: Option<String>,
    /// How the names of its steps call it; empty where there is nothing to tell apart.
    pub(crate) label: String,
    /// What the comment above it says about it.
    pub(crate) description: Option<String>,
    /// The global arguments that its FROM uses.
    pub(crate) arguments: BTreeSet<String>,
    /// What it builds on.
    pub(crate) base: Base,
    /// The base as it was written, variables expanded.
    pub(crate) base_name: String,
    /// Its FROM, as it was written; empty if anonymous.
    pub(crate) source: String,
    /// `--platform`.
    pub(crate) platform: Option<Platform>,
    /// Its FROM, or the instruction that needs it.
    pub(crate) lines: Lines,
    /// What it does, triggers of its base first.
    pub(crate) commands: Vec<Command>,
    /// The number of its steps.
    pub(crate) steps: usize,
    /// Whether results of earlier builds are not to be used.
    pub(crate) ignore_cache: bool,
    /// Whether no FROM made it: it is there as soon as its base is.
    pub(crate) anonymous: bool,
    /// The stages that it takes something from.
    needs: Vec<StageId>,
    /// Whether the triggers of its base have been added.
    triggered: bool,
}

impl Stage {
    /// The stages that it takes something from, besides its base.
    pub(crate) fn needs(&self) -> &[StageId] {
        &self.needs
    }
}

/// What a stage builds on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    /// Nothing.
    Scratch,
    /// Another stage.
    Stage(StageId),
    /// An image.
    Image(Reference),
    /// A named context: its name and what it is.
    Context(String, NamedContext),
}

/// An instruction of a stage.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    /// The instruction.
    pub(crate) instruction: Instruction,
    /// The stages that it takes something from: one of a COPY with `--from`, one for each mount of a RUN.
    pub(crate) sources: Vec<StageId>,
    /// Whether it is a trigger of the base.
    pub(crate) is_trigger: bool,
}

impl Stages {
    /// Reads all instructions of a file and connects its stages.
    pub(crate) fn read(file: &Dockerfile, options: &Options, lint: &mut Linter) -> Result<Self, Error> {
        let (arguments, written) = split(instructions(file, lint)?)?;
        check_names(&written, lint);
        check_casing(
            written.iter().flat_map(|stage| std::iter::once(&stage.first).chain(&stage.commands)),
            lint,
        );
        let target_name = options.target.as_deref().or_else(|| written.last()?.from.name.as_deref());
        let predefined = Globals::predefined(target_name, options);
        predefined.check_defaults(&arguments, &written, file.escape, lint);
        let globals = predefined.with(&arguments, file.escape, &options.build_args)?;
        let mut stages =
            Self { list: Vec::new(), target: 0, globals, by_name: BTreeMap::new(), escape: file.escape };
        for (index, stage) in written.into_iter().enumerate() {
            stages.add(index, stage, options, lint)?;
        }
        stages.target = stages.find_target(options.target.as_deref())?;
        stages.connect(options)?;
        stages.refuse_cycles()?;
        if let [only] = &mut stages.list[..] {
            only.label.clear();
        }
        Ok(stages)
    }

    fn add(
        &mut self,
        index: usize,
        written: Written,
        options: &Options,
        lint: &mut Linter,
    ) -> Result<(), Error> {
        let Written { from, first, commands } = written;
        let Instruction { lines, source, .. } = &first;
        let expanded = self.expand_from(&from, &first, lint).map_err(|fault| fault.at(lines))?;
        let wanted = expanded.platform.as_ref().unwrap_or(&options.platform);
        let replaced = from.name.as_deref().and_then(|name| named_context(name, wanted, options));
        let (base, commands) = match replaced {
            Some(base) => (base, Vec::new()),
            None => (
                self.base(&expanded.base, wanted, options).map_err(|fault| fault.at(lines))?,
                commands
                    .into_iter()
                    .map(|instruction| Command { instruction, sources: Vec::new(), is_trigger: false })
                    .collect::<Vec<_>>(),
            ),
        };
        let is_step = |command: &&Command| {
            matches!(command.instruction.kind, Kind::Run(_) | Kind::Copy(_) | Kind::Workdir(_))
        };
        let has_image = !matches!(base, Base::Stage(_) | Base::Scratch);
        self.list.push(Stage {
            label: from.name.clone().unwrap_or_else(|| format!("stage-{index}")),
            description: from.name.as_deref().and_then(|name| first.description(name)).map(str::to_owned),
            name: from.name.clone(),
            arguments: expanded.used,
            base,
            base_name: expanded.base,
            source: source.clone(),
            platform: expanded.platform,
            lines: lines.clone(),
            steps: usize::from(has_image) + commands.iter().filter(is_step).count(),
            commands,
            ignore_cache: options.cache.ignores(from.name.as_deref()),
            anonymous: false,
            needs: Vec::new(),
            triggered: false,
        });
        if let Some(name) = from.name {
            self.by_name.insert(name, self.list.len() - 1);
        }
        Ok(())
    }

    /// What a name after FROM, or one after `--from` that is no stage, stands for.
    fn base(&self, name: &str, platform: &Platform, options: &Options) -> Result<Base, Fault> {
        if let Some(stage) = self.by_name.get(name) {
            return Ok(Base::Stage(*stage));
        }
        if let Some(context) = named_context(name, platform, options) {
            return Ok(context);
        }
        if name == SCRATCH {
            return Ok(Base::Scratch);
        }
        let reference = name.parse().map_err(|error: gantry_oci::ReferenceError| {
            Fault::semantics(error.to_string()).suggest(name, self.by_name.keys().map(String::as_str))
        })?;
        Ok(Base::Image(reference))
    }

    /// The stage of this name, however it is cased.
    pub(crate) fn find(&self, name: &str) -> Option<StageId> {
        self.by_name.get(&name.to_lowercase()).copied()
    }

    fn find_target(&self, name: Option<&str>) -> Result<StageId, Error> {
        let last = self.list.len() - 1;
        let Some(name) = name else { return Ok(last) };
        self.find(name).ok_or_else(|| {
            let lines = self.list[last].lines.clone();
            Fault::target(format!("target stage `{name}` could not be found"))
                .suggest(name, self.by_name.keys().map(String::as_str))
                .at(&lines)
        })
    }
}

/// A stage as it was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// What its FROM says.
    pub(crate) from: instruction::From,
    /// Its FROM.
    pub(crate) first: Instruction,
    /// The instructions after it.
    pub(crate) commands: Vec<Instruction>,
}

/// The instructions of a file.
pub(crate) fn instructions(file: &Dockerfile, lint: &mut Linter) -> Result<Vec<Instruction>, Error> {
    file.nodes.iter().map(|node| Instruction::read(node, file.escape, lint)).collect()
}

/// Parts the arguments before the first stage from the stages.
pub(crate) fn split(instructions: Vec<Instruction>) -> Result<(Vec<Instruction>, Vec<Written>), Error> {
    let mut arguments = Vec::new();
    let mut stages: Vec<Written> = Vec::new();
    let mut last = 1..=1;
    for instruction in instructions {
        last = instruction.lines.clone();
        match (&instruction.kind, stages.last_mut()) {
            (Kind::From(from), _) => {
                let from = from.clone();
                stages.push(Written { from, first: instruction, commands: Vec::new() });
            }
            (_, Some(stage)) => stage.commands.push(instruction),
            (Kind::Arg(_), None) => arguments.push(instruction),
            (_, None) => {
                return Err(Fault::semantics("no build stage in current context")
                    .hint("only ARG may stand before the first FROM")
                    .at(&last));
            }
        }
    }
    match stages.is_empty() {
        true => Err(Fault::semantics("the file has no build stage").hint("begin one with FROM").at(&last)),
        false => Ok((arguments, stages)),
    }
}

fn check_names(stages: &[Written], lint: &mut Linter) {
    let mut seen = BTreeSet::new();
    for stage in stages {
        let Some(name) = stage.from.name.as_deref() else { continue };
        let mut report = |rule, message| lint.report(rule, &[], &stage.first.lines, message);
        if RESERVED.contains(&name) {
            let message = format!("Stage name should not use the same name as reserved stage {name:?}");
            report(Rule::ReservedStageName, message);
        }
        if !seen.insert(name) {
            let message = format!("Duplicate stage name {name:?}, stage names should be unique");
            report(Rule::DuplicateStageName, message);
        }
    }
}

/// The context that replaces a stage or image of this name.
fn named_context(name: &str, platform: &Platform, options: &Options) -> Option<Base> {
    if options.contexts.is_empty() || RESERVED.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return None;
    }
    let familiar = name.parse::<Reference>().ok()?.familiar();
    let familiar = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    let context = (options.contexts.get(&format!("{familiar}::{platform}")))
        .or_else(|| options.contexts.get(familiar))?;
    Some(Base::Context(familiar.to_owned(), context.clone()))
}
