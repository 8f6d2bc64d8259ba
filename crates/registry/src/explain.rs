//! What would be done with a reference and why: every endpoint in its order, each setting with the place that says it.
//!
//! Made of the same plan that requests follow, and of the same credential sources; nothing is sent anywhere.

use std::path::PathBuf;

use gantry_oci::Reference;
use serde::Serialize;

use crate::error::During;
use crate::hosts::{KeyPair, PlainHttp, Planned, Said};
use crate::{Credential, CredentialSources, Fault, Registry, RegistryError};

/// A reference's endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The reference, completed.
    pub reference: String,
    /// In the order in which they are asked for content.
    pub endpoints: Vec<Explained>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// `mirror` or `upstream`.
    pub role: &'static str,
    /// The address of the reference's manifest there.
    pub url: String,
    /// Who says that it is used; absent if it follows from the reference.
    pub because: Option<String>,
    /// What it is asked for: `pull`, `resolve`, `push`.
    pub capabilities: Vec<&'static str>,
    /// How it is spoken to: `http`, `tls`, `tls without verification`, or what `insecure` of podman's files means.
    pub transport: &'static str,
    /// Who says so; absent if it follows from the host.
    pub transport_because: Option<String>,
    /// Files with certificate authorities besides the machine's own.
    pub ca: Vec<PathBuf>,
    /// Who names them.
    pub ca_because: Option<String>,
    /// The certificate that we show.
    pub client_certificate: Option<PathBuf>,
    /// Who names it.
    pub client_certificate_because: Option<String>,
    /// Names of headers for this host.
    pub headers: Vec<String>,
    /// The proxy in between, without its password.
    pub proxy: Option<String>,
    /// Who we are there.
    pub credentials: Identity,
}

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// `anonymous`, `password`, `identity token`, `registry token`, or `unreadable`.
    pub kind: &'static str,
    /// The user, where there is one.
    pub user: Option<String>,
    /// Where that is from, or why it cannot be read.
    pub source: Option<String>,
}

impl Registry {
    /// Explains a reference. Helpers that know credentials are run, as they would be; no request is sent.
    pub async fn explain(
        &self,
        reference: &Reference,
        credentials: &CredentialSources,
    ) -> Result<Explanation, RegistryError> {
        let explained = async {
            let plan = self.hosts().plan(reference.host(), reference.repository())?;
            let mut endpoints = Vec::new();
            for planned in &plan.mirrors {
                endpoints.push(self.explained("mirror", planned, reference, credentials).await?);
            }
            endpoints.push(self.explained("upstream", &plan.upstream, reference, credentials).await?);
            Ok::<_, Fault>(Explanation { reference: reference.to_string(), endpoints })
        };
        explained.await.during(|| format!("explaining {reference}"))
    }

    async fn explained(
        &self,
        role: &'static str,
        planned: &Planned,
        reference: &Reference,
        credentials: &CredentialSources,
    ) -> Result<Explained, Fault> {
        let endpoint = planned.endpoint()?;
        let url = endpoint.url(&crate::manifests::path(reference));
        let settled = &planned.settled;
        let (transport, said) = transport(planned);
        let because = |by: &Option<crate::Origin>| by.as_ref().map(ToString::to_string);
        let client = settled.client.value.as_ref().map(|KeyPair { certificate, .. }| certificate.clone());
        Ok(Explained {
            role,
            because: because(&planned.by),
            capabilities: planned.rights.names(),
            transport,
            transport_because: said,
            ca: settled.ca.value.clone(),
            ca_because: because(&settled.ca.by),
            client_certificate: client,
            client_certificate_because: because(&settled.client.by),
            headers: settled.headers.value.iter().map(|(name, _)| name.clone()).collect(),
            proxy: self.proxies().between(&url).map(|proxy| proxy.address),
            credentials: identity(credentials, endpoint.name(), &endpoint.repository(reference.repository()))
                .await,
            url: url.to_string(),
        })
    }
}

/// In words, and who says so.
fn transport(planned: &Planned) -> (&'static str, Option<String>) {
    let because = |said: Option<&crate::Origin>| said.map(ToString::to_string);
    let Said { value: skip_verify, by: skip_by } = &planned.settled.skip_verify;
    let http_by = planned.settled.http.by.as_ref();
    match (planned.http(), skip_verify) {
        (PlainHttp::Yes, _) => ("http", because(http_by)),
        (PlainHttp::WithoutTls, _) => ("tls without verification, else http", because(http_by)),
        (PlainHttp::No, true) => ("tls without verification", because(skip_by.as_ref())),
        (PlainHttp::No, false) => ("tls", because(http_by)),
    }
}

async fn identity(credentials: &CredentialSources, host: &str, repository: &str) -> Identity {
    let (kind, user, source) = match credentials.locate(host, repository).await {
        Err(error) => ("unreadable", None, Some(error.to_string())),
        Ok(None) => ("anonymous", None, None),
        Ok(Some(found)) => {
            let (kind, user) = match found.credential {
                Credential::Anonymous => ("anonymous", None),
                Credential::Password { user, .. } => ("password", Some(user)),
                Credential::IdentityToken { user, .. } => ("identity token", Some(user)),
                Credential::RegistryToken(_) => ("registry token", None),
            };
            (kind, user, Some(found.source))
        }
    };
    Identity { kind, user, source }
}
