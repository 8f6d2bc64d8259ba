//! Makes connections: directly or through a proxy, in plain or by TLS, to addresses that the guard permits.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use gantry_oci::BoxFuture;
use hyper::Uri;
use hyper::http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

use super::guard::Guard;
use super::last_words::LastWords;
use crate::hosts::{Names, ProxyServer};

/// Time for a connection to a server's address or to a proxy.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that says nothing is asked for a sign of life after this time, so that routers do not forget it.
const KEEPALIVE: Duration = Duration::from_secs(30);

pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;

/// How often a connection was used: a fault of one that served before may just be its end.
#[derive(Clone, Default)]
pub(super) struct Uses(Arc<AtomicU32>);

impl Uses {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_reused(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// A connector for all that a client's requests may need.
pub(super) fn connector(
    guard: Guard,
    proxy: Option<ProxyServer>,
    tls: ClientConfig,
) -> HttpsConnector<Route> {
    let to_proxy = https(Tcp::new(guard.unguarded()), tls.clone());
    https(Route { direct: Tcp::new(guard), to_proxy, proxy }, tls)
}

fn https<T>(inner: T, tls: ClientConfig) -> HttpsConnector<T> {
    HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(inner)
}

/// Directly, or through a proxy.
#[derive(Clone)]
pub(super) struct Route {
    direct: Tcp,
    to_proxy: HttpsConnector<Tcp>,
    proxy: Option<ProxyServer>,
}

impl Service<Uri> for Route {
    type Response = Io;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Io, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let Some(proxy) = &self.proxy else {
            let connecting = self.direct.call(target);
            return Box::pin(async move { Ok(Io::new(connecting.await?, Way::Direct)) });
        };
        let to = match proxy.uri() {
            Ok(to) => to,
            Err(reason) => return Box::pin(async { Err(reason.into()) }),
        };
        if let Some(names) = proxy.resolves_names() {
            let connecting = self.by_socks(proxy, to, names).call(with_port(&target));
            return Box::pin(async move { Ok(Io::new(connecting.await?, Way::Direct)) });
        }
        if target.scheme() == Some(&Scheme::HTTPS) {
            let tunnelling = self.tunnel(proxy, to).call(target);
            return Box::pin(async move { Ok(Io::new(tunnelling.await?, Way::Direct)) });
        }
        let connecting = self.to_proxy.call(to);
        Box::pin(async move { Ok(Io::new(connecting.await?, Way::Forwarded)) })
    }
}

impl Route {
    fn tunnel(&self, proxy: &ProxyServer, to: Uri) -> Tunnel<HttpsConnector<Tcp>> {
        let tunnel = Tunnel::new(to, self.to_proxy.clone());
        match proxy.header() {
            Some(credentials) => tunnel.with_auth(credentials),
            None => tunnel,
        }
    }

    fn by_socks(&self, proxy: &ProxyServer, to: Uri, names: Names) -> SocksV5<HttpsConnector<Tcp>> {
        let socks = SocksV5::new(to, self.to_proxy.clone()).local_dns(names == Names::Here);
        match proxy.pair() {
            Some((user, password)) => socks.with_auth(user, password),
            None => socks,
        }
    }
}

/// The same address with its port, for which the library's SOCKS takes 443 whatever the scheme.
fn with_port(target: &Uri) -> Uri {
    let plain = target.scheme() == Some(&Scheme::HTTP) && target.port().is_none();
    let host = target.host().filter(|_| plain);
    host.and_then(|host| format!("http://{host}:80/").parse().ok()).unwrap_or_else(|| target.clone())
}

/// Connections without TLS.
#[derive(Clone)]
pub(super) struct Tcp {
    inner: HttpConnector<Guard>,
    guard: Guard,
}

impl Tcp {
    fn new(guard: Guard) -> Self {
        let mut inner = HttpConnector::new_with_resolver(guard.clone());
        inner.enforce_http(false);
        inner.set_nodelay(true);
        inner.set_keepalive(Some(KEEPALIVE));
        inner.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self { inner, guard }
    }
}

impl Service<Uri> for Tcp {
    type Response = LastWords<TokioIo<TcpStream>>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let mut tcp = self.clone();
        Box::pin(async move {
            tcp.guard.check_literal(&target).await?;
            Ok(LastWords::new(tcp.inner.call(target).await?))
        })
    }
}

/// Whether requests on a connection are for its other end.
#[derive(Clone, Copy)]
enum Way {
    Direct,
    /// A proxy takes them in their absolute form.
    Forwarded,
}

trait Stream: Read + Write + Connection + Send + Unpin {}
impl<T: Read + Write + Connection + Send + Unpin> Stream for T {}

/// A connection of any kind.
pub(super) struct Io {
    stream: Box<dyn Stream>,
    way: Way,
    uses: Uses,
}

impl Io {
    fn new(stream: impl Stream + 'static, way: Way) -> Self {
        Self { stream: Box::new(stream), way, uses: Uses::default() }
    }
}

impl Connection for Io {
    fn connected(&self) -> Connected {
        let connected = self.stream.connected().extra(self.uses.clone());
        connected.proxy(matches!(self.way, Way::Forwarded))
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
