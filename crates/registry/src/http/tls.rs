//! TLS settings: which certificate authorities are trusted.
//!
//! The machine's own, or Mozilla's where the machine has none (a minimal container is no reason to fail), and those
//! that the configuration names. The cryptographic provider is named here and not taken from the process, so that
//! nothing depends on who installed one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::Fault;

/// Settings for connections that never speak TLS: reading the machine's certificates takes longer than a request.
pub(super) fn untrusting() -> Result<ClientConfig, Fault> {
    config(RootCertStore::empty())
}

/// Settings that trust the machine's authorities and these.
pub(super) fn trusting(extra: &[PathBuf]) -> Result<ClientConfig, Fault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for path in extra {
        add(&mut roots, path).map_err(|reason| {
            Fault::Tls(format!("cannot use the certificates in {}: {reason}", path.display()))
        })?;
    }
    config(roots)
}

fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let mut found = false;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
        roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        found = true;
    }
    if found { Ok(()) } else { Err("it holds none".to_owned()) }
}

fn config(roots: RootCertStore) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::Tls(format!("cannot set up TLS: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_without_and_with_a_file() {
        assert!(untrusting().is_ok() && trusting(&[]).is_ok());
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = trusting(&[file.path().to_owned()]).unwrap_err().to_string();
        assert!(
            error.contains("cannot use the certificates in") && error.ends_with("it holds none"),
            "{error}"
        );
    }
}
