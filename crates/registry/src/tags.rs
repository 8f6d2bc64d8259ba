//! The tags of a repository, over as many pages as the registry makes of them.
//!
//! Pages are followed by their `Link`, relative or absolute, but never to another server; a registry that links its
//! pages in a circle, or without end, is stopped.

use std::collections::HashSet;

use gantry_oci::Reference;
use hyper::header::LINK;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::error::During;
use crate::http::{Access, Request, Response};
use crate::{Fault, Registry, RegistryError};

/// Asked for per page. Registries that give fewer say so with a link; those that give all at once need no second page.
const PAGE: usize = 1000;
/// A page of [`PAGE`] of the longest tags is far smaller; some registries ignore the wish and send everything.
const LARGEST_PAGE: usize = 16 * 1024 * 1024;
/// Pages of one listing: a million tags at [`PAGE`], and a registry of tiny pages ends in bounded time.
const MOST_PAGES: usize = 1000;
/// All tags of one listing, which are held in memory.
const MOST_TAGS: usize = 1_000_000;

#[derive(Deserialize)]
struct Page {
    /// Go writes an empty list as `null`.
    tags: Option<Vec<String>>,
}

impl Registry {
    /// All tags of the reference's repository, in the registry's order.
    ///
    /// # Errors
    /// [`Fault::Answer`] with 404 if there is no such repository.
    pub async fn tags(&self, repository: &Reference) -> Result<Vec<String>, RegistryError> {
        self.list_tags(repository).await.during(|| format!("listing the tags of {}", repository.name()))
    }

    async fn list_tags(&self, repository: &Reference) -> Result<Vec<String>, Fault> {
        let access = self.pulling(repository)?;
        let mut url = access.endpoint.url(&format!("{}/tags/list", repository.repository()));
        url.query_pairs_mut().append_pair("n", &PAGE.to_string());
        let mut pages = Pages::new(url);
        let mut tags = Vec::new();
        while let Some(url) = pages.next() {
            let mut request = Request::new(Method::GET, url, &access);
            request.whole = Some(LARGEST_PAGE);
            let mut response = self.send(request).await?;
            if response.status != StatusCode::OK {
                return Err(response.into_fault().await);
            }
            let bytes = response.bytes(LARGEST_PAGE, "the list of tags").await?;
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|error| Fault::Protocol(format!("the list of tags is not valid: {error}")))?;
            tags.extend(page.tags.unwrap_or_default());
            if tags.len() > MOST_TAGS {
                return Err(Fault::Protocol(format!("the repository has more than {MOST_TAGS} tags")));
            }
            pages.follow(&access, &response)?;
        }
        Ok(tags)
    }
}

/// The pages of a listing, as far as they are known.
pub(crate) struct Pages {
    next: Option<Url>,
    seen: HashSet<Url>,
}

impl Pages {
    /// A listing that begins here.
    pub(crate) fn new(first: Url) -> Self {
        Self { next: Some(first), seen: HashSet::new() }
    }

    /// The page to read now.
    pub(crate) fn next(&mut self) -> Option<Url> {
        let next = self.next.take()?;
        self.seen.insert(next.clone());
        Some(next)
    }

    /// Takes the next page's address out of an answer.
    pub(crate) fn follow(&mut self, access: &Access, response: &Response) -> Result<(), Fault> {
        let links = response.headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
        let Some(target) = links.flat_map(split_links).find_map(next_target) else { return Ok(()) };
        let url = access.endpoint.follow(&response.url, target)?;
        if !access.endpoint.owns(&url) {
            return Err(Fault::Protocol("the registry's next page is on another server".to_owned()));
        }
        if self.seen.contains(&url) {
            return Err(Fault::Protocol("the registry's pages lead in a circle".to_owned()));
        }
        if self.seen.len() >= MOST_PAGES {
            return Err(Fault::Protocol(format!("the registry has more than {MOST_PAGES} pages")));
        }
        self.next = Some(url);
        Ok(())
    }
}

/// The links of one header (RFC 8288): separated by commas, which addresses may hold, too.
fn split_links(header: &str) -> impl Iterator<Item = &str> {
    header.split('<').skip(1)
}

/// The address of a link whose relation is `next`.
fn next_target(link: &str) -> Option<&str> {
    let (target, parameters) = link.split_once('>')?;
    let is_next = parameters.split([';', ',']).any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        name.trim().eq_ignore_ascii_case("rel")
            && value.trim().trim_matches('"').split(' ').any(|relation| relation.eq_ignore_ascii_case("next"))
    });
    is_next.then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_the_next_page() {
        let next = |header| split_links(header).find_map(next_target);
        for (header, target) in [
            ("</v2/a/tags/list?n=2&last=b>; rel=\"next\"", Some("/v2/a/tags/list?n=2&last=b")),
            ("<https://r.test/v2/a?x=1,2>;rel=next", Some("https://r.test/v2/a?x=1,2")),
            ("</first>; rel=\"first\", </second>; title=\"a\"; rel=\"last next\"", Some("/second")),
            ("</v2/a>; rel=\"prev\"", None),
            ("/v2/a; rel=next", None),
            ("</v2/a", None),
            ("", None),
        ] {
            assert_eq!(next(header), target, "{header}");
        }
    }
}
