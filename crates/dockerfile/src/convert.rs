//! The conversion: stages in order, instructions in order, one function per family of instructions.
//!
//! Each stage has a [`State`]: the files as a vertex of the growing graph, and the image config. An instruction
//! changes the state and adds a line of history.

mod base;
mod copy;
mod expose;
mod names;
mod owner;
mod remote;
mod run;
mod run_mounts;
mod settings;
mod signal;
mod state;

use std::collections::BTreeSet;

use gantry_llb::pb;

use crate::error::{Error, Fault, Lines, Warning};
use crate::graph::{Graph, NodeId, Recipe};
use crate::instruction::{Instruction, Kind};
use crate::lex::Lexer;
use crate::options::{Conversion, Converted, Images, Options};
use crate::stages::{Command, StageId, Stages};
use crate::{parser, suggest};
use state::State;

/// The front-end images whose language this is.
const OWN_FRONT_ENDS: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];
/// The variables that BuildKit reads itself: they are no variables of commands.
const NOT_IN_ENVIRONMENT: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Converts a Dockerfile for one platform, with the images known so far.
///
/// A pure function: call it again with the images that it asked for, until it is [`Conversion::Done`]. A fault of
/// the text is an error on any stage; a fault that depends on values is one only on stages that the target needs.
pub fn convert(text: &[u8], options: &Options, images: &Images) -> Result<Conversion, Error> {
    let text = read_text(text)?;
    let mut options = options.clone();
    let file = parser::parse(text)?;
    let syntax =
        options.build_args.get("BUILDKIT_SYNTAX").map(|image| (image.clone(), 1)).or(file.syntax.clone());
    if let Some((image, line)) = syntax {
        check_front_end(&image).map_err(|fault| fault.at(&(line..=line)))?;
    }
    let mut warnings = file.warnings.clone();
    let mut stages = Stages::read(&file, &options, &mut warnings)?;
    let epoch = source_date_epoch(&mut stages, &mut options)?;
    let missing = stages.resolve(&options, images)?;
    if !missing.is_empty() {
        return Ok(Conversion::NeedsImages(missing));
    }
    let mut converter = Converter::new(&options, images, &stages, file.escape);
    converter.warnings = warnings;
    converter.epoch = epoch;
    converter.build_stages()?;
    Ok(Conversion::Done(Box::new(converter.finish(text))))
}

fn read_text(text: &[u8]) -> Result<&str, Error> {
    if text.is_empty() {
        return Err(Fault::syntax("the Dockerfile cannot be empty").at(&(1..=1)));
    }
    std::str::from_utf8(text).map_err(|error| {
        let before = text[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        let line = u32::try_from(before + 1).unwrap_or(u32::MAX);
        Fault::syntax("the Dockerfile is not UTF-8 text").at(&(line..=line))
    })
}

fn check_front_end(syntax: &str) -> Result<(), Fault> {
    let image = syntax.split_whitespace().next().unwrap_or_default();
    let name = image.parse::<gantry_oci::Reference>().map(|reference| reference.name()).unwrap_or_default();
    let own = |front_end: &&str| name == format!("docker.io/{front_end}");
    if image.starts_with("dockerfile.v0") || OWN_FRONT_ENDS.iter().any(own) {
        return Ok(());
    }
    Err(Fault::unsupported(format_args!("the front end `{image}`"))
        .hint("remove the syntax directive, or name docker/dockerfile:1"))
}

/// Reads `SOURCE_DATE_EPOCH` and gives everybody the number as it was understood.
fn source_date_epoch(stages: &mut Stages, options: &mut Options) -> Result<Option<i64>, Error> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let given = options.build_args.get(NAME).cloned();
    let Some(text) = given.or_else(|| stages.globals.get(NAME).map(str::to_owned)) else { return Ok(None) };
    if text.is_empty() {
        options.build_args.remove(NAME);
        stages.globals.remove(NAME);
        return Ok(None);
    }
    let seconds: i64 = text.parse().map_err(|_| {
        let lines = stages.list[stages.target].lines.clone();
        Fault::unsupported(format_args!("{NAME} `{text}`")).hint("give it as seconds since 1970").at(&lines)
    })?;
    if let Some(given) = options.build_args.get_mut(NAME) {
        *given = seconds.to_string();
    }
    if stages.globals.get(NAME).is_some() {
        stages.globals.set(NAME, &seconds.to_string());
    }
    Ok(Some(seconds))
}

/// A local directory, and which of its paths are wanted.
struct Local {
    node: NodeId,
    paths: BTreeSet<String>,
}

/// A local directory by its place in the converter's list. The build context is the first.
type LocalId = usize;
const BUILD_CONTEXT: LocalId = 0;

struct Converter<'a> {
    options: &'a Options,
    images: &'a Images,
    stages: &'a Stages,
    lexer: Lexer,
    graph: Graph,
    locals: Vec<Local>,
    states: Vec<Option<State>>,
    proxy: Option<pb::ProxyEnv>,
    epoch: Option<i64>,
    warnings: Vec<Warning>,
}

/// Where an instruction stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    stage: StageId,
    command: &'a Command,
}

impl Place<'_> {
    fn lines(&self) -> &Lines {
        &self.command.instruction.lines
    }

    fn source(&self) -> &str {
        &self.command.instruction.source
    }
}

impl<'a> Converter<'a> {
    fn new(options: &'a Options, images: &'a Images, stages: &'a Stages, escape: char) -> Self {
        let mut converter = Self {
            options,
            images,
            stages,
            lexer: Lexer::new(escape),
            graph: Graph::default(),
            locals: Vec::new(),
            states: (0..stages.list.len()).map(|_| None).collect(),
            proxy: run::proxy(&options.build_args),
            epoch: None,
            warnings: Vec::new(),
        };
        converter.add_local("context", "context", &options.exclude, "[internal] load build context");
        converter
    }

    fn build_stages(&mut self) -> Result<(), Error> {
        let reachable = self.stages.reachable();
        // What only a `--from` names is there from the beginning.
        for stage in reachable.iter().filter(|stage| self.stages.list[**stage].anonymous) {
            self.states[*stage] = Some(self.base_state(*stage));
        }
        for stage in reachable.iter().filter(|stage| !self.stages.list[**stage].anonymous) {
            let mut state = self.base_state(*stage);
            state.begin();
            for command in &self.stages.list[*stage].commands {
                let place = Place { stage: *stage, command };
                self.instruction(&mut state, place).map_err(|fault| fault.at(&command.instruction.lines))?;
            }
            self.states[*stage] = Some(state);
        }
        Ok(())
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
            Kind::Expose(ports) => self.expose(state, ports),
            Kind::Volume(volumes) => self.volume(state, volumes, place),
            Kind::StopSignal(signal) => self.stop_signal(state, signal, place),
            Kind::Healthcheck(check) => Self::healthcheck(state, check),
            Kind::Maintainer(name) => self.maintainer(state, name, place),
            Kind::Onbuild(trigger) => Self::onbuild(state, trigger),
            Kind::From(_) => Err(Fault::semantics("FROM cannot stand inside a stage")),
        }
    }

    /// Expands a text with the variables of the stage; one that is not set is doubtful.
    fn expand(&mut self, state: &State, text: &str, place: Place<'_>) -> Result<String, Fault> {
        let expanded = self.lexer.word(text, &state.environment)?;
        self.warn_of_unset(state, &expanded.unset, place);
        Ok(expanded.text)
    }

    fn warn_of_unset(&mut self, state: &State, unset: &BTreeSet<String>, place: Place<'_>) {
        for name in unset {
            let declared = state.arguments.iter().any(|argument| argument.name == *name);
            if declared || NOT_IN_ENVIRONMENT.contains(&name.as_str()) {
                continue;
            }
            let near = suggest::closest(name, state.environment.names());
            let hints = near.map(|near| format!("did you mean `${near}`?")).into_iter().collect();
            self.warn("UndefinedVar", format!("usage of undefined variable `${name}`"), hints, place);
        }
    }

    fn warn(&mut self, rule: &'static str, message: String, hints: Vec<String>, place: Place<'_>) {
        let warning = Warning { rule, message, lines: place.lines().clone(), hints };
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// The files of a stage that was converted before.
    fn files_of(&self, stage: StageId) -> Option<Option<NodeId>> {
        self.states[stage].as_ref().map(|state| state.node)
    }

    /// Notes that a path of a stage is used, which matters if its files come from a local directory.
    fn use_path(&mut self, stage: StageId, path: &str) {
        if let Some(local) = self.states[stage].as_ref().and_then(|state| state.local) {
            self.use_local(local, path);
        }
    }

    fn use_local(&mut self, local: LocalId, path: &str) {
        self.locals[local].paths.insert(crate::paths::join("/", path));
    }

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
        state.set_platform(&self.options.platform);
        let source = pb::SourceInfo {
            filename: self.options.filename.clone(),
            data: text.as_bytes().to_vec(),
            definition: None,
            language: "Dockerfile".to_owned(),
        };
        Converted {
            definition: self.graph.finish(state.node, source),
            config: state.config,
            warnings: self.warnings,
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
        node.metadata.caps.insert("source.local.followpaths".to_owned(), true);
        if let Recipe::Source { source, .. } = &mut node.recipe {
            source.attrs.insert("local.followpaths".to_owned(), base::json_strings(&paths));
        }
    }
}

/// The metadata of a vertex: its capabilities and its name.
fn metadata(caps: &[&str], name: String) -> pb::OpMetadata {
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
