//! TLS in front of a registry: certificates that are good or bad in a chosen way, from an authority made for the test.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// Where a front listens, and the name in good certificates.
const ADDRESS: &str = "127.0.0.1";

/// What kind of certificate a server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// Signed by the authority, for the right name, valid now.
    Good,
    /// Signed by the authority, for another name.
    OtherName,
    /// Signed by the authority, for the right name, no longer valid.
    Expired,
    /// Signed by nobody.
    SelfSigned,
}

/// A certificate authority, its files in a directory that goes with it.
#[derive(Debug)]
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    directory: TempDir,
}

impl TestCa {
    /// A new authority.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate can be signed");
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).expect("a file can be written");
        Self { issuer: Issuer::new(params, key), certificate: certificate.der().clone(), directory }
    }

    /// The PEM file with the authority's certificate.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// PEM files with a certificate of a client and its key.
    pub fn client(&self) -> (PathBuf, PathBuf) {
        let files = ["client.pem", "client.key"].map(|name| self.directory.path().join(name));
        let (certificate, key) = self.issue(Certificate::Good);
        write(&files[0], &certificate);
        write(&files[1], &key);
        files.into()
    }

    /// A certificate and its key, in PEM.
    fn issue(&self, kind: Certificate) -> (String, String) {
        let key = KeyPair::generate().expect("a key can be made");
        let name = if kind == Certificate::OtherName { "other.test" } else { ADDRESS };
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("the names are valid");
        if kind == Certificate::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let certificate = match kind {
            Certificate::SelfSigned => params.self_signed(&key),
            _ => params.signed_by(&key, &self.issuer),
        };
        (certificate.expect("a certificate can be signed").pem(), key.serialize_pem())
    }
}

impl Default for TestCa {
    fn default() -> Self {
        Self::new()
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file can be written");
}

/// A server that ends TLS and passes everything on to another; it ends when dropped.
#[derive(Debug)]
pub struct TlsFront {
    host: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TlsFront {
    /// In front of `backend`, a `host:port`, with a certificate of this kind.
    pub fn start(backend: &str, ca: &TestCa, kind: Certificate) -> Self {
        Self::serve(backend, config(ca, kind, false))
    }

    /// The same for clients alone that show a certificate of the authority.
    pub fn start_for_clients_of(backend: &str, ca: &TestCa) -> Self {
        Self::serve(backend, config(ca, Certificate::Good, true))
    }

    /// The host and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    fn serve(backend: &str, config: ServerConfig) -> Self {
        let listener = std::net::TcpListener::bind((ADDRESS, 0)).expect("a loopback port can be bound");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let (stop, stopped) = oneshot::channel();
        let backend = backend.to_owned();
        let thread = std::thread::spawn(move || run(listener, config, &backend, stopped));
        Self { host: format!("{ADDRESS}:{port}"), stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn config(ca: &TestCa, kind: Certificate, clients_only: bool) -> ServerConfig {
    let (certificate, key) = ca.issue(kind);
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>();
    let chain = chain.expect("it was written a moment ago");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("it was written a moment ago");
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider knows the default versions");
    let builder = match clients_only {
        false => builder.with_no_client_auth(),
        true => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.certificate.clone()).expect("the authority's certificate is valid");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("there is an authority"))
        }
    };
    builder.with_single_cert(chain, key).expect("certificate and key belong together")
}

fn run(listener: std::net::TcpListener, config: ServerConfig, backend: &str, stopped: oneshot::Receiver<()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
        tokio::select! {
            () = accept(listener, TlsAcceptor::from(Arc::new(config)), backend) => {}
            _ = stopped => {}
        }
    });
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, backend: &str) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, backend) = (acceptor.clone(), backend.to_owned());
        tokio::spawn(async move {
            // Handshakes that fail and connections that break are what tests are about.
            let Ok(mut secure) = acceptor.accept(stream).await else { return };
            let Ok(mut plain) = TcpStream::connect(backend).await else { return };
            let _ = copy_bidirectional(&mut secure, &mut plain).await;
        });
    }
}
