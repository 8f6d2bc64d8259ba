//! What the user's machine gives to a build: directories, layouts, standard input, secrets, agents.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use gantry_dockerfile::{GitOptions, NamedContext, RemoteContext};
use gantry_engine::Job;
use gantry_llb::Progress;
use gantry_oci::{ImagePort, Reference};
use gantry_store::TempDir;
use tokio_util::sync::CancellationToken;

use super::local::{self, MAX_DOCKERFILE};
use super::{ContextSource, NamedSource};
use crate::agents::Agents;
use crate::error::{Class, Error};
use crate::gantry::Gantry;
use crate::layout_source::LayoutImages;
use crate::request::{BuildRequest, Dockerfile};

/// The name by which the graph knows the build context.
const CONTEXT: &str = "context";
/// The name under which standard input is offered.
const STDIN: &str = "stdin";
/// Where the user's own agent is.
const AGENT: &str = "SSH_AUTH_SOCK";
const EPOCH: &str = "SOURCE_DATE_EPOCH";
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// What the build context is.
#[derive(Debug)]
pub(super) enum Main {
    /// This directory, as the user gave it.
    Directory(PathBuf),
    /// Something that is fetched.
    Remote(RemoteContext),
    /// Nothing; this is the Dockerfile.
    Text(Vec<u8>),
}

/// What the user's machine gives to one build.
#[derive(Debug)]
pub(crate) struct Client {
    pub(super) main: Main,
    pub(super) contexts: BTreeMap<String, NamedContext>,
    directories: BTreeMap<String, PathBuf>,
    layouts: BTreeMap<String, Arc<LayoutImages>>,
    agents: Agents,
    /// Kept for as long as the build runs.
    temporary: Vec<TempDir>,
}

impl Client {
    /// Looks at everything that the request names, and starts the agents that it needs. Blocks.
    pub(crate) fn prepare(gantry: &Gantry, request: &BuildRequest) -> Result<Self, Error> {
        let mut client = Self {
            main: Main::Text(Vec::new()),
            contexts: BTreeMap::new(),
            directories: BTreeMap::new(),
            layouts: BTreeMap::new(),
            agents: Agents::default(),
            temporary: Vec::new(),
        };
        client.main = match &request.context {
            ContextSource::Directory(directory) => {
                client.directories.insert(CONTEXT.to_owned(), local::real(directory)?);
                Main::Directory(directory.clone())
            }
            ContextSource::Remote(address) => Main::Remote(remote(address, git_options(request))?),
            ContextSource::Stdin => client.read_stdin(gantry, request)?,
        };
        let wanted = wanted_agents(gantry, request, &client.main);
        client.agents = Agents::start(gantry.store(), &wanted, &gantry.environment)?;
        if !client.directories.contains_key(CONTEXT) {
            let nothing = gantry.store().temp_dir()?;
            client.directories.insert(CONTEXT.to_owned(), nothing.path().to_owned());
            client.temporary.push(nothing);
        }
        for (name, source) in &request.contexts {
            let context = client.named(name, source)?;
            client.contexts.insert(name.clone(), context);
        }
        Ok(client)
    }

    /// A job for this build.
    pub(crate) fn job(
        &self,
        request: &BuildRequest,
        progress: Arc<dyn Progress>,
        cancel: CancellationToken,
    ) -> Job {
        let port = |layout: &Arc<LayoutImages>| Arc::clone(layout) as Arc<dyn ImagePort>;
        Job {
            directories: self.directories.clone(),
            layouts: self.layouts.iter().map(|(name, layout)| (name.clone(), port(layout))).collect(),
            secrets: request.steps.secrets.clone(),
            agents: self.agents.sockets.clone(),
            entitlements: request.steps.allow.clone(),
            ..Job::new(progress, cancel)
        }
    }

    /// The images of a layout that a context names.
    pub(crate) fn layout(&self, name: &str) -> Option<&LayoutImages> {
        self.layouts.get(name).map(AsRef::as_ref)
    }

    /// Takes standard input over, which may be an archive larger than memory, and finds out what it is.
    fn read_stdin(&mut self, gantry: &Gantry, request: &BuildRequest) -> Result<Main, Error> {
        if matches!(request.dockerfile, Dockerfile::Text(_)) {
            let message = "both the context and the Dockerfile are to come from standard input";
            return Err(Error::new(Class::Usage, message));
        }
        let directory = gantry.store().temp_dir()?;
        let path = directory.path().join(STDIN);
        let failed = |error: io::Error| {
            Error::new(Class::Internal, format!("cannot take over standard input: {error}"))
        };
        File::create(&path)
            .and_then(|mut file| io::copy(&mut io::stdin().lock(), &mut file))
            .map_err(failed)?;
        let mut file = File::open(&path).map_err(failed)?;
        self.temporary.push(directory);
        if gantry_layer::is_archive(file.try_clone().map_err(failed)?) {
            let address = gantry.downloads.offer(STDIN, path);
            return Ok(Main::Remote(remote(&address, GitOptions::default())?));
        }
        if request.dockerfile != Dockerfile::InContext {
            let message = "standard input is a Dockerfile, and --file names another one";
            return Err(Error::new(Class::Usage, message)
                .hint("leave out --file, or give the files of the context as an archive"));
        }
        let mut bytes = Vec::new();
        io::Seek::rewind(&mut file).map_err(failed)?;
        file.take(MAX_DOCKERFILE + 1).read_to_end(&mut bytes).map_err(failed)?;
        local::check_size(&bytes, local::STDIN)?;
        Ok(Main::Text(bytes))
    }

    fn named(&mut self, name: &str, source: &NamedSource) -> Result<NamedContext, Error> {
        let of_context = |mut error: Error| {
            error.message = format!("--build-context {name}: {}", error.message);
            error
        };
        Ok(match source {
            NamedSource::Directory(directory) => {
                let real = local::real(directory).map_err(of_context)?;
                let exclude = local::ignore_patterns(&real, None).map_err(of_context)?;
                self.directories.insert(NamedContext::local_name(name), real);
                let shared_key = format!("context:{name}-{}", last_part(directory));
                NamedContext::Local { shared_key, exclude }
            }
            NamedSource::Remote(address) => {
                NamedContext::Remote(remote(address, GitOptions::default()).map_err(of_context)?)
            }
            NamedSource::Image { reference, written } => {
                NamedContext::Image { reference: reference.clone(), written: written.clone() }
            }
            NamedSource::Scratch => NamedContext::Scratch,
            NamedSource::Layout(place) => {
                let (layout, digest) = LayoutImages::open(place).map_err(of_context)?;
                let reference: Reference = format!("{name}@{digest}")
                    .parse()
                    .map_err(|error| Error::new(Class::Usage, format!("--build-context {name}: {error}")))?;
                self.layouts.insert(name.to_owned(), Arc::new(layout));
                NamedContext::Layout { store: name.to_owned(), reference }
            }
        })
    }
}

/// The agents that the user names. A context that is reached over SSH is reached with the user's own, if none is named.
fn wanted_agents(gantry: &Gantry, request: &BuildRequest, main: &Main) -> BTreeMap<String, Vec<PathBuf>> {
    let mut wanted = request.steps.ssh.clone();
    if wanted.is_empty()
        && let Main::Remote(context) = main
        && let Some(id) = context.agent()
        && let Some(socket) = own_agent(&gantry.environment)
    {
        wanted.insert(id.to_owned(), vec![socket]);
    }
    wanted
}

/// The socket of the user's own agent. The variable may be empty, or left over from an agent that has gone: then there is none,
/// and nobody who named one with a flag.
fn own_agent(environment: &[(OsString, OsString)]) -> Option<PathBuf> {
    let (_, socket) = environment.iter().find(|(name, _)| name == AGENT)?;
    let found = std::fs::metadata(socket).ok()?;
    found.file_type().is_socket().then(|| PathBuf::from(socket))
}

/// A directory's own name.
fn last_part(directory: &Path) -> String {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let normal = absolute.components().fold(PathBuf::new(), |mut path, part| {
        match part {
            Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
        path
    });
    normal.file_name().map_or_else(|| "/".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn remote(address: &str, options: GitOptions) -> Result<RemoteContext, Error> {
    let parsed = RemoteContext::parse(address, options);
    let parsed =
        parsed.map_err(|error| Error::new(Class::Usage, format!("the context `{address}`: {error}")))?;
    parsed.ok_or_else(|| {
        Error::new(Class::Usage, format!("the context `{address}` is neither a directory nor an address"))
            .hint("addresses are those of git repositories and of files on web servers")
    })
}

/// How the main context is checked out.
fn git_options(request: &BuildRequest) -> GitOptions {
    let argument = |name: &str| request.build_args.get(name).map(String::as_str);
    GitOptions {
        keep_git_dir: match argument(KEEP_GIT_DIR) {
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Some(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Some(false),
            _ => None,
        },
        commit_times: argument(EPOCH).is_some_and(|value| !value.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_a_socket() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, file) = (directory.path().join("s"), directory.path().join("f"));
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::fs::write(&file, "").unwrap();
        let agent = |value: &Path| own_agent(&[(AGENT.into(), value.into())]);
        assert_eq!(agent(&socket), Some(socket.clone()));
        for wrong in [Path::new(""), &file, &directory.path().join("gone")] {
            assert_eq!(agent(wrong), None, "{}", wrong.display());
        }
        assert_eq!(own_agent(&[]), None);
    }

    #[test]
    fn names_of_directories() {
        for (path, name) in [("/a/b", "b"), ("/a/b/", "b"), ("/a/b/..", "a"), ("/", "/"), ("/a/./", "a")] {
            assert_eq!(last_part(Path::new(path)), name, "{path}");
        }
    }
}
