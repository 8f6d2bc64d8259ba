//! What a stage begins with: nothing, another stage, an image, a named context.

use gantry_llb::pb;
use gantry_oci::{ImageConfig, Reference};

use super::names::Step;
use super::state::State;
use super::{Converter, Local, LocalId, metadata, set_command};
use crate::context::{self, RemoteContext};
use crate::error::Lines;
use crate::graph::{NodeId, Recipe};
use crate::options::{ImageInfo, NamedContext, ResolveMode};
use crate::platform::StagePlatform;
use crate::stages::{Base, Origin, StageId};

impl<'a> Converter<'a> {
    /// The state that a stage begins with.
    pub(super) fn base_state(&mut self, stage: StageId) -> State {
        let stages = self.stages;
        // As in BuildKit, nothing is always for the target's platform.
        let nothing = || State::empty((&self.options.platform).into());
        match &stages.list[stage].base {
            Base::Scratch => nothing(),
            Base::Stage(base) => self.states[*base].as_ref().map_or_else(nothing, State::child),
            Base::Image(reference) => self.image_state(stage, reference),
            Base::Context(name, context) => self.context_state(stage, name, context),
        }
    }

    /// What builds on a context without a config begins with an empty one for its platform. A stage that a context
    /// replaces is that context, with no more config and platform than it has.
    fn context_state(&mut self, stage: StageId, name: &str, context: &'a NamedContext) -> State {
        let (mut node, mut local) = (None, None);
        match context {
            NamedContext::Image { reference, written } => {
                let step = format!("[context {name}] {written}");
                return self.context_image_state(stage, step, reference);
            }
            NamedContext::Layout { store, reference } => {
                return self.layout_state(stage, name, store, reference);
            }
            NamedContext::Local { shared_key, exclude } => {
                let step = format!("[context {name}] load from client");
                let id = self.add_local(&NamedContext::local_name(name), shared_key, exclude, &step);
                (node, local) = (Some(self.locals[id].node), Some(id));
            }
            NamedContext::Remote(remote) => node = Some(self.add_remote(remote, remote.named(name))),
            NamedContext::Scratch => {}
        }
        let mut state = match self.is_replaced(stage) {
            true => State::new(ImageConfig::default(), self.stages.list[stage].platform.clone()),
            false => {
                let wanted = self.wanted_platform(stage);
                let files_platform = wanted.platform().clone();
                State::empty(wanted).on(files_platform)
            }
        };
        (state.node, state.local) = (node, local);
        state
    }

    fn is_replaced(&self, stage: StageId) -> bool {
        self.stages.list[stage].origin == Origin::Replaced
    }

    fn wanted_platform(&self, stage: StageId) -> StagePlatform {
        self.stages.list[stage].platform.clone().unwrap_or_else(|| (&self.options.platform).into())
    }

    /// Adds a context that is fetched.
    pub(super) fn add_remote(&mut self, remote: &RemoteContext, name: String) -> NodeId {
        let (source, caps) = remote.source();
        let recipe = Recipe::Source { source: source.clone(), platform: None };
        let fetched = self.graph.add(recipe, metadata(caps, name), None);
        if !remote.is_archive() {
            return fetched;
        }
        let actions = vec![(Some(fetched), context::unpack())];
        let metadata = metadata(&["file.base"], context::UNPACK.to_owned());
        self.graph.add(Recipe::File { base: None, actions }, metadata, None)
    }

    fn layout_state(&mut self, stage: StageId, name: &str, store: &str, reference: &Reference) -> State {
        let (info, wanted) = self.known(stage, reference);
        let mut state = self.context_config_state(stage, info, &wanted);
        let pinned = reference.pinned(info.digest);
        let identifier = format!("oci-layout://{pinned}");
        let mut source = pb::SourceOp { identifier, ..pb::SourceOp::default() };
        source.attrs.insert("oci.store".to_owned(), store.to_owned());
        if !self.options.session.is_empty() {
            source.attrs.insert("oci.session".to_owned(), self.options.session.clone());
        }
        let metadata = metadata(&["source.ocilayout"], format!("[context {name}] OCI load from client"));
        let recipe = Recipe::Source { source, platform: Some(wanted.to_pb()) };
        state.node = Some(self.graph.add(recipe, metadata, None));
        state.base = Some((pinned, wanted.platform().clone()));
        state
    }

    fn image_state(&mut self, stage: StageId, reference: &Reference) -> State {
        let (info, wanted) = self.known(stage, reference);
        let mut state = self.state_of(&info.config, Some(wanted.clone()));
        let pinned = reference.pinned(info.digest);
        state.base = Some((pinned.clone(), wanted.platform().clone()));
        if info.is_empty() {
            return state;
        }
        state = state.on(wanted.platform().clone());
        let name = self.step_name(&mut state, stage, &format!("FROM {pinned}"), Step::Base);
        let mut metadata = metadata(&["source.image"], name);
        let written = &self.stages.list[stage];
        set_command(&mut metadata, &written.source);
        let lines = written.lines.clone();
        state.node = Some(self.add_base_image(&pinned, &wanted, metadata, &lines));
        state
    }

    /// As in BuildKit, the graph has the image's tag. Whoever resolves images does it once for a command, so that the
    /// tag means the same image there as here.
    fn context_image_state(&mut self, stage: StageId, step: String, reference: &Reference) -> State {
        let (info, wanted) = self.known(stage, reference);
        let mut state = self.context_config_state(stage, info, &wanted);
        let metadata = metadata(&["source.image"], step);
        let recipe = Recipe::Source { source: image_source(reference), platform: Some(wanted.to_pb()) };
        state.node = Some(self.graph.add(recipe, metadata, None));
        state.base = Some((reference.pinned(info.digest), wanted.platform().clone()));
        state
    }

    /// The state of an image that is a context. One that replaces a stage is for the platform that its config names.
    fn context_config_state(&mut self, stage: StageId, info: &ImageInfo, wanted: &StagePlatform) -> State {
        let own = StagePlatform::of(&info.config).filter(|_| self.is_replaced(stage));
        let files = own.as_ref().unwrap_or(wanted).platform().clone();
        let platform = match self.is_replaced(stage) {
            true => own.or_else(|| self.stages.list[stage].platform.clone()),
            false => Some(wanted.clone()),
        };
        self.state_of(&info.config, platform).on(files)
    }

    fn known(&self, stage: StageId, reference: &Reference) -> (&'a ImageInfo, StagePlatform) {
        let wanted = self.wanted_platform(stage);
        let info = self
            .images
            .get(reference, wanted.platform())
            .expect("the conversion waits until images are known");
        (info, wanted)
    }

    fn state_of(&mut self, config: &ImageConfig, platform: Option<StagePlatform>) -> State {
        let mut state = State::new(base_config(config), platform);
        self.histories.remember(&mut state);
        state
    }

    /// Adds the image of a FROM, which says how its tag was resolved.
    fn add_base_image(
        &mut self,
        reference: &Reference,
        platform: &StagePlatform,
        mut metadata: pb::OpMetadata,
        lines: &Lines,
    ) -> NodeId {
        let mut source = image_source(reference);
        let mode = match self.options.pull {
            ResolveMode::Default => None,
            ResolveMode::Pull => Some("pull"),
            ResolveMode::Local => Some("local"),
        };
        if let Some(mode) = mode {
            source.attrs.insert("image.resolvemode".to_owned(), mode.to_owned());
        }
        if self.options.pull == ResolveMode::Pull {
            metadata.caps.insert("source.image.resolvemode".to_owned(), true);
        }
        let platform = Some(platform.to_pb());
        self.graph.add(Recipe::Source { source, platform }, metadata, Some(lines))
    }

    /// Adds a directory of the client's.
    pub(super) fn add_local(
        &mut self,
        name: &str,
        shared_key: &str,
        exclude: &[String],
        step: &str,
    ) -> LocalId {
        let mut metadata = metadata(&["source.local", "source.local.sharedkeyhint"], step.to_owned());
        let mut source = pb::SourceOp { identifier: format!("local://{name}"), ..pb::SourceOp::default() };
        source.attrs.insert("local.sharedkeyhint".to_owned(), shared_key.to_owned());
        if !self.options.session.is_empty() {
            source.attrs.insert("local.session".to_owned(), self.options.session.clone());
            metadata.caps.insert("source.local.sessionid".to_owned(), true);
        }
        if !exclude.is_empty() {
            source.attrs.insert("local.excludepatterns".to_owned(), json_strings(exclude));
            metadata.caps.insert("source.local.excludepatterns".to_owned(), true);
        }
        let node = self.graph.add(Recipe::Source { source, platform: None }, metadata, None);
        self.locals.push(Local { node, paths: Default::default() });
        self.locals.len() - 1
    }
}

fn image_source(reference: &Reference) -> pb::SourceOp {
    pb::SourceOp { identifier: format!("docker-image://{reference}"), ..pb::SourceOp::default() }
}

/// The config that children inherit: without the image's layers, its time, and what BuildKit does not know either.
fn base_config(config: &ImageConfig) -> ImageConfig {
    let mut config = config.clone();
    config.created = None;
    config.rootfs.diff_ids.clear();
    config.extra.clear();
    config.config.extra.clear();
    config.config.on_build = None;
    config
}

/// A JSON list as Go writes it: fit for HTML, so that some characters are escaped.
pub(super) fn json_strings(list: &[impl AsRef<str>]) -> String {
    let list: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
    let json = serde_json::to_string(&list).expect("a list of strings is valid JSON");
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            char => text.push(char),
        }
    }
    text
}
