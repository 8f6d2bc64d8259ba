//! `gantry logout`

use std::process::ExitCode;

use gantry_release::{Error, Registries, logout, registry_of};

use super::login::say;
use crate::args::{Global, Logout};
use crate::config;
use crate::failure::warn;

/// Runs the command.
pub(crate) async fn run(global: &Global, args: &Logout) -> Result<ExitCode, Error> {
    let host = registry_of(args.server.as_deref())?;
    let registries = Registries::new(config::registries(global)?);
    let logged_out = logout(&registries, &host).await?;
    match (logged_out.removed, &logged_out.still_known_by) {
        (true, _) => say(&format!("Removing login credentials for {host}"))?,
        (false, None) => say(&format!("Not logged in to {host}"))?,
        (false, Some(_)) => say(&format!("Nothing to remove for {host}"))?,
    }
    if let Some(source) = &logged_out.still_known_by {
        warn(&format!("there are still credentials for {host}: {source}"));
    }
    Ok(ExitCode::SUCCESS)
}
