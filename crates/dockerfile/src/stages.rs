//! Stages: what each builds on, what it takes from others, and which of them the target needs.
//!
//! Stages live in one list. After those of the file come anonymous ones: images that only a `--from` names, and, as
//! in BuildKit, an empty one for every mount without a source; they count when a stage is named by its number.
//! Triggers of a base are added when the base is known, and may make more stages necessary.

mod arguments;
mod from;
mod graph;
mod trigger;
mod written;

use std::collections::{BTreeMap, BTreeSet};

use gantry_oci::{Platform, Reference};

pub(crate) use arguments::Globals;
pub(crate) use graph::Reach;
pub(crate) use written::{Written, read};

use crate::error::{Error, Fault, Lines};
use crate::instruction::{Instruction, Kind, check_casing};
use crate::lex::Lexer;
use crate::lint::Linter;
use crate::options::{NamedContext, Options};
use crate::parser::Dockerfile;
use crate::platform::StagePlatform;

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
    /// The rules for its texts.
    pub(crate) lexer: Lexer,
    /// How many names were compared for suggestions.
    comparisons: usize,
    /// About how many bytes the triggers are that were added to stages.
    fired: usize,
    /// Why a base cannot be the name of an image. Everything else about stages is refused before.
    misnamed: Option<Error>,
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
    pub(crate) platform: Option<StagePlatform>,
    /// Its FROM, or the instruction that needs it.
    pub(crate) lines: Lines,
    /// What it does, triggers of its base first.
    pub(crate) commands: Vec<Command>,
    /// The number of its steps.
    pub(crate) steps: usize,
    /// How many of them are triggers of the base.
    pub(crate) triggers: usize,
    /// Whether results of earlier builds are not to be used.
    pub(crate) ignore_cache: bool,
    /// What made it.
    pub(crate) origin: Origin,
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

/// What made a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A FROM.
    Written,
    /// A FROM, but a context has its name and stands for it. What it does is read, checked and left to its children, but
    /// not built.
    Replaced,
    /// Only a `--from`: it is there as soon as its base is.
    Anonymous,
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

/// The stages of a file as they are written. What applies to all of them is decided before they are connected.
#[derive(Debug)]
pub(crate) struct Draft {
    /// The stages, in the order of the file; at least one.
    pub(crate) stages: Vec<Written>,
    /// The arguments before the first one, with the predefined ones.
    pub(crate) globals: Globals,
    /// The rules for its texts.
    pub(crate) lexer: Lexer,
}

impl Draft {
    /// Reads all instructions of a file.
    pub(crate) fn read(file: &Dockerfile, options: &Options, lint: &mut Linter) -> Result<Self, Error> {
        let (arguments, written) = read(file, lint)?;
        if written.is_empty() {
            let last = file.nodes.last().map_or(1..=1, |node| node.lines.clone());
            return Err(Fault::semantics("the file has no build stage")
                .hint("begin one with FROM")
                .at(&last));
        }
        written::check_names(&written, lint);
        check_casing(
            written.iter().flat_map(|stage| std::iter::once(&stage.first).chain(&stage.commands)),
            lint,
        );
        let target_name = options.target.as_deref().or_else(|| written.last()?.from.name.as_deref());
        let predefined = Globals::predefined(target_name, options);
        let lexer = Lexer::new(file.escape);
        predefined.check_defaults(&arguments, &written, &lexer, lint);
        let globals = predefined.with(&arguments, &lexer, &options.build_args)?;
        Ok(Self { stages: written, globals, lexer })
    }
}

impl Stages {
    /// Connects the stages of a file.
    pub(crate) fn new(draft: Draft, options: &Options, lint: &mut Linter) -> Result<Self, Error> {
        let mut stages = Self {
            list: Vec::new(),
            target: 0,
            globals: draft.globals,
            by_name: BTreeMap::new(),
            lexer: draft.lexer,
            comparisons: 0,
            fired: 0,
            misnamed: None,
        };
        for (index, stage) in draft.stages.into_iter().enumerate() {
            stages.add(index, stage, options, lint)?;
        }
        stages.target = stages.find_target(options.target.as_deref())?;
        stages.connect(options)?;
        stages.refuse_cycles()?;
        stages.refuse_misnamed()?;
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
        let wanted = expanded.platform.as_ref().map_or(&options.platform, StagePlatform::platform);
        if let Some(name) = &from.name {
            written::check_name(name).map_err(|fault| fault.at(lines))?;
        }
        let name = from.name.as_deref().filter(|name| !is_reserved(name));
        let replacement = name.and_then(|name| named_context(name, wanted, options));
        let base = self.base(&expanded.base, wanted, options, lines);
        self.explain_misnamed(&from.base, &expanded, lines);
        let is_step = |instruction: &&Instruction| {
            matches!(instruction.kind, Kind::Run(_) | Kind::Copy(_) | Kind::Workdir(_))
        };
        let own_steps = commands.iter().filter(is_step).count()
            + usize::from(!matches!(base, Base::Stage(_) | Base::Scratch));
        let command = |instruction| Command { instruction, sources: Vec::new(), is_trigger: false };
        self.list.push(Stage {
            label: from.name.clone().unwrap_or_else(|| format!("stage-{index}")),
            description: from.name.as_deref().and_then(|name| first.description(name)).map(str::to_owned),
            name: from.name.clone(),
            arguments: expanded.used,
            steps: if replacement.is_some() { 0 } else { own_steps },
            triggers: 0,
            origin: if replacement.is_some() { Origin::Replaced } else { Origin::Written },
            base: replacement.map_or(base, |(name, context)| Base::Context(name, context)),
            base_name: expanded.base,
            source: source.clone(),
            platform: expanded.platform,
            lines: lines.clone(),
            commands: commands.into_iter().map(command).collect(),
            ignore_cache: options.cache.ignores(from.name.as_deref()),
            needs: Vec::new(),
            triggered: false,
        });
        if let Some(name) = from.name {
            self.by_name.insert(name, self.list.len() - 1);
        }
        Ok(())
    }

    /// What a name after FROM, or one after `--from` that is no stage, stands for.
    fn base(&mut self, name: &str, platform: &Platform, options: &Options, lines: &Lines) -> Base {
        if let Some(stage) = self.by_name.get(name) {
            return Base::Stage(*stage);
        }
        if name == SCRATCH {
            return Base::Scratch;
        }
        if let Some((name, context)) = named_context(name, platform, options) {
            return Base::Context(name, context);
        }
        match name.parse::<Reference>() {
            Ok(reference) => Base::Image(reference),
            // Only the first is told, and to look for a name like it takes all names.
            Err(_) if self.misnamed.is_some() => Base::Scratch,
            Err(error) => {
                let names = self.by_name.keys().map(String::as_str);
                let fault = Fault::semantics(error.to_string()).suggest(name, names);
                self.misnamed = Some(fault.at(lines));
                Base::Scratch
            }
        }
    }

    /// Says where a name comes from that no image can have.
    fn explain_misnamed(&mut self, written: &str, expanded: &from::From, lines: &Lines) {
        let Some(error) = self.misnamed.as_mut().filter(|error| error.lines == *lines) else { return };
        if written != expanded.base {
            error.hints.push(format!("`{written}` expands to it"));
        }
        error.hints.extend(expanded.unset.iter().map(|name| {
            format!("`{name}` is not set: declare it before the first FROM, like ARG {name}=default")
        }));
    }

    /// Refuses a base that is neither a stage nor the name of an image.
    fn refuse_misnamed(&mut self) -> Result<(), Error> {
        self.misnamed.take().map_or(Ok(()), Err)
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

/// Whether a stage of this name stays what it is, whatever contexts there are. An image or a `--from` of the name does not.
fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// The context that replaces a stage or image of this name, and what it is called: one may be for a platform only.
pub(crate) fn named_context(
    name: &str,
    platform: &Platform,
    options: &Options,
) -> Option<(String, NamedContext)> {
    if options.contexts.is_empty() {
        return None;
    }
    let familiar = name.parse::<Reference>().ok()?.familiar();
    let familiar = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    let for_platform = format!("{familiar}::{platform}");
    let found =
        options.contexts.get_key_value(&for_platform).or_else(|| options.contexts.get_key_value(familiar));
    found.map(|(name, context)| (name.clone(), context.clone()))
}
