//! Whether a registry takes a user name and a password, before they are kept.

use std::sync::Arc;

use gantry_oci::BoxFuture;
use hyper::Method;

use crate::error::During;
use crate::http::Request;
use crate::{Credential, CredentialError, Credentials, Fault, Registry, RegistryError, Secret};

impl Registry {
    /// Shows the registry this user and password. `host` is its name as references hold it.
    ///
    /// # Errors
    /// [`Fault::Refused`] if the registry does not take them.
    pub async fn check_login(&self, host: &str, user: &str, password: &Secret) -> Result<(), RegistryError> {
        let (user, password) = (user.to_owned(), password.clone());
        let client = self.showing(Arc::new(Fixed(Credential::Password { user, password })));
        client.greet(host).await.during(|| format!("logging in to {host}"))
    }

    async fn greet(&self, host: &str) -> Result<(), Fault> {
        let access = self.greeting(host)?;
        let response = self.send(Request::new(Method::GET, access.endpoint.base(), &access)).await?;
        match response.status.is_success() {
            true => Ok(()),
            false => Err(response.into_fault().await),
        }
    }
}

/// One credential for everything.
struct Fixed(Credential);

impl Credentials for Fixed {
    fn find<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Credential, CredentialError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}
