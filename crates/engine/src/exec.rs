//! RUN: one process over the parent's layers; what it wrote becomes the next layer.

use std::fs;
use std::io::{PipeReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use gantry_llb::{LogStream, ProgressEvent, Vertex, pb};
use gantry_oci::Platform;
use gantry_sandbox::{
    Error as SandboxError, Exit, Mount, MountKind, Network, Overlay, Process, Rlimit, Running, Security,
    Spec, Tree, remove_stubs,
};

use crate::blocking::blocking;
use crate::chain::LayerChain;
use crate::environment;
use crate::error::{At, Fault};
use crate::keys::Keyed;
use crate::mounts::{Mounts, secret_variables};
use crate::new_layer::NewLayer;
use crate::output::Output;
use crate::preflight::{check_emulation, check_entitlements};
use crate::solver::{Solver, platform_of};
use crate::tail::Tail;
use crate::users::{self, Identity};

/// The host name that steps see unless one is asked for; BuildKit's.
const HOSTNAME: &str = "buildkitsandbox";
/// What every step finds mounted; in a tree without them the step leaves the directories, as the reference does.
const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "sys"];
/// Docker's default.
const SHM_SIZE: u64 = 64 << 20;
const READ_BUFFER: usize = 32 << 10;

/// A RUN, ready to start.
pub(crate) struct ExecStep<'a> {
    pub(crate) solver: &'a Solver,
    pub(crate) vertex: &'a Arc<Vertex>,
    pub(crate) exec: &'a pb::ExecOp,
    /// What is known of it, with what its mounts show of the client.
    pub(crate) keyed: &'a Keyed,
    /// The layers that its root is made of.
    pub(crate) base: LayerChain,
    pub(crate) inputs: &'a [Output],
}

impl ExecStep<'_> {
    /// Runs the process and keeps what it wrote.
    pub(crate) async fn run(&self) -> Result<Vec<Output>, Fault> {
        let (engine, job) = (&self.solver.engine, &self.solver.job);
        let mut meta = self.exec.meta.clone().unwrap_or_default();
        let platform = platform_of(self.vertex)?;
        check_entitlements(self.exec, &job.entitlements)?;
        check_emulation(&platform)?;
        meta.env = environment::variables(&meta, secret_variables(job, self.exec)?);
        let root_mount = self.root_mount()?;
        let root = self.base.clone();
        let prepare = async {
            engine.unpack(&root).await?;
            Mounts::prepare(self.solver, self.exec, self.keyed, self.inputs).await
        };
        let mounts = job.unless_cancelled(prepare).await?;
        let (engine, exec) = (engine.clone(), self.exec.clone());
        let readonly_root = root_mount.readonly;
        let prepared = blocking(move || {
            let layer = NewLayer::start(&engine.store, &root)?;
            let overlay = layer.overlay(&engine.store);
            let process = prepare_root(&meta, &overlay)?;
            let spec = Spec {
                root: overlay,
                readonly_root,
                mounts: in_order(&meta, mounts.list.clone()),
                process,
                network: match exec.network() {
                    pb::NetMode::None => Network::None,
                    // Steps share the host's network: a bridge of their own would need privileges of its own.
                    pb::NetMode::Unset | pb::NetMode::Host => Network::Host,
                },
                security: match exec.security() {
                    pb::SecurityMode::Sandbox => Security::Sandbox,
                    pb::SecurityMode::Insecure => Security::Insecure,
                },
                hostname: if meta.hostname.is_empty() { HOSTNAME.to_owned() } else { meta.hostname.clone() },
                shm_size: SHM_SIZE,
            };
            let running = engine.sandbox.spawn(&spec)?;
            Ok((layer, running, mounts))
        });
        // The mounts' directories and locks are held until the process is gone.
        let (layer, running, _mounts) = prepared.await?;
        let (exit, tail) = self.follow(running).await?;
        self.judge(exit, &tail, &platform)?;
        let store = Arc::clone(&self.solver.engine.store);
        match root_mount.output >= 0 {
            true => {
                let keep = move || {
                    remove_stubs(&layer.overlay(&store))?;
                    layer.keep(&store)
                };
                Ok(vec![Output::Tree(blocking(keep).await?)])
            }
            false => Ok(Vec::new()),
        }
    }

    fn root_mount(&self) -> Result<&pb::Mount, Fault> {
        let root = self.exec.mounts.iter().find(|mount| mount.dest == "/");
        root.ok_or_else(|| Fault::Graph("a step has no root mount".to_owned()))
    }

    /// Passes the output on until the process ends, or ends it if the job is cancelled.
    async fn follow(&self, running: Running) -> Result<(Exit, String), Fault> {
        let Running { stdout, stderr, handle } = running;
        let tail = Arc::new(Mutex::new(Tail::default()));
        let readers =
            [self.pump(stdout, LogStream::Stdout, &tail), self.pump(stderr, LogStream::Stderr, &tail)];
        let killer = handle.killer();
        let waited = blocking(move || {
            let exit = handle.wait();
            for reader in readers {
                // A reader ends with its pipe, and all writers are gone.
                let _ = reader.join();
            }
            Ok(exit?)
        });
        tokio::pin!(waited);
        let exit = tokio::select! {
            exit = &mut waited => exit?,
            () = self.solver.job.cancel.cancelled() => {
                killer.kill();
                // Only when it is gone may its files be removed.
                let _ = waited.await;
                return Err(Fault::Cancelled);
            }
        };
        let tail = tail.lock().unwrap_or_else(PoisonError::into_inner).text();
        Ok((exit, tail))
    }

    fn pump(&self, mut pipe: PipeReader, stream: LogStream, tail: &Arc<Mutex<Tail>>) -> JoinHandle<()> {
        let (progress, vertex, tail) =
            (Arc::clone(&self.solver.job.progress), self.vertex.digest, Arc::clone(tail));
        let pump = move || {
            let mut buffer = vec![0; READ_BUFFER];
            while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                tail.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..read]);
                progress.event(ProgressEvent::Log { vertex, stream, data: buffer[..read].to_vec() });
            }
        };
        std::thread::spawn(pump)
    }

    fn judge(&self, exit: Exit, tail: &str, platform: &Platform) -> Result<(), Fault> {
        let meta = self.exec.meta.as_ref();
        let valid = meta.map_or(&[][..], |meta| &meta.valid_exit_codes);
        let ending = match exit {
            Exit::Code(code) if valid.contains(&code) || (valid.is_empty() && code == 0) => return Ok(()),
            Exit::Code(code) => format!("failed with exit code {code}"),
            Exit::Signal(signal) => format!("was killed by signal {signal}"),
        };
        let emulated = *platform != Platform::host() && matches!(exit, Exit::Signal(_));
        let hint = emulated.then(|| {
            format!("the program ran under emulation ({platform}); QEMU itself may have crashed: try a newer one, or a native machine")
        });
        let args = meta.map(|meta| meta.args.clone()).unwrap_or_default();
        let command = match args.as_slice() {
            [shell, flag, command] if shell == "/bin/sh" && flag == "-c" => command.clone(),
            args => args.join(" "),
        };
        Err(Fault::Step { command, ending, tail: tail.to_owned(), hint })
    }
}

/// Looks into the tree that the process will have as its root.
fn prepare_root(meta: &pb::Meta, overlay: &Overlay) -> Result<Process, Fault> {
    let look = |root: &Path| -> Result<_, Fault> {
        let missing = MOUNT_POINTS.into_iter().filter(|name| fs::symlink_metadata(root.join(name)).is_err());
        Ok((users::identity(root, &meta.user)?, missing.collect::<Vec<_>>()))
    };
    let trees = [Tree::Layers(overlay.lower.clone())];
    let (identity, missing) = gantry_sandbox::with_trees(&trees, |paths| look(&paths[0]))??;
    for name in missing {
        let path = overlay.upper.join(name);
        fs::create_dir(&path).at("create", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).at("set the mode of", &path)?;
    }
    process(meta, identity)
}

fn process(meta: &pb::Meta, identity: Identity) -> Result<Process, Fault> {
    let env = environment::with_home(meta.env.clone(), &identity.home);
    let rlimits = meta.ulimit.iter().map(rlimit).collect::<Result<_, _>>()?;
    Ok(Process { args: meta.args.clone(), env, cwd: meta.cwd.clone(), user: identity.user, rlimits })
}

fn rlimit(limit: &pb::Ulimit) -> Result<Rlimit, Fault> {
    // A negative limit stands for "unlimited".
    let value = |number: i64| u64::try_from(number).ok();
    let resource = limit.name.parse().map_err(|error: SandboxError| Fault::Graph(error.to_string()))?;
    Ok(Rlimit { resource, soft: value(limit.soft), hard: value(limit.hard) })
}

/// The mounts in BuildKit's order: `/etc/hosts` and `/etc/resolv.conf`, then those of the step by their paths. Of several
/// on one path there is the last, where the first would have been.
fn in_order(meta: &pb::Meta, mut own: Vec<Mount>) -> Vec<Mount> {
    own.sort_by(|one, other| one.dest.cmp(&other.dest));
    let mut mounts: Vec<Mount> = Vec::new();
    for mount in network_files(meta).into_iter().chain(own) {
        match mounts.iter_mut().find(|earlier| earlier.dest == mount.dest) {
            Some(earlier) => *earlier = mount,
            None => mounts.push(mount),
        }
    }
    mounts
}

/// `/etc/hosts` and `/etc/resolv.conf`.
fn network_files(meta: &pb::Meta) -> [Mount; 2] {
    let hostname = if meta.hostname.is_empty() { HOSTNAME } else { &meta.hostname };
    let mut hosts = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for host in &meta.extra_hosts {
        hosts.push_str(&format!("{}\t{}\n", host.ip, host.host));
    }
    let resolv = fs::read("/etc/resolv.conf").unwrap_or_default();
    let file = |contents: Vec<u8>| MountKind::File { contents, mode: 0o644, uid: 0, gid: 0, readonly: true };
    [("/etc/resolv.conf", resolv), ("/etc/hosts", hosts.into_bytes())]
        .map(|(dest, contents)| Mount { dest: dest.to_owned(), kind: file(contents) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_of_a_path_counts() {
        let at = |dest: &str, size| Mount {
            dest: dest.to_owned(),
            kind: MountKind::Tmpfs { size: Some(size), readonly: false },
        };
        let mounts =
            in_order(&pb::Meta::default(), vec![at("/b", 1), at("/a-b", 2), at("/a/b", 3), at("/b", 4)]);
        let own: Vec<_> = mounts.iter().map(|mount| mount.dest.as_str()).collect();
        assert_eq!(own, ["/etc/resolv.conf", "/etc/hosts", "/a-b", "/a/b", "/b"]);
        assert_eq!(mounts[4], at("/b", 4));
        let mounts = in_order(&pb::Meta::default(), vec![at("/etc/hosts", 1)]);
        assert_eq!(mounts[1..], [at("/etc/hosts", 1)]);
    }
}
