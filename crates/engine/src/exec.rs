//! RUN: one process over the parent's layers; what it wrote becomes the next layer.

use std::collections::VecDeque;
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
    Spec, Tree,
};

use crate::blocking::blocking;
use crate::chain::LayerChain;
use crate::engine::{Engine, Job};
use crate::error::{At, Fault};
use crate::mounts::{Mounts, secret_variables};
use crate::new_layer::NewLayer;
use crate::output::Output;
use crate::preflight::{check_emulation, check_entitlements};
use crate::solver::platform_of;
use crate::users::{self, Identity};

/// The host name that steps see unless one is asked for; BuildKit's.
const HOSTNAME: &str = "buildkitsandbox";
/// What every step finds mounted; in a tree without them the step leaves the directories, as the reference does.
const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "sys"];
/// Docker's default.
const SHM_SIZE: u64 = 64 << 20;
/// As many lines as explain a failure without hiding it.
const TAIL_LINES: usize = 20;
/// A longer line is cut in the tail, not in the log.
const TAIL_LINE_BYTES: usize = 2000;
const READ_BUFFER: usize = 32 << 10;

/// A RUN, ready to start.
pub(crate) struct ExecStep<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) job: &'a Job,
    pub(crate) vertex: &'a Arc<Vertex>,
    pub(crate) exec: &'a pb::ExecOp,
    /// The layers that its root is made of.
    pub(crate) base: LayerChain,
    pub(crate) inputs: &'a [Output],
}

impl ExecStep<'_> {
    /// Runs the process and keeps what it wrote.
    pub(crate) async fn run(&self) -> Result<Vec<Output>, Fault> {
        let mut meta = self.exec.meta.clone().unwrap_or_default();
        let platform = platform_of(self.vertex)?;
        check_entitlements(self.exec, &self.job.entitlements)?;
        check_emulation(&platform)?;
        meta.env.extend(secret_variables(self.job, self.exec)?);
        let root_mount = self.root_mount()?;
        let root = self.base.clone();
        let prepare = async {
            self.engine.unpack(&root).await?;
            Mounts::prepare(self.engine, self.job, self.exec, self.inputs).await
        };
        let mounts = self.job.unless_cancelled(prepare).await?;
        let (engine, exec) = (self.engine.clone(), self.exec.clone());
        let readonly_root = root_mount.readonly;
        let prepared = blocking(move || {
            let layer = NewLayer::start(&engine.store, &root)?;
            let overlay = layer.overlay(&engine.store);
            let process = prepare_root(&meta, &overlay)?;
            let spec = Spec {
                root: overlay,
                readonly_root,
                mounts: with_network_files(mounts.list.clone(), &meta),
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
        let store = Arc::clone(&self.engine.store);
        match root_mount.output >= 0 {
            true => Ok(vec![Output::Tree(blocking(move || layer.keep(&store)).await?)]),
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
            () = self.job.cancel.cancelled() => {
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
        let (progress, vertex, tail) = (Arc::clone(&self.job.progress), self.vertex.digest, Arc::clone(tail));
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
    let mut env = meta.env.clone();
    if let Some(proxy) = &meta.proxy_env {
        add_proxies(&mut env, proxy);
    }
    if !env.iter().any(|pair| pair.starts_with("HOME=")) {
        env.push(format!("HOME={}", identity.home));
    }
    let rlimits = meta.ulimit.iter().map(rlimit).collect::<Result<_, _>>()?;
    Ok(Process { args: meta.args.clone(), env, cwd: meta.cwd.clone(), user: identity.user, rlimits })
}

fn rlimit(limit: &pb::Ulimit) -> Result<Rlimit, Fault> {
    // A negative limit stands for "unlimited".
    let value = |number: i64| u64::try_from(number).ok();
    let resource = limit.name.parse().map_err(|error: SandboxError| Fault::Graph(error.to_string()))?;
    Ok(Rlimit { resource, soft: value(limit.soft), hard: value(limit.hard) })
}

fn add_proxies(env: &mut Vec<String>, proxy: &pb::ProxyEnv) {
    for (name, value) in [
        ("HTTP_PROXY", &proxy.http_proxy),
        ("HTTPS_PROXY", &proxy.https_proxy),
        ("FTP_PROXY", &proxy.ftp_proxy),
        ("NO_PROXY", &proxy.no_proxy),
        ("ALL_PROXY", &proxy.all_proxy),
    ] {
        if !value.is_empty() {
            env.push(format!("{name}={value}"));
            env.push(format!("{}={value}", name.to_lowercase()));
        }
    }
}

/// Adds `/etc/hosts` and `/etc/resolv.conf`.
fn with_network_files(mut mounts: Vec<Mount>, meta: &pb::Meta) -> Vec<Mount> {
    let hostname = if meta.hostname.is_empty() { HOSTNAME } else { &meta.hostname };
    let mut hosts = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for host in &meta.extra_hosts {
        hosts.push_str(&format!("{}\t{}\n", host.ip, host.host));
    }
    let resolv = fs::read("/etc/resolv.conf").unwrap_or_default();
    let file = |contents: Vec<u8>| MountKind::File { contents, mode: 0o644, uid: 0, gid: 0, readonly: true };
    mounts.push(Mount { dest: "/etc/hosts".to_owned(), kind: file(hosts.into_bytes()) });
    mounts.push(Mount { dest: "/etc/resolv.conf".to_owned(), kind: file(resolv) });
    mounts
}

/// The last lines of a step's output.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<Vec<u8>>,
    open: Vec<u8>,
}

impl Tail {
    fn push(&mut self, data: &[u8]) {
        for byte in data {
            match byte {
                b'\n' => self.close(),
                _ if self.open.len() < TAIL_LINE_BYTES => self.open.push(*byte),
                _ => {}
            }
        }
    }

    fn close(&mut self) {
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(std::mem::take(&mut self.open));
    }

    fn text(&mut self) -> String {
        if !self.open.is_empty() {
            self.close();
        }
        let lines: Vec<_> =
            self.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let mut tail = Tail::default();
        for number in 0..100 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        tail.push(b"unfinished");
        let text = tail.text();
        assert_eq!(text.lines().count(), TAIL_LINES);
        assert!(text.starts_with("line 81\n") && text.ends_with("line 99\nunfinished"), "{text}");
    }
}
