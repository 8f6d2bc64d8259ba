//! One user's machine for a test: a home with a store, a build context, and a registry with busybox in it.
//!
//! `BASE` in a Dockerfile stands for busybox, `HOST` for the registry. [`World::left_behind`] tells what no run may
//! leave: mounts, processes, temporary files and locks.

use std::fs;
use std::path::{Path, PathBuf};

use gantry_testkit::{BaseImages, FakeRegistry, GantryCommand, ImageTarget, Output};

/// Where busybox is in the registry.
const BASE: &str = "library/busybox";

/// A machine of its own for one test.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) gantry: GantryCommand,
    pub(crate) registry: FakeRegistry,
}

impl World {
    /// A machine with this Dockerfile, and busybox in its registry.
    pub(crate) fn new(dockerfile: &str) -> Self {
        let world = Self::bare(dockerfile);
        BaseImages::find().push("busybox", &world.registry, BASE, "latest");
        world
    }

    /// A machine with this Dockerfile and an empty registry.
    pub(crate) fn bare(dockerfile: &str) -> Self {
        let world = Self {
            gantry: GantryCommand::new(env!("CARGO_BIN_EXE_gantry")),
            registry: FakeRegistry::start(),
        };
        world.dockerfile(dockerfile);
        world
    }

    /// Replaces the Dockerfile.
    pub(crate) fn dockerfile(&self, text: &str) {
        self.gantry.write("Dockerfile", self.expand(text));
    }

    /// The text with the registry's names in the place of `BASE` and `HOST`.
    pub(crate) fn expand(&self, text: &str) -> String {
        let host = self.registry.host();
        text.replace("BASE", &format!("{host}/{BASE}")).replace("HOST", &host)
    }

    /// Runs `gantry build ARGUMENTS .` to its end.
    pub(crate) fn build(&self, arguments: &[&str]) -> Output {
        self.gantry.run(self.arguments(arguments))
    }

    /// The arguments of `gantry build ARGUMENTS .`, with `HOST` and `BASE` expanded.
    pub(crate) fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let arguments = arguments.iter().map(|argument| self.expand(argument));
        ["build".to_owned()].into_iter().chain(arguments).chain([".".to_owned()]).collect()
    }

    /// Where the store is.
    pub(crate) fn store(&self) -> PathBuf {
        self.gantry.home().join("store")
    }

    /// What is here that a run should have taken with it; one line each.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let mut left = Vec::new();
        for directory in ["tmp", "locks"] {
            // A run that failed early enough made no store.
            let entries = fs::read_dir(self.store().join(directory)).into_iter().flatten();
            left.extend(
                entries.map(|entry| format!("file {}", entry.expect("it can be read").path().display())),
            );
        }
        left.extend(traces_in_processes(self.gantry.home()));
        left
    }

    /// Panics if a run left anything.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.left_behind(), Vec::<String>::new(), "a run left something behind");
    }
}

/// Processes that name `home` in their arguments, environment or directories, and mounts on it that they see.
///
/// The steps of a build see nothing of the home; tests that have steps to lose give them arguments to look for.
fn traces_in_processes(home: &Path) -> Vec<String> {
    let home = home.to_str().expect("temporary directories have plain names");
    let processes = fs::read_dir("/proc").expect("/proc can be read").flatten().map(|entry| entry.path());
    let processes = processes.filter(|path| path.file_name().is_some_and(is_number));
    let mut traces = Vec::new();
    for process in processes {
        for file in ["cmdline", "environ", "mountinfo"] {
            // A process may end while it is looked at.
            let bytes = fs::read(process.join(file)).unwrap_or_default();
            if String::from_utf8_lossy(&bytes).contains(home) {
                traces.push(format!("process {} by its {file}", process.display()));
            }
        }
        for link in ["cwd", "root", "exe"] {
            if fs::read_link(process.join(link)).is_ok_and(|target| target.starts_with(home)) {
                traces.push(format!("process {} by its {link}", process.display()));
            }
        }
    }
    traces
}

fn is_number(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}
