//! `gantry logout`

use std::process::ExitCode;

use gantry_release::{Error, Registries, logout, registry_of};

use super::login::say;
use crate::args::{Global, Logout};
use crate::config;

/// Runs the command.
pub(crate) async fn run(global: &Global, args: &Logout) -> Result<ExitCode, Error> {
    let host = registry_of(args.server.as_deref())?;
    let registries = Registries::new(config::registries(global)?);
    match logout(&registries, &host).await? {
        true => say(&format!("Removing login credentials for {host}"))?,
        false => say(&format!("Not logged in to {host}"))?,
    }
    Ok(ExitCode::SUCCESS)
}
