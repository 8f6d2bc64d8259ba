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
        let fixed = Arc::new(Fixed { credential, identity_token: Mutex::default() });
        let client = self.showing(Arc::clone(&fixed) as _);
        client.greet(host).await.during(|| format!("logging in to {host}"))?;
        let mut token = fixed.identity_token.lock().expect("nothing panics while it holds the token");
        Ok(token.take())
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
    identity_token: Mutex<Option<Secret>>,
}

impl Credentials for Fixed {
    fn find<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Credential, CredentialError>> {
        Box::pin(async { Ok(self.credential.clone()) })
    }

    fn identity_token(&self) -> Option<&Mutex<Option<Secret>>> {
        Some(&self.identity_token)
    }
}
