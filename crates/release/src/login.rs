//! `login` and `logout`: credentials are shown to the registry before they are kept.

use gantry_oci::{ImageError, Reference};
use gantry_registry::{
    Credential, CredentialError, CredentialStore, Fault, Kept, Secret, SecretKind, canonical_host,
};

use crate::error::{Class, Error};
use crate::registries::Registries;

/// A login that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// Where the credentials are kept.
    pub kept: Kept,
    /// What is kept of them.
    pub secret: SecretKind,
    /// A more important place whose credentials for the registry are used instead.
    pub shadowed_by: Option<String>,
}

/// A logout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedOut {
    /// Whether there was something to forget.
    pub removed: bool,
    /// A place that still has credentials for the registry, and that is not ours to change.
    pub still_known_by: Option<String>,
}

/// The registry that a user means by this text: Docker Hub by none, a host by its address or its name.
pub fn registry_of(server: Option<&str>) -> Result<String, Error> {
    let text = server.unwrap_or("docker.io");
    let address = text.strip_prefix("https://").or(text.strip_prefix("http://")).unwrap_or(text);
    let host = canonical_host(address.split('/').next().unwrap_or_default());
    let reference: Result<Reference, _> = format!("{host}/x").parse();
    match reference {
        Ok(reference) if reference.host() == host => Ok(host.to_owned()),
        _ => Err(Error::new(Class::Usage, format!("`{text}` is no registry's host"))
            .hint("give it as images' names begin: `registry.example.com` or `registry.example.com:5000`")),
    }
}

/// Shows the registry a user and a password, and keeps them if it takes them; or, in the password's place, the identity
/// token that it gives for it.
pub async fn login(
    registries: &Registries,
    host: &str,
    user: &str,
    password: &Secret,
) -> Result<LoggedIn, Error> {
    let store = store(registries)?;
    let credential = Credential::Password { user: user.to_owned(), password: password.clone() };
    let token = registries.client.check_login(host, credential).await.map_err(ImageError::from)?;
    let (secret, text) = match &token {
        Some(token) => (SecretKind::IdentityToken, token),
        None => (SecretKind::Password, password),
    };
    let kept = store.save(host, user, (secret, text)).await.map_err(keeping)?;
    let found = registries.credentials.locate(host, "").await.map_err(keeping)?;
    let own = match &kept {
        Kept::Helper(name) => format!("helper `docker-credential-{name}`"),
        Kept::File(path) => path.display().to_string(),
    };
    let shadowed_by = found.map(|found| found.source).filter(|source| !source.starts_with(&own));
    Ok(LoggedIn { kept, secret, shadowed_by })
}

/// The user that is known for a registry as a whole, if there is one.
pub async fn known_user(registries: &Registries, host: &str) -> Result<Option<String>, Error> {
    Ok(known(registries, host).await?.and_then(|known| known.user().map(str::to_owned)))
}

/// What is known for a registry, and that it still takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLogin {
    /// The user, if that is known: helpers keep identity tokens without one.
    pub user: Option<String>,
}

/// What is known for a registry, if the registry still takes it.
pub async fn still_logged_in(registries: &Registries, host: &str) -> Result<Option<KnownLogin>, Error> {
    let Some(credential) = known(registries, host).await? else { return Ok(None) };
    let user = credential.user().map(str::to_owned);
    match registries.client.check_known_login(host, credential).await {
        Ok(()) => Ok(Some(KnownLogin { user })),
        Err(error) if matches!(error.fault, Fault::Refused { .. }) => Ok(None),
        Err(error) => Err(ImageError::from(error).into()),
    }
}

async fn known(registries: &Registries, host: &str) -> Result<Option<Credential>, Error> {
    let found = registries.credentials.locate(host, "").await.map_err(keeping)?;
    let is_login = |credential: &Credential| {
        matches!(credential, Credential::Password { .. } | Credential::IdentityToken { .. })
    };
    Ok(found.map(|found| found.credential).filter(is_login))
}

/// Forgets a registry's credentials where a login keeps them.
pub async fn logout(registries: &Registries, host: &str) -> Result<LoggedOut, Error> {
    let removed = store(registries)?.erase(host).await.map_err(keeping)?;
    // A place that cannot be read logs nobody in.
    let found = registries.credentials.locate(host, "").await.ok().flatten();
    let still_known_by =
        found.filter(|found| found.credential != Credential::Anonymous).map(|found| found.source);
    Ok(LoggedOut { removed, still_known_by })
}

fn store(registries: &Registries) -> Result<&CredentialStore, Error> {
    registries.store.as_ref().ok_or_else(|| {
        Error::new(
            Class::Usage,
            "there is no place to keep credentials: neither DOCKER_CONFIG nor HOME is set",
        )
        .hint("name docker's directory in DOCKER_CONFIG")
    })
}

fn keeping(error: CredentialError) -> Error {
    Error { hints: error.hints(), ..Error::new(Class::Denied, error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_by_name_and_by_address() {
        for (server, host) in [
            (None, Some("docker.io")),
            (Some("https://index.docker.io/v1/"), Some("docker.io")),
            (Some("registry-1.docker.io"), Some("docker.io")),
            (Some("https://r.test:5000/v2/"), Some("r.test:5000")),
            (Some("quay.io/team"), Some("quay.io")),
            (Some("localhost"), Some("localhost")),
            (Some("no host"), None),
            (Some(""), None),
        ] {
            assert_eq!(registry_of(server).ok().as_deref(), host, "{server:?}");
        }
    }
}
