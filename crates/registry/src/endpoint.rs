//! Which server a registry's name stands for, and how to speak with it.
//!
//! Plain HTTP is for loopback addresses and for hosts that the configuration names, never a fallback: a client that
//! tries HTTP when TLS fails gives its password to whoever breaks the TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, OnceLock};

use hyper::header::HeaderMap;
use url::{Host, Url};

use crate::Fault;
use crate::hosts::{PlainHttp, Trust};

/// A registry's server, or a mirror of one. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    spec: EndpointSpec,
    base: Url,
    /// Set once the server of an endpoint that may speak either was reached: whether it speaks plain HTTP.
    plain: OnceLock<bool>,
}

/// What an endpoint is made of.
#[derive(Debug, Clone)]
pub(crate) struct EndpointSpec {
    /// The registry's name, by which its credentials are filed.
    pub(crate) name: String,
    /// The server, `host[:port]`.
    pub(crate) server: String,
    /// The path that repositories' names follow: `/v2/`, but for proxies that serve several registries.
    pub(crate) root: String,
    pub(crate) rename: Rename,
    pub(crate) http: PlainHttp,
    pub(crate) trust: Trust,
    /// Sent to this server alone.
    pub(crate) headers: HeaderMap,
    /// The registry that a proxy is to serve, in the query of each request.
    pub(crate) namespace: Option<String>,
}

/// How repositories are called on a server: one leading part of their names in place of another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rename {
    pub(crate) strip: String,
    pub(crate) add: String,
}

impl Rename {
    /// The server's name for a repository, or for a path below one.
    fn apply(&self, path: &str) -> String {
        join(&self.add, strip(path, &self.strip).unwrap_or(path))
    }

    fn revert(&self, path: &str) -> Option<String> {
        strip(path, &self.add).map(|rest| join(&self.strip, rest))
    }
}

/// The rest of a path behind some of its components.
pub(crate) fn strip<'a>(path: &'a str, leading: &str) -> Option<&'a str> {
    match leading {
        "" => Some(path),
        _ => match path.strip_prefix(leading)? {
            "" => Some(""),
            rest => rest.strip_prefix('/'),
        },
    }
}

fn join(leading: &str, rest: &str) -> String {
    match (leading, rest) {
        ("", rest) => rest.to_owned(),
        (leading, "") => leading.to_owned(),
        (leading, rest) => format!("{leading}/{rest}"),
    }
}

impl Endpoint {
    pub(crate) fn new(spec: EndpointSpec) -> Result<Self, Fault> {
        let invalid =
            |_| Fault::Protocol(format!("`{}` is no host that a request can be sent to", spec.server));
        let scheme = if spec.http == PlainHttp::Yes { "http" } else { "https" };
        let mut base = Url::parse(&format!("{scheme}://{}/", spec.server)).map_err(invalid)?;
        base.set_path(&spec.root);
        Ok(Self(Arc::new(Inner { spec, base, plain: OnceLock::new() })))
    }

    /// A registry of no special settings.
    #[cfg(test)]
    pub(crate) fn https(name: &str) -> Self {
        crate::Hosts::default().route(name, "").unwrap().upstream.clone()
    }

    /// The registry's name.
    pub(crate) fn name(&self) -> &str {
        &self.0.spec.name
    }

    /// Whom to trust and what to show.
    pub(crate) fn trust(&self) -> &Trust {
        &self.0.spec.trust
    }

    /// Adds the headers that are for this server and for no other. What is there already stays.
    pub(crate) fn add_headers(&self, url: &Url, headers: &mut HeaderMap) {
        if self.0.spec.headers.is_empty() || !self.owns(url) {
            return;
        }
        for name in self
            .0
            .spec
            .headers
            .keys()
            .filter(|name| !headers.contains_key(*name))
            .cloned()
            .collect::<Vec<_>>()
        {
            for value in self.0.spec.headers.get_all(&name) {
                headers.append(&name, value.clone());
            }
        }
    }

    /// Whether it is not known yet if the server speaks TLS.
    pub(crate) fn is_undecided(&self) -> bool {
        self.0.spec.http == PlainHttp::WithoutTls && self.0.plain.get().is_none()
    }

    /// Notes whether the server speaks plain HTTP. The first note counts.
    pub(crate) fn decide(&self, plain: bool) {
        let _ = self.0.plain.set(plain);
    }

    /// Whether the registry itself speaks plain HTTP.
    pub(crate) fn is_http(&self) -> bool {
        self.0.base.scheme() == "http" || self.0.plain.get() == Some(&true)
    }

    /// Whether the registry is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.0.base)
    }

    /// The address that repositories' names follow.
    pub(crate) fn base(&self) -> Url {
        let mut base = self.0.base.clone();
        if self.is_http() {
            base.set_scheme("http").expect("http and https have hosts and ports");
        }
        base
    }

    /// The server's name for a repository.
    pub(crate) fn repository(&self, name: &str) -> String {
        self.0.spec.rename.apply(name)
    }

    /// The address of a path below `/v2/` that begins with a repository, as references name it.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base();
        url.set_path(&format!("{}{}", self.0.spec.root, self.0.spec.rename.apply(path)));
        if let Some(namespace) = &self.0.spec.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }

    /// The path that [`url`](Self::url) makes this address of. `None` if it makes no such address.
    pub(crate) fn path(&self, url: &Url) -> Option<String> {
        let path = url.path().strip_prefix(&self.0.spec.root).filter(|_| self.owns(url))?;
        self.0.spec.rename.revert(path)
    }

    /// Whether an address is this server's: only there may credentials go.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        match self.0.spec.http {
            PlainHttp::WithoutTls => url.origin() == self.base().origin(),
            _ => url.origin() == self.0.base.origin(),
        }
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
        Endpoint::https(name)
    }

    #[test]
    fn repositories_are_renamed_at_component_bounds_and_back() {
        let spec = |strip: &str, add: &str| {
            let rename = Rename { strip: strip.into(), add: add.into() };
            let (server, root) = ("m.test:5000".to_owned(), "/x/v2/".to_owned());
            let (name, http, namespace) = (server.clone(), PlainHttp::No, Some("docker.io".to_owned()));
            let (trust, headers) = (Trust::default(), HeaderMap::new());
            Endpoint::new(EndpointSpec { name, server, root, rename, http, trust, headers, namespace })
                .unwrap()
        };
        for (strip, add, path, address) in [
            ("", "", "a/b/blobs/1", "a/b/blobs/1"),
            ("", "hub", "library/a/blobs/1", "hub/library/a/blobs/1"),
            ("library", "hub", "library/a/blobs/1", "hub/a/blobs/1"),
            ("library", "", "library/a/blobs/1", "a/blobs/1"),
            ("team/app", "x", "team/app/blobs/1", "x/blobs/1"),
        ] {
            let endpoint = spec(strip, add);
            let url = endpoint.url(path);
            assert_eq!(url.as_str(), format!("https://m.test:5000/x/v2/{address}?ns=docker.io"));
            assert_eq!(endpoint.path(&url).as_deref(), Some(path), "{url}");
        }
        assert_eq!(spec("", "").path(&"https://other.test/x/v2/a".parse().unwrap()), None);
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
