//! Which addresses a name may lead to.
//!
//! A registry names other hosts: token servers, storage. Such a name must not lead us to this machine, its link or a
//! private network that the registry itself is not in (metadata services and routers live there). The address is
//! judged when the connection is made, so a name that resolves otherwise the second time gains nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};

use gantry_oci::BoxFuture;
use hyper::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

/// Looks up a name's addresses.
pub(super) type Lookup = fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// The system's way.
pub(super) fn system(name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
    Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
#[error("`{host}`, which the registry named, is an address of this machine or of a private network")]
pub(super) struct Forbidden {
    host: String,
}

/// Resolves names, and leaves out addresses that are nearer than the registry's own.
#[derive(Clone)]
pub(super) struct Guard {
    /// The registry that names other hosts; `None` for connections to the registry itself and to proxies.
    registry: Option<String>,
    lookup: Lookup,
}

impl Guard {
    pub(super) fn new(registry: Option<String>, lookup: Lookup) -> Self {
        Self { registry, lookup }
    }

    /// The same without restrictions.
    pub(super) fn unguarded(&self) -> Self {
        Self { registry: None, lookup: self.lookup }
    }

    async fn resolve(&self, host: String) -> io::Result<Vec<SocketAddr>> {
        let addresses = (self.lookup)(host.clone()).await?;
        self.permitted(host, addresses).await
    }

    /// The same judgement of an address that stands in the URL itself.
    pub(super) async fn check_literal(&self, uri: &Uri) -> io::Result<()> {
        let host = uri.host().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => self.permitted(host.to_owned(), vec![(address, 0).into()]).await.map(drop),
            Err(_) => Ok(()),
        }
    }

    async fn permitted(&self, host: String, addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
        let Some(registry) = &self.registry else { return Ok(addresses) };
        if addresses.iter().all(|address| Reach::of(address.ip()) == Reach::Public) {
            return Ok(addresses);
        }
        let own = match registry.parse::<IpAddr>() {
            Ok(address) => vec![(address, 0).into()],
            Err(_) => (self.lookup)(registry.clone()).await?,
        };
        let nearest = own.iter().map(|address| Reach::of(address.ip())).max().unwrap_or(Reach::Public);
        let permitted: Vec<_> =
            addresses.into_iter().filter(|address| Reach::of(address.ip()) <= nearest).collect();
        match permitted.is_empty() {
            true => Err(io::Error::other(Forbidden { host })),
            false => Ok(permitted),
        }
    }
}

impl Service<Name> for Guard {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = self.clone();
        Box::pin(async move { Ok(guard.resolve(name.as_str().to_owned()).await?.into_iter()) })
    }
}

/// From where an address can be reached, the farthest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Public,
    /// An organisation's network, or a provider's.
    Private,
    /// This machine and what hangs on the same wire.
    Local,
}

impl Reach {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::v4(address),
            IpAddr::V6(address) => Self::v6(address),
        }
    }

    fn v4(address: Ipv4Addr) -> Self {
        let [first, second, ..] = address.octets();
        let shared = first == 100 && (64..128).contains(&second);
        if address.is_loopback()
            || address.is_link_local()
            || address.is_broadcast()
            || address.is_multicast()
            || first == 0
        {
            Self::Local
        } else if address.is_private() || shared {
            Self::Private
        } else {
            Self::Public
        }
    }

    fn v6(address: Ipv6Addr) -> Self {
        if address.is_loopback()
            || address.is_unspecified()
            || address.is_unicast_link_local()
            || address.is_multicast()
        {
            Self::Local
        } else if address.is_unique_local() {
            Self::Private
        } else {
            Self::Public
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names are addresses with dashes.
    fn table(name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let addresses =
            name.split('_').map(|text| (text.replace('-', ".").parse::<IpAddr>().unwrap(), 0).into());
        let addresses = addresses.collect();
        Box::pin(async move { Ok(addresses) })
    }

    #[tokio::test]
    async fn a_foreign_name_leads_no_nearer_than_the_registry_is() {
        for (registry, host, permitted) in [
            ("93-184-0-1", "8-8-8-8", 1),
            ("93-184-0-1", "169-254-169-254", 0),
            ("93-184-0-1", "127-0-0-1", 0),
            ("93-184-0-1", "10-0-0-1", 0),
            ("93-184-0-1", "100-100-100-200", 0),
            ("93-184-0-1", "8-8-8-8_127-0-0-1", 1),
            ("10-1-1-1", "192-168-0-1", 1),
            ("10-1-1-1", "169-254-169-254", 0),
            ("127-0-0-1", "127-0-0-2", 1),
            ("127.0.0.1", "10-0-0-1", 1),
        ] {
            let guard = Guard::new(Some(registry.to_owned()), table);
            let found = guard.resolve(host.to_owned()).await;
            assert_eq!(found.map_or(0, |found| found.len()), permitted, "{registry} {host}");
        }
        assert_eq!(Guard::new(None, table).resolve("127-0-0-1".to_owned()).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn literals_are_judged_too() {
        let guard = Guard::new(Some("93-184-0-1".to_owned()), table);
        for (uri, good) in [
            ("https://[::ffff:127.0.0.1]/", false),
            ("https://[fd00:ec2::254]/", false),
            ("https://[fe80::1]/", false),
            ("https://0.0.0.0/", false),
            ("https://[2606:4700::1]/", true),
            ("https://auth.test/", true),
        ] {
            let result = guard.check_literal(&uri.parse().unwrap()).await;
            assert_eq!(result.is_ok(), good, "{uri}");
        }
    }
}
