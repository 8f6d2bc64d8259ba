//! Where a server is: `[scheme://]host[:port][/path]`.

use std::fmt;

use url::Url;

use super::PlainHttp;

/// A server, and a path on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub(crate) server: String,
    pub(crate) http: Option<PlainHttp>,
    /// What repositories' names follow in addresses.
    pub(crate) root: String,
    /// What stands in front of repositories' names.
    pub(crate) prefix: String,
}

/// Why a text is no location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no registry's address: {reason}")]
pub struct LocationError {
    text: String,
    reason: &'static str,
}

impl Location {
    /// A server whose path is the beginning of repositories' names: `harbor.test/proxy` has `harbor.test/proxy/a/b`.
    pub fn of_names(text: &str) -> Result<Self, LocationError> {
        let (url, http) = parse(text)?;
        let prefix = url.path().trim_matches('/').trim_start_matches("v2/").to_owned();
        Ok(Self { server: server(&url), http, root: "/v2/".to_owned(), prefix })
    }

    /// A server whose path comes before `/v2/`, as in containerd's files; an `exact` path is not followed by `/v2/`.
    pub(crate) fn of_api(text: &str, exact: bool) -> Result<Self, LocationError> {
        let (url, http) = parse(text)?;
        let path = url.path().trim_end_matches('/');
        let root = match exact || path.ends_with("/v2") {
            true => format!("{path}/"),
            false => format!("{path}/v2/"),
        };
        Ok(Self { server: server(&url), http, root, prefix: String::new() })
    }
}

/// As people would write it.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.server, self.root, self.prefix)
    }
}

/// The address, and whether its scheme was said.
fn parse(text: &str) -> Result<(Url, Option<PlainHttp>), LocationError> {
    let refuse = |reason| LocationError { text: text.to_owned(), reason };
    let (http, full) = match text.split_once("://") {
        Some(("http", _)) => (Some(PlainHttp::Yes), text.to_owned()),
        Some(("https", _)) => (Some(PlainHttp::No), text.to_owned()),
        Some(_) => return Err(refuse("its scheme is neither http nor https")),
        None => (None, format!("https://{text}")),
    };
    let url = Url::parse(&full).map_err(|_| refuse("it names no host"))?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not shown: what was taken for an address has a password in it.
        let text = server(&url);
        return Err(LocationError { text, reason: "a user name or password does not belong there" });
    }
    match url.query().is_some() || url.fragment().is_some() {
        true => Err(refuse("it has a query")),
        false => Ok((url, http)),
    }
}

fn server(url: &Url) -> String {
    let server = crate::endpoint::authority(url);
    super::canonical_host(&server).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_names_or_apis() {
        let names = |text| Location::of_names(text).map(|location| location.to_string());
        let api = |text| Location::of_api(text, false).map(|location| location.to_string());
        assert_eq!(names("m.test:5000").unwrap(), "m.test:5000/v2/");
        assert_eq!(names("https://m.test/hub/").unwrap(), "m.test/v2/hub");
        assert_eq!(names("https://m.test/v2/hub").unwrap(), "m.test/v2/hub");
        assert_eq!(api("https://m.test").unwrap(), "m.test/v2/");
        assert_eq!(api("https://m.test/hub").unwrap(), "m.test/hub/v2/");
        assert_eq!(api("https://m.test/hub/v2").unwrap(), "m.test/hub/v2/");
        assert_eq!(Location::of_api("https://m.test/x", true).unwrap().to_string(), "m.test/x/");
        assert_eq!(Location::of_names("http://m.test").unwrap().http, Some(PlainHttp::Yes));
        for (text, reason) in [
            ("ftp://m.test", "scheme"),
            ("", "names no host"),
            ("https://me:hunter2@m.test", "does not belong there"),
            ("m.test/?x", "query"),
        ] {
            let error = Location::of_names(text).unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains("hunter2"), "{error}");
        }
    }
}
