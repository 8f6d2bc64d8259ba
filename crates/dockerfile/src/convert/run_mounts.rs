//! The mounts of a RUN: its root, what the instruction asks for, secrets and agents.

use gantry_llb::pb;

use super::state::State;
use super::{BUILD_CONTEXT, Converter, Mention, Place, metadata, owner};
use crate::environment::Environment;
use crate::error::Fault;
use crate::graph::{NONE, NodeId, Recipe};
use crate::instruction::{Mount, MountType, Run, Sharing};
use crate::paths;
use crate::stages::{SCRATCH, StageId};

/// The agent that a mount without an id means.
const DEFAULT_AGENT: &str = "default";
const SECRET_DIRECTORY: &str = "/run/secrets/";
const SECRET_MODE: u32 = 0o400;
const AGENT_MODE: u32 = 0o600;
const CACHE_MODE: u32 = 0o755;
/// The directory inside an empty tree that a cache with an owner begins with.
const CACHE_SEED: &str = "/cache";

/// The mounts so far.
pub(super) struct Mounts {
    /// Ordinary ones, to be sorted by where they are mounted.
    trees: Vec<(Option<NodeId>, pb::Mount)>,
    secrets: Vec<pb::Mount>,
    agents: Vec<pb::Mount>,
    secret_variables: Vec<pb::SecretEnv>,
}

impl Mounts {
    /// Just the root.
    pub(super) fn new(root: Option<NodeId>) -> Self {
        let mut mounts =
            Self { trees: Vec::new(), secrets: Vec::new(), agents: Vec::new(), secret_variables: Vec::new() };
        mounts.bind(root, "/", "", 0, false);
        mounts
    }

    /// Mounts files. `output` is [`NONE`] if what is written is thrown away.
    pub(super) fn bind(
        &mut self,
        source: Option<NodeId>,
        target: &str,
        selector: &str,
        output: i64,
        readonly: bool,
    ) {
        let (dest, selector) = (target.to_owned(), selector.to_owned());
        self.trees.push((source, pb::Mount { dest, selector, output, readonly, ..pb::Mount::default() }));
    }

    /// Mounts an empty directory in memory.
    pub(super) fn tmpfs(&mut self, target: &str, size: i64) {
        let mut mount = pb::Mount { dest: target.to_owned(), output: NONE, ..pb::Mount::default() };
        mount.set_mount_type(pb::MountType::Tmpfs);
        mount.tmpfs_opt = Some(pb::TmpfsOpt { size });
        self.trees.push((None, mount));
    }

    /// The socket of the first agent.
    pub(super) fn agent_socket(&self) -> Option<&str> {
        self.agents.first().map(|agent| agent.dest.as_str())
    }

    /// The variables with the values of secrets hidden: for names that people see.
    pub(super) fn masked(&self, environment: &Environment) -> Environment {
        let mut masked = environment.clone();
        for variable in &self.secret_variables {
            masked.set(&variable.name, "****");
        }
        masked
    }

    /// The capabilities that they need.
    pub(super) fn caps(&self) -> Vec<&'static str> {
        let mut caps = Vec::new();
        for (source, mount) in &self.trees {
            if !mount.selector.is_empty() {
                caps.push("exec.mount.selector");
            }
            match (mount.mount_type(), &mount.tmpfs_opt) {
                (pb::MountType::Cache, _) => caps.extend(["exec.mount.cache", "exec.mount.cache.sharing"]),
                (_, Some(tmpfs)) => {
                    caps.push("exec.mount.tmpfs");
                    caps.extend((tmpfs.size > 0).then_some("exec.mount.tmpfs.size"));
                }
                _ => caps.extend(source.map(|_| "exec.mount.bind")),
            }
        }
        let secret = !self.secrets.is_empty() || !self.secret_variables.is_empty();
        caps.extend(secret.then_some("exec.mount.secret"));
        caps.extend((!self.secret_variables.is_empty()).then_some("exec.secretenv"));
        caps.extend((!self.agents.is_empty()).then_some("exec.mount.ssh"));
        caps
    }

    /// The secrets that are variables.
    pub(super) fn take_secret_variables(&mut self) -> Vec<pb::SecretEnv> {
        std::mem::take(&mut self.secret_variables)
    }

    /// All mounts in the order of the operation.
    pub(super) fn sorted(mut self) -> Vec<(Option<NodeId>, pb::Mount)> {
        self.trees.sort_by(|(_, left), (_, right)| left.dest.cmp(&right.dest));
        let others = self.secrets.into_iter().chain(self.agents).map(|mount| (None, mount));
        self.trees.extend(others);
        self.trees
    }

    /// Adds a secret. Returns its id.
    fn add_secret(&mut self, mount: &Mount) -> String {
        let named = if mount.source.is_empty() { &mount.id } else { &mount.source };
        let id = match named.as_str() {
            "" => paths::base(&mount.target).unwrap_or("/"),
            named => named,
        };
        let optional = !mount.required;
        let target = match (mount.target.as_str(), &mount.env) {
            ("", None) => Some(format!("{SECRET_DIRECTORY}{}", paths::base(id).unwrap_or("/"))),
            ("", Some(_)) => None,
            (target, _) => Some(target.to_owned()),
        };
        if let Some(name) = &mount.env {
            self.secret_variables.push(pb::SecretEnv { id: id.to_owned(), name: name.clone(), optional });
        }
        let Some(dest) = target else { return id.to_owned() };
        let secret = pb::SecretOpt {
            id: id.to_owned(),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
            mode: mount.mode.unwrap_or(SECRET_MODE),
            optional,
        };
        let mut mounted = pb::Mount { input: NONE, dest, secret_opt: Some(secret), ..pb::Mount::default() };
        mounted.set_mount_type(pb::MountType::Secret);
        self.secrets.push(mounted);
        id.to_owned()
    }

    fn add_agent(&mut self, mount: &Mount) {
        let dest = match mount.target.as_str() {
            "" => format!("/run/buildkit/ssh_agent.{}", self.agents.len()),
            target => target.to_owned(),
        };
        let agent = pb::SshOpt {
            id: mount.id.clone(),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
            mode: mount.mode.unwrap_or(AGENT_MODE),
            optional: !mount.required,
        };
        let mut mounted = pb::Mount { input: NONE, dest, ssh_opt: Some(agent), ..pb::Mount::default() };
        mounted.set_mount_type(pb::MountType::Ssh);
        self.agents.push(mounted);
    }
}

impl Converter<'_> {
    /// Adds the mounts that a RUN asks for.
    pub(super) fn add_mounts(
        &mut self,
        state: &State,
        run: &Run,
        place: Place<'_>,
        mounts: &mut Mounts,
    ) -> Result<(), Fault> {
        let read = |text: &String| Mount::read(text, |value| self.expand(state, value, place));
        let wanted: Vec<Mount> = run.mounts.iter().map(read).collect::<Result<_, _>>()?;
        for (mount, source) in wanted.into_iter().zip(&place.command.sources) {
            // What no stage is named for begins with nothing; but a stage may have that name.
            let from = match mount.kind {
                MountType::Cache if mount.from.is_empty() => SCRATCH,
                _ => mount.from.as_str(),
            };
            if !from.is_empty() && self.files_of(*source, state, place).is_none() {
                let message = format!("cannot mount from stage `{from}`, it is defined later");
                return Err(
                    Fault::semantics(message).hint("move the stage before the one that mounts from it")
                );
            }
            match mount.kind {
                MountType::Secret => {
                    let id = mounts.add_secret(&mount);
                    let mention = Mention { required: mount.required, lines: place.lines().clone() };
                    self.mentions[place.stage].secrets.entry(id).or_insert(mention);
                }
                MountType::Ssh => {
                    mounts.add_agent(&mount);
                    let id = if mount.id.is_empty() { DEFAULT_AGENT } else { &mount.id };
                    let mention = Mention { required: mount.required, lines: place.lines().clone() };
                    self.mentions[place.stage].agents.entry(id.to_owned()).or_insert(mention);
                }
                MountType::Tmpfs => {
                    let target = target(state, &mount)?;
                    self.use_source(state, &mount, *source, place);
                    mounts.tmpfs(&target, mount.size);
                    let mounted = &mut mounts.trees.last_mut().expect("a mount was just added").1;
                    mounted.readonly = mount.read_only;
                    mounted.selector = selector(&mount);
                }
                MountType::Bind | MountType::Cache => {
                    let files = match mount.takes_context() {
                        true => Some(self.locals[BUILD_CONTEXT].node),
                        false => self.files_of(*source, state, place).flatten(),
                    };
                    self.add_tree(state, &mount, files, mounts)?;
                    self.use_source(state, &mount, *source, place);
                }
            }
        }
        Ok(())
    }

    /// Mounts files of the context, a stage or an image, or a cache that may begin with such files.
    fn add_tree(
        &mut self,
        state: &State,
        mount: &Mount,
        mut files: Option<NodeId>,
        mounts: &mut Mounts,
    ) -> Result<(), Fault> {
        let is_cache = mount.kind == MountType::Cache;
        let target = target(state, mount)?;
        let mut selector = selector(mount);
        if selector.is_empty() && mount.uid.or(mount.gid).or(mount.mode).is_some() {
            files = Some(self.cache_seed(mount, files));
            CACHE_SEED.clone_into(&mut selector);
        }
        // What a command writes into a bound tree is thrown away; a cache keeps it outside of the graph.
        mounts.bind(files, &target, &selector, NONE, mount.read_only);
        if is_cache {
            let bound = &mut mounts.trees.last_mut().expect("a mount was just added").1;
            bound.set_mount_type(pb::MountType::Cache);
            bound.cache_opt = Some(self.cache_options(mount));
        }
        Ok(())
    }

    /// Notes the path of the source. As in BuildKit, that is one of the context even where nothing of it is mounted.
    fn use_source(&mut self, state: &State, mount: &Mount, source: StageId, place: Place<'_>) {
        match mount.takes_context() {
            true => self.use_local(BUILD_CONTEXT, &mount.source),
            false => self.use_path(source, &mount.source, state, place),
        }
    }

    fn cache_options(&self, mount: &Mount) -> pb::CacheOpt {
        let space = self.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS").map_or("", String::as_str);
        let id = match mount.id.as_str() {
            "" => paths::clean(&mount.target),
            id => id.to_owned(),
        };
        let mut options = pb::CacheOpt { id: format!("{space}/{id}"), ..pb::CacheOpt::default() };
        options.set_sharing(match mount.sharing {
            None | Some(Sharing::Shared) => pb::CacheSharingOpt::Shared,
            Some(Sharing::Private) => pb::CacheSharingOpt::Private,
            Some(Sharing::Locked) => pb::CacheSharingOpt::Locked,
        });
        options
    }

    /// A directory with the owner and permissions that a cache begins with.
    fn cache_seed(&mut self, mount: &Mount, files: Option<NodeId>) -> NodeId {
        let mkdir = pb::FileActionMkDir {
            path: CACHE_SEED.to_owned(),
            mode: (mount.mode.unwrap_or(CACHE_MODE) & 0o777) as i32,
            owner: Some(owner::by_id(mount.uid.unwrap_or(0), mount.gid.unwrap_or(0))),
            timestamp: NONE,
            ..pb::FileActionMkDir::default()
        };
        let actions = vec![(None, pb::file_action::Action::Mkdir(mkdir))];
        let name = "[internal] setting cache mount permissions".to_owned();
        self.graph.add(Recipe::File { base: files, actions }, metadata(&["file.base"], name), None)
    }
}

/// The path in the source; empty for all of it.
fn selector(mount: &Mount) -> String {
    match paths::join("/", &mount.source) {
        root if root == "/" => String::new(),
        path => path,
    }
}

fn target(state: &State, mount: &Mount) -> Result<String, Fault> {
    let target = match paths::clean(&mount.target).starts_with('/') {
        true => mount.target.clone(),
        false => paths::join(&state.directory(), &mount.target),
    };
    match target.as_str() {
        "/" => Err(Fault::semantics("invalid mount target `/`")
            .hint("give the mount a target below it, like target=/mnt")),
        _ => Ok(target),
    }
}
