//! Referrers: manifests that name another one as their `subject` (signatures, SBOMs, provenance).
//!
//! A registry lists them by its API, or, where it has none, they stand in an index under a tag that is made of the
//! subject's digest (distribution specification, "Listing Referrers" and "Pushing Manifests with Subject"). That index
//! is the client's to keep: several clients may change it at once, so it is written with `If-None-Match` if there is none, with
//! `If-Match` where the registry gives entity tags, and looked at again in any case.

use std::collections::{BTreeMap, HashSet};

use gantry_oci::{Descriptor, Digest, Index, Reference, media_type};
use hyper::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::error::During;
use crate::http::{Access, Body, Request};
use crate::tags::Pages;
use crate::{Fault, Registry, RegistryError};

/// A page of referrers, or the index under the fallback tag: thousands of entries.
const LARGEST_PAGE: usize = 8 * 1024 * 1024;
/// All referrers of one manifest, which are held in memory.
const MOST_REFERRERS: usize = 20_000;
/// Tries to add an entry to the fallback tag while others do the same.
const MOST_TRIES: usize = 10;

/// Changes of fallback tags by this process, one at a time: the registry could not tell them apart.
static WRITING: Mutex<()> = Mutex::const_new(());

/// The index under a fallback tag, and what the tag has to be for it to be replaced.
struct Listed {
    index: Index,
    unless_changed: Option<(HeaderName, HeaderValue)>,
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
            let access = self.pulling(repository)?;
            let mut found = match self.api_list(&access, repository, (subject, artifact_type)).await? {
                Some(found) => found,
                None => match self.fallback(&access, repository, subject).await {
                    Ok(listed) => listed.index.manifests,
                    // Somebody else's tag lists nothing.
                    Err(Fault::Protocol(_)) => Vec::new(),
                    Err(fault) => return Err(fault),
                },
            };
            // A registry may filter, or not: it is not asked to say which.
            if let Some(wanted) = artifact_type {
                found.retain(|entry| entry.artifact_type.as_deref() == Some(wanted));
            }
            let mut seen = HashSet::new();
            found.retain(|entry| seen.insert(entry.digest));
            Ok(found)
        };
        listed.await.during(|| format!("listing the referrers of {}@{subject}", repository.name()))
    }

    /// Makes sure that manifests which the repository has, and whose subject this is, are found as its referrers: where the
    /// registry does not list them itself, they are added to the index under the fallback tag.
    ///
    /// # Errors
    /// [`Fault::Protocol`] if what is under the fallback tag is no index: it is somebody else's and stays.
    pub async fn list_referrers(
        &self,
        repository: &Reference,
        subject: &Digest,
        entries: &[Descriptor],
    ) -> Result<(), RegistryError> {
        self.list(repository, subject, entries)
            .await
            .during(|| format!("listing referrers of {}@{subject}", repository.name()))
    }

    /// What the API lists; `None` if the registry has no such API.
    async fn api_list(
        &self,
        access: &Access,
        repository: &Reference,
        (subject, artifact_type): (&Digest, Option<&str>),
    ) -> Result<Option<Vec<Descriptor>>, Fault> {
        let mut url = access.endpoint.url(&format!("{}/referrers/{subject}", repository.repository()));
        if let Some(wanted) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", wanted);
        }
        let mut pages = Pages::new(url);
        let mut found = Vec::new();
        while let Some(url) = pages.next() {
            let mut request = Request::new(Method::GET, url, access);
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
            pages.follow(access, &response)?;
        }
        Ok(Some(found))
    }

    /// The index under the fallback tag; an empty one if there is none.
    async fn fallback(
        &self,
        access: &Access,
        repository: &Reference,
        subject: &Digest,
    ) -> Result<Listed, Fault> {
        let path = format!("{}/manifests/{}", repository.repository(), fallback_tag(subject));
        let mut request = Request::new(Method::GET, access.endpoint.url(&path), access);
        request.headers.insert(ACCEPT, HeaderValue::from_static(media_type::INDEX));
        request.whole = Some(LARGEST_PAGE);
        let mut response = self.send(request).await?;
        match response.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                let unless_changed = Some((IF_NONE_MATCH, HeaderValue::from_static("*")));
                return Ok(Listed { index: Index::new(Vec::new()), unless_changed });
            }
            _ => return Err(response.into_fault().await),
        }
        let unless_changed = response.headers.get(ETAG).map(|etag| (IF_MATCH, etag.clone()));
        let bytes = response.bytes(LARGEST_PAGE, "the list of referrers").await?;
        let index = serde_json::from_slice(&bytes).map_err(|error| {
            Fault::Protocol(format!("what is under `{}` is no index: {error}", fallback_tag(subject)))
        })?;
        Ok(Listed { index, unless_changed })
    }

    async fn list(
        &self,
        repository: &Reference,
        subject: &Digest,
        entries: &[Descriptor],
    ) -> Result<(), Fault> {
        // Where it is written is where it is read: a mirror may have an older list.
        let access = self.pushing(repository)?;
        if self.api_list(&access, repository, (subject, None)).await?.is_some() {
            return Ok(());
        }
        let _one_at_a_time = WRITING.lock().await;
        for _ in 0..MOST_TRIES {
            let mut listed = self.fallback(&access, repository, subject).await?;
            let known: HashSet<_> = listed.index.manifests.iter().map(|one| one.digest).collect();
            let mut missing: Vec<_> =
                entries.iter().filter(|entry| !known.contains(&entry.digest)).cloned().collect();
            if missing.is_empty() {
                return Ok(());
            }
            listed.index.manifests.append(&mut missing);
            self.replace_fallback(&access, repository, subject, listed).await?;
            // Somebody may have written at the same time: the next turn looks whether our entries are there.
        }
        Err(Fault::Protocol(format!(
            "others keep replacing the list of referrers under `{}`",
            fallback_tag(subject)
        )))
    }

    /// Writes the index under the fallback tag, unless it has changed since it was read.
    async fn replace_fallback(
        &self,
        access: &Access,
        repository: &Reference,
        subject: &Digest,
        listed: Listed,
    ) -> Result<(), Fault> {
        let path = format!("{}/manifests/{}", repository.repository(), fallback_tag(subject));
        let mut request = Request::new(Method::PUT, access.endpoint.url(&path), access);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type::INDEX));
        request.headers.extend(listed.unless_changed);
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

/// The subject of a manifest and the manifest's entry in the list of referrers; `None` if it has no subject.
pub fn listed_referrer(media_type: &str, bytes: &[u8]) -> Option<(Digest, Descriptor)> {
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
            let found = listed_referrer(media_type::MANIFEST, text.as_bytes());
            assert_eq!(found.is_some(), artifact_type.is_some(), "{text}");
            let Some((of, entry)) = found else { continue };
            assert_eq!((of, entry.digest, entry.size), (subject, Digest::of(&text), text.len() as u64));
            assert_eq!(entry.artifact_type.as_deref(), artifact_type);
            assert_eq!(entry.annotations["a"], "b");
        }
        assert_eq!(fallback_tag(&subject), subject.to_string().replace(':', "-"));
    }
}
