//! The surroundings of a command: the store, the registries, the sandbox.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use gantry_engine::Engine;
use gantry_registry::{DockerConfig, HostConfig, Registry, RegistryConfig};
use gantry_sandbox::Sandbox;
use gantry_store::Store;

use crate::error::Error;

/// What the caller found in flags, environment and files.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where results are kept.
    pub root: PathBuf,
    /// Docker's `config.json`, which need not exist.
    pub docker_config: PathBuf,
    /// The environment that credential helpers run in.
    pub environment: Vec<(OsString, OsString)>,
    /// Registries that speak plain HTTP, besides those on loopback.
    pub plain_http: Vec<String>,
}

/// Opened surroundings. One per command.
#[derive(Debug, Clone)]
pub struct Gantry {
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
}

impl Gantry {
    /// Opens the store, which removes what dead processes left in it. Touches no network.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let store = Arc::new(Store::open(&settings.root)?);
        let http = |host: String| (host, HostConfig { http: true, ..HostConfig::default() });
        let registry = Registry::new(RegistryConfig {
            credentials: Arc::new(DockerConfig::new(settings.docker_config, settings.environment)),
            hosts: settings.plain_http.into_iter().map(http).collect(),
            ..RegistryConfig::default()
        });
        let engine = Engine::new(store, Arc::new(registry.clone()), Sandbox::default());
        Ok(Self { engine, registry })
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        self.engine.store()
    }
}
