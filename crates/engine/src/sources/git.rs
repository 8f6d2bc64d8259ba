//! A repository as a tree: a reference is looked up, and its commit fetched, alone where the server allows that.
//!
//! The commit is the source's identity: one that was checked out before is not fetched again, whatever branch or tag
//! leads to it now.

mod checkout;
mod command;
mod credentials;
mod login;
mod reference;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use gantry_llb::key::KeyWriter;
use gantry_llb::{FileTimes, GitSource, Outcome, Vertex};
use gantry_oci::Digest;
use gantry_store::TempDir;

use super::Arrived;
use crate::blocking::blocking;
use crate::chain::LayerChain;
use crate::error::{At, Fault};
use crate::new_layer::NewLayer;
use crate::output::Output;
use crate::solver::Solver;
use checkout::{Finish, WorkTree};
use command::{Git, GitFailure, Ssh};
use login::Login;
use reference::{Resolved, default_branch};

/// What servers and git itself say where a part of the history cannot be had alone.
const CANNOT_SHALLOW: [&str; 2] = ["--depth", "shallow"];

impl Solver {
    /// The work tree of a repository's commit.
    pub(crate) async fn git(&self, vertex: &Vertex, source: &GitSource) -> Result<Arrived, Fault> {
        self.started(vertex);
        let home = self.engine.store.temp_dir()?;
        let repository = Repository::new(self, vertex, source, home)?;
        let resolved = repository.resolve().await?;
        let identity = identity(source, &resolved);
        if let Some(arrived) = self.checked_out(&identity)? {
            return Ok(arrived);
        }
        let _lock = self.job.lock(&self.engine.store, &identity.hex()).await?;
        if let Some(arrived) = self.checked_out(&identity)? {
            return Ok(arrived);
        }
        let layer = NewLayer::start(&self.engine.store, &LayerChain::default())?;
        let time = repository.check_out(&resolved, &layer.upper()).await?;
        let tree = layer.keep(&self.engine.store)?;
        self.engine.store.put_result(&[time_key(&identity)], &time.to_string())?;
        self.record(&identity, &[Output::Tree(tree.clone())])?;
        Ok(Arrived { tree, identity, time: Some(time), outcome: Outcome::Done })
    }

    fn checked_out(&self, identity: &Digest) -> Result<Option<Arrived>, Fault> {
        let Some(tree) = self.recorded_tree(identity)? else { return Ok(None) };
        let time = self.engine.store.result(&time_key(identity))?.and_then(|text| text.parse().ok());
        Ok(Some(Arrived { tree, identity: *identity, time, outcome: Outcome::Cached }))
    }
}

/// What the tree is: a commit, and how it is checked out. The repository is part of it, because what it is worth to have
/// got a commit from there depends on who may read it.
fn identity(source: &GitSource, resolved: &Resolved) -> Digest {
    let mut key = KeyWriter::new("gantry git 2");
    let object = match source.keep_git_dir {
        true => &resolved.object,
        false => resolved.commit.as_ref().unwrap_or(&resolved.object),
    };
    key.part(source.shown()).part(object).part(&source.subdir);
    // Its names are in `.git`.
    let names: &[String] = if source.keep_git_dir { &resolved.local_names } else { &[] };
    key.number(source.keep_git_dir.into()).number(names.len() as u64);
    for name in names {
        key.part(name);
    }
    key.number(source.skip_submodules.into()).number((source.times == FileTimes::Commit).into());
    key.finish()
}

/// Under this, the time of the commit is recorded.
fn time_key(identity: &Digest) -> Digest {
    let mut key = KeyWriter::new("gantry git time 1");
    key.part(identity.as_bytes());
    key.finish()
}

/// A repository elsewhere, and the place here where it is fetched to.
struct Repository<'a> {
    source: &'a GitSource,
    git: Git<'a>,
    home: TempDir,
    shown: String,
}

impl<'a> Repository<'a> {
    fn new(solver: &'a Solver, vertex: &Vertex, source: &'a GitSource, home: TempDir) -> Result<Self, Fault> {
        let mut ssh = Ssh { new_hosts: home.path().join("new_hosts"), ..Ssh::default() };
        if let Some(id) = &source.agent {
            let agent = solver.job.agents.get(id).ok_or_else(|| Fault::MissingAgent(id.clone()))?;
            ssh.agent = Some(agent.clone());
        }
        if let Some(keys) = &source.known_hosts {
            let path = home.path().join("known_hosts");
            fs::write(&path, keys).at("write", &path)?;
            ssh.known_hosts = Some(path);
        }
        let environment = &solver.network()?.git_environment;
        let mut git = Git::new(&solver.job, vertex.digest, environment, home.path(), &ssh);
        if let Some(credentials) = source.credentials() {
            git.log_in(Login::of(source), credentials);
        }
        if let Some((name, value)) = credentials::setting(solver, source)? {
            git.configure(name, value);
        }
        Ok(Self { source, git, home, shown: source.shown() })
    }

    /// What the reference stands for. A whole commit stands for itself.
    async fn resolve(&self) -> Result<Resolved, Fault> {
        let source = self.source;
        let resolved = match &source.checksum {
            _ if GitSource::is_commit(&source.reference) => Resolved::commit(&source.reference, ""),
            Some(commit) if source.fetch_by_commit => Resolved::commit(commit, &source.reference),
            _ => self.look_up().await?,
        };
        match &source.checksum {
            Some(expected) if !resolved.is(expected) => Err(Fault::OtherContent {
                origin: format!("{}#{}", self.shown, source.reference),
                found: format!("commit {}", resolved.commit.as_ref().unwrap_or(&resolved.object)),
                expected: format!("commit {expected}"),
            }),
            _ => Ok(resolved),
        }
    }

    async fn look_up(&self) -> Result<Resolved, Fault> {
        let failed = |failure: GitFailure| failure.during("look up a ref in", &self.shown);
        let remote = self.shown.as_str();
        let reference = match self.source.reference.as_str() {
            "" => {
                let arguments = ["ls-remote", "--symref", "--", remote, "HEAD"];
                let answer = self.git.run(self.home.path(), arguments).await.map_err(failed)?;
                default_branch(&answer).ok_or_else(|| self.no_such_reference("HEAD"))?
            }
            reference => reference.to_owned(),
        };
        let peeled = format!("{reference}^{{}}");
        let arguments = ["ls-remote", "--", remote, &reference, &peeled];
        let answer = self.git.run(self.home.path(), arguments).await.map_err(failed)?;
        Resolved::choose(&answer, &reference).ok_or_else(|| self.no_such_reference(&reference))
    }

    fn no_such_reference(&self, name: &str) -> Fault {
        let kind = "branch, tag or commit";
        Fault::NotInRepository { remote: self.shown.clone(), kind, name: name.to_owned() }
    }

    /// Fetches and checks out into the empty directory `target`. Returns the commit's time, in seconds since 1970.
    async fn check_out(&self, resolved: &Resolved, target: &Path) -> Result<i64, Fault> {
        let source = self.source;
        let keep = source.keep_git_dir && source.subdir.is_empty();
        let files = match source.subdir.is_empty() {
            true => target.to_owned(),
            false => self.make("files")?,
        };
        let directory = match keep {
            true => files.join(".git"),
            false => self.home.path().join("git"),
        };
        let work_tree = WorkTree { git: &self.git, shown: &self.shown, directory: &directory, files: &files };
        work_tree.init(resolved).await?;
        self.fetch(&work_tree, resolved).await?;
        let time = work_tree.fill(source, &resolved.object).await?;
        if keep {
            work_tree.tidy().await?;
        }
        let finish = Finish {
            files,
            target: target.to_owned(),
            subdir: source.subdir.clone(),
            shown: self.shown.clone(),
            keep,
            time: (source.times == FileTimes::Commit).then_some(time),
        };
        blocking(move || finish.run()).await?;
        Ok(time)
    }

    fn make(&self, name: &str) -> Result<PathBuf, Fault> {
        let path = self.home.path().join(name);
        fs::create_dir(&path).at("create", &path)?;
        Ok(path)
    }

    /// Fetches the commit: alone if that can be, with all that leads to it if it cannot.
    async fn fetch(&self, work_tree: &WorkTree<'_>, resolved: &Resolved) -> Result<(), Fault> {
        let wanted = resolved.wanted();
        // Without `--refmap` git would note the branch a second time, as its origin's.
        let mut arguments = vec!["fetch", "-u", "--refmap=", "--depth=1", "--no-tags", "--", "origin"];
        arguments.extend(wanted.iter().map(String::as_str));
        let alone = work_tree.run(&arguments).await;
        match alone {
            Ok(_) if work_tree.has(&resolved.object).await => return Ok(()),
            Err(failure @ GitFailure::Cancelled) => return Err(failure.during("fetch", &self.shown)),
            // The name has moved on since it was looked up; or the server does not give commits away singly.
            Ok(_) => {}
            Err(failure) if resolved.name.is_some() && !failure.says(&CANNOT_SHALLOW) => {
                return Err(failure.during("fetch", &self.shown));
            }
            Err(_) => {}
        }
        let mut arguments =
            vec!["fetch", "-u", "--tags", "--", "origin", "+refs/heads/*:refs/remotes/origin/*"];
        if work_tree.directory.join("shallow").exists() {
            arguments.insert(1, "--unshallow");
        }
        let failed = |failure: GitFailure| failure.during("fetch", &self.shown);
        work_tree.run(&arguments).await.map_err(failed)?;
        match (work_tree.has(&resolved.object).await, &resolved.name) {
            (true, _) => work_tree.name(resolved).await.map_err(failed),
            (false, None) => Err(self.no_such_reference(&resolved.object)),
            (false, Some(name)) => Err(Fault::ReferenceMoved {
                remote: self.shown.clone(),
                name: name.clone(),
                commit: resolved.object.clone(),
            }),
        }
    }
}
