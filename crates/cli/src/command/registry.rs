//! `gantry registry explain`

use std::fmt::Write as _;
use std::process::ExitCode;

use gantry_oci::Reference;
use gantry_release::{Error, Explained, Explanation, Registries};

use super::login::say;
use crate::args::{Explain, ExplainFormat, Global};
use crate::config;
use crate::failure::{clean, internal, usage, warn};

/// Runs the command.
pub(crate) async fn explain(global: &Global, args: &Explain) -> Result<ExitCode, Error> {
    let reference: Reference = args.reference.parse().map_err(|error| usage(format!("{error}")))?;
    let registries = Registries::new(config::registries(global)?);
    registries.take_warnings().iter().for_each(|warning| warn(warning));
    let explanation = registries.explain(&reference).await?;
    match args.format {
        ExplainFormat::Text => say(text(&explanation).trim_end())?,
        ExplainFormat::Json => {
            let json = serde_json::to_string_pretty(&explanation);
            say(&json.map_err(|error| internal(format!("cannot write JSON: {error}")))?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", explanation.reference);
    for (number, endpoint) in (1..).zip(&explanation.endpoints) {
        let _ = write!(text, "\n{number}. {} {}\n", endpoint.role, endpoint.url);
        for (label, value) in lines(endpoint) {
            let _ = writeln!(text, "   {label:<13}{}", clean(&value));
        }
    }
    text
}

fn lines(endpoint: &Explained) -> Vec<(&'static str, String)> {
    let with = |value: String, because: &Option<String>| match because {
        Some(because) => format!("{value} ({because})"),
        None => value,
    };
    let mut lines = vec![
        ("because", endpoint.because.clone().unwrap_or_else(|| "the reference names it".to_owned())),
        ("asked to", endpoint.capabilities.join(", ")),
        ("transport", with(endpoint.transport.to_owned(), &endpoint.transport_because)),
    ];
    if !endpoint.ca.is_empty() {
        let files: Vec<String> = endpoint.ca.iter().map(|path| path.display().to_string()).collect();
        lines.push(("ca", with(files.join(", "), &endpoint.ca_because)));
    }
    if let Some(certificate) = &endpoint.client_certificate {
        let shown = certificate.display().to_string();
        lines.push(("shows", with(shown, &endpoint.client_certificate_because)));
    }
    if !endpoint.headers.is_empty() {
        lines.push(("headers", endpoint.headers.join(", ")));
    }
    lines.push(("proxy", endpoint.proxy.clone().unwrap_or_else(|| "none".to_owned())));
    let identity = &endpoint.credentials;
    let who = match &identity.user {
        Some(user) => format!("{} of `{user}`", identity.kind),
        None => identity.kind.to_owned(),
    };
    lines.push(("credentials", with(who, &identity.source)));
    lines
}
