//! Attestations of a build: made per platform, once its manifest is there, and put where the request wants them.
//!
//! `facts` collects what provenance tells from the request and the graph, `tree` lets a bill of materials see the final
//! files, `repository` names the revision, `files` is for results that are no images. The documents themselves are `gantry-attest`'s.

mod facts;
mod files;
mod repository;
mod tree;

use std::time::SystemTime;

use gantry_attest::layout::AttestationManifest;
use gantry_attest::options::{
    Mode, Options, Place, ProvenanceOptions, SbomFormat, SbomOptions, SlsaVersion, Times,
};
use gantry_attest::{Statement, Subject, sbom};
use gantry_engine::ExportedLayer;
use gantry_llb::Definition;
use gantry_oci::{Descriptor, ImageConfig};
use gantry_store::Store;
use serde_json::Value;

use crate::build::Built;
use crate::context::Input;
use crate::error::{Class, Error};
use crate::gantry::Gantry;
use crate::report::PlatformReport;
use crate::request::BuildRequest;

pub(crate) use files::{AttestedFile, files};

/// The time of an image that has none.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// What is known about one platform's build.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) input: &'a Input,
    pub(crate) definition: &'a Definition,
    /// `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: Option<i64>,
    /// When the command began.
    pub(crate) started: SystemTime,
}

/// What is attested about one platform's image.
#[derive(Debug)]
pub(crate) struct Attestation {
    pub(crate) statement: Statement,
    /// Its name beside the files of a result that is no image; none if it is for images only.
    pub(crate) file: Option<String>,
}

/// What attestations add to an image.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    /// Entries of the index.
    pub(crate) in_index: Vec<Descriptor>,
    /// Manifests that only name their subject.
    pub(crate) referrers: Vec<Descriptor>,
}

/// Makes the attestations of one platform that the request asks for.
pub(crate) async fn make(
    gantry: &Gantry,
    facts: Facts<'_>,
    report: &PlatformReport,
    layers: &[ExportedLayer],
) -> Result<Vec<Attestation>, Error> {
    let options = &facts.request.attestations;
    // The digest says which image it is. What it is called is no part of it: the same image may get further names.
    let about = |(kind, predicate): (&str, Value)| {
        Statement::new(kind, vec![Subject::new("_", &report.manifest.digest)], predicate)
    };
    let mut attestations = Vec::new();
    if let Some(sbom) = &options.sbom {
        let statement = about(bill_of_materials(gantry, *sbom, report, layers).await?);
        attestations.push(Attestation { statement, file: Some(sbom_file_name(sbom.format).to_owned()) });
    }
    if let Some(provenance) = &options.provenance {
        let times = match (facts.epoch, provenance.times) {
            (Some(epoch), _) => Some((rfc3339(epoch), rfc3339(epoch))),
            (None, Times::Told) => Some((now(facts.started), now(SystemTime::now()))),
            (None, Times::Omitted) => None,
        };
        let known = facts::provenance(facts, provenance, report, times);
        if provenance.complete_materials && !known.has_all_dependencies() {
            return Err(Error::new(Class::Build, "the provenance cannot name everything that the build read")
                .hint("files of a local context have no address; leave complete-materials=true out to build from them"));
        }
        let statement = about(known.predicate(provenance.mode, provenance.version));
        let file = (!provenance.inline_only).then(|| provenance.filename.clone());
        attestations.push(Attestation { statement, file });
    }
    Ok(attestations)
}

/// The provenance that a report has: that of buildx's metadata files, which is of the older version.
pub(crate) fn reported(facts: Facts<'_>, mode: Mode, report: &PlatformReport) -> Value {
    let options = ProvenanceOptions { mode, version: SlsaVersion::V02, ..ProvenanceOptions::default() };
    let (_, predicate) = facts::provenance(facts, &options, report, None).predicate(mode, options.version);
    predicate
}

/// Writes the manifests of all platforms' attestations into the store.
pub(crate) fn attach(store: &Store, options: &Options, platforms: &[Built]) -> Result<Attached, Error> {
    let mut manifests = Vec::new();
    for built in platforms.iter().filter(|built| !built.attestations.is_empty()) {
        let statements: Vec<_> = built.attestations.iter().map(|made| made.statement.clone()).collect();
        let made = AttestationManifest::new(&built.report.manifest, &statements, options.form());
        for (_, bytes) in &made.blobs {
            store.put_blob(bytes)?;
        }
        store.put_blob(&made.manifest)?;
        manifests.push(match options.place() {
            Place::Index => made.index_entry(),
            Place::Referrers => made.descriptor,
        });
    }
    Ok(match options.place() {
        Place::Index => Attached { in_index: manifests, ..Attached::default() },
        Place::Referrers => Attached { referrers: manifests, ..Attached::default() },
    })
}

async fn bill_of_materials(
    gantry: &Gantry,
    options: SbomOptions,
    report: &PlatformReport,
    layers: &[ExportedLayer],
) -> Result<(&'static str, Value), Error> {
    let inventory = tree::scan(gantry, layers).await?.map_err(|error| {
        let mut message =
            Error::new(Class::Build, format!("no bill of materials for {}: {error}", report.platform))
                .hint("build without --sbom, or repair the package database");
        message.causes.extend(std::error::Error::source(&error).map(ToString::to_string));
        message
    })?;
    let config: ImageConfig = serde_json::from_slice(&gantry.store().read_blob(&report.config.digest)?)
        .map_err(|error| {
            Error::new(Class::Internal, format!("the config of the image cannot be read: {error}"))
        })?;
    let created = config.created.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let image = sbom::Image {
        platform: report.platform.clone(),
        manifest: report.manifest.digest,
        created: created.map_or_else(|| NO_TIME.to_owned(), |time| rfc3339(time.as_second())),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Ok(sbom::Document { image: &image, inventory: &inventory }.write(options.format))
}

/// The name of a bill of materials among files.
fn sbom_file_name(format: SbomFormat) -> &'static str {
    match format {
        SbomFormat::Spdx => "sbom.spdx.json",
        SbomFormat::CycloneDx => "sbom.cdx.json",
    }
}

fn now(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).unwrap_or_default().to_string()
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}
