//! The conversion: stages in order, instructions in order, one function per family of instructions.
//!
//! Each stage has a [`State`]: the files as a vertex of the growing graph, and the image config. An instruction
//! changes the state and adds a line of history. What is doubtful goes to the linter on the way, and what a stage
//! asks of its user is noted in [`Mentions`].

mod arguments;
mod base;
mod copy;
mod epoch;
mod expose;
mod history;
mod mentions;
mod names;
mod owner;
pub(crate) mod remote;
mod run;
mod run_mounts;
mod settings;
mod signal;
mod state;

pub(crate) use mentions::{Mention, Mentions};

use std::collections::BTreeSet;

use gantry_llb::pb;

use crate::error::{Error, Fault, Lines};
use crate::front_end;
use crate::graph::{Graph, NodeId, Recipe};
use crate::instruction::{Instruction, Kind};
use crate::lex::Lexer;
use crate::lint::{Linter, Rule, Warning};
use crate::options::{Conversion, Converted, Images, Options};
use crate::stages::{Command, Draft, Origin, Reach, Stage, StageId, Stages};
use crate::suggest::{self, MAX_COMPARISONS};
pub use epoch::EPOCHS;
use epoch::Epoch;
use history::Histories;
use state::State;

/// The variables that BuildKit reads itself: they are no variables of commands.
const NOT_IN_ENVIRONMENT: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];
/// How many bytes of operations and history a file may become. Real ones stay below a few megabytes; this ends those
/// that say ever more with ever fewer words.
const MAX_RESULT: usize = 128 << 20;

/// Converts a Dockerfile for one platform, with the images known so far.
///
/// A pure function: call it again with the images that it asked for, until it is [`Conversion::Done`]. A fault of
/// the text is an error on any stage; a fault that depends on values is one only on stages that the target needs.
pub fn convert(text: &[u8], options: &Options, images: &Images) -> Result<Conversion, Error> {
    let mut lint = Linter::default();
    let conversion =
        through(text, options, images, Reach::Target, &mut lint, |converter, text| converter.finish(text))?;
    Ok(match conversion {
        Conversion::NeedsImages(wanted) => Conversion::NeedsImages(wanted),
        Conversion::NeedsTime(wanted) => Conversion::NeedsTime(wanted),
        Conversion::Done(mut converted) => {
            converted.warnings = lint.into_warnings();
            Conversion::Done(converted)
        }
    })
}

/// What is doubtful about a file, as far as a conversion with these images comes: for one that cannot be built.
pub fn warnings(text: &[u8], options: &Options, images: &Images) -> Vec<Warning> {
    let mut lint = Linter::default();
    // Why it cannot be built is known; nothing is made of it.
    let _ = through(text, options, images, Reach::Target, &mut lint, |_, _| ());
    lint.into_warnings()
}

/// Goes through a file as a conversion does, and makes something of what was found.
pub(crate) fn through<T>(
    text: &[u8],
    options: &Options,
    images: &Images,
    reach: Reach,
    lint: &mut Linter,
    finish: impl FnOnce(Converter<'_>, &str) -> T,
) -> Result<Conversion<T>, Error> {
    let read = front_end::read_text(text)?;
    let text = &read.decoded;
    front_end::check_syntax(text, options)?;
    lint.configure(front_end::check_settings(text, options)?);
    let mut options = options.clone();
    let file = crate::parser::parse(text)?;
    read.check_bytes(&file)?;
    for line in &file.empty_continuations {
        let message = "Empty continuation line".to_owned();
        lint.report(Rule::NoEmptyContinuation, None, &(*line..=*line), message);
    }
    let mut draft = Draft::read(&file, &options, lint)?;
    let epoch = match epoch::read(&mut draft, &mut options, images)? {
        Epoch::Known(epoch) => epoch,
        Epoch::Of(request) => return Ok(Conversion::NeedsTime(*request)),
    };
    let mut stages = Stages::new(draft, &options, lint)?;
    let missing = stages.resolve(reach, &options, images, lint)?;
    if !missing.is_empty() {
        return Ok(Conversion::NeedsImages(missing));
    }
    let mut converter = Converter::new(&options, images, &stages, lint);
    converter.epoch = epoch;
    converter.build_stages(reach)?;
    converter.lint.verdict()?;
    Ok(Conversion::Done(Box::new(finish(converter, text))))
}

/// A local directory, and which of its paths are wanted.
struct Local {
    node: NodeId,
    paths: BTreeSet<String>,
}

/// A local directory by its place in the converter's list. The build context is the first.
type LocalId = usize;
const BUILD_CONTEXT: LocalId = 0;

/// A conversion.
pub(crate) struct Converter<'a> {
    options: &'a Options,
    images: &'a Images,
    /// The stages of the file.
    pub(crate) stages: &'a Stages,
    /// What each stage asks of its user.
    pub(crate) mentions: Vec<Mentions>,
    lexer: Lexer,
    lint: &'a mut Linter,
    ignored: Option<copy::Ignored>,
    graph: Graph,
    locals: Vec<Local>,
    states: Vec<Option<State>>,
    histories: Histories,
    proxy: Option<pb::ProxyEnv>,
    epoch: Option<i64>,
    spent: usize,
    comparisons: usize,
}

/// Where an instruction stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    stage: StageId,
    command: &'a Command,
}

impl<'a> Place<'a> {
    fn lines(&self) -> &'a Lines {
        &self.command.instruction.lines
    }

    /// The instruction's name as it was written.
    fn keyword(&self) -> &'a str {
        &self.command.instruction.keyword
    }

    fn source(&self) -> &'a str {
        &self.command.instruction.source
    }
}

impl<'a> Converter<'a> {
    fn new(options: &'a Options, images: &'a Images, stages: &'a Stages, lint: &'a mut Linter) -> Self {
        let count = stages.list.len();
        let mut converter = Self {
            options,
            images,
            stages,
            mentions: std::iter::repeat_with(Mentions::default).take(count).collect(),
            lexer: stages.lexer.clone(),
            lint,
            ignored: copy::Ignored::new(&options.exclude),
            graph: Graph::default(),
            locals: Vec::new(),
            states: (0..count).map(|_| None).collect(),
            histories: Histories::default(),
            proxy: run::proxy(&options.build_args),
            epoch: None,
            spent: 0,
            comparisons: 0,
        };
        match &options.context {
            None => {
                converter.add_local("context", "context", &options.exclude, "[internal] load build context");
            }
            Some(remote) => {
                let node = converter.add_remote(remote, remote.name());
                converter.locals.push(Local { node, paths: BTreeSet::new() });
            }
        }
        converter
    }

    fn build_stages(&mut self, reach: Reach) -> Result<(), Error> {
        let stages = self.stages;
        let wanted = stages.within(reach);
        // What only a `--from` names, and what a context stands for, is there from the beginning.
        for stage in wanted.iter().filter(|stage| stages.list[**stage].origin != Origin::Written) {
            let state = self.base_state(*stage);
            self.spend(state.weight).map_err(|fault| fault.at(&stages.list[*stage].lines))?;
            self.states[*stage] = Some(state);
        }
        for stage in &wanted {
            let Stage { lines, origin, commands, .. } = &stages.list[*stage];
            if *origin == Origin::Anonymous || (*origin == Origin::Replaced && reach == Reach::Target) {
                continue;
            }
            let mut state = self.base_state(*stage);
            self.spend(state.weight).map_err(|fault| fault.at(lines))?;
            state.begin().map_err(|fault| fault.at(lines))?;
            for command in commands {
                let place = Place { stage: *stage, command };
                self.instruction(&mut state, place).map_err(|fault| fault.at(place.lines()))?;
                // The name of a step is the instruction as it was written, if it cannot be expanded.
                self.lexer.within_limits().map_err(|fault| fault.at(place.lines()))?;
                let bytes = self.histories.remember(&mut state);
                self.spend(bytes).map_err(|fault| fault.at(place.lines()))?;
            }
            self.states[*stage] = Some(state);
        }
        Ok(())
    }

    /// Counts bytes of the result.
    fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        self.spent = self.spent.saturating_add(bytes);
        match self.spent > MAX_RESULT {
            true => Err(Fault::semantics(format!("what is built grows beyond {} MiB", MAX_RESULT >> 20))),
            false => Ok(()),
        }
    }

    fn instruction(&mut self, state: &mut State, place: Place<'_>) -> Result<(), Fault> {
        let Instruction { kind, .. } = &place.command.instruction;
        match kind {
            Kind::Run(run) => self.run(state, run, place),
            Kind::Copy(copy) => self.copy(state, copy, place),
            Kind::Workdir(path) => self.workdir(state, path, place),
            Kind::Arg(definitions) => self.arg(state, definitions, place),
            Kind::Env(pairs) => self.env(state, pairs, place),
            Kind::Label(pairs) => self.label(state, pairs, place),
            Kind::User(user) => self.user(state, user, place),
            Kind::Cmd(command) => self.cmd(state, command, place),
            Kind::Entrypoint(command) => self.entrypoint(state, command, place),
            Kind::Shell(shell) => Self::shell(state, shell),
            Kind::Expose(ports) => self.expose(state, ports, place),
            Kind::Volume(volumes) => self.volume(state, volumes, place),
            Kind::StopSignal(signal) => self.stop_signal(state, signal, place),
            Kind::Healthcheck(check) => self.healthcheck(state, check, place),
            Kind::Maintainer(name) => Self::maintainer(state, name),
            Kind::Onbuild(trigger) => Self::onbuild(state, trigger),
            Kind::From(_) => Err(Fault::semantics("FROM cannot stand inside a stage")),
        }
    }

    /// Expands a text with the variables of the stage; one that is not set is doubtful.
    fn expand(&mut self, state: &State, text: &str, place: Place<'_>) -> Result<String, Fault> {
        match self.lexer.attempt(text, &state.environment) {
            Ok(expanded) => {
                self.warn_of_unset(state, &expanded.unset, place);
                Ok(expanded.text)
            }
            Err((fault, unset)) => {
                self.warn_of_unset(state, &unset, place);
                Err(fault)
            }
        }
    }

    fn warn_of_unset(&mut self, state: &State, unset: &BTreeSet<String>, place: Place<'_>) {
        for name in unset {
            if state.arguments.has(name) || NOT_IN_ENVIRONMENT.contains(&name.as_str()) {
                continue;
            }
            self.comparisons += state.environment.len();
            let near = match self.comparisons > MAX_COMPARISONS {
                true => None,
                false => suggest::first_closest(name, state.environment.names()),
            };
            let hint = near.map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
            self.warn(Rule::UndefinedVar, format!("Usage of undefined variable '${name}'{hint}"), place);
        }
    }

    fn warn(&mut self, rule: Rule, message: String, place: Place<'_>) {
        self.lint.report(rule, place.command.instruction.comments.check(), place.lines(), message);
    }

    /// The files of a stage that was converted before. A trigger may take something from the stage that it is fired
    /// in: from what is there so far.
    fn files_of(&self, stage: StageId, state: &State, place: Place<'_>) -> Option<Option<NodeId>> {
        match stage == place.stage {
            true => Some(state.node),
            false => self.states[stage].as_ref().map(|state| state.node),
        }
    }

    /// Notes that a path of a stage is used, which matters if its files come from a local directory.
    fn use_path(&mut self, stage: StageId, path: &str, state: &State, place: Place<'_>) {
        let local = match stage == place.stage {
            true => state.local,
            false => self.states[stage].as_ref().and_then(|state| state.local),
        };
        if let Some(local) = local {
            self.use_local(local, path);
        }
    }

    fn use_local(&mut self, local: LocalId, path: &str) {
        self.locals[local].paths.insert(crate::paths::join("/", path));
    }

    /// The graph and the config of the target.
    fn finish(mut self, text: &str) -> Converted {
        let mut state =
            self.states[self.stages.target].take().expect("the target was converted, it reaches itself");
        if let Some(local) = state.local {
            self.use_local(local, "/");
        }
        for local in std::mem::take(&mut self.locals) {
            self.restrict(&local);
        }
        if !self.options.labels.is_empty() {
            let labels = state.config.config.labels.get_or_insert_default();
            labels.extend(self.options.labels.clone());
        }
        state.exposed.write(&mut state.config.config.exposed_ports);
        state.set_platform(&self.options.platform);
        state.config.history = self.histories.of(&state);
        let source = pb::SourceInfo {
            filename: self.options.filename.clone(),
            data: text.as_bytes().to_vec(),
            definition: None,
            language: "Dockerfile".to_owned(),
        };
        Converted {
            definition: self.graph.finish(state.node, source),
            config: state.config,
            warnings: Vec::new(),
            base: state.base,
            epoch: self.epoch,
        }
    }

    /// Asks only for the paths that are used.
    fn restrict(&mut self, local: &Local) {
        if local.paths.is_empty() || local.paths.contains("/") {
            return;
        }
        let paths: Vec<&str> = local.paths.iter().map(|path| path.trim_start_matches('/')).collect();
        let node = self.graph.node_mut(local.node);
        // A context that is fetched is fetched whole.
        if let Recipe::Source { source, .. } = &mut node.recipe
            && source.identifier.starts_with("local://")
        {
            node.metadata.caps.insert("source.local.followpaths".to_owned(), true);
            source.attrs.insert("local.followpaths".to_owned(), base::json_strings(&paths));
        }
    }
}

/// The metadata of a vertex: its capabilities and its name.
pub(crate) fn metadata(caps: &[&str], name: String) -> pb::OpMetadata {
    pb::OpMetadata {
        caps: caps.iter().map(|cap| ((*cap).to_owned(), true)).collect(),
        description: [("llb.customname".to_owned(), name)].into(),
        ..pb::OpMetadata::default()
    }
}

/// Notes the instruction that a vertex comes from.
fn set_command(metadata: &mut pb::OpMetadata, source: &str) {
    metadata.description.insert("com.docker.dockerfile.v1.command".to_owned(), source.to_owned());
}

fn pb_platform(platform: &gantry_oci::Platform) -> pb::Platform {
    pb::Platform {
        architecture: platform.architecture().to_owned(),
        os: platform.os().to_owned(),
        variant: platform.variant().to_owned(),
        os_version: platform.os_version().to_owned(),
        os_features: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
