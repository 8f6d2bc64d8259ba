//! Referrers: manifests that name another one as their `subject` (signatures, SBOMs, provenance).
//!
//! A registry lists them by its API, or, where it has none, they stand in an index under a tag that is made of the
//! subject's digest (distribution specification, "Listing Referrers" and "Pushing Manifests with Subject"). That index
//! is the client's to keep: several clients may change it at once, so it is written with `If-Match` where the registry
//! gives entity tags, and looked at again where it does not.

use std::collections::BTreeMap;

use gantry_oci::{Descriptor, Digest, Index, Reference, media_type};
use hyper::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::error::During;
use crate::http::{Body, Request};
use crate::tags::Pages;
use crate::{Fault, Registry, RegistryError};

/// A page of referrers, or the index under the fallback tag: thousands of entries.
const LARGEST_PAGE: usize = 8 * 1024 * 1024;
/// All referrers of one manifest, which are held in memory.
const MOST_REFERRERS: usize = 20_000;
/// Tries to add an entry to the fallback tag while others do the same.
const MOST_TRIES: usize = 10;
/// The header by which a registry says that it keeps the list itself.
pub(crate) const SUBJECT: &str = "oci-subject";

/// Changes of fallback tags by this process, one at a time: the registry could not tell them apart.
static WRITING: Mutex<()> = Mutex::const_new(());

/// The index under a fallback tag.
struct Listed {
    index: Index,
    etag: Option<HeaderValue>,
}

impl Registry {
    /// The manifests that have `subject` as their subject, once each; only those of one artifact type if it is given.
    ///
    /// None is an empty list, as is a repository that does not exist.
    pub async fn referrers(
        &self,
        repository: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let listed = async {
            let mut found = match self.api_list(repository, subject, artifact_type).await? {
                Some(found) => found,
                None => self.fallback(repository, subject).await?.index.manifests,
            };
            // A registry may filter, or not: it is not asked to say which.
            if let Some(wanted) = artifact_type {
                found.retain(|entry| entry.artifact_type.as_deref() == Some(wanted));
            }
            let mut seen = std::collections::HashSet::new();
            found.retain(|entry| seen.insert(entry.digest));
            Ok(found)
        };
        listed.await.during(|| format!("listing the referrers of {}@{subject}", repository.name()))
    }

    /// What the API lists; `None` if the registry has no such API.
    async fn api_list(
        &self,
        repository: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, Fault> {
        let access = self.pulling(repository)?;
        let mut url = access.endpoint.url(&format!("{}/referrers/{subject}", repository.repository()));
        if let Some(wanted) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", wanted);
        }
        let mut pages = Pages::new(url);
        let mut found = Vec::new();
        while let Some(url) = pages.next() {
            let mut request = Request::new(Method::GET, url, &access);
            request.headers.insert(ACCEPT, HeaderValue::from_static(media_type::INDEX));
            request.whole = Some(LARGEST_PAGE);
            let mut response = self.send(request).await?;
            match response.status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                    return Ok(None);
                }
                _ => return Err(response.into_fault().await),
            }
            // A web server that answers everything with a page has no such API either.
            if !response.header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with(media_type::INDEX)) {
                return Ok(None);
            }
            let bytes = response.bytes(LARGEST_PAGE, "the list of referrers").await?;
            let page: Index = serde_json::from_slice(&bytes)
                .map_err(|error| Fault::Protocol(format!("the list of referrers is not valid: {error}")))?;
            found.extend(page.manifests);
            if found.len() > MOST_REFERRERS {
                return Err(Fault::Protocol(format!("there are more than {MOST_REFERRERS} referrers")));
            }
            pages.follow(&access, &response)?;
        }
        Ok(Some(found))
    }

    /// The index under the fallback tag; an empty one if there is none, or if what is there is no index.
    async fn fallback(&self, repository: &Reference, subject: &Digest) -> Result<Listed, Fault> {
        let access = self.pulling(repository)?;
        let path = format!("{}/manifests/{}", repository.repository(), fallback_tag(subject));
        let mut request = Request::new(Method::GET, access.endpoint.url(&path), &access);
        request.headers.insert(ACCEPT, HeaderValue::from_static(media_type::INDEX));
        request.whole = Some(LARGEST_PAGE);
        let mut response = self.send(request).await?;
        match response.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(Listed { index: Index::new(Vec::new()), etag: None }),
            _ => return Err(response.into_fault().await),
        }
        let etag = response.headers.get(ETAG).cloned();
        let bytes = response.bytes(LARGEST_PAGE, "the list of referrers").await?;
        let index = serde_json::from_slice(&bytes).unwrap_or_else(|_| Index::new(Vec::new()));
        Ok(Listed { index, etag })
    }

    /// Adds a manifest that was just pushed to its subject's fallback tag, if it has a subject.
    ///
    /// For registries that did not say that they list it themselves.
    pub(crate) async fn list_by_tag(
        &self,
        repository: &Reference,
        document: (&str, &[u8]),
    ) -> Result<(), Fault> {
        let Some((subject, entry)) = referrer(document) else { return Ok(()) };
        let _one_at_a_time = WRITING.lock().await;
        for _ in 0..MOST_TRIES {
            let mut listed = self.fallback(repository, &subject).await?;
            if listed.index.manifests.iter().any(|one| one.digest == entry.digest) {
                return Ok(());
            }
            listed.index.manifests.push(entry.clone());
            self.replace_fallback(repository, &subject, &listed).await?;
            // Somebody may have written at the same time: the next turn looks whether our entry is there.
        }
        Err(Fault::Protocol(format!(
            "others keep replacing the list of referrers under `{}`",
            fallback_tag(&subject)
        )))
    }

    /// Writes the index under the fallback tag, unless it has changed since it was read.
    async fn replace_fallback(
        &self,
        repository: &Reference,
        subject: &Digest,
        listed: &Listed,
    ) -> Result<(), Fault> {
        let access = self.pushing(repository)?;
        let path = format!("{}/manifests/{}", repository.repository(), fallback_tag(subject));
        let mut request = Request::new(Method::PUT, access.endpoint.url(&path), &access);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type::INDEX));
        if let Some(etag) = &listed.etag {
            request.headers.insert(IF_MATCH, etag.clone());
        }
        request.body = Body::Bytes(serde_json::to_vec(&listed.index).expect("an index is plain data").into());
        let response = self.send(request).await?;
        match response.status {
            StatusCode::PRECONDITION_FAILED => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(response.into_fault().await),
        }
    }
}

/// The tag under which the referrers of a manifest are listed: the digest, with a dash for the colon. A SHA-256 digest
/// is as long as the specification lets it be.
fn fallback_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// The subject of a manifest and the manifest's entry in the list of referrers.
fn referrer((media_type, bytes): (&str, &[u8])) -> Option<(Digest, Descriptor)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Referrer {
        subject: Option<Descriptor>,
        artifact_type: Option<String>,
        config: Option<Descriptor>,
        #[serde(default)]
        annotations: Option<BTreeMap<String, String>>,
    }
    let document: Referrer = serde_json::from_slice(bytes).ok()?;
    let subject = document.subject?.digest;
    let artifact_type = document
        .artifact_type
        .filter(|kind| !kind.is_empty())
        .or_else(|| document.config.map(|config| config.media_type));
    let annotations = document.annotations.unwrap_or_default();
    Some((subject, Descriptor { artifact_type, annotations, ..Descriptor::of(media_type, bytes) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_the_list() {
        let subject = Digest::of("subject");
        let manifest = |rest: &str| {
            format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"c/d","digest":"{subject}","size":1}},"layers":[]{rest}}}"#
            )
        };
        let with_subject = format!(
            r#","subject":{{"mediaType":"m","digest":"{subject}","size":3}},"annotations":{{"a":"b"}}"#
        );
        for (rest, artifact_type) in [
            (String::new(), None),
            (with_subject.clone(), Some("c/d")),
            (format!(r#"{with_subject},"artifactType":"x/y""#), Some("x/y")),
        ] {
            let text = manifest(&rest);
            let found = referrer((media_type::MANIFEST, text.as_bytes()));
            assert_eq!(found.is_some(), artifact_type.is_some(), "{text}");
            let Some((of, entry)) = found else { continue };
            assert_eq!((of, entry.digest, entry.size), (subject, Digest::of(&text), text.len() as u64));
            assert_eq!(entry.artifact_type.as_deref(), artifact_type);
            assert_eq!(entry.annotations["a"], "b");
        }
        assert_eq!(fallback_tag(&subject), subject.to_string().replace(':', "-"));
    }
}
