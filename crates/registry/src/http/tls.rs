//! TLS settings: which certificate authorities are trusted, and what we show.
//!
//! The machine's own authorities, or Mozilla's where the machine has none (a minimal container is no reason to fail),
//! and those that the configuration names. The cryptographic provider is named here and not taken from the process,
//! so that nothing depends on who installed one.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::Fault;
use crate::hosts::{KeyPair, Trust};

/// Settings for connections that never speak TLS: reading the machine's certificates takes longer than a request.
pub(super) fn untrusting() -> Result<ClientConfig, Fault> {
    config(RootCertStore::empty(), &Trust::default())
}

/// Settings for servers that are no registries: they trust the machine's authorities.
pub fn machine_tls() -> Result<ClientConfig, Fault> {
    trusting(&Trust::default())
}

/// Settings that trust the machine's authorities and these.
pub(super) fn trusting(trust: &Trust) -> Result<ClientConfig, Fault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for path in &trust.ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| unusable(path, &error.to_string()))?;
        }
    }
    config(roots, trust)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unusable(path, &error.to_string()))?;
    if found.is_empty() { Err(unusable(path, "it holds none")) } else { Ok(found) }
}

fn unusable(path: &Path, reason: &str) -> Fault {
    Fault::Tls(format!("cannot use the certificates in {}: {reason}", path.display()))
}

fn config(roots: RootCertStore, trust: &Trust) -> Result<ClientConfig, Fault> {
    let failed = |error: rustls::Error| Fault::Tls(format!("cannot set up TLS: {error}"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(roots);
    let mut config = match &trust.client {
        None => builder.with_no_client_auth(),
        Some(KeyPair { certificate, key }) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                Fault::Tls(format!("cannot use the private key in {}: {error}", key.display()))
            })?;
            builder.with_client_auth_cert(certificates(certificate)?, private).map_err(|error| {
                Fault::Tls(format!(
                    "cannot show the certificate in {} with the key in {}: {error}",
                    certificate.display(),
                    key.display()
                ))
            })?
        }
    };
    if trust.skip_verify {
        config.dangerous().set_certificate_verifier(Arc::new(Anybody(provider)));
    }
    Ok(config)
}

/// Takes every certificate, for the hosts that the configuration names. That the server has its key is still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_without_and_with_a_file() {
        assert!(untrusting().is_ok() && trusting(&Trust::default()).is_ok());
        let file = tempfile::NamedTempFile::new().unwrap();
        let ca = Trust { ca: vec![file.path().to_owned()], ..Trust::default() };
        let pair = KeyPair { certificate: file.path().to_owned(), key: file.path().to_owned() };
        let client = Trust { client: Some(pair), ..Trust::default() };
        for (trust, message) in
            [(ca, "cannot use the certificates in"), (client, "cannot use the private key in")]
        {
            let error = trusting(&trust).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
