//! A root file system of one layer with busybox in it, and the ways to run something there.

use std::fs;
use std::io::{PipeReader, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;

use gantry_sandbox::{
    Error, Exit, Mount, MountKind, Network, Overlay, Process, Sandbox, Security, Spec, Tree, User,
};
use tempfile::TempDir;

/// The program that re-executes itself as supervisor.
pub(crate) const RUNNER: &str = env!("CARGO_BIN_EXE_gantry-sandbox-run");

const APPLETS: [&str; 21] = [
    "sh", "cat", "ls", "id", "echo", "env", "sleep", "kill", "mount", "touch", "mkdir", "rm", "grep",
    "hostname", "chmod", "mknod", "stat", "ip", "true", "unshare", "cut",
];

/// Directories of one test.
pub(crate) struct Fixture {
    dir: TempDir,
}

/// What a finished process left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        for name in ["base/bin", "base/etc", "base/tmp", "upper", "work"] {
            fs::create_dir_all(fixture.path(name)).unwrap();
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        let busybox =
            busybox.expect("these tests need a static busybox (Debian: apt install busybox-static)");
        fs::copy(busybox, fixture.path("base/bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", fixture.path("base/bin").join(applet)).unwrap();
        }
        fs::write(fixture.path("base/etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        fixture
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn overlay(&self) -> Overlay {
        Overlay { lower: vec![self.path("base")], upper: self.path("upper"), work: self.path("work") }
    }

    pub(crate) fn spec(&self, args: &[&str]) -> Spec {
        Spec {
            root: self.overlay(),
            readonly_root: false,
            mounts: vec![],
            process: Process {
                args: args.iter().map(ToString::to_string).collect(),
                env: vec!["PATH=/sbin:/bin".into(), "SECRET=a b".into()],
                cwd: "/".into(),
                user: User::default(),
                rlimits: vec![],
            },
            network: Network::None,
            security: Security::Sandbox,
            hostname: "buildhost".into(),
            shm_size: 1 << 20,
        }
    }

    pub(crate) fn shell(&self, script: &str) -> Spec {
        self.spec(&["sh", "-c", script])
    }

    /// Runs a script and returns what it wrote; it must succeed.
    pub(crate) fn output(&self, script: &str) -> String {
        let done = run(&self.shell(script)).unwrap();
        assert_eq!(done.exit, Exit::Code(0), "{script}: {done:?}");
        done.stdout
    }

    /// All paths in the upper directory, sorted.
    pub(crate) fn written(&self) -> Vec<String> {
        fn walk(root: &Path, path: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                found.push(path.strip_prefix(root).unwrap().display().to_string());
                if path.symlink_metadata().unwrap().is_dir() {
                    walk(root, &path, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path("upper"), &self.path("upper"), &mut found);
        found.sort();
        found
    }
}

/// Runs to the end.
pub(crate) fn run(spec: &Spec) -> Result<Done, Error> {
    let running = Sandbox::new(RUNNER).spawn(spec)?;
    let (stdout, stderr) = thread::scope(|scope| {
        let stderr = scope.spawn(|| read(&running.stderr));
        (read(&running.stdout), stderr.join().unwrap())
    });
    Ok(Done { exit: running.handle.wait()?, stdout, stderr })
}

fn read(mut pipe: &PipeReader) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn bind(source: PathBuf, dest: &str, readonly: bool) -> Mount {
    let kind = MountKind::Bind { source: Tree::Directory(source), selector: PathBuf::new(), readonly };
    Mount { dest: dest.into(), kind }
}

pub(crate) fn file(dest: &str, contents: &str) -> Mount {
    let contents = contents.as_bytes().to_vec();
    let kind = MountKind::File { contents, mode: 0o440, uid: 7, gid: 8, readonly: true };
    Mount { dest: dest.into(), kind }
}
