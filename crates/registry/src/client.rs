//! The client's handle: what it is configured with, and the way from an operation to the stack of HTTP layers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gantry_oci::Reference;

use crate::endpoint::Endpoint;
use crate::http::{self, Access, Request, Response, Scope, Service};
use crate::images::Memo;
use crate::retry_policy::Budget;
use crate::upload::Habits;
use crate::{Anonymous, Credentials, Event, Fault, HostConfig, Listener, RetryPolicy};

/// What a client is made of.
#[derive(Clone)]
pub struct RegistryConfig {
    /// Asked whenever a registry wants to know who we are.
    pub credentials: Arc<dyn Credentials>,
    /// How to speak with which host; the key is the host as references hold it, with its port.
    pub hosts: BTreeMap<String, HostConfig>,
    /// When to give up.
    pub retry: RetryPolicy,
    /// Hears what happens.
    pub listener: Listener,
}

impl Default for RegistryConfig {
    /// Nobody in particular, with no knowledge of any host.
    fn default() -> Self {
        Self {
            credentials: Arc::new(Anonymous),
            hosts: BTreeMap::new(),
            retry: RetryPolicy::default(),
            listener: Listener::silent(),
        }
    }
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig")
            .field("hosts", &self.hosts)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// A client for any number of registries. Clones share connections, tokens and limits.
///
/// Its operations need a Tokio runtime with time and I/O. Making one costs nothing: connections, certificates and
/// credentials are touched when they are first needed.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    service: Box<dyn Service>,
    hosts: BTreeMap<String, HostConfig>,
    retry: RetryPolicy,
    listener: Listener,
    memo: Memo,
    habits: Habits,
}

impl Registry {
    /// A client with this configuration.
    pub fn new(config: RegistryConfig) -> Self {
        let service = http::stack(config.credentials, config.retry.clone(), config.listener.clone());
        Self {
            shared: Arc::new(Shared {
                service: Box::new(service),
                hosts: config.hosts,
                retry: config.retry,
                listener: config.listener,
                memo: Memo::default(),
                habits: Habits::default(),
            }),
        }
    }

    pub(crate) fn pulling(&self, reference: &Reference) -> Result<Access, Fault> {
        self.access(reference, vec![Scope::pull(reference.repository())])
    }

    pub(crate) fn pushing(&self, reference: &Reference) -> Result<Access, Fault> {
        self.access(reference, vec![Scope::push(reference.repository())])
    }

    /// Pushing, with the right to read `from` in the same token.
    pub(crate) fn mounting(&self, reference: &Reference, from: &str) -> Result<Access, Fault> {
        self.access(reference, vec![Scope::push(reference.repository()), Scope::pull(from)])
    }

    fn access(&self, reference: &Reference, scopes: Vec<Scope>) -> Result<Access, Fault> {
        Ok(Access { endpoint: Endpoint::of(reference.host(), &self.shared.hosts)?, scopes })
    }

    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Response, Fault> {
        self.shared.service.call(request).await
    }

    pub(crate) fn budget(&self) -> Budget<'_> {
        self.shared.retry.budget()
    }

    pub(crate) fn memo(&self) -> &Memo {
        &self.shared.memo
    }

    /// What is known of registries' ways with uploads.
    pub(crate) fn habits(&self) -> &Habits {
        &self.shared.habits
    }

    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        self.shared.listener.tell(event);
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("hosts", &self.shared.hosts).finish_non_exhaustive()
    }
}
