//! Contexts and Dockerfiles that are somewhere else: fetched as a source of the graph, and looked into.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use gantry_dockerfile::{GitOptions, NamedContext, RemoteContext};
use gantry_engine::{LayerChain, Solver};

use super::Input;
use super::local::{self, LocalInput, MAX_DOCKERFILE, NAMES};
use crate::error::{Class, Error};
use crate::request::{BuildRequest, Dockerfile};

/// Fetches the context and reads the Dockerfile in it. Ignore files do not count there, as with BuildKit.
pub(super) async fn read(
    remote: RemoteContext,
    request: &BuildRequest,
    solver: &Solver,
    contexts: BTreeMap<String, NamedContext>,
) -> Result<Input, Error> {
    let fetched = solver.solve(&remote.fetch()).await?;
    let (context, tree) = match remote.is_repository() {
        true => (remote, fetched),
        false if is_archive(solver, &fetched).await? => {
            let unpacked = remote.unpacked();
            let tree = solver.solve(&unpacked.tree()).await?;
            (unpacked, tree)
        }
        false => {
            // A lone file is the Dockerfile, and the whole context.
            let (name, text) = find(solver, &fetched, &[RemoteContext::FILE]).await?;
            return Ok(Input {
                name,
                text,
                context: Some(remote),
                directory: None,
                contexts,
                exclude: Vec::new(),
            });
        }
    };
    let (name, text) = match &request.dockerfile {
        Dockerfile::Text(text) => (local::STDIN.to_owned(), text.clone()),
        Dockerfile::InContext => find(solver, &tree, &NAMES).await?,
        Dockerfile::File(path) => find(solver, &tree, &[&path.to_string_lossy()]).await?,
    };
    Ok(Input { name, text, context: Some(context), directory: None, contexts, exclude: Vec::new() })
}

/// The address of the Dockerfile, if it is one of the web's.
pub(super) fn dockerfile_address(request: &BuildRequest) -> Result<Option<RemoteContext>, Error> {
    let Dockerfile::File(path) = &request.dockerfile else { return Ok(None) };
    let text = path.to_string_lossy();
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Ok(None);
    }
    let parsed = RemoteContext::parse(&text, GitOptions::default());
    parsed.map_err(|error| Error::new(Class::Usage, format!("--file `{text}`: {error}")))
}

/// Reads a Dockerfile from the web for a context that is here.
pub(super) async fn read_beside(
    context: &Path,
    address: &RemoteContext,
    solver: &Solver,
) -> Result<LocalInput, Error> {
    let tree = solver.solve(&address.fetch()).await?;
    let (name, text) = find(solver, &tree, &[RemoteContext::FILE]).await?;
    Ok(LocalInput { name, text, exclude: local::ignore_patterns(context, None)? })
}

async fn find(solver: &Solver, tree: &LayerChain, names: &[&str]) -> Result<(String, Vec<u8>), Error> {
    for name in names {
        if let Some(bytes) = solver.engine().read_file(tree, name, MAX_DOCKERFILE + 1).await? {
            local::check_size(&bytes, name)?;
            return Ok(((*name).to_owned(), bytes));
        }
    }
    let name = names.first().copied().unwrap_or_default();
    Err(Error::new(Class::NotFound, format!("there is no `{name}` in the context"))
        .hint("name it with --file if it is somewhere else in it"))
}

async fn is_archive(solver: &Solver, tree: &LayerChain) -> Result<bool, Error> {
    let look = |root: &Path| File::open(root.join(RemoteContext::FILE)).is_ok_and(gantry_layer::is_archive);
    Ok(solver.engine().with_tree(tree, look).await?)
}
