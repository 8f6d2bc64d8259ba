//! What is known of registries' hosts, from flags and from files in several formats, and what follows from it: the
//! endpoints of a repository, in their order.
//!
//! Each source becomes a list of [`HostRule`]s; the formats are one file each below, from text to rules. For every
//! setting the first rule that says it counts, so that a flag can add a mirror to a host whose certificates stand in
//! a file of the machine. Plain HTTP is for loopback addresses and for hosts that a rule names, never a fallback: a
//! client that tries HTTP when TLS fails gives its password to whoever breaks the TLS. (The one exception is the
//! `insecure` of podman's format, which asks for just that.)

mod buildkitd;
mod certs_d;
mod hosts_toml;
mod location;
mod machine;
mod plan;
mod proxies;
mod registries_conf;
mod route;
mod rule;

pub use location::{Location, LocationError};
pub use machine::MachineFiles;
pub(crate) use plan::{Plan, Planned, Said};
pub(crate) use proxies::{Names, ProxyServer};
pub use proxies::{Proxies, ProxyError};
pub(crate) use route::{MirrorRoute, Route};
pub(crate) use rule::Trust;
pub use rule::{Connection, HostPattern, HostRule, HostSettings, KeyPair, Mirror, Origin, PlainHttp, Rights};

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use crate::Fault;

/// Rules for hosts, the most important first.
#[derive(Default)]
pub struct Hosts {
    rules: Vec<HostRule>,
    /// By host and repository; as many as a command names.
    routes: Mutex<HashMap<(String, String), Arc<Route>>>,
}

impl Hosts {
    /// These rules; of two that say the same setting of the same host, the first counts.
    pub fn new(rules: Vec<HostRule>) -> Self {
        Self { rules, routes: Mutex::default() }
    }

    /// The endpoints for a repository, made once.
    pub(crate) fn route(&self, host: &str, repository: &str) -> Result<Arc<Route>, Fault> {
        let key = (host.to_owned(), repository.to_owned());
        let mut routes = self.routes.lock().expect("nothing panics while it holds the routes");
        if let Some(route) = routes.get(&key) {
            return Ok(Arc::clone(route));
        }
        let route = Arc::new(Route::new(&self.plan(host, repository)?)?);
        routes.insert(key, Arc::clone(&route));
        Ok(route)
    }

    /// Whom to trust at a host that is no registry of the request at hand: a token server, a storage host.
    pub(crate) fn trust_of(&self, authority: &str) -> Trust {
        self.settle(None, authority, "").trust()
    }
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.rules).finish()
    }
}

/// The name of Docker Hub in references, and the server that answers for it.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// A host as references name it: Docker Hub has one name.
pub fn canonical_host(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.0,
        host => host,
    }
}
