//! Stages: what each builds on, what it takes from others, and which of them the target needs.
//!
//! Stages live in one list. After those of the file come anonymous ones: images that only a `--from` names, and, as
//! in BuildKit, an empty one for every mount without a source; they count when a stage is named by its number.
//! Triggers of a base are added when the base is known, and may make more stages necessary.

mod graph;
mod trigger;

use std::collections::BTreeMap;

use gantry_oci::{Platform, Reference};

use crate::environment::Environment;
use crate::error::{Error, Fault, Lines, Warning};
use crate::instruction::{self, ArgDefinition, Instruction, Kind};
use crate::lex::Lexer;
use crate::options::{CachePolicy, NamedContext, Options};
use crate::parser::Dockerfile;

/// The name of the base that is nothing.
pub(crate) const SCRATCH: &str = "scratch";

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
    pub(crate) globals: Environment,
    by_name: BTreeMap<String, StageId>,
    escape: char,
}

/// A stage.
#[derive(Debug)]
pub(crate) struct Stage {
    /// How the names of its steps call it; empty where there is nothing to tell apart.
    pub(crate) label: String,
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
    pub(crate) fn read(
        file: &Dockerfile,
        options: &Options,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, Error> {
        let instructions: Vec<Instruction> =
            file.nodes.iter().map(|node| Instruction::read(node, file.escape)).collect::<Result<_, _>>()?;
        let (arguments, written) = split(instructions)?;
        let target_name = options.target.as_deref().or_else(|| written.last()?.from.name.as_deref());
        let globals = global_arguments(&arguments, target_name, file.escape, options)?;
        let mut stages =
            Self { list: Vec::new(), target: 0, globals, by_name: BTreeMap::new(), escape: file.escape };
        for (index, stage) in written.into_iter().enumerate() {
            stages.add(index, stage, options, warnings)?;
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
        warnings: &mut Vec<Warning>,
    ) -> Result<(), Error> {
        let Written { from, source, lines, commands } = written;
        let (base_name, platform) =
            self.expand_from(&from, &lines, warnings).map_err(|fault| fault.at(&lines))?;
        let wanted = platform.as_ref().unwrap_or(&options.platform);
        let replaced = from.name.as_deref().and_then(|name| named_context(name, wanted, options));
        let (base, commands) = match replaced {
            Some(base) => (base, Vec::new()),
            None => (
                self.base(&base_name, wanted, options).map_err(|fault| fault.at(&lines))?,
                commands
                    .into_iter()
                    .map(|instruction| Command { instruction, sources: Vec::new(), is_trigger: false })
                    .collect::<Vec<_>>(),
            ),
        };
        let is_step = |command: &&Command| {
            matches!(command.instruction.kind, Kind::Run(_) | Kind::Copy(_) | Kind::Workdir(_))
        };
        let first = usize::from(!matches!(base, Base::Stage(_) | Base::Scratch));
        let ignore_cache = match &options.cache {
            CachePolicy::Use => false,
            CachePolicy::Ignore => true,
            CachePolicy::IgnoreStages(names) => {
                let own = from.name.as_deref().unwrap_or_default();
                names.iter().any(|name| name.eq_ignore_ascii_case(own))
            }
        };
        self.list.push(Stage {
            label: from.name.clone().unwrap_or_else(|| format!("stage-{index}")),
            base,
            base_name,
            source,
            platform,
            lines,
            steps: first + commands.iter().filter(is_step).count(),
            commands,
            ignore_cache,
            anonymous: false,
            needs: Vec::new(),
            triggered: false,
        });
        if let Some(name) = from.name {
            self.by_name.insert(name, self.list.len() - 1);
        }
        Ok(())
    }

    /// The base and the platform of a FROM, variables expanded.
    fn expand_from(
        &self,
        from: &instruction::From,
        lines: &Lines,
        warnings: &mut Vec<Warning>,
    ) -> Result<(String, Option<Platform>), Fault> {
        let lexer = Lexer::new(self.escape);
        let names = || self.globals.names();
        let base = lexer.word(&from.base, &self.globals)?;
        for name in &base.unset {
            warnings.push(Warning {
                rule: "UndefinedArgInFrom",
                message: format!("FROM argument `{name}` is not declared"),
                lines: lines.clone(),
                hints: Vec::from_iter(
                    crate::suggest::closest(name, names()).map(|near| format!("did you mean `{near}`?")),
                ),
            });
        }
        if base.text.is_empty() {
            return Err(Fault::semantics(format!("base name ({}) should not be blank", from.base)).hint(
                "only arguments declared before the first FROM can be used here; give this one a default",
            ));
        }
        if from.platform.is_empty() {
            return Ok((base.text, None));
        }
        let platform = lexer.word(&from.platform, &self.globals)?;
        if platform.text.is_empty() {
            let fault = Fault::semantics(format!("empty platform value from expression {}", from.platform));
            return Err(match platform.unset.first() {
                Some(name) => fault.suggest(name, names()),
                None => fault,
            });
        }
        let parsed = platform
            .text
            .parse()
            .map_err(|error: gantry_oci::PlatformError| Fault::semantics(error.to_string()))?;
        Ok((base.text, Some(parsed)))
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
    fn find(&self, name: &str) -> Option<StageId> {
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
struct Written {
    from: instruction::From,
    source: String,
    lines: Lines,
    commands: Vec<Instruction>,
}

/// An ARG before the first stage.
type Arguments = (Vec<ArgDefinition>, Lines);

/// Parts the arguments before the first stage from the stages.
fn split(instructions: Vec<Instruction>) -> Result<(Vec<Arguments>, Vec<Written>), Error> {
    let mut arguments = Vec::new();
    let mut stages: Vec<Written> = Vec::new();
    let mut last = 1..=1;
    for instruction in instructions {
        let Instruction { kind, source, lines } = instruction;
        last = lines.clone();
        match (kind, stages.last_mut()) {
            (Kind::From(from), _) => stages.push(Written { from, source, lines, commands: Vec::new() }),
            (kind, Some(stage)) => stage.commands.push(Instruction { kind, source, lines }),
            (Kind::Arg(definitions), None) => arguments.push((definitions, lines)),
            (_, None) => {
                return Err(Fault::semantics("no build stage in current context")
                    .hint("only ARG may stand before the first FROM")
                    .at(&lines));
            }
        }
    }
    match stages.is_empty() {
        true => Err(Fault::semantics("the file has no build stage").hint("begin one with FROM").at(&last)),
        false => Ok((arguments, stages)),
    }
}

/// The arguments that FROM can use: the predefined ones and those before the first stage.
fn global_arguments(
    arguments: &[Arguments],
    target: Option<&str>,
    escape: char,
    options: &Options,
) -> Result<Environment, Error> {
    let (build, wanted) = (&options.build_platform, &options.platform);
    let predefined = [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os().to_owned()),
        ("BUILDOSVERSION", build.os_version().to_owned()),
        ("BUILDARCH", build.architecture().to_owned()),
        ("BUILDVARIANT", build.variant().to_owned()),
        ("TARGETPLATFORM", wanted.to_string()),
        ("TARGETOS", wanted.os().to_owned()),
        ("TARGETOSVERSION", wanted.os_version().to_owned()),
        ("TARGETARCH", wanted.architecture().to_owned()),
        ("TARGETVARIANT", wanted.variant().to_owned()),
        ("TARGETSTAGE", target.unwrap_or("default").to_owned()),
    ];
    let mut globals = Environment::default();
    for (name, value) in predefined {
        globals.set(name, options.build_args.get(name).unwrap_or(&value));
    }
    let lexer = Lexer::new(escape);
    for (definitions, lines) in arguments {
        for ArgDefinition { name, default } in definitions {
            match (options.build_args.get(name), default) {
                (Some(value), _) => globals.set(name, value),
                (None, Some(default)) => {
                    let value = lexer.word(default, &globals).map_err(|fault| fault.at(lines))?;
                    globals.set(name, &value.text);
                }
                (None, None) => {}
            }
        }
    }
    Ok(globals)
}

/// The context that replaces a stage or image of this name.
fn named_context(name: &str, platform: &Platform, options: &Options) -> Option<Base> {
    if options.contexts.is_empty() || [SCRATCH, "context"].iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return None;
    }
    let familiar = name.parse::<Reference>().ok()?.familiar();
    let familiar = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    let context = (options.contexts.get(&format!("{familiar}::{platform}")))
        .or_else(|| options.contexts.get(familiar))?;
    Some(Base::Context(familiar.to_owned(), context.clone()))
}
