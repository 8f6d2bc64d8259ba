//! Cache keys: what must be equal for a result to be used again.
//!
//! A key is a length-framed SHA-256 over typed parts, so that no two different inputs can run into one another
//! (joined text keys are how other tools were poisoned). The *operation part* of a key leaves out what BuildKit leaves
//! out too: proxy settings, the addresses of extra hosts, ids of cache mounts; and names sources of a copy by what
//! they contain, not by where they stood. The platform is part of every key of an operation that has one.

use gantry_oci::{Digest, Hasher};
use prost::Message;

use crate::pb;

/// Collects the parts of a key. Every part is framed by its length, every kind of key by its name.
#[derive(Debug)]
pub struct KeyWriter(Hasher);

impl KeyWriter {
    /// A key of this kind; kinds never collide. Raise a kind's version when its meaning changes.
    pub fn new(kind: &str) -> Self {
        let mut writer = Self(Hasher::new());
        writer.part(kind);
        writer
    }

    /// Adds a part.
    pub fn part(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.part(number.to_le_bytes())
    }

    /// The key.
    pub fn finish(self) -> Digest {
        self.0.finish()
    }
}

/// The operation part of a vertex's key: the operation without its inputs and without what must not matter.
pub fn operation(op: &pb::Op) -> Digest {
    let mut op = op.clone();
    op.inputs.clear();
    op.constraints = None;
    match &mut op.op {
        Some(pb::op::Op::Exec(exec)) => normalise_exec(exec),
        Some(pb::op::Op::File(file)) => file.actions.iter_mut().for_each(normalise_action),
        _ => {}
    }
    let mut key = KeyWriter::new("gantry operation 2");
    key.part(op.encode_to_vec());
    key.finish()
}

fn normalise_exec(exec: &mut pb::ExecOp) {
    if let Some(meta) = &mut exec.meta {
        meta.proxy_env = None;
        meta.extra_hosts.iter_mut().for_each(|host| host.ip.clear());
        // Limits change how a command runs, not what it means.
        meta.ulimit.clear();
        meta.cgroup_parent.clear();
    }
    for mount in &mut exec.mounts {
        if let Some(cache) = &mut mount.cache_opt {
            cache.id.clear();
        }
    }
}

fn normalise_action(action: &mut pb::FileAction) {
    if let Some(pb::file_action::Action::Copy(copy)) = &mut action.action {
        // The last component may become the name of the copy; what stands before it is in the content key.
        let name = copy.src.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        copy.src = name;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_framed() {
        let key = |parts: &[&str]| {
            let mut writer = KeyWriter::new("test");
            for part in parts {
                writer.part(part);
            }
            writer.finish()
        };
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["ab"]), key(&["ab", ""]));
    }

    #[test]
    fn what_matters_and_what_does_not() {
        let op = |change: &dyn Fn(&mut pb::Meta)| {
            let mut meta = pb::Meta { args: vec!["true".into()], cwd: "/".into(), ..pb::Meta::default() };
            change(&mut meta);
            let exec = pb::ExecOp { meta: Some(meta), ..pb::ExecOp::default() };
            operation(&pb::Op { op: Some(pb::op::Op::Exec(exec)), ..pb::Op::default() })
        };
        let plain = op(&|_| {});
        assert_eq!(plain, op(&|meta| meta.proxy_env = Some(pb::ProxyEnv::default())));
        assert_ne!(plain, op(&|meta| meta.env.push("A=b".into())));
        assert_ne!(plain, op(&|meta| meta.cwd = "/tmp".into()));
        assert_ne!(plain, op(&|meta| meta.user = "1".into()));
    }

    #[test]
    fn what_a_mount_shows_matters() {
        let op = |change: &dyn Fn(&mut pb::Mount)| {
            let mut mount = pb::Mount { dest: "/m".into(), selector: "/bin".into(), ..pb::Mount::default() };
            change(&mut mount);
            let exec = pb::ExecOp { mounts: vec![mount], ..pb::ExecOp::default() };
            operation(&pb::Op { op: Some(pb::op::Op::Exec(exec)), ..pb::Op::default() })
        };
        let plain = op(&|_| {});
        assert_ne!(plain, op(&|mount| mount.selector = "/etc".into()));
        assert_ne!(plain, op(&|mount| mount.dest = "/n".into()));
        let cache = |id: &str| {
            let cache = pb::CacheOpt { id: id.into(), sharing: 0 };
            op(&|mount| mount.cache_opt = Some(cache.clone()))
        };
        assert_eq!(cache("a"), cache("b"), "which cache a step uses does not change what it means");
    }
}
