//! The client against registries: the fake one, which misbehaves on request, and Docker's own.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

mod access;
mod hostile;
mod hosts;
mod logins;
mod matrix;
mod mirrors;
mod pull;
mod push;
mod real;

use std::sync::Arc;
use std::time::Duration;

use gantry_oci::Platform;
use gantry_registry::{
    Connection, Credential, CredentialError, Credentials, Event, HostPattern, HostRule, HostSettings, Hosts,
    Listener, Origin, PlainHttp, Registry, RegistryConfig, RetryPolicy, Secret,
};
use std::sync::Mutex;

/// A client that does not wait between tries.
fn client() -> Registry {
    Registry::new(config())
}

fn config() -> RegistryConfig {
    RegistryConfig {
        retry: RetryPolicy { first_delay: Duration::ZERO, ..RetryPolicy::default() },
        ..RegistryConfig::default()
    }
}

/// A rule for one host: whether it speaks plain HTTP.
fn speaks(host: &str, http: PlainHttp) -> Arc<Hosts> {
    let connection = Connection { http: Some(http), ..Connection::default() };
    Arc::new(Hosts::new(vec![HostRule {
        pattern: HostPattern::Prefix(host.to_owned()),
        origin: Origin::new("test", ""),
        settings: HostSettings { connection, ..HostSettings::default() },
    }]))
}

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

/// Credentials that a test changes while the client runs.
#[derive(Clone)]
struct Wallet(Arc<Mutex<Credential>>);

impl Wallet {
    fn new(user: &str, password: &str) -> Self {
        let wallet = Self(Arc::new(Mutex::new(Credential::Anonymous)));
        wallet.set(user, password);
        wallet
    }

    fn set(&self, user: &str, password: &str) {
        *self.0.lock().unwrap() =
            Credential::Password { user: user.to_owned(), password: Secret::new(password) };
    }

    fn client(&self) -> Registry {
        Registry::new(RegistryConfig { credentials: Arc::new(self.clone()), ..config() })
    }
}

impl Credentials for Wallet {
    fn find<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> gantry_oci::BoxFuture<'a, Result<Credential, CredentialError>> {
        let credential = self.0.lock().unwrap().clone();
        Box::pin(async { Ok(credential) })
    }
}

/// All that a client tells, as text.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Event>>>);

impl Told {
    fn listener(&self) -> Listener {
        let told = self.clone();
        Listener::new(move |event| told.0.lock().unwrap().push(event))
    }

    fn text(&self) -> String {
        format!("{:?}", self.0.lock().unwrap())
    }
}
