//! Operations as JSON: the form in which BuildKit's provenance and its tools show a graph.
//!
//! Names are those of the protocol's fields; fields with their default value are left out, as Go's encoder leaves them
//! out, and bytes are base64. It is for reading: nothing is made of it again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::members::Members;
use crate::pb::{self, file_action, op, user_opt};

/// An operation without its inputs, which only make sense in their graph.
pub fn op(op: &pb::Op) -> Value {
    let kind = match &op.op {
        None => json!({}),
        Some(op::Op::Exec(exec)) => json!({ "exec": self::exec(exec) }),
        Some(op::Op::Source(source)) => json!({ "source": self::source(source) }),
        Some(op::Op::File(file)) => json!({ "file": { "actions": list(&file.actions, action) } }),
        Some(op::Op::Build(build)) => json!({ "build": self::build(build) }),
        Some(op::Op::Merge(merge)) => {
            json!({ "merge": { "inputs": list(&merge.inputs, |input| input_of(input.input)) } })
        }
        Some(op::Op::Diff(diff)) => json!({ "diff": self::diff(diff) }),
    };
    let mut fields = Members::default();
    fields.set("Op", kind);
    fields.value("platform", op.platform.as_ref().map(platform));
    fields.value("constraints", op.constraints.as_ref().map(constraints));
    fields.done()
}

/// The lines of the sources that a vertex comes from.
pub fn locations(locations: &[pb::Location]) -> Value {
    let position = |position: &pb::Position| {
        let mut fields = Members::default();
        fields.number("line", i64::from(position.line));
        fields.number("character", i64::from(position.character));
        fields.done()
    };
    let range = |range: &pb::Range| {
        let mut fields = Members::default();
        fields.value("start", range.start.as_ref().map(position));
        fields.value("end", range.end.as_ref().map(position));
        fields.done()
    };
    let location = |location: &pb::Location| {
        let mut fields = Members::default();
        fields.number("sourceIndex", i64::from(location.source_index));
        fields.list("ranges", &location.ranges, range);
        fields.done()
    };
    let mut fields = Members::default();
    fields.list("locations", locations, location);
    fields.done()
}

fn list<T>(items: &[T], item: impl Fn(&T) -> Value) -> Value {
    Value::Array(items.iter().map(item).collect())
}

fn platform(platform: &pb::Platform) -> Value {
    let mut fields = Members::default();
    fields.text("Architecture", &platform.architecture);
    fields.text("OS", &platform.os);
    fields.text("Variant", &platform.variant);
    fields.text("OSVersion", &platform.os_version);
    fields.texts("OSFeatures", &platform.os_features);
    fields.done()
}

fn constraints(constraints: &pb::WorkerConstraints) -> Value {
    let mut fields = Members::default();
    fields.texts("filter", &constraints.filter);
    fields.done()
}

/// Attributes that only name the session of a build are no part of what was built.
fn source(source: &pb::SourceOp) -> Value {
    let attributes =
        source.attrs.iter().filter(|(name, _)| !matches!(name.as_str(), "local.session" | "local.unique"));
    let attributes: Map<_, _> = attributes.map(|(name, value)| (name.clone(), json!(value))).collect();
    let mut fields = Members::default();
    fields.text("identifier", &source.identifier);
    if !attributes.is_empty() {
        fields.set("attrs", Value::Object(attributes));
    }
    fields.done()
}

fn build(build: &pb::BuildOp) -> Value {
    let inputs: Map<_, _> =
        build.inputs.iter().map(|(name, input)| (name.clone(), input_of(input.input))).collect();
    json!({ "builder": build.builder, "inputs": inputs, "attrs": build.attrs })
}

fn diff(diff: &pb::DiffOp) -> Value {
    let mut fields = Members::default();
    fields.value("lower", diff.lower.as_ref().map(|lower| input_of(lower.input)));
    fields.value("upper", diff.upper.as_ref().map(|upper| input_of(upper.input)));
    fields.done()
}

fn input_of(input: i64) -> Value {
    let mut fields = Members::default();
    fields.number("input", input);
    fields.done()
}

fn exec(exec: &pb::ExecOp) -> Value {
    let mut fields = Members::default();
    fields.value("meta", exec.meta.as_ref().map(meta));
    fields.list("mounts", &exec.mounts, mount);
    fields.number("network", exec.network);
    fields.number("security", exec.security);
    fields.list("secretenv", &exec.secretenv, |secret| {
        let mut fields = Members::default();
        fields.text("ID", &secret.id);
        fields.text("name", &secret.name);
        fields.flag("optional", secret.optional);
        fields.done()
    });
    fields.list("cdiDevices", &exec.cdi_devices, |device| {
        let mut fields = Members::default();
        fields.text("name", &device.name);
        fields.flag("optional", device.optional);
        fields.done()
    });
    fields.done()
}

fn meta(meta: &pb::Meta) -> Value {
    let mut fields = Members::default();
    fields.texts("args", &meta.args);
    fields.texts("env", &meta.env);
    fields.text("cwd", &meta.cwd);
    fields.text("user", &meta.user);
    fields.value("proxy_env", meta.proxy_env.as_ref().map(proxy));
    fields.list("extraHosts", &meta.extra_hosts, |host| json!({ "Host": host.host, "IP": host.ip }));
    fields.text("hostname", &meta.hostname);
    fields.list(
        "ulimit",
        &meta.ulimit,
        |limit| json!({ "Name": limit.name, "Soft": limit.soft, "Hard": limit.hard }),
    );
    fields.text("cgroupParent", &meta.cgroup_parent);
    fields.flag("removeMountStubsRecursive", meta.remove_mount_stubs_recursive);
    fields.list("validExitCodes", &meta.valid_exit_codes, |code| json!(code));
    fields.done()
}

fn proxy(proxy: &pb::ProxyEnv) -> Value {
    let mut fields = Members::default();
    fields.text("http_proxy", &proxy.http_proxy);
    fields.text("https_proxy", &proxy.https_proxy);
    fields.text("ftp_proxy", &proxy.ftp_proxy);
    fields.text("no_proxy", &proxy.no_proxy);
    fields.text("all_proxy", &proxy.all_proxy);
    fields.done()
}

fn mount(mount: &pb::Mount) -> Value {
    let mut fields = Members::default();
    fields.number("input", mount.input);
    fields.text("selector", &mount.selector);
    fields.text("dest", &mount.dest);
    fields.number("output", mount.output);
    fields.flag("readonly", mount.readonly);
    fields.number("mountType", mount.mount_type);
    fields.value("TmpfsOpt", mount.tmpfs_opt.as_ref().map(|tmpfs| json!({ "size": tmpfs.size })));
    fields.value("cacheOpt", mount.cache_opt.as_ref().map(cache));
    let secret = mount.secret_opt.as_ref();
    fields.value(
        "secretOpt",
        secret.map(|secret| lent(&secret.id, [secret.uid, secret.gid, secret.mode], secret.optional)),
    );
    let ssh = mount.ssh_opt.as_ref();
    fields.value("SSHOpt", ssh.map(|ssh| lent(&ssh.id, [ssh.uid, ssh.gid, ssh.mode], ssh.optional)));
    fields.text("resultID", &mount.result_id);
    fields.number("contentCache", mount.content_cache);
    fields.done()
}

fn cache(cache: &pb::CacheOpt) -> Value {
    let mut fields = Members::default();
    fields.text("ID", &cache.id);
    fields.number("sharing", cache.sharing);
    fields.done()
}

/// A secret or an agent's socket, which a graph knows by id only.
fn lent(id: &str, [uid, gid, mode]: [u32; 3], optional: bool) -> Value {
    let mut fields = Members::default();
    fields.text("ID", id);
    fields.number("uid", uid);
    fields.number("gid", gid);
    fields.number("mode", mode);
    fields.flag("optional", optional);
    fields.done()
}

fn action(action: &pb::FileAction) -> Value {
    let mut fields = Members::default();
    fields.set("input", json!(action.input));
    fields.set("secondaryInput", json!(action.secondary_input));
    fields.set("output", json!(action.output));
    let action = match &action.action {
        None => json!({}),
        Some(file_action::Action::Copy(action)) => json!({ "copy": copy(action) }),
        Some(file_action::Action::Mkfile(action)) => json!({ "mkfile": make_file(action) }),
        Some(file_action::Action::Mkdir(action)) => json!({ "mkdir": make_directory(action) }),
        Some(file_action::Action::Symlink(action)) => json!({ "symlink": symlink(action) }),
        Some(file_action::Action::Rm(action)) => json!({ "rm": remove(action) }),
    };
    fields.set("Action", action);
    fields.done()
}

fn copy(copy: &pb::FileActionCopy) -> Value {
    let mut fields = Members::default();
    fields.text("src", &copy.src);
    fields.text("dest", &copy.dest);
    fields.value("owner", copy.owner.as_ref().map(owner));
    fields.number("mode", copy.mode);
    fields.flag("followSymlink", copy.follow_symlink);
    fields.flag("dirCopyContents", copy.dir_copy_contents);
    fields.flag("attemptUnpackDockerCompatibility", copy.attempt_unpack_docker_compatibility);
    fields.flag("createDestPath", copy.create_dest_path);
    fields.flag("allowWildcard", copy.allow_wildcard);
    fields.flag("allowEmptyWildcard", copy.allow_empty_wildcard);
    fields.number("timestamp", copy.timestamp);
    fields.texts("include_patterns", &copy.include_patterns);
    fields.texts("exclude_patterns", &copy.exclude_patterns);
    fields.flag("alwaysReplaceExistingDestPaths", copy.always_replace_existing_dest_paths);
    fields.text("modeStr", &copy.mode_str);
    fields.texts("required_paths", &copy.required_paths);
    fields.done()
}

fn make_file(file: &pb::FileActionMkFile) -> Value {
    let mut fields = Members::default();
    fields.text("path", &file.path);
    fields.number("mode", file.mode);
    fields.text("data", &STANDARD.encode(&file.data));
    fields.value("owner", file.owner.as_ref().map(owner));
    fields.number("timestamp", file.timestamp);
    fields.done()
}

fn make_directory(directory: &pb::FileActionMkDir) -> Value {
    let mut fields = Members::default();
    fields.text("path", &directory.path);
    fields.number("mode", directory.mode);
    fields.flag("makeParents", directory.make_parents);
    fields.value("owner", directory.owner.as_ref().map(owner));
    fields.number("timestamp", directory.timestamp);
    fields.done()
}

fn symlink(link: &pb::FileActionSymlink) -> Value {
    let mut fields = Members::default();
    fields.text("oldpath", &link.oldpath);
    fields.text("newpath", &link.newpath);
    fields.value("owner", link.owner.as_ref().map(owner));
    fields.number("timestamp", link.timestamp);
    fields.done()
}

fn remove(remove: &pb::FileActionRm) -> Value {
    let mut fields = Members::default();
    fields.text("path", &remove.path);
    fields.flag("allowNotFound", remove.allow_not_found);
    fields.flag("allowWildcard", remove.allow_wildcard);
    fields.done()
}

fn owner(owner: &pb::ChownOpt) -> Value {
    let mut fields = Members::default();
    fields.value("user", owner.user.as_ref().map(user));
    fields.value("group", owner.group.as_ref().map(user));
    fields.done()
}

fn user(user: &pb::UserOpt) -> Value {
    let user = match &user.user {
        None => json!({}),
        Some(user_opt::User::ById(0)) => json!({}),
        Some(user_opt::User::ById(id)) => json!({ "byId": id }),
        Some(user_opt::User::ByName(named)) => {
            let mut fields = Members::default();
            fields.text("name", &named.name);
            fields.number("input", named.input);
            json!({ "byName": fields.done() })
        }
    };
    json!({ "User": user })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape is that of a statement of BuildKit's, of the same Dockerfile line.
    #[test]
    fn a_copy() {
        let copy = pb::FileActionCopy {
            src: "/a".to_owned(),
            dest: "/a".to_owned(),
            mode: -1,
            timestamp: -1,
            follow_symlink: true,
            allow_wildcard: true,
            ..pb::FileActionCopy::default()
        };
        let action =
            pb::FileAction { input: -1, action: Some(file_action::Action::Copy(copy)), ..Default::default() };
        let op = pb::Op {
            inputs: vec![pb::Input::default()],
            op: Some(op::Op::File(pb::FileOp { actions: vec![action] })),
            constraints: Some(pb::WorkerConstraints::default()),
            ..pb::Op::default()
        };
        let expected = json!({ "Op": { "file": { "actions": [{
            "Action": { "copy": { "src": "/a", "dest": "/a", "mode": -1, "followSymlink": true, "allowWildcard": true, "timestamp": -1 } },
            "input": -1, "secondaryInput": 0, "output": 0,
        }] } }, "constraints": {} });
        assert_eq!(super::op(&op), expected);
    }

    #[test]
    fn sources_are_told_without_the_session() {
        let attrs = [("local.session", "s"), ("local.unique", "u"), ("local.followpaths", "[]")];
        let source = pb::SourceOp {
            identifier: "local://context".to_owned(),
            attrs: attrs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        let op = pb::Op { op: Some(op::Op::Source(source)), ..pb::Op::default() };
        let expected = json!({ "identifier": "local://context", "attrs": { "local.followpaths": "[]" } });
        assert_eq!(super::op(&op)["Op"]["source"], expected);
    }

    #[test]
    fn secrets_are_ids() {
        let secret = pb::Mount {
            dest: "/run/secrets/t".to_owned(),
            mount_type: pb::MountType::Secret.into(),
            secret_opt: Some(pb::SecretOpt { id: "t".to_owned(), mode: 0o400, ..Default::default() }),
            ..pb::Mount::default()
        };
        let expected =
            json!({ "dest": "/run/secrets/t", "mountType": 1, "secretOpt": { "ID": "t", "mode": 256 } });
        assert_eq!(mount(&secret), expected);
    }
}
