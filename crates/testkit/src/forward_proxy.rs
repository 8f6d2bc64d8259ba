//! Proxies that make connections for others: by HTTP's CONNECT, or by SOCKS 5 (RFC 1928, RFC 1929).
//!
//! Wherever they are asked to connect to, they lead to one server of the test's own, and remember what was asked: so a test
//! can talk about registries far away.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::io::{self, AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// The longest request for a tunnel.
const LARGEST_HEAD: usize = 8 << 10;

/// A connection that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Where to, `host:port`.
    pub to: String,
    /// The login: the header of an HTTP proxy, `user:password` at a SOCKS proxy.
    pub login: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Protocol {
    Connect,
    Socks5,
}

/// A proxy; it ends when dropped.
#[derive(Debug)]
pub struct ForwardProxy {
    host: String,
    tunnels: Arc<Mutex<Vec<Tunnel>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ForwardProxy {
    /// An HTTP proxy that leads to `backend`, a `host:port`.
    pub fn connect(backend: &str) -> Self {
        Self::start(Protocol::Connect, backend)
    }

    /// A SOCKS proxy that leads to `backend`.
    pub fn socks5(backend: &str) -> Self {
        Self::start(Protocol::Socks5, backend)
    }

    /// The host and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What it was asked for until now.
    pub fn tunnels(&self) -> Vec<Tunnel> {
        self.tunnels.lock().expect("nothing panics while it holds the list").clone()
    }

    fn start(protocol: Protocol, backend: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port can be bound");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let host = listener.local_addr().expect("a bound socket has an address").to_string();
        let (stop, stopped) = oneshot::channel();
        let tunnels = Arc::default();
        let (backend, told) = (backend.to_owned(), Arc::clone(&tunnels));
        let thread = std::thread::spawn(move || run(listener, protocol, &backend, &told, stopped));
        Self { host, tunnels, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    listener: std::net::TcpListener,
    protocol: Protocol,
    backend: &str,
    tunnels: &Arc<Mutex<Vec<Tunnel>>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
        let accept = async {
            while let Ok((stream, _)) = listener.accept().await {
                let (backend, tunnels) = (backend.to_owned(), Arc::clone(tunnels));
                // A client that speaks nonsense or goes away gets no connection: that is for its test to see.
                tokio::spawn(async move { serve(stream, protocol, &backend, &tunnels).await });
            }
        };
        tokio::select! {
            () = accept => {}
            _ = stopped => {}
        }
    });
}

async fn serve(
    mut client: TcpStream,
    protocol: Protocol,
    backend: &str,
    tunnels: &Mutex<Vec<Tunnel>>,
) -> io::Result<()> {
    let tunnel = match protocol {
        Protocol::Connect => ask_connect(&mut client).await?,
        Protocol::Socks5 => ask_socks(&mut client).await?,
    };
    tunnels.lock().expect("nothing panics while it holds the list").push(tunnel);
    let mut server = TcpStream::connect(backend).await?;
    let done: &[u8] = match protocol {
        Protocol::Connect => b"HTTP/1.1 200 Connection established\r\n\r\n",
        // The address that it connects from, which nobody needs: 0.0.0.0:0.
        Protocol::Socks5 => &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    };
    client.write_all(done).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

async fn ask_connect(client: &mut TcpStream) -> io::Result<Tunnel> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
        if head.len() > LARGEST_HEAD {
            return Err(nonsense());
        }
    }
    let head = String::from_utf8(head).map_err(|_| nonsense())?;
    let to = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).ok_or_else(nonsense)?;
    let login = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value.trim().to_owned())
    });
    Ok(Tunnel { to: to.to_owned(), login })
}

async fn ask_socks(client: &mut TcpStream) -> io::Result<Tunnel> {
    const NO_LOGIN: u8 = 0;
    const LOGIN: u8 = 2;
    expect(client, 5).await?;
    let offered = text(client).await?;
    let login = match offered.contains(&LOGIN) {
        false => {
            client.write_all(&[5, NO_LOGIN]).await?;
            None
        }
        true => {
            client.write_all(&[5, LOGIN]).await?;
            expect(client, 1).await?;
            let (user, password) = (text(client).await?, text(client).await?);
            client.write_all(&[1, 0]).await?;
            Some(String::from_utf8_lossy(&[&user[..], b":", &password].concat()).into_owned())
        }
    };
    for byte in [5, 1, 0] {
        expect(client, byte).await?;
    }
    let host = match client.read_u8().await? {
        1 => std::net::Ipv4Addr::from_bits(client.read_u32().await?).to_string(),
        3 => String::from_utf8(text(client).await?).map_err(|_| nonsense())?,
        4 => format!("[{}]", std::net::Ipv6Addr::from_bits(client.read_u128().await?)),
        _ => return Err(nonsense()),
    };
    Ok(Tunnel { to: format!("{host}:{}", client.read_u16().await?), login })
}

/// Bytes behind their number.
async fn text(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn expect(client: &mut TcpStream, byte: u8) -> io::Result<()> {
    if client.read_u8().await? == byte { Ok(()) } else { Err(nonsense()) }
}

fn nonsense() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
