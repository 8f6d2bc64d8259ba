//! Which server a registry's name stands for, and how to speak with it.
//!
//! Plain HTTP is for loopback addresses and for hosts that the configuration names, never a fallback: a client that
//! tries HTTP when TLS fails gives its password to whoever breaks the TLS.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use url::{Host, Url};

use crate::Fault;

/// The name of Docker Hub in references, and the server that answers for it.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// How to speak with one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// Whether the host speaks plain HTTP.
    pub http: bool,
    /// PEM files with certificate authorities to trust besides the machine's own.
    pub ca: Vec<PathBuf>,
}

/// A registry's server.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    name: String,
    base: Url,
    ca: Vec<PathBuf>,
}

impl Endpoint {
    /// The server for a registry's name, as a reference holds it.
    pub(crate) fn of(name: &str, hosts: &BTreeMap<String, HostConfig>) -> Result<Self, Fault> {
        let server = if name == DOCKER_HUB.0 { DOCKER_HUB.1 } else { name };
        let config = hosts.get(name);
        let invalid = |_| Fault::Protocol(format!("`{name}` is no host that a request can be sent to"));
        let secure = Url::parse(&format!("https://{server}/v2/")).map_err(invalid)?;
        let http = config.map_or(is_loopback(&secure), |config| config.http);
        let base = if http { Url::parse(&format!("http://{server}/v2/")).map_err(invalid)? } else { secure };
        let ca = config.map(|config| config.ca.clone()).unwrap_or_default();
        Ok(Self { name: name.to_owned(), base, ca })
    }

    /// The registry's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Certificate authorities for this host.
    pub(crate) fn ca(&self) -> &[PathBuf] {
        &self.ca
    }

    /// Whether the registry itself speaks plain HTTP.
    pub(crate) fn is_http(&self) -> bool {
        self.base.scheme() == "http"
    }

    /// Whether the registry is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.base)
    }

    /// The address of a path below `/v2/`.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{path}"));
        url
    }

    /// Whether an address is this server's: only there may credentials go.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// Where an address leads that the server gave in answer to a request for `from`.
    ///
    /// A server behind a proxy that ends TLS often calls itself `http`; it is still reached by TLS. Any other way
    /// from TLS to plain HTTP is refused.
    pub(crate) fn follow(&self, from: &Url, location: &str) -> Result<Url, Fault> {
        let mut url = from
            .join(location)
            .map_err(|_| Fault::Protocol("the registry gave an address that is none".into()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(Fault::Protocol("the registry gave an address that is not HTTP's".into()));
        }
        if url.scheme() == "http" && from.scheme() == "https" {
            if url.host() != from.host() {
                return Err(Fault::Protocol(format!(
                    "the registry leads from https to plain http at `{}`",
                    url.host_str().unwrap_or_default()
                )));
            }
            let port = from.port();
            url.set_scheme("https")
                .and_then(|()| url.set_port(port))
                .expect("http and https have hosts and ports");
        }
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        Ok(url)
    }
}

/// Whether an address is on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether an address is a literal that only this machine or its link can mean: where a foreign registry must not
/// send us (cloud metadata services live there).
pub(crate) fn is_local_literal(url: &Url) -> bool {
    let v4 = |address: Ipv4Addr| address.is_loopback() || address.is_link_local() || address.is_unspecified();
    let v6 = |address: Ipv6Addr| match address.to_canonical() {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified()
        }
    };
    match url.host() {
        Some(Host::Ipv4(address)) => v4(address),
        Some(Host::Ipv6(address)) => v6(address),
        _ => is_loopback(url),
    }
}

/// The host and port of an address, for messages.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(name: &str) -> Endpoint {
        let hosts = BTreeMap::from([
            ("plain.test".to_owned(), HostConfig { http: true, ..HostConfig::default() }),
            ("127.0.0.1:5443".to_owned(), HostConfig::default()),
        ]);
        Endpoint::of(name, &hosts).unwrap()
    }

    #[test]
    fn plain_http_is_for_loopback_and_configured_hosts() {
        for (name, address) in [
            ("docker.io", "https://registry-1.docker.io/v2/a"),
            ("quay.io:8443", "https://quay.io:8443/v2/a"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000/v2/a"),
            ("127.3.2.1", "http://127.3.2.1/v2/a"),
            ("localhost:5000", "http://localhost:5000/v2/a"),
            ("[::1]:5000", "http://[::1]:5000/v2/a"),
            ("plain.test", "http://plain.test/v2/a"),
            ("127.0.0.1:5443", "https://127.0.0.1:5443/v2/a"),
            ("192.168.0.1:5000", "https://192.168.0.1:5000/v2/a"),
            ("localhost.evil.test", "https://localhost.evil.test/v2/a"),
        ] {
            assert_eq!(endpoint(name).url("a").as_str(), address, "{name}");
        }
    }

    #[test]
    fn addresses_are_followed_but_never_from_tls_to_plain_http() {
        let registry = endpoint("quay.io");
        let from = registry.url("a/blobs/uploads/");
        for (location, leads_to) in [
            ("/v2/a/blobs/uploads/1?s=a%2Fb", Some("https://quay.io/v2/a/blobs/uploads/1?s=a%2Fb")),
            ("https://cdn.test/x", Some("https://cdn.test/x")),
            ("http://quay.io/v2/x?y", Some("https://quay.io/v2/x?y")),
            ("http://cdn.test/x", None),
            ("ftp://quay.io/x", None),
            ("https://user:word@quay.io/x", Some("https://quay.io/x")),
        ] {
            let followed = registry.follow(&from, location).ok();
            assert_eq!(followed.as_ref().map(Url::as_str), leads_to, "{location}");
        }
    }

    #[test]
    fn local_literals() {
        for (url, local) in [
            ("http://169.254.169.254/latest", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("http://localhost/", true),
            ("http://10.0.0.1/", false),
            ("https://auth.docker.io/", false),
        ] {
            assert_eq!(is_local_literal(&Url::parse(url).unwrap()), local, "{url}");
        }
    }
}
