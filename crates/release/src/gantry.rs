//! The surroundings of a command: the store, the registries, the sandbox.

use std::path::PathBuf;
use std::sync::Arc;

use gantry_engine::Engine;
use gantry_registry::Registry;
use gantry_sandbox::Sandbox;
use gantry_store::Store;

use crate::error::Error;
use crate::registries::{Registries, RegistrySettings};

/// What the caller found in flags, environment and files.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where results are kept.
    pub root: PathBuf,
    /// What is known of registries.
    pub registries: RegistrySettings,
}

/// Opened surroundings. One per command.
#[derive(Debug, Clone)]
pub struct Gantry {
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
    pub(crate) registries: Registries,
}

impl Gantry {
    /// Opens the store, which removes what dead processes left in it. Touches no network.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let store = Arc::new(Store::open(&settings.root)?);
        let registries = Registries::new(settings.registries);
        let registry = registries.client.clone();
        let engine = Engine::new(store, Arc::new(registry.clone()), Sandbox::default());
        Ok(Self { engine, registry, registries })
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        self.engine.store()
    }
}
