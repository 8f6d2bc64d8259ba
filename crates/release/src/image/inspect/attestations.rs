//! Provenance and SBOMs of an image as templates see them. [`gantry_attest::read`] finds them, in the index, among the
//! referrers and under cosign's tag; this makes of them what `docker buildx imagetools inspect` shows.

use futures_util::{StreamExt, TryStreamExt, stream};
use gantry_attest::Statement;
use gantry_attest::predicate_type::SPDX;
use gantry_attest::read::{Documents, ReadError};
use gantry_oci::{BoxFuture, Descriptor, Digest};
use serde_json::{Map, Value, json};

use super::{Found, READS_AT_ONCE};
use crate::error::{Class, Error};
use crate::image::go_json;
use crate::image::source::Source;

/// What templates call `.Provenance` and `.SBOM`: of one image, or of each by platform.
pub(super) struct Shown {
    pub(super) provenance: Value,
    pub(super) sbom: Value,
}

/// Whether a template asks for statements, which are large.
pub(super) fn are_named(template: &str) -> bool {
    template.contains("Provenance") || template.contains("SBOM")
}

/// Reads the attestations of all images that were found.
pub(super) async fn read(source: &Source, found: &Found, several: bool) -> Result<Shown, Error> {
    let read = |(platform, digest): (String, Digest)| async move {
        let statements =
            gantry_attest::read::read(&Content(source), Some(&found.attestations), &digest).await;
        let statements = statements.map_err(of_read)?;
        Ok::<_, Error>((platform, statements.into_iter().map(|found| found.statement).collect::<Vec<_>>()))
    };
    let images = found.images.iter().map(|(platform, image)| (platform.clone(), image.descriptor.digest));
    let reads: Vec<_> = images.map(read).collect();
    let statements: Vec<_> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
    let collect = |of: fn(&[Statement]) -> Value| {
        let stubs = statements.iter().map(|(platform, statements)| (platform.clone(), of(statements)));
        let stubs: Map<String, Value> = stubs.filter(|(_, stub)| *stub != json!({})).collect();
        match several {
            true => Value::Object(stubs),
            false => stubs.into_iter().next().map_or_else(|| json!({}), |(_, stub)| stub),
        }
    };
    Ok(Shown { provenance: collect(provenance), sbom: collect(sbom) })
}

fn provenance(statements: &[Statement]) -> Value {
    match statements.iter().find(|statement| statement.is_provenance()) {
        Some(statement) => json!({ "SLSA": go_json::map(&statement.predicate) }),
        None => json!({}),
    }
}

fn sbom(statements: &[Statement]) -> Value {
    let documents = statements.iter().filter(|statement| statement.predicate_type.starts_with(SPDX));
    let mut documents: Vec<Value> = documents.map(|statement| go_json::map(&statement.predicate)).collect();
    let others = documents.split_off(documents.len().min(1));
    let mut stub = json!({});
    if let Some(first) = documents.pop() {
        stub["SPDX"] = first;
    }
    if !others.is_empty() {
        stub["AdditionalSPDXs"] = Value::Array(others);
    }
    stub
}

/// A place of images, as the reader of attestations asks it.
struct Content<'s>(&'s Source);

impl Documents for Content<'_> {
    type Error = Error;

    fn manifest<'a>(&'a self, manifest: &'a Descriptor, _: u64) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        Box::pin(async { Ok(self.0.read(manifest).await?.bytes) })
    }

    fn blob<'a>(&'a self, blob: &'a Descriptor, _: u64) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        Box::pin(self.0.bytes(blob))
    }

    fn referrers<'a>(&'a self, subject: &'a Digest) -> BoxFuture<'a, Result<Vec<Descriptor>, Error>> {
        Box::pin(self.0.referrers(subject))
    }

    fn tagged<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Option<Descriptor>, Error>> {
        Box::pin(self.0.tagged(tag))
    }
}

fn of_read(error: ReadError<Error>) -> Error {
    match error {
        ReadError::Source(error) => error,
        other => {
            let because = std::error::Error::source(&other).map(|source| format!(": {source}"));
            Error::new(Class::Verification, format!("{other}{}", because.unwrap_or_default()))
        }
    }
}
