//! Runs of the program with nothing of the developer's own environment, and their output in a form that can be
//! compared.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use regex::Regex;
use tempfile::TempDir;
use wait4::Wait4;

/// A home for runs of gantry: a temporary directory with a store, and a fixed environment.
///
/// Runs of one `GantryCommand` share the store, as the runs of one user do.
#[derive(Debug)]
pub struct GantryCommand {
    wrapper: Vec<OsString>,
    binary: PathBuf,
    home: TempDir,
    directory: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl GantryCommand {
    /// Runs of this binary, in an empty directory.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        let directory = home.path().join("work");
        std::fs::create_dir(&directory).expect("a directory can be made");
        let set = |name: &str, value: &OsStr| (OsString::from(name), value.to_owned());
        let environment = vec![
            set("PATH", &std::env::var_os("PATH").unwrap_or_default()),
            set("HOME", home.path().as_os_str()),
            set("GANTRY_ROOT", home.path().join("store").as_os_str()),
            // Not the configuration of the machine that the test runs on.
            set("GANTRY_ETC", home.path().join("etc").as_os_str()),
            set("TZ", OsStr::new("UTC")),
            set("LC_ALL", OsStr::new("C")),
            set("COLUMNS", OsStr::new("100")),
            set("NO_COLOR", OsStr::new("1")),
        ];
        Self { wrapper: Vec::new(), binary: binary.into(), home, directory, environment }
    }

    /// The directory that is `HOME`; the store is in its `store`, the working directory in its `work`.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The working directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs in this directory from now on.
    #[must_use]
    pub fn in_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// Sets an environment variable from now on.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Runs by way of this command from now on (`unshare --mount` and the like), to whose end the program and its
    /// arguments are put.
    #[must_use]
    pub fn wrapped_by<S: AsRef<OsStr>>(mut self, command: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = command.into_iter().map(|part| part.as_ref().to_owned()).collect();
        self
    }

    /// Writes a file into the working directory.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.directory.join(path);
        let parent = path.parent().expect("a joined path has a parent");
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, content))
            .expect("a file can be written");
    }

    /// The command, ready to be spawned by a test that wants to handle the process itself.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = match self.wrapper.split_first() {
            None => Command::new(&self.binary),
            Some((wrapper, rest)) => {
                let mut command = Command::new(wrapper);
                command.args(rest).arg(&self.binary);
                command
            }
        };
        command.args(arguments).current_dir(&self.directory).stdin(Stdio::null());
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs to the end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        let mut command = self.command(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("cannot run {}: {error}", self.binary.display()));
        let mut stderr = child.stderr.take().expect("it is piped");
        let errors = std::thread::spawn(move || read(&mut stderr));
        let stdout = read(&mut child.stdout.take().expect("it is piped"));
        let end = child.wait4().expect("a child can be waited for");
        Output {
            status: end.status,
            stdout,
            stderr: errors.join().expect("reading does not panic"),
            peak_memory: end.rusage.maxrss,
            home: self.home.path().to_owned(),
        }
    }
}

fn read(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("a pipe can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a run left behind.
#[must_use = "a run that is not looked at proves nothing"]
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// The largest resident set of it or one of its children, in bytes. The kernel counts from before the `exec`,
    /// so this is never less than what the test itself had resident.
    pub peak_memory: u64,
    home: PathBuf,
}

impl Output {
    /// The output, if the run succeeded; panics with all of it if not.
    pub fn success(self) -> Self {
        assert!(self.status.success(), "gantry failed:\n{}", self.snapshot());
        self
    }

    /// The output, if the run ended with this code; panics with all of it if not.
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "gantry ended otherwise:\n{}", self.snapshot());
        self
    }

    /// Status, standard output and standard error with what differs from run to run replaced by marks.
    pub fn snapshot(&self) -> String {
        let mut text =
            format!("status: {}\n", self.status.code().map_or("signal".to_owned(), |code| code.to_string()));
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let _ = write!(text, "--- {name}\n{}", filter(stream, &self.home));
            if !text.ends_with('\n') {
                text.push_str("⏎\n");
            }
        }
        text
    }
}

fn filter(text: &str, home: &Path) -> String {
    let text = text.replace(&*home.to_string_lossy(), "[HOME]");
    let marks = [
        (r"sha256:[0-9a-f]{64}", "sha256:[DIGEST]"),
        (r"\b(127\.0\.0\.1|localhost):\d+", "$1:[PORT]"),
        (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "[TIME]"),
        (r"\b\d+(\.\d+)?(ms|s)\b", "[DURATION]"),
    ];
    marks.into_iter().fold(text, |text, (pattern, mark)| {
        Regex::new(pattern).expect("the patterns are valid").replace_all(&text, mark).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_sees_only_the_fixed_environment() {
        let run = GantryCommand::new("/bin/sh")
            .env("EXTRA", "yes")
            .run(["-c", "echo $HOME $EXTRA ${USER-none}; exit 3"]);
        let output = run.code(3);
        assert_eq!(output.snapshot(), "status: 3\n--- stdout\n[HOME] yes none\n--- stderr\n");
        assert!(output.peak_memory > 0);
    }

    #[test]
    fn a_wrapper_gets_the_program_and_its_arguments() {
        let gantry = GantryCommand::new("/bin/program").wrapped_by(["/bin/echo", "under"]);
        assert_eq!(gantry.run(["build", "."]).success().stdout, "under /bin/program build .\n");
    }

    #[test]
    fn what_differs_between_runs_is_marked() {
        let text =
            format!("/home/x/a 127.0.0.1:5000/r@sha256:{} 0.1s 12ms 2026-01-02T03:04:05.6Z", "ab".repeat(32));
        assert_eq!(
            filter(&text, Path::new("/home/x")),
            "[HOME]/a 127.0.0.1:[PORT]/r@sha256:[DIGEST] [DURATION] [DURATION] [TIME]"
        );
    }
}
