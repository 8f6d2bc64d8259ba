//! RUN.

use std::collections::BTreeMap;

use gantry_llb::pb;

use super::run_mounts::Mounts;
use super::state::State;
use super::{Converter, Place, metadata, pb_platform, set_command};
use crate::error::Fault;
use crate::graph::{NONE, Recipe};
use crate::instruction::{CommandLine, Network, Run};
use crate::parser::Heredoc;

/// Where the file of a heredoc that is a script of its own is mounted.
const SCRIPT_DIRECTORY: &str = "/dev/pipes/";
const SCRIPT_MODE: i32 = 0o755;

impl Converter<'_> {
    pub(super) fn run(&mut self, state: &mut State, run: &Run, place: Place<'_>) -> Result<(), Fault> {
        // A command can read any file.
        if let Some(local) = state.local {
            self.use_local(local, "/");
        }
        let mut mounts = Mounts::new(state.node);
        let mut text = place.source().to_owned();
        let args = match &run.command {
            CommandLine::Exec(args) if args.is_empty() => {
                return Err(
                    Fault::semantics("this RUN has no command").hint("write RUN [\"program\", \"argument\"]")
                );
            }
            CommandLine::Exec(args) => args.clone(),
            CommandLine::Shell(command) => {
                let scripts = state.config.os != "windows";
                let command = self.shell_text(command, &run.heredocs, scripts, &mut text, &mut mounts);
                state.with_shell(command)
            }
        };
        self.add_mounts(state, run, place, &mut mounts)?;
        if !run.devices.is_empty() {
            return Err(Fault::semantics(
                "RUN --device is only in the labs channel of the Dockerfile language",
            )
            .hint("the built-in language is the stable one, docker/dockerfile:1"));
        }
        self.add_shared_memory(&mut mounts);
        let name = self.command_name(state, &text, &mounts.masked(&state.environment), place);
        self.spend(state.environment.bytes())?;
        let (exec, caps) = self.exec(state, run, &args, &mut mounts);
        let mut metadata = metadata(&caps, name);
        set_command(&mut metadata, place.source());
        metadata.ignore_cache = self.stages.list[place.stage].ignore_cache;
        let recipe = Recipe::Exec {
            exec: Box::new(exec),
            mounts: mounts.sorted(),
            platform: pb_platform(state.files_platform.as_ref().unwrap_or(&self.options.platform)),
        };
        let history = format!("RUN {} # buildkit", with_arguments(state, &args));
        state.node = Some(self.graph.add(recipe, metadata, Some(place.lines())));
        state.note_layer(history);
        Ok(())
    }

    /// The text for the shell. A lone heredoc is the text itself, or a script that is mounted; any other heredoc is
    /// put back behind the command, for the shell to read.
    fn shell_text(
        &mut self,
        command: &str,
        heredocs: &[Heredoc],
        scripts: bool,
        step: &mut String,
        mounts: &mut Mounts,
    ) -> String {
        let Some(first) = heredocs.first() else { return command.to_owned() };
        if !matches!(Heredoc::open(command), Ok(Some(_))) {
            let mut text = command.to_owned();
            for heredoc in heredocs {
                text.push_str(&format!("\n{}{}", heredoc.content, heredoc.name));
            }
            return text;
        }
        step.push_str(&format!(" ({})", summary(&first.content)));
        let body = first.body();
        if !scripts || !body.starts_with("#!") {
            return body;
        }
        let node = self.inline_file(&first.name, SCRIPT_MODE, body);
        mounts.bind(Some(node), SCRIPT_DIRECTORY, "/", NONE, true);
        crate::paths::join(SCRIPT_DIRECTORY, &first.name)
    }

    fn add_shared_memory(&self, mounts: &mut Mounts) {
        if let Ok(size) = i64::try_from(self.options.run.shm_size)
            && size > 0
        {
            mounts.tmpfs("/dev/shm", size);
        }
    }

    /// The operation, but for its mounts, and the capabilities that it needs.
    fn exec(
        &self,
        state: &State,
        run: &Run,
        args: &[String],
        mounts: &mut Mounts,
    ) -> (pb::ExecOp, Vec<&'static str>) {
        let options = &self.options.run;
        let mut environment = state.environment.clone();
        if let Some(socket) = mounts.agent_socket()
            && environment.get("SSH_AUTH_SOCK").is_none()
        {
            environment.set("SSH_AUTH_SOCK", socket);
        }
        let host = |(host, ip): &(String, String)| pb::HostIp { host: host.clone(), ip: ip.clone() };
        let limit = |limit: &crate::options::Ulimit| pb::Ulimit {
            name: limit.name.clone(),
            soft: limit.soft,
            hard: limit.hard,
        };
        let meta = pb::Meta {
            args: args.to_vec(),
            env: environment.to_list(),
            cwd: state.directory().into_owned(),
            user: state.user().to_owned(),
            proxy_env: self.proxy.clone(),
            extra_hosts: options.extra_hosts.iter().map(host).collect(),
            hostname: self.options.build_args.get("BUILDKIT_SANDBOX_HOSTNAME").cloned().unwrap_or_default(),
            ulimit: options.ulimits.iter().map(limit).collect(),
            cgroup_parent: options.cgroup_parent.clone(),
            remove_mount_stubs_recursive: true,
            valid_exit_codes: Vec::new(),
        };
        let network = match run.network {
            Some(Network::None) => pb::NetMode::None,
            Some(Network::Host) => pb::NetMode::Host,
            Some(Network::Default) | None => options.network.unwrap_or(pb::NetMode::Unset),
        };
        let mut caps = vec!["exec.meta.base", "exec.meta.setsdefaultpath"];
        caps.extend(mounts.caps());
        let mut need = |needed: bool, cap| caps.extend(needed.then_some(cap));
        need(network != pb::NetMode::Unset, "exec.meta.network");
        need(run.insecure, "exec.meta.security");
        need(self.proxy.is_some(), "exec.meta.proxyenv");
        need(!options.ulimits.is_empty(), "exec.meta.ulimit");
        let security = if run.insecure { pb::SecurityMode::Insecure } else { pb::SecurityMode::Sandbox };
        let exec = pb::ExecOp {
            meta: Some(meta),
            mounts: Vec::new(),
            network: network.into(),
            security: security.into(),
            secretenv: mounts.take_secret_variables(),
            cdi_devices: Vec::new(),
        };
        (exec, caps)
    }
}

/// The command as the history has it: behind the declared arguments and their values.
fn with_arguments(state: &State, args: &[String]) -> String {
    let mut words = Vec::new();
    let known = state.arguments.iter();
    if known.len() > 0 {
        words.push(format!("|{}", known.len()));
    }
    words.extend(known.map(|argument| {
        let name = argument.name.as_str();
        let value = state.environment.get(name).or(argument.value.as_deref()).unwrap_or_default();
        format!("{name}={value}")
    }));
    words.extend_from_slice(args);
    words.join(" ")
}

/// The first line of a heredoc, for the name of its step.
fn summary(content: &str) -> String {
    let content = content.trim();
    match content.split_once('\n') {
        Some((first, _)) => format!("{}...", first.strip_suffix('\r').unwrap_or(first)),
        None => content.to_owned(),
    }
}

/// The proxy settings among the build arguments; commands see them, and nothing remembers them.
pub(super) fn proxy(build_args: &BTreeMap<String, String>) -> Option<pb::ProxyEnv> {
    let mut proxy = pb::ProxyEnv::default();
    let mut given = false;
    for (name, value) in build_args {
        let field = match name.to_ascii_lowercase().as_str() {
            "http_proxy" => &mut proxy.http_proxy,
            "https_proxy" => &mut proxy.https_proxy,
            "ftp_proxy" => &mut proxy.ftp_proxy,
            "no_proxy" => &mut proxy.no_proxy,
            "all_proxy" => &mut proxy.all_proxy,
            _ => continue,
        };
        field.clone_from(value);
        given = true;
    }
    given.then_some(proxy)
}
