//! Sources of the network over a real store: repositories by the real git, and files from a table.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_engine::{
    Engine, EngineError, FetchError, FetchPort, FetchRequest, Fetched, Job, LayerChain, Network, Solver,
    Version,
};
use gantry_llb::{Builder, Definition, Edge, Progress, ProgressEvent, pb};
use gantry_oci::{BoxFuture, Digest};
use gantry_sandbox::Sandbox;
use gantry_store::Store;
use gantry_testkit::{GitHttpServer, GitServer};
use tokio_util::sync::CancellationToken;

#[path = "support/no_images.rs"]
mod no_images;

use no_images::NoImages;

/// One file, to which its server gives a name of its own; and what was asked for.
#[derive(Default)]
struct NamedFile {
    asked: Mutex<Vec<String>>,
}

const CONTENT: &str = "content";

impl FetchPort for NamedFile {
    fn fetch<'a>(
        &'a self,
        request: &'a FetchRequest,
        sink: &'a mut (dyn Write + Send),
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(request.url.clone());
            sink.write_all(CONTENT.as_bytes()).unwrap();
            Ok(Fetched::File { version: Version::default(), name: Some("named".to_owned()) })
        })
    }
}

/// All that was said in a build.
#[derive(Default)]
struct Log(Mutex<String>);

impl Progress for Log {
    fn event(&self, event: ProgressEvent) {
        if let ProgressEvent::Log { data, .. } = event {
            self.0.lock().unwrap().push_str(&String::from_utf8(data).unwrap());
        }
    }
}

/// A store, and what the network has.
struct World {
    directory: tempfile::TempDir,
    file: Arc<NamedFile>,
    log: Arc<Log>,
    /// Where `git` is looked for first.
    path: Option<OsString>,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, file: Arc::default(), log: Arc::default(), path: None }
    }

    fn engine(&self) -> Engine {
        let store = Store::open(&self.directory.path().join("store")).unwrap();
        let path = self.path.clone().or_else(|| std::env::var_os("PATH")).unwrap();
        let network =
            Network { fetch: Arc::clone(&self.file) as _, git_environment: vec![("PATH".into(), path)] };
        Engine::new(Arc::new(store), Arc::new(NoImages), Sandbox::default()).with_network(network)
    }

    fn solve(&self, definition: &Definition) -> Result<LayerChain, EngineError> {
        let job = Job::new(Arc::clone(&self.log) as _, CancellationToken::new());
        runtime().block_on(Solver::new(self.engine(), job).solve(definition))
    }

    fn look<R: Send + 'static>(
        &self,
        definition: &Definition,
        look: impl FnOnce(&Path) -> R + Send + 'static,
    ) -> R {
        let chain = self.solve(definition).unwrap();
        runtime().block_on(self.engine().with_tree(&chain, look)).unwrap()
    }

    /// Has `script` run instead of git, which it finds as `$GIT`.
    fn replace_git(&mut self, script: &str) {
        let path = std::env::var("PATH").unwrap();
        let git = path.split(':').map(|part| Path::new(part).join("git")).find(|git| git.exists()).unwrap();
        let directory = self.directory.path().join("bin");
        fs::create_dir(&directory).unwrap();
        let script = format!("#!/bin/sh\nset -eu\nPATH='{path}'\nGIT='{}'\n{script}\n", git.display());
        fs::write(directory.join("git"), script).unwrap();
        fs::set_permissions(directory.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
        self.path = Some(format!("{}:{path}", directory.display()).into());
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

fn source(identifier: &str, attrs: &[(&str, &str)]) -> Definition {
    let mut builder = Builder::new();
    let attrs: BTreeMap<String, String> =
        attrs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let source = pb::SourceOp { identifier: identifier.to_owned(), attrs };
    let op = pb::Op { op: Some(pb::op::Op::Source(source)), ..pb::Op::default() };
    let vertex = builder.add(op, vec![], pb::OpMetadata::default());
    builder.finish(Some(Edge { vertex, index: 0 }), vec![])
}

/// Every file below a directory that holds this text.
fn holding(directory: &Path, text: &str, found: &mut Vec<String>) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += holding(&path, text, found);
            continue;
        }
        files += 1;
        let content = fs::read(&path).unwrap();
        if content.windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    files
}

#[test]
fn root_passwords_of_repositories_reach_neither_files_nor_arguments() {
    let git = GitServer::start();
    git.commit("c.git", &[("inside", "1")]);
    git.commit("b.git", &[("a", "1")]);
    let lines = "git clone -q ../c.git c\ngit submodule --quiet add ../c.git c\ngit commit -q -m submodule";
    git.script("b.git", lines);
    for (user, password, written) in
        [("me", "t0k?en", "me:t0k%3Fen"), ("t0k?en", "", "t0k%3Fen"), ("t0k?en", "x", "t0k%3Fen:x")]
    {
        let login = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let web = GitHttpServer::start(git.root(), Some(&login));
        let mut world = World::new();
        // Its own arguments, and those of the helpers that it starts.
        let arguments = world.directory.path().join("arguments");
        world.replace_git(&format!(
            "printf '%s\\n' \"$@\" >> '{0}'\nexport GIT_TRACE='{0}'\nexec \"$GIT\" \"$@\"",
            arguments.display()
        ));
        let url = format!("http://{written}@{}/b.git", web.host());
        let definition = source(
            &format!("git://{}/b.git", web.host()),
            &[("git.fullurl", url.as_str()), ("git.keepgitdir", "true")],
        );
        let (files, found, config) = world.look(&definition, |tree| {
            assert_eq!(fs::read_to_string(tree.join("c/inside")).unwrap(), "1");
            assert!(tree.join(".git/modules/c").is_dir());
            assert!(
                !tree.join(".git/modules/c/hooks").exists(),
                "the machine's templates are not for layers"
            );
            let mut found = Vec::new();
            let files = holding(tree, "t0k", &mut found);
            (files, found, fs::read_to_string(tree.join(".git/config")).unwrap())
        });
        assert!(files > 10 && found.is_empty(), "{found:?}");
        assert!(config.contains("xxxxx@") && config.contains("/c.git"), "{config}");
        let arguments = fs::read_to_string(arguments).unwrap();
        assert!(arguments.contains("submodule") && arguments.contains("remote-http"), "{arguments}");
        assert!(!arguments.contains("t0k"), "{arguments}");
        assert!(!world.log.0.lock().unwrap().contains("t0k"));
        // And who has the wrong one is not let in.
        let wrong = url.replace("en", "EN");
        let definition = source("git://h/b.git", &[("git.fullurl", wrong.as_str())]);
        let refused = World::new().solve(&definition).unwrap_err().fault.to_string();
        assert!(refused.contains("Authentication failed") && !refused.contains("t0k"), "{refused}");
    }
}

#[test]
fn root_a_branch_that_moves_while_it_is_fetched() {
    let git = GitServer::start();
    let first = git.commit("repo", &[("a", "1")]);
    let url = git.url("repo");
    let named = source(&format!("{url}#main"), &[("git.fullurl", &url), ("git.keepgitdir", "true")]);
    let on_fetch = |lines: &str| {
        let repository = git.repository("repo").display().to_string();
        let mut world = World::new();
        world.replace_git(&format!(
            "case \" $* \" in *' fetch '*) (unset $(env | grep -o '^GIT_[A-Z_]*'); cd '{repository}'; \
             export HOME=/dev/null GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t; \
             {lines}) >&2;; esac\nexec \"$GIT\" \"$@\""
        ));
        world
    };
    // What it was is still in its history: that is what was looked up, and what its names here mean.
    let moves = on_fetch("\"$GIT\" commit -q --allow-empty -m moved");
    let expected = first.clone();
    moves.look(&named, move |tree| {
        assert_eq!(fs::read_to_string(tree.join(".git/HEAD")).unwrap().trim(), expected);
        let branch = fs::read_to_string(tree.join(".git/refs/heads/main")).unwrap();
        assert_eq!(branch.trim(), expected);
    });
    git.run("repo", &["reset", "--quiet", "--hard", &first]);
    // And it is not.
    let gone = on_fetch("\"$GIT\" commit -q --amend --allow-empty -m \"other $$\"");
    let refused = gone.solve(&named).unwrap_err().fault.to_string();
    let head = git.run("repo", &["rev-parse", "HEAD"]);
    assert_ne!(head, first);
    for part in ["`refs/heads/main`", "has moved", first.as_str()] {
        assert!(refused.contains(part), "{part} in {refused}");
    }
}

#[test]
fn root_a_pinned_file_that_its_server_names_is_fetched_once() {
    let world = World::new();
    let checksum = Digest::of(CONTENT).to_string();
    let definition = source("https://h.test/a/path", &[("http.checksum", &checksum)]);
    for build in 1..=2 {
        let content = world.look(&definition, |tree| fs::read_to_string(tree.join("named")).unwrap());
        assert_eq!(content, CONTENT);
        assert_eq!(world.file.asked.lock().unwrap().len(), 1, "in build {build}");
    }
}
