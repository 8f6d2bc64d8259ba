//! The instructions that change the config, and WORKDIR, which also makes its directory.

use gantry_llb::pb;
use gantry_oci::Healthcheck;

use super::state::State;
use super::{Converter, NOT_IN_ENVIRONMENT, Place, metadata, owner, signal};
use crate::duration;
use crate::error::{Fault, Lines};
use crate::graph::{NONE, Recipe};
use crate::instruction::{ArgDefinition, CommandLine, Pairs};
use crate::lint::{Rule, names_secret};
use crate::paths;
use crate::unicode::is_printable;

/// The permissions of a directory that WORKDIR makes.
const WORKDIR_MODE: i32 = 0o755;

impl Converter<'_> {
    pub(super) fn arg(
        &mut self,
        state: &mut State,
        definitions: &[ArgDefinition],
        place: Place<'_>,
    ) -> Result<(), Fault> {
        let mut written = Vec::new();
        for ArgDefinition { name, default } in definitions {
            self.warn_of_secret("ARG", name, place);
            let value = match (self.options.build_args.get(name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.expand(state, default, place)?),
                (None, None) => self.stages.globals.values.get(name).map(str::to_owned),
            };
            self.mention(name, default.is_some(), value.as_deref(), place);
            if let Some(value) = value.as_deref().filter(|_| !NOT_IN_ENVIRONMENT.contains(&name.as_str())) {
                state.environment.set(name, value);
            }
            written.push(match &value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            state.declare(name, value);
        }
        state.note(format!("ARG {}", written.join(" ")));
        Ok(())
    }

    pub(super) fn env(&mut self, state: &mut State, pairs: &Pairs, place: Place<'_>) -> Result<(), Fault> {
        let pairs = self.expand_pairs(state, pairs, place)?;
        let mut written = "ENV".to_owned();
        for (name, value) in pairs {
            self.warn_of_secret("ENV", &name, place);
            written.push_str(&format!(" {name}={value}"));
            state.set_variable(&name, &value);
        }
        state.note(written);
        Ok(())
    }

    pub(super) fn label(&mut self, state: &mut State, pairs: &Pairs, place: Place<'_>) -> Result<(), Fault> {
        let pairs = self.expand_pairs(state, pairs, place)?;
        let labels = state.config.config.labels.get_or_insert_default();
        let mut written = "LABEL".to_owned();
        for (name, value) in pairs {
            written.push_str(&format!(" {name}={value}"));
            labels.insert(name, value);
        }
        state.note(written);
        Ok(())
    }

    /// Expands all pairs of a line with the variables as they were before it.
    fn expand_pairs(
        &mut self,
        state: &State,
        pairs: &Pairs,
        place: Place<'_>,
    ) -> Result<Vec<(String, String)>, Fault> {
        let mut expanded = Vec::new();
        for pair in &pairs.pairs {
            expanded.push((self.expand(state, &pair.key, place)?, self.expand(state, &pair.value, place)?));
        }
        if pairs.old_form {
            let name = place.keyword();
            let message =
                format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
            self.warn(Rule::LegacyKeyValueFormat, message, place);
        }
        Ok(expanded)
    }

    fn warn_of_secret(&mut self, keyword: &str, name: &str, place: Place<'_>) {
        if names_secret(name) {
            let message =
                format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name:?})");
            self.warn(Rule::SecretsUsedInArgOrEnv, message, place);
        }
    }

    /// Notes an argument of a stage. One that only takes over a global one is described there.
    fn mention(&mut self, name: &str, has_default: bool, value: Option<&str>, place: Place<'_>) {
        let mentions = &mut self.mentions[place.stage];
        mentions.used.insert(name.to_owned());
        let given = self.options.build_args.contains_key(name);
        if has_default || given || self.stages.globals.values.get(name).is_none() {
            let description = place.command.instruction.description(name).map(str::to_owned);
            let argument = (value.unwrap_or_default().to_owned(), description, place.lines().clone());
            mentions.arguments.insert(name.to_owned(), argument);
        }
    }

    pub(super) fn workdir(&mut self, state: &mut State, path: &str, place: Place<'_>) -> Result<(), Fault> {
        let path = self.expand(state, path, place)?;
        if !std::mem::replace(&mut state.has_workdir, true) && !state.style().is_absolute(&path) {
            let message =
                format!("Relative workdir {path:?} can have unexpected results if the base image changes");
            self.warn(Rule::WorkdirRelativePath, message, place);
        }
        let directory = state.change_directory(&path)?;
        let history = format!("WORKDIR {directory}");
        if directory == "/" {
            state.note(history);
            return Ok(());
        }
        let user = state.user();
        let mkdir = pb::FileActionMkDir {
            path: paths::clean(&directory),
            mode: WORKDIR_MODE,
            make_parents: true,
            owner: (!user.is_empty()).then(|| owner::parse(user)),
            timestamp: self.epoch.map_or(NONE, |seconds| seconds.wrapping_mul(1_000_000_000)),
        };
        let name = self.instruction_name(state, place);
        let recipe =
            Recipe::File { base: state.node, actions: vec![(None, pb::file_action::Action::Mkdir(mkdir))] };
        state.node = Some(self.graph.add(recipe, metadata(&["file.base"], name), Some(place.lines())));
        state.note_layer(history);
        Ok(())
    }

    pub(super) fn user(&mut self, state: &mut State, user: &str, place: Place<'_>) -> Result<(), Fault> {
        let user = self.expand(state, user, place)?;
        state.note(format!("USER {user}"));
        state.config.config.user = user;
        Ok(())
    }

    pub(super) fn cmd(
        &mut self,
        state: &mut State,
        command: &CommandLine,
        place: Place<'_>,
    ) -> Result<(), Fault> {
        self.warn_of_second(state.once.cmd.replace(place.lines().clone()), place);
        let command = self.command_line(state, command, place);
        state.note(format!("CMD {}", quoted_list(&command)));
        state.config.config.cmd = Some(command);
        state.config.config.args_escaped = true;
        Ok(())
    }

    /// ENTRYPOINT drops a CMD that was inherited, for it belongs to another program.
    pub(super) fn entrypoint(
        &mut self,
        state: &mut State,
        command: &CommandLine,
        place: Place<'_>,
    ) -> Result<(), Fault> {
        self.warn_of_second(state.once.entrypoint.replace(place.lines().clone()), place);
        let command = self.command_line(state, command, place);
        state.note(format!("ENTRYPOINT {}", quoted_list(&command)));
        state.config.config.entrypoint = Some(command);
        if state.once.cmd.is_none() {
            state.config.config.cmd = None;
        }
        Ok(())
    }

    /// Reports an earlier instruction that this one replaces.
    fn warn_of_second(&mut self, earlier: Option<Lines>, place: Place<'_>) {
        let Some(lines) = earlier else { return };
        let message = format!(
            "Multiple {} instructions should not be used in the same stage because only the last one will be \
             used",
            place.keyword()
        );
        let own = place.command.instruction.comments.check();
        self.lint.report(Rule::MultipleInstructionsDisallowed, own, &lines, message);
    }

    fn command_line(&mut self, state: &State, command: &CommandLine, place: Place<'_>) -> Vec<String> {
        match command {
            CommandLine::Exec(command) => command.clone(),
            CommandLine::Shell(text) => {
                if state.config.config.shell.as_ref().is_none_or(Vec::is_empty) {
                    let message = format!(
                        "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                        place.keyword()
                    );
                    self.warn(Rule::JsonArgsRecommended, message, place);
                }
                state.with_shell(text.clone())
            }
        }
    }

    pub(super) fn shell(state: &mut State, shell: &[String]) -> Result<(), Fault> {
        state.note(format!("SHELL [{}]", shell.join(" ")));
        state.config.config.shell = Some(shell.to_vec());
        Ok(())
    }

    pub(super) fn volume(
        &mut self,
        state: &mut State,
        volumes: &[String],
        place: Place<'_>,
    ) -> Result<(), Fault> {
        let volumes: Vec<String> =
            volumes.iter().map(|volume| self.expand(state, volume, place)).collect::<Result<_, _>>()?;
        if volumes.iter().any(String::is_empty) {
            return Err(Fault::semantics("VOLUME specified can not be an empty string"));
        }
        state.note(format!("VOLUME [{}]", volumes.join(" ")));
        let known = state.config.config.volumes.get_or_insert_default();
        known.extend(volumes.into_iter().map(|volume| (volume, empty_object())));
        Ok(())
    }

    pub(super) fn stop_signal(
        &mut self,
        state: &mut State,
        signal: &str,
        place: Place<'_>,
    ) -> Result<(), Fault> {
        let signal = self.expand(state, signal, place)?;
        signal::check(&signal)?;
        state.note(format!("STOPSIGNAL {signal}"));
        state.config.config.stop_signal = signal;
        Ok(())
    }

    pub(super) fn healthcheck(
        &mut self,
        state: &mut State,
        check: &Healthcheck,
        place: Place<'_>,
    ) -> Result<(), Fault> {
        self.warn_of_second(state.once.healthcheck.replace(place.lines().clone()), place);
        let duration = duration::format;
        state.note(format!(
            "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
            check.test.join(" "),
            duration(check.interval),
            duration(check.timeout),
            duration(check.start_period),
            duration(check.start_interval),
            check.retries
        ));
        state.config.config.healthcheck = Some(check.clone());
        Ok(())
    }

    pub(super) fn maintainer(state: &mut State, name: &str) -> Result<(), Fault> {
        state.note(format!("MAINTAINER {name}"));
        name.clone_into(&mut state.config.author);
        Ok(())
    }

    pub(super) fn onbuild(state: &mut State, trigger: &str) -> Result<(), Fault> {
        state.config.config.on_build.get_or_insert_default().push(trigger.to_owned());
        Ok(())
    }
}

/// What stands for a member of a set in the config's JSON.
pub(super) fn empty_object() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// A list as Go's `%q` writes it, which is what the history holds.
fn quoted_list(list: &[String]) -> String {
    let list: Vec<String> = list.iter().map(|text| quoted(text)).collect();
    format!("[{}]", list.join(" "))
}

fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            char if char.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(char))),
            char if is_printable(char) => quoted.push(char),
            char if u32::from(char) > 0xffff => quoted.push_str(&format!("\\U{:08x}", u32::from(char))),
            char => quoted.push_str(&format!("\\u{:04x}", u32::from(char))),
        }
    }
    quoted + "\""
}
