//! A repository as a tree: a reference is looked up, and its commit fetched, alone where the server allows that.
//!
//! The commit is the source's identity: one that was checked out before is not fetched again, whatever branch or tag
//! leads to it now.

mod checkout;
mod command;

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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

/// What servers and git itself say where a part of the history cannot be had alone.
const CANNOT_SHALLOW: [&str; 2] = ["--depth", "shallow"];

/// The addresses for which one token counts: what GitHub's own tools do.
const GITHUB: [&str; 2] = ["https://github.com/", "https://www.github.com/"];

/// What a reference stands for at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Resolved {
    /// The object: a commit, or the tag object that names one.
    object: String,
    /// The commit, where it is known to be another object.
    commit: Option<String>,
    /// The full name of the reference; `None` for a commit.
    name: Option<String>,
}

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
    let mut key = KeyWriter::new("gantry git 1");
    let object = match source.keep_git_dir {
        true => &resolved.object,
        false => resolved.commit.as_ref().unwrap_or(&resolved.object),
    };
    key.part(source.shown()).part(object).part(&source.subdir);
    // The name of the reference is in `.git`.
    let name = resolved.name.as_deref().filter(|_| source.keep_git_dir);
    key.part(name.unwrap_or_default()).number(source.keep_git_dir.into());
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
            git.hide(credentials);
        }
        if let Some(authorization) = authorization(solver, source)? {
            let setting = format!("http.{}.extraHeader", token_scope(&source.remote));
            git.configure(setting, format!("Authorization: {authorization}"));
        }
        Ok(Self { source, git, home, shown: source.shown() })
    }

    /// What the reference stands for. A whole commit stands for itself.
    async fn resolve(&self) -> Result<Resolved, Fault> {
        let source = self.source;
        let itself = |commit: &str| Resolved { object: commit.to_owned(), commit: None, name: None };
        let resolved = match &source.checksum {
            _ if GitSource::is_commit(&source.reference) => itself(&source.reference),
            Some(commit) if source.fetch_by_commit && GitSource::is_commit(commit) => itself(commit),
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
        let remote = self.source.remote.as_str();
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
        choose(&answer, &reference).ok_or_else(|| self.no_such_reference(&reference))
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
        work_tree.init(source, resolved).await?;
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
        let wanted = match &resolved.name {
            Some(name) => format!("+{name}:{name}"),
            None => resolved.object.clone(),
        };
        let alone = work_tree.run(&["fetch", "-u", "--depth=1", "--no-tags", "--", "origin", &wanted]).await;
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
        let everything = ["fetch", "-u", "--tags", "--", "origin", "+refs/heads/*:refs/remotes/origin/*"];
        let mut arguments = everything.to_vec();
        if work_tree.directory.join("shallow").exists() {
            arguments.insert(1, "--unshallow");
        }
        work_tree.run(&arguments).await.map_err(|failure| failure.during("fetch", &self.shown))?;
        match work_tree.has(&resolved.object).await {
            true => Ok(()),
            false => Err(self.no_such_reference(&resolved.object)),
        }
    }
}

impl Resolved {
    /// Whether it is the commit whose id begins so.
    fn is(&self, prefix: &str) -> bool {
        self.object.starts_with(prefix)
            || self.commit.as_ref().is_some_and(|commit| commit.starts_with(prefix))
    }
}

/// The branch that `ls-remote --symref` says HEAD is.
fn default_branch(answer: &str) -> Option<String> {
    let branch = answer.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"))?;
    // It becomes an argument; the server chose it.
    branch.starts_with("refs/heads/").then(|| branch.to_owned())
}

/// What of the answer of `ls-remote` the reference means: its full name, else a branch, else a tag.
fn choose(answer: &str, reference: &str) -> Option<Resolved> {
    let found = |name: &str| {
        let line =
            answer.lines().find(|line| line.split_once('\t').is_some_and(|(_, found)| found == name))?;
        let (object, _) = line.split_once('\t')?;
        GitSource::is_commit(object).then(|| object.to_owned())
    };
    let full = |prefix: &str| match reference.starts_with(prefix) {
        true => reference.to_owned(),
        false => format!("{prefix}{reference}"),
    };
    for name in [full("refs/"), full("refs/heads/")] {
        if let Some(object) = found(&name) {
            // A tag by its full name has a commit behind it, too.
            return Some(Resolved { object, commit: found(&format!("{name}^{{}}")), name: Some(name) });
        }
    }
    let name = full("refs/tags/");
    let object = found(&name)?;
    Some(Resolved { object, commit: found(&format!("{name}^{{}}")), name: Some(name) })
}

/// The value of the header `Authorization`, if the client has a secret for the host or for all of them.
fn authorization(solver: &Solver, source: &GitSource) -> Result<Option<String>, Fault> {
    let Some(("http" | "https", rest)) = source.remote.split_once("://") else { return Ok(None) };
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let of_host = |id: &Option<String>| id.as_ref().map(|id| format!("{id}.{host}"));
    let candidates = [
        (of_host(&source.header_secret), false),
        (of_host(&source.token_secret), true),
        (source.header_secret.clone(), false),
        (source.token_secret.clone(), true),
    ];
    for (id, is_token) in candidates {
        let Some(id) = id else { continue };
        let Some(secret) = solver.job.secrets.get(&id)? else { continue };
        let text = secret.line().ok_or_else(|| Fault::Secret {
            id,
            problem: "a header can only hold one line of text".to_owned(),
        })?;
        return Ok(Some(match is_token {
            false => text.to_owned(),
            true => format!("Basic {}", STANDARD.encode(format!("x-access-token:{text}"))),
        }));
    }
    Ok(None)
}

/// The addresses that the token is sent to: the repository, or all of GitHub for one that is there, so that
/// submodules can be read, too.
fn token_scope(remote: &str) -> &str {
    GITHUB.into_iter().find(|prefix| remote.starts_with(prefix)).unwrap_or(remote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_before_tags_and_full_names_before_both() {
        let id = |digit: &str| digit.repeat(40);
        let answer = format!(
            "{}\trefs/heads/v1\n{}\trefs/tags/v1\n{}\trefs/tags/v1^{{}}\n{}\trefs/heads/x/v1\nnonsense\trefs/heads/bad\n",
            id("1"),
            id("2"),
            id("3"),
            id("4")
        );
        let of = |reference: &str| choose(&answer, reference).map(|found| (found.object, found.commit));
        assert_eq!(of("v1"), Some((id("1"), None)));
        assert_eq!(of("refs/tags/v1"), Some((id("2"), Some(id("3")))));
        assert_eq!(of("tags/v1"), Some((id("2"), Some(id("3")))));
        assert_eq!(of("heads/x/v1"), Some((id("4"), None)));
        assert_eq!(of("bad"), None);
        assert_eq!(of("none"), None);
        assert!(choose(&answer, "refs/tags/v1").unwrap().is("333"));
    }

    #[test]
    fn the_default_branch_is_a_branch() {
        assert_eq!(default_branch("ref: refs/heads/main\tHEAD\nabc\tHEAD\n").unwrap(), "refs/heads/main");
        assert_eq!(default_branch("ref: --upload-pack=x\tHEAD\n"), None);
        assert_eq!(default_branch("abc\tHEAD\n"), None);
    }

    #[test]
    fn tokens_stay_where_they_belong() {
        assert_eq!(token_scope("https://github.com/a/b.git"), "https://github.com/");
        assert_eq!(token_scope("https://h.test/a/b.git"), "https://h.test/a/b.git");
    }
}
