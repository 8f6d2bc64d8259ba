//! Commands in JSON.

use serde_json::{Value, json};

use super::list;
use crate::members::Members;
use crate::pb;

/// `exec` of an operation.
pub(super) fn exec(exec: &pb::ExecOp) -> Value {
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
        let mut object = Members::default();
        object.text("ID", &secret.id).text("name", &secret.name).flag("optional", secret.optional).done()
    };
    let device = |device: &pb::CdiDevice| {
        Members::default().text("name", &device.name).flag("optional", device.optional).done()
    };
    let mut object = Members::default();
    object.value("meta", exec.meta.as_ref().map(meta));
    object.value("mounts", list(&exec.mounts, mount));
    object.text("network", network).text("security", security);
    object.value("secretenv", list(&exec.secretenv, secret));
    object.value("cdiDevices", list(&exec.cdi_devices, device)).done()
}

fn meta(meta: &pb::Meta) -> Value {
    let host = |host: &pb::HostIp| json!({ "Host": host.host, "IP": host.ip });
    let limit = |limit: &pb::Ulimit| {
        let mut object = Members::default();
        object.text("Name", &limit.name).int("Soft", limit.soft).int("Hard", limit.hard).done()
    };
    let proxy = |proxy: &pb::ProxyEnv| {
        let mut object = Members::default();
        object.text("httpProxy", &proxy.http_proxy).text("httpsProxy", &proxy.https_proxy);
        object.text("ftpProxy", &proxy.ftp_proxy).text("noProxy", &proxy.no_proxy);
        object.text("allProxy", &proxy.all_proxy).done()
    };
    let mut object = Members::default();
    object.texts("args", &meta.args).texts("env", &meta.env);
    object.text("cwd", &meta.cwd).text("user", &meta.user).text("hostname", &meta.hostname);
    object.value("proxyEnv", meta.proxy_env.as_ref().map(proxy));
    object.value("extraHosts", list(&meta.extra_hosts, host));
    object.value("ulimit", list(&meta.ulimit, limit)).text("cgroupParent", &meta.cgroup_parent);
    object.value("validExitCodes", list(&meta.valid_exit_codes, |code| json!(code)));
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
    let cache = |cache: &pb::CacheOpt| {
        Members::default().text("ID", &cache.id).text("sharing", sharing(cache)).done()
    };
    let secret = |secret: &pb::SecretOpt| {
        let mut object = Members::default();
        object.text("ID", &secret.id).number("uid", secret.uid).number("gid", secret.gid);
        object.number("mode", secret.mode).flag("optional", secret.optional).done()
    };
    let agent = |agent: &pb::SshOpt| {
        let mut object = Members::default();
        object.text("ID", &agent.id).number("uid", agent.uid).number("gid", agent.gid);
        object.number("mode", agent.mode).flag("optional", agent.optional).done()
    };
    let content = match mount.content_cache() {
        pb::MountContentCache::Default => "",
        pb::MountContentCache::On => "ON",
        pb::MountContentCache::Off => "OFF",
    };
    let tmpfs = |tmpfs: &pb::TmpfsOpt| Members::default().int("size", tmpfs.size).done();
    let mut object = Members::default();
    object.int("input", mount.input).int("output", mount.output);
    object.text("dest", &mount.dest).text("selector", &mount.selector);
    object.flag("readonly", mount.readonly).text("mountType", kind);
    object.value("cacheOpt", mount.cache_opt.as_ref().map(cache));
    object.value("secretOpt", mount.secret_opt.as_ref().map(secret));
    object.value("SSHOpt", mount.ssh_opt.as_ref().map(agent));
    object.value("TmpfsOpt", mount.tmpfs_opt.as_ref().map(tmpfs));
    object.text("resultID", &mount.result_id).text("contentCache", content).done()
}
