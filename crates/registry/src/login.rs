//! Whether a registry takes credentials, before they are kept, and whether it has something better to keep.
//!
//! A token server may give an identity token for a password: it can do less than the password, and be revoked alone.

use std::sync::{Arc, Mutex};

use gantry_oci::BoxFuture;
use hyper::Method;

use crate::error::During;
use crate::http::Request;
use crate::{Credential, CredentialError, Credentials, Fault, Registry, RegistryError, Secret};

impl Registry {
    /// Shows the registry this credential; the identity token that it gives for it, if it gives one. `host` is its name as
    /// references hold it.
    ///
    /// # Errors
    /// [`Fault::Refused`] if the registry does not take it.
    pub async fn check_login(
        &self,
        host: &str,
        credential: Credential,
    ) -> Result<Option<Secret>, RegistryError> {
        let fixed = Arc::new(Fixed { credential, identity_token: Some(Mutex::default()) });
        self.show(host, &fixed).await?;
        let Some(token) = &fixed.identity_token else { return Ok(None) };
        Ok(token.lock().expect("nothing panics while it holds the token").take())
    }

    /// Shows the registry a credential that is kept already, and asks for nothing: a token that nobody keeps would stay valid.
    ///
    /// # Errors
    /// [`Fault::Refused`] if the registry does not take it.
    pub async fn check_known_login(&self, host: &str, credential: Credential) -> Result<(), RegistryError> {
        self.show(host, &Arc::new(Fixed { credential, identity_token: None })).await
    }

    async fn show(&self, host: &str, fixed: &Arc<Fixed>) -> Result<(), RegistryError> {
        let client = self.showing(Arc::clone(fixed) as _);
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
struct Fixed {
    credential: Credential,
    /// Where an identity token goes, if one is wanted.
    identity_token: Option<Mutex<Option<Secret>>>,
}

impl Credentials for Fixed {
    fn find<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Credential, CredentialError>> {
        Box::pin(async { Ok(self.credential.clone()) })
    }

    fn identity_token(&self) -> Option<&Mutex<Option<Secret>>> {
        self.identity_token.as_ref()
    }
}
