//! `gantry image inspect`

use std::process::ExitCode;

use clap::Args;
use gantry_release::{Error, InspectForm, inspect};

use super::{location, perform, print};
use crate::args::{Global, ProgressMode};

/// Flags of `gantry image inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Print the manifest or index itself, byte for byte
    #[arg(long, conflicts_with = "format")]
    raw: bool,
    /// Print what a Go template makes of .Name, .Manifest, .Image, .Provenance and .SBOM
    #[arg(long, value_name = "TEMPLATE", default_value = "{{.Manifest}}", hide_default_value = true)]
    format: String,
    /// Image: registry/name:tag, or `oci-layout://PATH[:TAG]`
    #[arg(value_name = "NAME")]
    name: String,
}

/// Runs the command.
pub(super) async fn run(global: &Global, args: &Inspect) -> Result<ExitCode, Error> {
    let form = match (args.raw, args.format.is_empty()) {
        (true, _) => InspectForm::Raw,
        (false, true) => InspectForm::Summary,
        (false, false) => InspectForm::Template(args.format.clone()),
    };
    let place = location(&args.name)?;
    perform(
        global,
        ProgressMode::Quiet,
        async |images| inspect(images, &args.name, &place, &form).await,
        print,
    )
    .await
}
