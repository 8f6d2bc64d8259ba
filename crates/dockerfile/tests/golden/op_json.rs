//! Operations as JSON, in the form in which BuildKit prints them: the protobuf mapping, with 64-bit numbers as text
//! and defaults left out.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gantry_llb::pb;
use serde_json::{Map, Value, json};

/// The operation without its inputs.
pub(crate) fn op(op: &pb::Op) -> Value {
    let mut object = Object::default();
    object.value("platform", op.platform.as_ref().map(platform));
    object.value("constraints", op.constraints.as_ref().map(|_| json!({})));
    match op.op.as_ref().expect("an operation has a kind") {
        pb::op::Op::Exec(exec) => object.value("exec", Some(exec_op(exec))),
        pb::op::Op::Source(source) => object.value("source", Some(source_op(source))),
        pb::op::Op::File(file) => object
            .value("file", Some(json!({ "actions": file.actions.iter().map(action).collect::<Vec<_>>() }))),
        pb::op::Op::Merge(merge) => {
            let input = |input: &pb::MergeInput| Object::default().int("input", input.input).done();
            object
                .value("merge", Some(json!({ "inputs": merge.inputs.iter().map(input).collect::<Vec<_>>() })))
        }
        other => panic!("a Dockerfile makes no {other:?}"),
    };
    object.done()
}

#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn value(&mut self, name: &str, value: Option<Value>) -> &mut Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value);
        }
        self
    }

    fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.value(name, (!text.is_empty()).then(|| json!(text)))
    }

    fn texts(&mut self, name: &str, texts: &[String]) -> &mut Self {
        self.value(name, (!texts.is_empty()).then(|| json!(texts)))
    }

    fn int(&mut self, name: &str, number: i64) -> &mut Self {
        self.value(name, (number != 0).then(|| json!(number.to_string())))
    }

    fn small(&mut self, name: &str, number: i64) -> &mut Self {
        self.value(name, (number != 0).then(|| json!(number)))
    }

    fn flag(&mut self, name: &str, flag: bool) -> &mut Self {
        self.value(name, flag.then(|| json!(true)))
    }

    fn done(&mut self) -> Value {
        Value::Object(std::mem::take(&mut self.0))
    }
}

fn platform(platform: &pb::Platform) -> Value {
    let mut object = Object::default();
    object.text("Architecture", &platform.architecture).text("OS", &platform.os);
    object.text("Variant", &platform.variant).text("OSVersion", &platform.os_version).done()
}

fn source_op(source: &pb::SourceOp) -> Value {
    let mut object = Object::default();
    object.text("identifier", &source.identifier);
    object.value("attrs", (!source.attrs.is_empty()).then(|| json!(source.attrs))).done()
}

fn exec_op(exec: &pb::ExecOp) -> Value {
    let network = match exec.network() {
        pb::NetMode::Unset => "",
        pb::NetMode::Host => "HOST",
        pb::NetMode::None => "NONE",
    };
    let security = match exec.security() {
        pb::SecurityMode::Sandbox => "",
        pb::SecurityMode::Insecure => "INSECURE",
    };
    let secret = |secret: &pb::SecretEnv| {
        let mut object = Object::default();
        object.text("ID", &secret.id).text("name", &secret.name).flag("optional", secret.optional).done()
    };
    let secrets: Vec<Value> = exec.secretenv.iter().map(secret).collect();
    let mut object = Object::default();
    object.value("meta", exec.meta.as_ref().map(meta));
    object.value("mounts", Some(exec.mounts.iter().map(mount).collect()));
    object.text("network", network).text("security", security);
    object.value("secretenv", (!secrets.is_empty()).then(|| json!(secrets))).done()
}

fn meta(meta: &pb::Meta) -> Value {
    let host = |host: &pb::HostIp| json!({ "Host": host.host, "IP": host.ip });
    let limit = |limit: &pb::Ulimit| {
        let mut object = Object::default();
        object.text("Name", &limit.name).int("Soft", limit.soft).int("Hard", limit.hard).done()
    };
    let proxy = |proxy: &pb::ProxyEnv| {
        let mut object = Object::default();
        object.text("httpProxy", &proxy.http_proxy).text("httpsProxy", &proxy.https_proxy).done()
    };
    let hosts: Vec<Value> = meta.extra_hosts.iter().map(host).collect();
    let limits: Vec<Value> = meta.ulimit.iter().map(limit).collect();
    let mut object = Object::default();
    object.texts("args", &meta.args).texts("env", &meta.env);
    object.text("cwd", &meta.cwd).text("user", &meta.user).text("hostname", &meta.hostname);
    object.value("proxyEnv", meta.proxy_env.as_ref().map(proxy));
    object.value("extraHosts", (!hosts.is_empty()).then(|| json!(hosts)));
    object.value("ulimit", (!limits.is_empty()).then(|| json!(limits)));
    object.flag("removeMountStubsRecursive", meta.remove_mount_stubs_recursive).done()
}

fn mount(mount: &pb::Mount) -> Value {
    let kind = match mount.mount_type() {
        pb::MountType::Bind => "",
        pb::MountType::Secret => "SECRET",
        pb::MountType::Ssh => "SSH",
        pb::MountType::Cache => "CACHE",
        pb::MountType::Tmpfs => "TMPFS",
    };
    let sharing = |cache: &pb::CacheOpt| match cache.sharing() {
        pb::CacheSharingOpt::Shared => "",
        pb::CacheSharingOpt::Private => "PRIVATE",
        pb::CacheSharingOpt::Locked => "LOCKED",
    };
    let cache =
        |cache: &pb::CacheOpt| Object::default().text("ID", &cache.id).text("sharing", sharing(cache)).done();
    let secret = |secret: &pb::SecretOpt| {
        let mut object = Object::default();
        object.text("ID", &secret.id).small("uid", secret.uid.into()).small("gid", secret.gid.into());
        object.small("mode", secret.mode.into()).flag("optional", secret.optional).done()
    };
    let agent = |agent: &pb::SshOpt| {
        let mut object = Object::default();
        object.text("ID", &agent.id).small("uid", agent.uid.into()).small("gid", agent.gid.into());
        object.small("mode", agent.mode.into()).flag("optional", agent.optional).done()
    };
    let tmpfs = |tmpfs: &pb::TmpfsOpt| Object::default().int("size", tmpfs.size).done();
    let mut object = Object::default();
    object.int("input", mount.input).int("output", mount.output);
    object.text("dest", &mount.dest).text("selector", &mount.selector);
    object.flag("readonly", mount.readonly).text("mountType", kind);
    object.value("cacheOpt", mount.cache_opt.as_ref().map(cache));
    object.value("secretOpt", mount.secret_opt.as_ref().map(secret));
    object.value("SSHOpt", mount.ssh_opt.as_ref().map(agent));
    object.value("TmpfsOpt", mount.tmpfs_opt.as_ref().map(tmpfs)).done()
}

fn action(action: &pb::FileAction) -> Value {
    let mut object = Object::default();
    object.int("input", action.input).int("secondaryInput", action.secondary_input);
    object.int("output", action.output);
    match action.action.as_ref().expect("an action has a kind") {
        pb::file_action::Action::Copy(action) => object.value("copy", Some(copy(action))),
        pb::file_action::Action::Mkfile(file) => {
            let mut mkfile = Object::default();
            mkfile.text("path", &file.path).small("mode", file.mode.into()).int("timestamp", file.timestamp);
            mkfile.text("data", &BASE64_STANDARD.encode(&file.data));
            mkfile.value("owner", file.owner.as_ref().map(owner));
            object.value("mkfile", Some(mkfile.done()))
        }
        pb::file_action::Action::Mkdir(directory) => {
            let mut mkdir = Object::default();
            mkdir.text("path", &directory.path).small("mode", directory.mode.into());
            mkdir.int("timestamp", directory.timestamp).flag("makeParents", directory.make_parents);
            mkdir.value("owner", directory.owner.as_ref().map(owner));
            object.value("mkdir", Some(mkdir.done()))
        }
        other => panic!("a Dockerfile makes no {other:?}"),
    };
    object.done()
}

fn copy(copy: &pb::FileActionCopy) -> Value {
    let mut object = Object::default();
    object.text("src", &copy.src).text("dest", &copy.dest);
    object.small("mode", copy.mode.into()).text("modeStr", &copy.mode_str);
    object.int("timestamp", copy.timestamp);
    object.value("owner", copy.owner.as_ref().map(owner));
    object.flag("followSymlink", copy.follow_symlink).flag("dirCopyContents", copy.dir_copy_contents);
    object.flag("attemptUnpackDockerCompatibility", copy.attempt_unpack_docker_compatibility);
    object.flag("createDestPath", copy.create_dest_path).flag("allowWildcard", copy.allow_wildcard);
    object.flag("allowEmptyWildcard", copy.allow_empty_wildcard);
    object.texts("includePatterns", &copy.include_patterns);
    object.texts("excludePatterns", &copy.exclude_patterns);
    object.texts("requiredPaths", &copy.required_paths).done()
}

fn owner(owner: &pb::ChownOpt) -> Value {
    let user = |user: &pb::UserOpt| match user.user.as_ref().expect("a user is named") {
        pb::user_opt::User::ById(id) => json!({ "byID": id }),
        pb::user_opt::User::ByName(name) => {
            let mut object = Object::default();
            json!({ "byName": object.text("name", &name.name).int("input", name.input).done() })
        }
    };
    let mut object = Object::default();
    object.value("user", owner.user.as_ref().map(user));
    object.value("group", owner.group.as_ref().map(user)).done()
}
