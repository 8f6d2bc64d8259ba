//! What a build reads: its context, further contexts by name, the Dockerfile.
//!
//! First [`Client::prepare`] finds out what each of them is, without the network; then [`read`] fetches what is elsewhere, with
//! the solver that builds afterwards, so that nothing is fetched twice.

mod client;
mod local;
mod remote;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use gantry_dockerfile::{GitOptions, Lines, NamedContext, RemoteContext};
use gantry_engine::Solver;
use gantry_oci::Reference;

use crate::error::{Error, Excerpt};
use crate::image::LayoutPlace;
use crate::request::BuildRequest;

pub(crate) use client::Client;
use client::Main;

/// The build context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextSource {
    /// A directory.
    Directory(PathBuf),
    /// The address of a repository, of an archive, or of a Dockerfile.
    Remote(String),
    /// An archive, or a Dockerfile, on standard input.
    Stdin,
}

/// A further context, which takes the place of a stage or an image of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedSource {
    /// A directory.
    Directory(PathBuf),
    /// The address of a repository or of a file.
    Remote(String),
    /// An image in a registry.
    Image {
        /// The image.
        reference: Reference,
        /// How the user wrote it.
        written: String,
    },
    /// Nothing.
    Scratch,
    /// An image in an OCI layout.
    Layout(LayoutPlace),
}

/// Whether a text is the address of a repository or of a file of the web, and not a path. One that is wrong is an address,
/// too.
pub fn is_address(text: &str) -> bool {
    !matches!(RemoteContext::parse(text, GitOptions::default()), Ok(None))
}

/// What a build starts from.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// The Dockerfile's name for messages: as the user gave it.
    pub(crate) name: String,
    /// Its text, in whatever encoding.
    pub(crate) text: Vec<u8>,
    /// The context, if it is not a directory.
    pub(crate) context: Option<RemoteContext>,
    /// The context, if it is a directory of the user's.
    pub(crate) directory: Option<PathBuf>,
    /// Further contexts by name.
    pub(crate) contexts: BTreeMap<String, NamedContext>,
    /// The patterns of the context's ignore file.
    pub(crate) exclude: Vec<String>,
}

impl Input {
    /// These lines of the Dockerfile, to be shown with a message.
    pub(crate) fn excerpt(&self, lines: Lines) -> Excerpt {
        Excerpt { file: self.name.clone(), text: self.shown_text(), lines }
    }

    /// The Dockerfile's text, to be shown. Costs a copy of it.
    pub(crate) fn shown_text(&self) -> Arc<str> {
        String::from_utf8_lossy(&self.text).into()
    }
}

/// Reads the Dockerfile, and the ignore file that belongs to it.
pub(crate) async fn read(client: &Client, solver: &Solver, request: &BuildRequest) -> Result<Input, Error> {
    let contexts = client.contexts.clone();
    match &client.main {
        Main::Directory(directory) => {
            let read = match remote::dockerfile_address(request)? {
                None => local::read(directory, &request.dockerfile)?,
                Some(address) => remote::read_beside(directory, &address, solver).await?,
            };
            let real = local::real(directory)?;
            let (name, text, exclude) = (read.name, read.text, read.exclude);
            Ok(Input { name, text, context: None, directory: Some(real), contexts, exclude })
        }
        // Nothing but a Dockerfile was given: the context is empty.
        Main::Text(text) => Ok(Input {
            name: local::STDIN.to_owned(),
            text: text.clone(),
            context: None,
            directory: None,
            contexts,
            exclude: Vec::new(),
        }),
        Main::Remote(remote) => remote::read(remote.clone(), request, solver, contexts).await,
    }
}
