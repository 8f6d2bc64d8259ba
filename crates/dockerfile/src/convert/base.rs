//! What a stage begins with: nothing, another stage, an image, a named context.

use gantry_llb::pb;
use gantry_oci::{ImageConfig, Platform, Reference};

use super::state::State;
use super::{Converter, Local, LocalId, metadata, pb_platform, set_command};
use crate::context::{self, RemoteContext};
use crate::graph::{NodeId, Recipe};
use crate::options::{ImageInfo, NamedContext, ResolveMode};
use crate::stages::{Base, StageId};

impl<'a> Converter<'a> {
    /// The state that a stage begins with.
    pub(super) fn base_state(&mut self, stage: StageId) -> State {
        let stages = self.stages;
        match &stages.list[stage].base {
            // As in BuildKit, nothing is always for the target's platform.
            Base::Scratch => State::empty(&self.options.platform),
            Base::Stage(base) => {
                self.states[*base].as_ref().map_or_else(|| State::empty(&self.options.platform), State::child)
            }
            Base::Image(reference) => self.image_state(stage, reference),
            Base::Context(name, NamedContext::Image(reference)) => {
                self.context_image_state(stage, name, reference)
            }
            Base::Context(name, NamedContext::Local { shared_key, exclude }) => {
                let step = format!("[context {name}] load from client");
                let local = self.add_local(name, shared_key, exclude, &step);
                let node = self.locals[local].node;
                let mut state = State::empty(&self.options.platform);
                (state.node, state.local) = (Some(node), Some(local));
                state
            }
            Base::Context(name, NamedContext::Remote(remote)) => {
                let node = self.add_remote(remote, remote.named(name));
                let mut state = State::empty(&self.options.platform);
                state.node = Some(node);
                state
            }
            Base::Context(name, NamedContext::Layout { store, reference }) => {
                self.layout_state(stage, name, store, reference)
            }
            Base::Context(_, NamedContext::Scratch) => State::empty(&self.options.platform),
        }
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
        let (info, platform) = self.known(stage, reference);
        let mut state = State::new(None, base_config(&info.config), platform.clone());
        let pinned = reference.pinned(info.digest);
        let identifier = format!("oci-layout://{pinned}");
        let mut source = pb::SourceOp { identifier, ..pb::SourceOp::default() };
        source.attrs.insert("oci.store".to_owned(), store.to_owned());
        if !self.options.session.is_empty() {
            source.attrs.insert("oci.session".to_owned(), self.options.session.clone());
        }
        let metadata = metadata(&["source.ocilayout"], format!("[context {name}] OCI load from client"));
        let lines = self.stages.list[stage].lines.clone();
        let recipe = Recipe::Source { source, platform: Some(pb_platform(&platform)) };
        state.node = Some(self.graph.add(recipe, metadata, Some(&lines)));
        state.base = Some((pinned, platform));
        state
    }

    fn image_state(&mut self, stage: StageId, reference: &Reference) -> State {
        let (info, platform) = self.known(stage, reference);
        let mut state = self.state_of(&info.config, &platform);
        let pinned = reference.pinned(info.digest);
        state.base = Some((pinned.clone(), platform.clone()));
        if info.is_empty() {
            return state;
        }
        let name = self.step_name(&mut state, stage, &format!("FROM {pinned}"), false);
        let mut metadata = metadata(&["source.image"], name);
        let written = &self.stages.list[stage];
        set_command(&mut metadata, &written.source);
        let lines = written.lines.clone();
        state.node = Some(self.add_image(&pinned, &platform, metadata, &lines));
        state
    }

    /// As in BuildKit, the graph has the image's tag. Whoever resolves images does it once for a command, so that the
    /// tag means the same image there as here.
    fn context_image_state(&mut self, stage: StageId, name: &str, reference: &Reference) -> State {
        let (info, platform) = self.known(stage, reference);
        let mut state = self.state_of(&info.config, &platform);
        let metadata = metadata(&["source.image"], format!("[context {name}] {}", reference.familiar()));
        let lines = self.stages.list[stage].lines.clone();
        state.node = Some(self.add_image(reference, &platform, metadata, &lines));
        state.base = Some((reference.pinned(info.digest), platform));
        state
    }

    fn known(&self, stage: StageId, reference: &Reference) -> (&'a ImageInfo, Platform) {
        let platform = self.stages.list[stage].platform.as_ref().unwrap_or(&self.options.platform);
        let info = self.images.get(reference, platform).expect("the conversion waits until images are known");
        (info, platform.clone())
    }

    fn state_of(&mut self, config: &ImageConfig, platform: &Platform) -> State {
        let mut state = State::new(None, base_config(config), platform.clone());
        self.histories.remember(&mut state);
        state
    }

    fn add_image(
        &mut self,
        reference: &Reference,
        platform: &Platform,
        mut metadata: pb::OpMetadata,
        lines: &crate::error::Lines,
    ) -> NodeId {
        let mut source =
            pb::SourceOp { identifier: format!("docker-image://{reference}"), ..pb::SourceOp::default() };
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
        let platform = Some(pb_platform(platform));
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
