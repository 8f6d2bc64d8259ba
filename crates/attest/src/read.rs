//! Finding the attestations of an image, wherever whoever made them put them.
//!
//! Four layouts are read: BuildKit's OCI artifact in the index, its older form that looks like an image, referrers of the
//! manifest (artifacts of either kind of statement, and Sigstore's bundles), and cosign's tag `sha256-<hex>.att`. Signed
//! envelopes are opened and their signatures are *not* checked: what is here is what the image says of itself. A
//! statement that is found twice is one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_oci::{BoxFuture, Descriptor, Digest, Document, Index, Manifest, ManifestError};
use serde_json::Value;

use crate::layout::{
    ARTIFACT_TYPE, ATTESTATION_MANIFEST, REFERENCE_DIGEST, REFERENCE_DIGEST_EARLIER, REFERENCE_TYPE,
};
use crate::statement::{self, Statement, StatementError};

/// The largest statement that is read: BuildKit's limit for those that it makes.
const MAX_STATEMENT: u64 = 40 << 20;
/// The largest manifest that is read, as registries limit them.
const MAX_MANIFEST: u64 = 4 << 20;
/// More attestations than this nobody reads.
const MAX_STATEMENTS: usize = 100;

/// cosign's envelopes, by whose type their layers are known.
const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
/// Sigstore's bundles, of any version: an envelope with what is needed to check it.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";

/// Where documents come from: a registry, a layout, the local store.
pub trait Documents: Sync {
    /// What can go wrong there.
    type Error: Send;

    /// The bytes of a manifest of at most `limit` bytes, with their digest checked.
    fn manifest<'a>(
        &'a self,
        manifest: &'a Descriptor,
        limit: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, Self::Error>>;

    /// The bytes of a blob of at most `limit` bytes, with their digest checked.
    fn blob<'a>(&'a self, blob: &'a Descriptor, limit: u64) -> BoxFuture<'a, Result<Vec<u8>, Self::Error>>;

    /// The manifests whose subject this is; none where such are not kept.
    fn referrers<'a>(&'a self, subject: &'a Digest) -> BoxFuture<'a, Result<Vec<Descriptor>, Self::Error>>;

    /// The manifest that a tag of the same repository points to; `None` if there is no such tag.
    fn tagged<'a>(&'a self, tag: &'a str) -> BoxFuture<'a, Result<Option<Descriptor>, Self::Error>>;
}

/// A statement, and where it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Attestation {
    /// The manifest that it is about.
    pub subject: Digest,
    /// The manifest that holds it.
    pub holder: Descriptor,
    /// What it says.
    pub statement: Statement,
}

/// Why attestations cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError<E> {
    /// The source of documents failed.
    #[error(transparent)]
    Source(E),
    /// A document that is no manifest.
    #[error("the manifest {digest} of attestations cannot be read")]
    Manifest {
        /// The document.
        digest: Digest,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// A layer that is no statement.
    #[error("the attestation {digest} cannot be read")]
    Statement {
        /// The layer.
        digest: Digest,
        /// Why.
        #[source]
        source: StatementError,
    },
    /// Larger than what anybody makes, or more of them.
    #[error("{0}")]
    TooLarge(String),
}

/// Reads all attestations of one platform's manifest. `index` is the index that lists it, if one does.
pub async fn read<D: Documents>(
    documents: &D,
    index: Option<&Index>,
    subject: &Digest,
) -> Result<Vec<Attestation>, ReadError<D::Error>> {
    let mut holders: Vec<Descriptor> = index.map(|index| entries(index, subject)).unwrap_or_default();
    let referrers = documents.referrers(subject).await.map_err(ReadError::Source)?;
    holders.extend(referrers.into_iter().filter(is_holder));
    let tag = format!("sha256-{}.att", subject.hex());
    holders.extend(documents.tagged(&tag).await.map_err(ReadError::Source)?);
    let mut seen: Vec<Digest> = Vec::new();
    let mut found: Vec<Attestation> = Vec::new();
    for holder in holders {
        if seen.contains(&holder.digest) {
            continue;
        }
        seen.push(holder.digest);
        for statement in statements(documents, &holder, &mut seen).await? {
            if found.iter().all(|known| known.statement != statement) {
                found.push(Attestation { subject: *subject, holder: holder.clone(), statement });
            }
            if found.len() > MAX_STATEMENTS {
                let message = format!("the image has more than {MAX_STATEMENTS} attestations");
                return Err(ReadError::TooLarge(message));
            }
        }
    }
    Ok(found)
}

/// The entries of an index that hold the attestations of one of its manifests.
fn entries(index: &Index, subject: &Digest) -> Vec<Descriptor> {
    let is_holder = |entry: &&Descriptor| {
        let kind = entry.annotations.get(REFERENCE_TYPE);
        kind.is_none_or(|kind| kind == ATTESTATION_MANIFEST) && attested(entry) == Some(*subject)
    };
    index.manifests.iter().filter(is_holder).cloned().collect()
}

/// The manifest that an entry of an index says that it is about, if it is no image but about one (BuildKit's layout).
pub fn attested(entry: &Descriptor) -> Option<Digest> {
    let named =
        [REFERENCE_DIGEST, REFERENCE_DIGEST_EARLIER].iter().find_map(|key| entry.annotations.get(*key));
    named?.parse().ok()
}

/// Whether a referrer holds attestations, and not a signature or anything else.
fn is_holder(referrer: &Descriptor) -> bool {
    referrer.artifact_type.as_deref().is_some_and(|kind| {
        matches!(kind, ARTIFACT_TYPE | statement::MEDIA_TYPE) || is_envelope(kind) || kind.starts_with(BUNDLE)
    })
}

async fn statements<D: Documents>(
    documents: &D,
    holder: &Descriptor,
    seen: &mut Vec<Digest>,
) -> Result<Vec<Statement>, ReadError<D::Error>> {
    let bytes = documents.manifest(holder, MAX_MANIFEST).await.map_err(ReadError::Source)?;
    let document = Document::parse(&bytes, Some(&holder.media_type))
        .map_err(|source| ReadError::Manifest { digest: holder.digest, source })?;
    let Document::Manifest(Manifest { layers, .. }) = document else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for layer in layers {
        let open: fn(&[u8]) -> Result<Option<Statement>, StatementError> = match layer.media_type.as_str() {
            statement::MEDIA_TYPE => |bytes| Statement::parse(bytes).map(Some),
            kind if is_envelope(kind) => |bytes| envelope(&serde_json::from_slice(bytes)?),
            kind if kind.starts_with(BUNDLE) => |bytes| bundle(&serde_json::from_slice(bytes)?),
            _ => continue,
        };
        if seen.contains(&layer.digest) {
            continue;
        }
        seen.push(layer.digest);
        if layer.size > MAX_STATEMENT {
            let message =
                format!("the attestation {} has {} bytes, which is too much", layer.digest, layer.size);
            return Err(ReadError::TooLarge(message));
        }
        let bytes = documents.blob(&layer, MAX_STATEMENT).await.map_err(ReadError::Source)?;
        found.extend(open(&bytes).map_err(|source| ReadError::Statement { digest: layer.digest, source })?);
    }
    Ok(found)
}

/// cosign's type, or one of in-toto's for a predicate: `application/vnd.in-toto.provenance+dsse`.
fn is_envelope(kind: &str) -> bool {
    kind == DSSE || (kind.starts_with("application/vnd.in-toto") && kind.ends_with("+dsse"))
}

/// What a signed envelope (DSSE) holds, if that is a statement.
fn envelope(envelope: &Value) -> Result<Option<Statement>, StatementError> {
    if envelope.get("payloadType").and_then(Value::as_str) != Some("application/vnd.in-toto+json") {
        return Ok(None);
    }
    let payload = envelope.get("payload").and_then(Value::as_str).ok_or(StatementError::Envelope)?;
    let bytes = STANDARD.decode(payload).map_err(|_| StatementError::Envelope)?;
    Statement::parse(&bytes).map(Some)
}

/// What a bundle's envelope holds. One with only a signature holds no statement.
fn bundle(bundle: &Value) -> Result<Option<Statement>, StatementError> {
    bundle.get("dsseEnvelope").map_or(Ok(None), envelope)
}

#[cfg(test)]
mod tests;
