//! Registries as a command sees them: the client, who we are there, and what is told about it.
//!
//! Needs no store, so that whoever only wants to log in needs no place for results.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gantry_oci::Reference;
use gantry_registry::{
    CredentialSource, CredentialSources, CredentialStore, Explanation, HostRule, Hosts, Listener,
    MachineFiles, Proxies, Registry, RegistryConfig,
};

use crate::error::Error;
use crate::events::{Event, Events};

/// What flags, environment and files say about registries.
#[derive(Clone)]
pub struct RegistrySettings {
    /// Rules of our own flags and files, the most important first.
    pub hosts: Vec<HostRule>,
    /// Where other programs keep theirs, which come after ours.
    pub machine: MachineFiles,
    /// Where credentials are, the most important place first.
    pub credentials: Vec<CredentialSource>,
    /// Docker's `config.json`, where credentials are kept at a login. `None` if there is no place for one.
    pub credential_store: Option<PathBuf>,
    /// The environment that credential helpers run in.
    pub environment: Vec<(OsString, OsString)>,
    /// What stands between us and the world.
    pub proxies: Proxies,
}

impl RegistrySettings {
    /// Nothing is known, nobody in particular asks, and what is kept goes below `directory`.
    pub fn nothing(directory: &Path) -> Self {
        Self {
            hosts: Vec::new(),
            machine: MachineFiles {
                etc: directory.join("etc"),
                user: None,
                docker: None,
                registries_conf: None,
            },
            credentials: Vec::new(),
            credential_store: Some(directory.join("config.json")),
            environment: Vec::new(),
            proxies: Proxies::default(),
        }
    }
}

impl fmt::Debug for RegistrySettings {
    /// Without the environment: secrets stand there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrySettings")
            .field("hosts", &self.hosts)
            .field("machine", &self.machine)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// A client for registries and what belongs to it. Touches no network when it is made.
#[derive(Clone)]
pub struct Registries {
    pub(crate) client: Registry,
    pub(crate) credentials: Arc<CredentialSources>,
    pub(crate) store: Option<CredentialStore>,
    voice: Voice,
}

/// Where the client's warnings go: kept until somebody listens.
#[derive(Clone, Default)]
struct Voice(Arc<Mutex<Hearing>>);

#[derive(Default)]
struct Hearing {
    listener: Option<Arc<dyn Events>>,
    unheard: Vec<String>,
}

impl Voice {
    fn say(&self, message: String) {
        let listener = {
            let mut hearing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match hearing.listener.clone() {
                Some(listener) => listener,
                None => return hearing.unheard.push(message),
            }
        };
        listener.event(Event::Warning { message, hints: Vec::new() });
    }
}

impl Registries {
    /// Reads the machine's files. What cannot be used of them is a warning.
    pub fn new(settings: RegistrySettings) -> Self {
        let (machine, warnings) = settings.machine.read();
        let rules = settings.hosts.into_iter().chain(machine).collect();
        let voice = Voice::default();
        warnings.into_iter().for_each(|warning| voice.say(warning));
        let credentials =
            Arc::new(CredentialSources::new(settings.credentials, settings.environment.clone()));
        let told = voice.clone();
        let client = Registry::new(RegistryConfig {
            credentials: Arc::clone(&credentials) as _,
            hosts: Arc::new(Hosts::new(rules)),
            proxies: settings.proxies,
            listener: Listener::new(move |event| {
                if let Some(message) = doubt(&event) {
                    told.say(message);
                }
            }),
            ..RegistryConfig::default()
        });
        let store = settings.credential_store.map(|path| CredentialStore::new(path, settings.environment));
        Self { client, credentials, store, voice }
    }

    /// Tells warnings from now on, and those of before, to this listener.
    pub(crate) fn report_to(&self, events: &Arc<dyn Events>) {
        let unheard = {
            let mut hearing = self.voice.0.lock().unwrap_or_else(PoisonError::into_inner);
            hearing.listener = Some(Arc::clone(events));
            std::mem::take(&mut hearing.unheard)
        };
        unheard.into_iter().for_each(|message| self.voice.say(message));
    }

    /// The warnings that nobody has heard yet.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.voice.0.lock().unwrap_or_else(PoisonError::into_inner).unheard)
    }

    /// What would be done with a reference, and why. Sends nothing anywhere.
    pub async fn explain(&self, reference: &Reference) -> Result<Explanation, Error> {
        let explained = self.client.explain(reference, &self.credentials).await;
        explained.map_err(|error| gantry_oci::ImageError::from(error).into())
    }
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registries").field("client", &self.client).finish_non_exhaustive()
    }
}

/// What a user should know of an event.
fn doubt(event: &gantry_registry::Event) -> Option<String> {
    match event {
        gantry_registry::Event::MirrorTrusted { host, mirror, reason } => Some(format!(
            "registry `{host}` cannot say what a tag points at ({reason}): mirror `{mirror}` was believed"
        )),
        _ => None,
    }
}
