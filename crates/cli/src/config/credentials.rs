//! Where credentials are looked for, in this order: our own commands, `DOCKER_AUTH_CONFIG`, `REGISTRY_AUTH_FILE`, docker's
//! `config.json`, podman's `auth.json` of the session and of the user.

use std::env;
use std::path::{Path, PathBuf};

use gantry_release::{CredentialSource, Secret};

/// The variable with the text of a `config.json`.
const TEXT_VARIABLE: &str = "DOCKER_AUTH_CONFIG";

/// All places that this environment names.
pub(super) fn sources(
    commands: Vec<CredentialSource>,
    docker: Option<&Path>,
    user: Option<&Path>,
) -> Vec<CredentialSource> {
    let text = env::var(TEXT_VARIABLE).ok().filter(|text| !text.trim().is_empty());
    let text = text
        .map(|text| CredentialSource::Variable { name: TEXT_VARIABLE.to_owned(), json: Secret::new(text) });
    let files = [
        path("REGISTRY_AUTH_FILE"),
        docker.map(|directory| directory.join("config.json")),
        path("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json")),
        user.map(|directory| directory.join("containers/auth.json")),
    ];
    let files = files.into_iter().flatten().map(CredentialSource::File);
    commands.into_iter().chain(text).chain(files).collect()
}

/// A path in a variable.
pub(super) fn path(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}
