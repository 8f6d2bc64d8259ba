//! The state of a stage: its files and its config, as far as its instructions have come.

use std::borrow::Cow;
use std::collections::HashMap;

use gantry_oci::{History, ImageConfig, Platform, Reference};

use super::LocalId;
use super::arguments::Arguments;
use super::expose::Ports;
use super::history::EntryId;
use crate::environment::Environment;
use crate::error::{Fault, Lines};
use crate::graph::NodeId;
use crate::paths::Style;
use crate::platform::StagePlatform;

/// Names the front end in the history, as BuildKit does: it is what tools look for.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";
/// About how many bytes a variable or argument takes in lists and tables, besides its characters.
const VARIABLE_WEIGHT: usize = 256;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The state of a stage.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The files; none is an empty tree.
    pub(super) node: Option<NodeId>,
    /// The variables that commands see: those of the config, and arguments.
    pub(super) environment: Environment,
    /// The platform that the stage is for; none if nobody said so, which a context of the client's can bring about.
    pub(super) platform: Option<StagePlatform>,
    /// The platform that commands run on; none for that of the target.
    pub(super) files_platform: Option<Platform>,
    /// Where each variable is in the config's list.
    places: HashMap<String, usize>,
    /// The config; its history holds only what the history's keeper does not know yet.
    pub(super) config: ImageConfig,
    /// The ports that it exposes, besides those in the config.
    pub(super) exposed: Ports,
    /// The last line of history that the keeper knows.
    pub(super) last_entry: Option<EntryId>,
    /// About how many bytes the config is, without its history.
    pub(super) weight: usize,
    /// The arguments that were declared, those of the base first.
    pub(super) arguments: Arguments,
    /// The local directory that the files come from, if they do.
    pub(super) local: Option<LocalId>,
    /// The image at the very bottom.
    pub(super) base: Option<(Reference, Platform)>,
    /// The number of the last step.
    pub(super) step: usize,
    /// The instructions of this stage of which the last one counts.
    pub(super) once: Once,
    /// Whether a WORKDIR was met, in this stage or one that it builds on.
    pub(super) has_workdir: bool,
}

/// Where the instructions are of which a stage should have one.
#[derive(Debug, Clone, Default)]
pub(super) struct Once {
    /// CMD
    pub(super) cmd: Option<Lines>,
    /// ENTRYPOINT
    pub(super) entrypoint: Option<Lines>,
    /// HEALTHCHECK
    pub(super) healthcheck: Option<Lines>,
}

impl State {
    /// A state with this config and no files, before any instruction.
    pub(super) fn new(config: ImageConfig, platform: Option<StagePlatform>) -> Self {
        Self {
            node: None,
            files_platform: None,
            environment: Environment::default(),
            places: HashMap::new(),
            platform,
            config,
            arguments: Arguments::default(),
            local: None,
            base: None,
            exposed: Ports::default(),
            last_entry: None,
            weight: 0,
            step: 0,
            once: Once::default(),
            has_workdir: false,
        }
    }

    /// The state of nothing, for a platform.
    pub(super) fn empty(platform: StagePlatform) -> Self {
        let named = platform.to_pb();
        let mut config = ImageConfig {
            architecture: named.architecture,
            os: named.os,
            variant: named.variant,
            os_version: named.os_version,
            ..ImageConfig::default()
        };
        config.config.working_dir = "/".to_owned();
        Self::new(config, Some(platform))
    }

    /// The state with files of this platform.
    pub(super) fn on(self, platform: Platform) -> Self {
        Self { files_platform: Some(platform), ..self }
    }

    /// What a stage takes over from the one that it builds on.
    pub(super) fn child(&self) -> Self {
        let mut child = Self { step: 0, once: Once::default(), ..self.clone() };
        child.config.config.on_build = None;
        child
    }

    /// How paths are written in it.
    pub(super) fn style(&self) -> Style {
        Style::of(self.platform.as_ref().map_or("", |platform| platform.platform().os()))
    }

    /// Makes a stage ready for its first instruction.
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        let style = self.style();
        let variables = self.config.config.env.get_or_insert_default();
        let has_path = variables.iter().any(|variable| split(variable).0 == "PATH");
        if !has_path && style == Style::Unix {
            variables.push(format!("PATH={DEFAULT_PATH}"));
        }
        self.places.clear();
        for (place, variable) in variables.iter().enumerate() {
            let (name, value) = split(variable);
            self.environment.set(name, value);
            // Of variables with one name, the first one is changed, and commands see the last one.
            self.places.entry(name.to_owned()).or_insert(place);
        }
        let directory = self.config.config.working_dir.clone();
        if !directory.is_empty() {
            // As in BuildKit, one that is relative is taken to be below itself.
            self.change_directory(&directory)?;
        }
        Ok(())
    }

    /// The directory that commands run in and paths are relative to.
    pub(super) fn directory(&self) -> Cow<'_, str> {
        match self.config.config.working_dir.as_str() {
            "" => "/".into(),
            directory => self.style().slashes(directory),
        }
    }

    /// Changes the directory, and says what it is now.
    pub(super) fn change_directory(&mut self, path: &str) -> Result<String, Fault> {
        let style = self.style();
        let directory = style.absolute(&self.config.config.working_dir, path)?;
        self.config.config.working_dir = style.native(&directory);
        Ok(directory)
    }

    /// The user that commands run as; empty for the image's own default, root.
    pub(super) fn user(&self) -> &str {
        &self.config.config.user
    }

    /// Sets a variable of the config; one that is there keeps its place.
    pub(super) fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.set(name, value);
        let variables = self.config.config.env.get_or_insert_default();
        let variable = format!("{name}={value}");
        match self.places.get(name) {
            Some(place) => variables[*place] = variable,
            None => {
                // A name with a `=` in it is not found again, but the part before that is.
                self.places.entry(split(&variable).0.to_owned()).or_insert(variables.len());
                variables.push(variable);
                self.weight += VARIABLE_WEIGHT;
            }
        }
    }

    /// Declares an argument.
    pub(super) fn declare(&mut self, name: &str, value: Option<String>) {
        if !self.arguments.has(name) {
            self.weight += VARIABLE_WEIGHT;
        }
        self.arguments.declare(name, value);
    }

    /// The command line of a text, for the shell of the stage.
    pub(super) fn with_shell(&self, text: String) -> Vec<String> {
        let mut command = match &self.config.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ if self.config.os == "windows" => ["cmd", "/S", "/C"].map(str::to_owned).to_vec(),
            _ => ["/bin/sh", "-c"].map(str::to_owned).to_vec(),
        };
        command.push(text);
        command
    }

    /// Adds a line of history for something that makes no layer.
    pub(super) fn note(&mut self, created_by: String) {
        self.add_history(created_by, true);
    }

    /// Adds a line of history for a layer.
    pub(super) fn note_layer(&mut self, created_by: String) {
        self.add_history(created_by, false);
    }

    fn add_history(&mut self, created_by: String, empty_layer: bool) {
        let comment = HISTORY_COMMENT.to_owned();
        self.config.history.push(History { created_by, comment, empty_layer, ..History::default() });
    }

    /// Writes the platform that was built for into the config.
    pub(super) fn set_platform(&mut self, platform: &Platform) {
        let config = &mut self.config;
        let same = config.os == platform.os() && config.architecture == platform.architecture();
        config.os = platform.os().to_owned();
        config.architecture = platform.architecture().to_owned();
        if !platform.variant().is_empty() || !same {
            config.variant = platform.variant().to_owned();
        }
        if !platform.os_version().is_empty() || !same {
            config.os_version = platform.os_version().to_owned();
        }
        if let Some(normal) = config.platform() {
            config.variant = normal.variant().to_owned();
        }
    }
}

fn split(variable: &str) -> (&str, &str) {
    variable.split_once('=').unwrap_or((variable, ""))
}
