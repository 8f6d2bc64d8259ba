//! The client's handle: what it is configured with, and the way from an operation to the stack of HTTP layers.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use gantry_oci::Reference;
use hyper::{Method, StatusCode};
use url::Url;

use crate::endpoint::Endpoint;
use crate::hosts::Route;
use crate::http::{self, Access, Network, Patience, Request, Response, Scope, Service};
use crate::images::Memo;
use crate::retry_policy::Budget;
use crate::routing::Health;
use crate::upload::Habits;
use crate::{Anonymous, Credentials, Event, Fault, Hosts, Listener, Proxies, RetryPolicy};

/// What a client is made of.
#[derive(Clone)]
pub struct RegistryConfig {
    /// Asked whenever a registry wants to know who we are.
    pub credentials: Arc<dyn Credentials>,
    /// How to speak with which host, and where its mirrors are.
    pub hosts: Arc<Hosts>,
    /// What stands between us and the world.
    pub proxies: Proxies,
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
            hosts: Arc::default(),
            proxies: Proxies::default(),
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
    config: RegistryConfig,
    memo: Memo,
    habits: Habits,
    health: Health,
    /// Repositories that something was pushed to: what is read of them is read where it was put.
    pushed: Mutex<HashSet<String>>,
}

impl Registry {
    /// A client with this configuration.
    pub fn new(config: RegistryConfig) -> Self {
        let network = Network { hosts: Arc::clone(&config.hosts), proxies: config.proxies.clone() };
        let credentials = Arc::clone(&config.credentials);
        let service = http::stack(network, credentials, config.retry.clone(), config.listener.clone());
        Self {
            shared: Arc::new(Shared {
                service: Box::new(service),
                config,
                memo: Memo::default(),
                habits: Habits::default(),
                health: Health::default(),
                pushed: Mutex::default(),
            }),
        }
    }

    /// A client of the same configuration that knows no token, no connection and no answer yet.
    pub fn afresh(&self) -> Self {
        Self::new(self.shared.config.clone())
    }

    /// A client that knows the same of all hosts, and shows these credentials.
    pub(crate) fn showing(&self, credentials: Arc<dyn Credentials>) -> Self {
        Self::new(RegistryConfig { credentials, ..self.shared.config.clone() })
    }

    pub(crate) fn pulling(&self, reference: &Reference) -> Result<Access, Fault> {
        let route = self.shared.config.hosts.route(reference.host(), reference.repository())?;
        if self.pushed_to().contains(&reference.name()) {
            return Ok(access(route.taker(), None, |endpoint| {
                vec![Scope::pull(&endpoint.repository(reference.repository()))]
            }));
        }
        let mirrored = (!route.mirrors.is_empty()).then(|| Arc::clone(&route));
        Ok(access(&route.upstream, mirrored, |endpoint| {
            vec![Scope::pull(&endpoint.repository(reference.repository()))]
        }))
    }

    pub(crate) fn pushing(&self, reference: &Reference) -> Result<Access, Fault> {
        self.pushing_with(reference, |endpoint| {
            vec![Scope::push(&endpoint.repository(reference.repository()))]
        })
    }

    /// Pushing, with the right to read `from` in the same token.
    pub(crate) fn mounting(&self, reference: &Reference, from: &str) -> Result<Access, Fault> {
        self.pushing_with(reference, |endpoint| {
            let to = endpoint.repository(reference.repository());
            vec![Scope::push(&to), Scope::pull(&endpoint.repository(from))]
        })
    }

    fn pushing_with(
        &self,
        reference: &Reference,
        scopes: impl FnOnce(&Endpoint) -> Vec<Scope>,
    ) -> Result<Access, Fault> {
        let route = self.shared.config.hosts.route(reference.host(), reference.repository())?;
        if !route.mirrors.is_empty() {
            self.pushed_to().insert(reference.name());
        }
        Ok(access(route.taker(), None, scopes))
    }

    fn pushed_to(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.shared.pushed.lock().expect("nothing panics while it holds the names")
    }

    /// The registry as a whole: no repository, and no mirror.
    pub(crate) fn greeting(&self, host: &str) -> Result<Access, Fault> {
        let route = self.shared.config.hosts.route(host, "")?;
        Ok(access(&route.upstream, None, |_| Vec::new()))
    }

    /// Sends a request to the registry, or to its mirrors.
    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Response, Fault> {
        match request.access.route.clone() {
            None => self.send_straight(request).await,
            Some(route) => Box::pin(self.send_by(&route, request)).await,
        }
    }

    /// Sends a request to its endpoint and no other.
    pub(crate) async fn send_straight(&self, mut request: Request<'_>) -> Result<Response, Fault> {
        let endpoint = &request.access.endpoint;
        if !endpoint.is_undecided() || !endpoint.owns(&request.url) {
            return self.shared.service.call(request).await;
        }
        let fault = match self.shared.service.call(request.clone()).await {
            Err(fault) if may_lack_tls(&fault, &request.url) => fault,
            Err(fault) => return Err(fault),
            Ok(response) => {
                endpoint.decide(false);
                return Ok(response);
            }
        };
        if !self.speaks_plain_http(request.access).await {
            return Err(fault);
        }
        endpoint.decide(true);
        request.url.set_scheme("http").expect("http and https have hosts and ports");
        self.shared.service.call(request).await
    }

    /// Whether a server that did not answer by TLS does so without it: asked once, and shown nothing.
    async fn speaks_plain_http(&self, access: &Access) -> bool {
        let mut url = access.endpoint.base();
        url.set_scheme("http").expect("http and https have hosts and ports");
        let access = Access { patience: Patience::OneTry, route: None, ..access.clone() };
        let probe = Request::new(Method::GET, url, &access);
        match self.shared.service.call(probe).await {
            // What a server says that wants TLS after all, or a front that is there to lead to it, decides nothing.
            Ok(answer) => {
                let status = answer.status;
                let complains = status == StatusCode::BAD_REQUEST || status.is_redirection();
                answer.url.scheme() == "http" && !complains && !status.is_server_error()
            }
            Err(_) => false,
        }
    }

    pub(crate) fn budget(&self) -> Budget<'_> {
        self.shared.config.retry.budget()
    }

    pub(crate) fn memo(&self) -> &Memo {
        &self.shared.memo
    }

    /// What is known of registries' ways with uploads.
    pub(crate) fn habits(&self) -> &Habits {
        &self.shared.habits
    }

    pub(crate) fn health(&self) -> &Health {
        &self.shared.health
    }

    pub(crate) fn hosts(&self) -> &Hosts {
        &self.shared.config.hosts
    }

    pub(crate) fn proxies(&self) -> &Proxies {
        &self.shared.config.proxies
    }

    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        self.shared.config.listener.tell(event);
    }
}

/// Whether a fault may mean that the server speaks no TLS. One that cannot be reached speaks nothing, but may have
/// another port for plain HTTP.
fn may_lack_tls(fault: &Fault, url: &Url) -> bool {
    match fault {
        Fault::Handshake { .. } | Fault::Broken { .. } => true,
        Fault::Unreachable { .. } => url.port().is_none(),
        _ => false,
    }
}

fn access(
    endpoint: &Endpoint,
    route: Option<Arc<Route>>,
    scopes: impl FnOnce(&Endpoint) -> Vec<Scope>,
) -> Access {
    let endpoint = endpoint.clone();
    Access { scopes: scopes(&endpoint), route, patience: Patience::Policy, endpoint }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("hosts", &self.shared.config.hosts).finish_non_exhaustive()
    }
}
