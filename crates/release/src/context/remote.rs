//! Contexts and Dockerfiles that are somewhere else: fetched as a source of the graph, and looked into.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use gantry_dockerfile::{GitOptions, NamedContext, RemoteContext};
use gantry_engine::{LayerChain, Solver};

use super::local::{self, LocalInput, MAX_DOCKERFILE, NAMES};
use super::{ContextSource, Input};
use crate::error::{Class, Error};
use crate::request::{BuildRequest, Dockerfile};

/// Fetches the context and reads the Dockerfile in it, or where the request says that it is. Ignore files do not count
/// there, as with BuildKit.
pub(super) async fn read(
    remote: RemoteContext,
    request: &BuildRequest,
    solver: &Solver,
    contexts: BTreeMap<String, NamedContext>,
) -> Result<Input, Error> {
    let fetched = solver.solve(&remote.fetch()).await?;
    let apart = read_apart(request, solver).await?;
    let (context, tree, names) = match remote.is_repository() {
        true => (remote, fetched, names(&request.dockerfile)),
        false if is_archive(solver, &fetched).await? => {
            let unpacked = remote.unpacked();
            let tree = solver.solve(&unpacked.tree()).await?;
            (unpacked, tree, names(&request.dockerfile))
        }
        // A lone file is the Dockerfile, and the whole context.
        false => (remote, fetched, vec![RemoteContext::FILE.to_owned()]),
    };
    let (name, text) = match apart {
        Some(apart) => apart,
        None => find(solver, &tree, &names).await?,
    };
    Ok(Input { name, text, context: Some(context), directory: None, contexts, exclude: Vec::new() })
}

/// The Dockerfile, if it is not in the context.
async fn read_apart(request: &BuildRequest, solver: &Solver) -> Result<Option<(String, Vec<u8>)>, Error> {
    if let Some(address) = dockerfile_address(request)? {
        return fetch(&address, solver).await.map(Some);
    }
    match &request.dockerfile {
        Dockerfile::Text(text) => Ok(Some((local::STDIN.to_owned(), text.clone()))),
        // In an archive on standard input, a path cannot be this machine's.
        Dockerfile::File(path) if path.is_absolute() && request.context != ContextSource::Stdin => {
            local::read_apart(path).map(Some)
        }
        Dockerfile::File(_) | Dockerfile::InContext => Ok(None),
    }
}

/// Under which names the Dockerfile is looked for in the context.
fn names(dockerfile: &Dockerfile) -> Vec<String> {
    let Dockerfile::File(path) = dockerfile else { return NAMES.map(str::to_owned).into() };
    let [upper, lower] = NAMES;
    let is_default = path.file_name().is_some_and(|name| name == upper);
    let other = is_default.then(|| path.with_file_name(lower));
    let names = [Some(path), other.as_ref()].into_iter().flatten();
    names.map(|path| path.to_string_lossy().into_owned()).collect()
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
    let (name, text) = fetch(address, solver).await?;
    Ok(LocalInput { name, text, exclude: local::ignore_patterns(context, None)? })
}

/// Fetches a lone Dockerfile.
async fn fetch(address: &RemoteContext, solver: &Solver) -> Result<(String, Vec<u8>), Error> {
    let tree = solver.solve(&address.fetch()).await?;
    find(solver, &tree, &[RemoteContext::FILE.to_owned()]).await
}

async fn find(solver: &Solver, tree: &LayerChain, names: &[String]) -> Result<(String, Vec<u8>), Error> {
    for name in names {
        if let Some(bytes) = solver.engine().read_file(tree, name, MAX_DOCKERFILE + 1).await? {
            local::check_size(&bytes, name)?;
            return Ok((name.clone(), bytes));
        }
    }
    let name = names.first().map(String::as_str).unwrap_or_default();
    Err(Error::new(Class::NotFound, format!("there is no `{name}` in the context"))
        .hint("name it with --file if it is somewhere else in it"))
}

async fn is_archive(solver: &Solver, tree: &LayerChain) -> Result<bool, Error> {
    let look = |root: &Path| File::open(root.join(RemoteContext::FILE)).is_ok_and(gantry_layer::is_archive);
    Ok(solver.engine().with_tree(tree, look).await?)
}
