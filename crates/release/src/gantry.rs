//! The surroundings of a command: the store, the registries, the sandbox.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use gantry_engine::{Engine, Network};
use gantry_registry::Registry;
use gantry_sandbox::Sandbox;
use gantry_store::Store;

use crate::downloads::Downloads;
use crate::error::Error;
use crate::publish::Terms;
use crate::registries::{Registries, RegistrySettings};

/// What the caller found in flags, environment and files.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where results are kept.
    pub root: PathBuf,
    /// What is known of registries.
    pub registries: RegistrySettings,
    /// On which terms tags move where a command does not say it.
    pub terms: Terms,
}

/// Opened surroundings. One per command.
#[derive(Clone)]
pub struct Gantry {
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
    pub(crate) registries: Registries,
    pub(crate) downloads: Arc<Downloads>,
    /// The environment that helpers run in: `git`, `ssh-agent`, commands that sign.
    pub(crate) environment: Vec<(OsString, OsString)>,
    terms: Terms,
}

impl fmt::Debug for Gantry {
    /// Without the environment: secrets stand there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gantry").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Gantry {
    /// Opens the store, which removes what dead processes left in it. Touches no network.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let store = Arc::new(Store::open(&settings.root)?);
        let environment = settings.registries.environment.clone();
        let downloads = Arc::new(Downloads::new(settings.registries.proxies.clone()));
        let registries = Registries::new(settings.registries);
        let registry = registries.client.clone();
        let network = Network { fetch: Arc::clone(&downloads) as _, git_environment: environment.clone() };
        let engine = Engine::new(store, Arc::new(registry.clone()), Sandbox::default()).with_network(network);
        Ok(Self { engine, registry, registries, downloads, environment, terms: settings.terms })
    }

    /// A client that knows no token and no connection yet.
    pub(crate) fn new_registry(&self) -> Registry {
        self.registry.afresh()
    }

    /// A command's terms, completed by the settings'.
    pub(crate) fn completed(&self, terms: Terms) -> Terms {
        let Terms { policy, mut expected, sign } = terms;
        expected.extend(self.terms.expected.iter().cloned());
        Terms {
            policy: policy.or(self.terms.policy),
            expected,
            sign: sign.or_else(|| self.terms.sign.clone()),
        }
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        self.engine.store()
    }
}
