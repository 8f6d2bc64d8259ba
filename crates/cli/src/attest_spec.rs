//! The flags that ask for attestations: `--attest`, `--provenance`, `--sbom`, `--attest-in`, in buildx's words.
//!
//! `--provenance=X` is short for `--attest type=provenance,X`, and `true` and `false` stand for having it or not. As with
//! buildx, the shorthands count after all `--attest`, and the last of a type counts.

use std::collections::BTreeMap;

use gantry_release::{AttestationOptions, Error, parse_bool};

use crate::args::Build;
use crate::failure::usage;

/// What the flags ask for, and what an output says of artifacts.
pub(crate) fn options(args: &Build, artifacts: Option<bool>) -> Result<AttestationOptions, Error> {
    let mut options = AttestationOptions::default();
    for spec in &args.attest {
        set(&mut options, "--attest", spec)?;
    }
    for (flag, kind, value) in
        [("--provenance", "provenance", &args.provenance), ("--sbom", "sbom", &args.sbom)]
    {
        if let Some(spec) = value.as_deref().and_then(|value| canonical(kind, value)) {
            set(&mut options, flag, &spec)?;
        }
    }
    if let Some(place) = &args.attest_in {
        options.set_place(place.parse().map_err(|error| usage(format!("--attest-in: {error}")))?);
    }
    if let Some(artifacts) = artifacts {
        options.set_artifacts(artifacts);
    }
    options.check().map_err(|error| usage(error.to_string()))?;
    Ok(options)
}

/// The value of a shorthand as one of `--attest`. An empty one says nothing.
fn canonical(kind: &str, value: &str) -> Option<String> {
    match parse_bool(value) {
        _ if value.is_empty() => None,
        Some(wanted) => Some(format!("type={kind},disabled={}", !wanted)),
        None => Some(format!("type={kind},{value}")),
    }
}

fn set(options: &mut AttestationOptions, flag: &str, spec: &str) -> Result<(), Error> {
    let refuse = |message: String| usage(format!("{flag} {spec}: {message}"));
    let mut kind = None;
    let mut attributes = BTreeMap::new();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(spec.as_bytes());
    let record = reader.records().next().ok_or_else(|| refuse("it is empty".to_owned()))?;
    for field in &record.map_err(|error| refuse(error.to_string()))? {
        let (name, value) =
            field.split_once('=').ok_or_else(|| refuse(format!("`{field}` is not name=value")))?;
        let name = name.trim().to_ascii_lowercase();
        match name.as_str() {
            "type" => kind = Some(value.to_owned()),
            _ => drop(attributes.insert(name, value.to_owned())),
        }
    }
    let kind = kind.ok_or_else(|| refuse("it has no type=".to_owned()))?;
    options.set(&kind, &attributes).map_err(|error| {
        let error = refuse(error.to_string());
        match attributes.contains_key("generator") {
            true => error.hint("leave generator= out: --sbom=true, or --sbom=format=cyclonedx"),
            false => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct OneBuild {
        #[command(flatten)]
        build: Build,
    }

    fn parse(flags: &[&str]) -> Result<AttestationOptions, Error> {
        let arguments = ["build", "."].iter().chain(flags);
        options(&OneBuild::try_parse_from(arguments).unwrap().build, None)
    }

    #[test]
    fn accepted() {
        assert!(parse(&[]).unwrap().is_empty());
        for (flags, provenance, sbom) in [
            (&["--provenance=true"][..], true, false),
            (&["--provenance", "mode=min"], true, false),
            (&["--sbom=true", "--provenance=false"], false, true),
            (&["--attest", "type=provenance,mode=max", "--attest", "type=sbom"], true, true),
            (&["--attest=type=provenance,mode=max", "--provenance=0"], false, false),
            (&["--attest=type=sbom,disabled=true"], false, false),
            (&["--provenance="], false, false),
            (&["--attest", "type=provenance,\"builder-id=https://a,b\""], true, false),
        ] {
            let options = parse(flags).unwrap();
            assert_eq!(
                (options.provenance.is_some(), options.sbom.is_some()),
                (provenance, sbom),
                "{flags:?}"
            );
        }
        let placed = parse(&["--sbom=1", "--attest-in=referrers"]).unwrap();
        assert_eq!(placed.place(), gantry_release::AttestationPlace::Referrers);
    }

    #[test]
    fn refused() {
        for (flags, message) in [
            (&["--attest", "mode=min"][..], "no type="),
            (&["--attest", "type=provenance,min"], "`min` is not name=value"),
            (
                &["--provenance", "mode=all"],
                "--provenance type=provenance,mode=all: mode=all: it is min or max",
            ),
            (&["--sbom", "generator=docker.io/x/scanner"], "reads the package databases itself"),
            (&["--sbom=true", "--attest-in=registry"], "index or referrers"),
            (&["--attest=type=sbom,oci-artifact=false", "--attest-in=referrers"], "no subject"),
            (&["--attest=type=sbom,in=index", "--attest-in=referrers"], "in one place"),
            (&["--attest=type=sbom,in=referrers", "--provenance=in=index"], "in one place"),
        ] {
            let error = parse(flags).unwrap_err().to_string();
            assert!(error.contains(message), "{flags:?}: {error}");
        }
    }
}
