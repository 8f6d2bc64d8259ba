//! A web server on a loopback port, which serves what a test put there and remembers what it was asked.
//!
//! It answers conditional requests and those for the rest of a page as RFC 9110 says, and nothing else that a real one
//! can do.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::request_head::RequestHead;

/// What the server gives for one path.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The status, 200 unless it is set.
    pub status: Option<u16>,
    /// Headers. `ETag` and `Last-Modified` are compared with what a client says that it has.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whoever asks for all of it gets no more than so many bytes, and then the end of the connection.
    pub breaks_after: Option<usize>,
}

impl Page {
    /// A page with this body.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// The same with a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A redirect to this address.
    pub fn redirect(to: &str) -> Self {
        Self { status: Some(302), ..Self::default() }.header("Location", to)
    }

    fn named(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A request and how it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebRequest {
    /// The path with its query.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The answer's status.
    pub status: u16,
}

#[derive(Debug, Default)]
struct Shared {
    pages: Mutex<BTreeMap<String, Page>>,
    seen: Mutex<Vec<WebRequest>>,
    stopping: AtomicBool,
}

/// A running server. It ends when this is dropped.
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl WebServer {
    /// Starts a server with nothing on it.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if served.stopping.load(Ordering::Relaxed) {
                    return;
                }
                // A client that goes away is its own business.
                let _ = stream.and_then(|stream| served.serve(stream));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// The address of a path, `http://127.0.0.1:PORT/path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Serves a page, in place of what was there.
    pub fn put(&self, path: &str, page: Page) {
        self.shared.pages.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), page);
    }

    /// What was asked since the last call.
    pub fn take_seen(&self) -> Vec<WebRequest> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // Wakes it up.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let RequestHead { target: path, headers, .. } = RequestHead::read(&mut reader)?;
        // The one escape that tests use.
        let decoded = path.replace("%2e", ".");
        let page = {
            let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
            // A page without a query is there for every query, as a file is.
            let file = decoded.split('?').next().unwrap_or_default();
            pages.get(&decoded).or_else(|| pages.get(file)).cloned()
        };
        let page = page.unwrap_or(Page { status: Some(404), ..Page::default() });
        let has = |header: &str, of: &str| {
            headers.get(header).zip(page.named(of)).is_some_and(|(known, current)| known == current)
        };
        // An entity tag, where a client has one, decides alone.
        let unchanged = match headers.contains_key("if-none-match") {
            true => has("if-none-match", "etag"),
            false => has("if-modified-since", "last-modified"),
        };
        let offset = headers.get("range").filter(|_| has("if-range", "etag"));
        let offset = offset.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let (status, body) = match (unchanged, offset) {
            (true, _) => (304, &[][..]),
            (false, Some(offset)) => (206, &page.body[offset..]),
            (false, None) => (page.status.unwrap_or(200), &page.body[..]),
        };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(WebRequest { path, headers, status });
        let mut head = format!("HTTP/1.1 {status} -\r\nConnection: close\r\n");
        if !unchanged {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        if let Some(offset) = offset {
            let size = page.body.len();
            head.push_str(&format!("Content-Range: bytes {offset}-{}/{size}\r\n", size.saturating_sub(1)));
        }
        for (name, value) in &page.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = reader.into_inner();
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        let end = page.breaks_after.filter(|_| status == 200).unwrap_or(body.len());
        stream.write_all(&body[..end])
    }
}
