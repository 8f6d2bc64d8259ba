//! Repositories over HTTP: git's own `http-backend` (a CGI program) behind a loopback port, for who shows a login.
//!
//! It speaks as much of HTTP as `git` needs, one connection after the other.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::request_head::RequestHead;

/// Longer requests are not what `git fetch` sends.
const MAX_BODY: usize = 1 << 20;

/// A running server. It ends when this is dropped.
#[derive(Debug)]
pub struct GitHttpServer {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl GitHttpServer {
    /// Serves the repositories below `root` to whoever sends this `Authorization`, or to everybody.
    pub fn start(root: &Path, authorization: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("it is bound");
        let stopping = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stopping);
        let (root, authorization) = (root.to_owned(), authorization.map(str::to_owned));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // A client that goes away is its own business.
                let _ = stream.and_then(|stream| serve(stream, &root, authorization.as_deref()));
            }
        });
        Self { address, stopping, thread: Some(thread) }
    }

    /// The host and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for GitHttpServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes it up.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, root: &Path, authorization: Option<&str>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let head = RequestHead::read(&mut reader)?;
    let length =
        head.headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
    let mut body = vec![0; std::cmp::min(length, MAX_BODY)];
    reader.read_exact(&mut body)?;
    let mut stream = reader.into_inner();
    let shown = head.headers.get("authorization").map(String::as_str);
    if authorization.is_some() && shown != authorization {
        let refusal = "HTTP/1.1 401 -\r\nConnection: close\r\nContent-Length: 0\r\n";
        return stream
            .write_all(format!("{refusal}WWW-Authenticate: Basic realm=\"git\"\r\n\r\n").as_bytes());
    }
    let answer = backend(&head, &body, root)?;
    // A CGI program's status is a header among the others.
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(answer.len());
    let text = String::from_utf8_lossy(&answer[..end]);
    let status = text.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    stream.write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\n").as_bytes())?;
    stream.write_all(&answer)
}

/// What git's CGI program says to the request.
fn backend(head: &RequestHead, body: &[u8], root: &Path) -> std::io::Result<Vec<u8>> {
    let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
    let header = |name: &str| head.headers.get(name).cloned().unwrap_or_default();
    let mut child = Command::new(program()?)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        // The repositories are the test's, whoever made their directory.
        .envs([
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "safe.directory"),
            ("GIT_CONFIG_VALUE_0", "*"),
        ])
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &head.method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // It reads all of a request before it answers, and closes its input where there is none.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(body));
    Ok(child.wait_with_output()?.stdout)
}

fn program() -> std::io::Result<PathBuf> {
    let output = Command::new("git").arg("--exec-path").output()?;
    Ok(Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("git-http-backend"))
}
