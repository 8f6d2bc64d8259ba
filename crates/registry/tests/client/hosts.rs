//! Hosts and their settings: TLS in all its forms, and files of the machine that name authorities.

use std::path::PathBuf;
use std::sync::Arc;

use gantry_oci::{BytesSource, Reference};
use gantry_registry::{
    Connection, Fault, HostPattern, HostRule, HostSettings, Hosts, KeyPair, MachineFiles, Origin, PlainHttp,
    Registry, RegistryConfig, RetryPolicy,
};
use gantry_testkit::{
    Certificate, FakeRegistry, Fault as Spoilt, ImageBuilder, ImageTarget, TestCa, TlsFront,
};

use super::config;

pub(super) fn rule(host: &str, settings: HostSettings) -> HostRule {
    let pattern = HostPattern::Prefix(host.to_owned());
    HostRule { pattern, origin: Origin::new("test", ""), settings }
}

pub(super) fn client(rules: Vec<HostRule>) -> Registry {
    Registry::new(RegistryConfig { hosts: Arc::new(Hosts::new(rules)), ..config() })
}

/// TLS where loopback would mean plain HTTP.
pub(super) fn tls() -> Connection {
    Connection { http: Some(PlainHttp::No), ..Connection::default() }
}

pub(super) fn connected(host: &str, connection: Connection) -> HostRule {
    rule(host, HostSettings { connection, ..HostSettings::default() })
}

pub(super) fn at(host: &str, rest: &str) -> Reference {
    format!("{host}/{rest}").parse().unwrap()
}

/// A registry with one manifest, `app:1`.
pub(super) fn stocked() -> FakeRegistry {
    let registry = FakeRegistry::start();
    ImageBuilder::new("linux/amd64").build().push(&registry, "app", Some("1"));
    registry
}

#[tokio::test]
async fn certificates_are_believed_only_with_reason() {
    let (registry, ca) = (stocked(), TestCa::new());
    for (kind, trusts, refusal) in [
        (Certificate::Good, true, None),
        (Certificate::Good, false, Some("UnknownIssuer")),
        (Certificate::SelfSigned, true, Some("certificate")),
        (Certificate::OtherName, true, Some("not valid for")),
        (Certificate::Expired, true, Some("expired")),
    ] {
        let front = TlsFront::start(&registry.host(), &ca, kind);
        let connection = if trusts { Connection { ca: vec![ca.file()], ..tls() } } else { tls() };
        let result =
            client(vec![connected(front.host(), connection)]).resolve(&at(front.host(), "app:1")).await;
        match refusal {
            None => assert!(result.is_ok(), "{kind:?}: {result:?}"),
            Some(words) => {
                let error = result.unwrap_err();
                assert!(matches!(error.fault, Fault::Handshake { .. }), "{kind:?}: {error:?}");
                assert!(error.to_string().contains(words), "{kind:?}: {error}");
                assert!(!error.fault.hints().is_empty());
            }
        }
    }
}

#[tokio::test]
async fn what_does_not_matter_at_one_host_matters_at_the_next() {
    let (registry, ca) = (stocked(), TestCa::new());
    let lenient = TlsFront::start(&registry.host(), &ca, Certificate::SelfSigned);
    let strict = TlsFront::start(&registry.host(), &ca, Certificate::SelfSigned);
    let skip = Connection { skip_verify: Some(true), ..tls() };
    let client = client(vec![connected(lenient.host(), skip), connected(strict.host(), tls())]);
    assert!(client.resolve(&at(lenient.host(), "app:1")).await.is_ok());
    let error = client.resolve(&at(strict.host(), "app:1")).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Handshake { .. }), "{error}");

    // Nor where a lenient host sends us.
    let location = format!("https://{}/v2/app/elsewhere", strict.host());
    registry.on_request(move |seen| {
        seen.path.contains("manifests").then(|| Spoilt::status_with(307, "location", &location))
    });
    let error = client.resolve(&at(lenient.host(), "app:1")).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Handshake { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_may_want_to_see_a_certificate() {
    let (registry, ca) = (stocked(), TestCa::new());
    let front = TlsFront::start_for_clients_of(&registry.host(), &ca);
    let trusting = Connection { ca: vec![ca.file()], ..tls() };
    let result =
        client(vec![connected(front.host(), trusting.clone())]).resolve(&at(front.host(), "app:1")).await;
    assert!(result.is_err(), "{result:?}");
    assert!(registry.log().is_empty());
    let (certificate, key) = ca.client();
    let showing = Connection { client: Some(KeyPair { certificate, key }), ..trusting };
    client(vec![connected(front.host(), showing)]).resolve(&at(front.host(), "app:1")).await.unwrap();
}

/// The files of docker, for a registry with an authority of its own.
#[tokio::test]
async fn certificates_of_the_machine_are_found() {
    let (registry, ca) = (stocked(), TestCa::new());
    let front = TlsFront::start_for_clients_of(&registry.host(), &ca);
    let etc = tempfile::tempdir().unwrap();
    let directory = etc.path().join("docker/certs.d").join(front.host());
    std::fs::create_dir_all(&directory).unwrap();
    let (certificate, key) = ca.client();
    for (from, to) in [(ca.file(), "ca.crt"), (certificate, "me.cert"), (key, "me.key")] {
        std::fs::copy(from, directory.join(to)).unwrap();
    }
    let (mut rules, warnings) = machine(etc.path().to_owned()).read();
    assert_eq!(warnings, Vec::<String>::new());
    rules.push(connected(front.host(), tls()));
    client(rules).resolve(&at(front.host(), "app:1")).await.unwrap();
}

#[tokio::test]
async fn podmans_insecure_means_without_verification_or_without_tls() {
    let (registry, ca) = (stocked(), TestCa::new());
    let front = TlsFront::start(&registry.host(), &ca, Certificate::SelfSigned);
    let both =
        Connection { http: Some(PlainHttp::WithoutTls), skip_verify: Some(true), ..Connection::default() };
    for host in [registry.host(), front.host().to_owned()] {
        let client = client(vec![connected(&host, both.clone())]);
        client.resolve(&at(&host, "app:1")).await.unwrap();
        client.push_blob(&at(&host, "app:1"), &BytesSource::new(vec![7; 1000]), None).await.unwrap();
    }
}

/// One break of the connection once decided for plain HTTP, for as long as the process ran.
#[tokio::test]
async fn a_fault_that_passes_does_not_decide_for_plain_http() {
    let (registry, ca) = (stocked(), TestCa::new());
    let front = TlsFront::start(&registry.host(), &ca, Certificate::SelfSigned);
    let both =
        Connection { http: Some(PlainHttp::WithoutTls), skip_verify: Some(true), ..Connection::default() };
    let hosts = Arc::new(Hosts::new(vec![connected(front.host(), both.clone())]));
    let retry = RetryPolicy { tries: 1, ..RetryPolicy::default() };
    let client = Registry::new(RegistryConfig { hosts, retry, ..config() });
    let reference = at(front.host(), "app:1");
    registry.on_request(|_| Some(Spoilt::Drop { after: 0 }));
    assert!(client.resolve(&reference).await.is_err());
    registry.on_request(|_| None);
    client.resolve(&reference).await.unwrap();

    // Nobody there: neither TLS nor plain HTTP was spoken.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let rules = Hosts::new(vec![connected(&port.to_string(), both)]);
    let retry = RetryPolicy { tries: 1, ..RetryPolicy::default() };
    let client = Registry::new(RegistryConfig { hosts: Arc::new(rules), retry, ..config() });
    let error = client.resolve(&at(&port.to_string(), "app:1")).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Unreachable { .. }), "{error}");
    assert!(client.resolve(&at(&port.to_string(), "app:1")).await.is_err());
}

pub(super) fn machine(etc: PathBuf) -> MachineFiles {
    MachineFiles { etc, user: None, docker: None, registries_conf: None }
}
