//! Which proxy stands between us and an address, by the usual variables.
//!
//! Loopback addresses are never reached through a proxy: there they mean another machine.

use std::fmt;
use std::sync::Arc;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use crate::Secret;
use crate::endpoint::is_loopback;

/// Where SOCKS proxies listen if nothing else is said.
const SOCKS_PORT: u16 = 1080;

/// Proxies by scheme, and who is reached without.
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Table>>);

struct Table {
    matcher: Matcher,
    /// Hosts with a port that are reached without; the library knows only whole hosts.
    direct: Vec<(String, u16)>,
}

/// One proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ProxyServer {
    /// Its address, without a password.
    pub(crate) address: String,
    login: Option<Login>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Login {
    /// As the library gives it for HTTP proxies.
    Header(Secret),
    Pair(String, Secret),
}

impl Proxies {
    /// Those of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in lower case first.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| {
            let value = variable(&name.to_lowercase()).filter(|value| !value.is_empty());
            value.or_else(|| variable(name)).unwrap_or_default()
        };
        // In a CGI program that variable is a header of the request (httpoxy).
        let http = match variable("REQUEST_METHOD") {
            Some(_) => variable("http_proxy").unwrap_or_default(),
            None => get("HTTP_PROXY"),
        };
        let (https, all, no) = (get("HTTPS_PROXY"), get("ALL_PROXY"), get("NO_PROXY"));
        if http.is_empty() && https.is_empty() && all.is_empty() {
            return Self::default();
        }
        let direct = no.split(',').filter_map(|entry| {
            let (host, port) = entry.trim().rsplit_once(':')?;
            let host = host.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
            Some((host, port.parse().ok()?))
        });
        let direct = direct.collect();
        let matcher = Matcher::builder().all(all).http(http).https(https).no(no).build();
        Self(Some(Arc::new(Table { matcher, direct })))
    }

    /// The proxy for an address.
    pub(crate) fn between(&self, url: &Url) -> Option<ProxyServer> {
        let table = self.0.as_ref().filter(|_| !is_loopback(url))?;
        if table.is_direct(url) {
            return None;
        }
        let found = table.matcher.intercept(&url.as_str().parse().ok()?)?;
        let header = found.basic_auth().and_then(|header| header.to_str().ok());
        let header = header.map(|header| Login::Header(Secret::new(header)));
        let pair =
            found.raw_auth().map(|(user, password)| Login::Pair(user.to_owned(), Secret::new(password)));
        Some(ProxyServer { address: found.uri().to_string(), login: header.or(pair) })
    }
}

impl Table {
    fn is_direct(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
        self.direct.iter().any(|(name, own)| {
            let below = || host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
            *own == port && (host == name || below())
        })
    }
}

/// Where a SOCKS proxy has names looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    Here,
    There,
}

impl ProxyServer {
    /// The address to connect to. The error is a reason.
    pub(crate) fn uri(&self) -> Result<Uri, String> {
        let wrong = || format!("`{}` is no address of a proxy", self.address);
        let uri: Uri = self.address.parse().map_err(|_| wrong())?;
        if self.resolves_names().is_none() {
            return Ok(uri);
        }
        // The library connects to what looks like plain HTTP.
        let authority = uri.authority().ok_or_else(wrong)?;
        let authority = match authority.port() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:{SOCKS_PORT}"),
        };
        format!("http://{authority}/").parse().map_err(|_| wrong())
    }

    /// Where names are looked up, if it is a SOCKS proxy.
    pub(crate) fn resolves_names(&self) -> Option<Names> {
        match self.address.split("://").next() {
            Some("socks5") => Some(Names::Here),
            Some("socks5h") => Some(Names::There),
            _ => None,
        }
    }

    /// The login at an HTTP proxy.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let Some(Login::Header(header)) = &self.login else { return None };
        let mut header = HeaderValue::from_str(header.expose()).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    /// The login at a SOCKS proxy.
    pub(crate) fn pair(&self) -> Option<(String, String)> {
        match &self.login {
            Some(Login::Pair(user, password)) => Some((user.clone(), password.expose().to_owned())),
            _ => None,
        }
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Proxies(***)" } else { "Proxies(none)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &'static [(&str, &str)]) -> Proxies {
        Proxies::from_variables(|name| {
            variables.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn by_scheme_with_exceptions() {
        let proxies = proxies(&[
            ("HTTPS_PROXY", "http://me:hunter2@secure.test:3128"),
            ("http_proxy", "plain.test:3128"),
            ("HTTP_PROXY", "http://ignored.test"),
            ("no_proxy", "corp.test, 10.0.0.0/8,r.test:5000"),
        ]);
        for (url, address) in [
            ("https://quay.io/v2/", Some("http://secure.test:3128/")),
            ("http://quay.io/v2/", Some("http://plain.test:3128/")),
            ("https://r.corp.test/v2/", None),
            ("https://10.1.2.3/v2/", None),
            ("https://r.test:5000/v2/", None),
            ("https://r.test/v2/", Some("http://secure.test:3128/")),
            ("http://127.0.0.1:5000/v2/", None),
            ("http://localhost/v2/", None),
        ] {
            let found = proxies.between(&url.parse().unwrap());
            assert_eq!(found.as_ref().map(|proxy| proxy.address.as_str()), address, "{url}");
            assert!(!format!("{found:?} {proxies:?}").contains("hunter2"));
            assert!(found.is_none_or(|proxy| proxy.uri().is_ok()));
        }
    }

    #[test]
    fn for_all_or_none() {
        let all = proxies(&[("ALL_PROXY", "socks5://me:hunter2@s.test:1080")]);
        let found = all.between(&"https://quay.io/".parse().unwrap()).unwrap();
        assert_eq!(found.uri().unwrap().to_string(), "http://s.test:1080/");
        assert_eq!(found.pair(), Some(("me".to_owned(), "hunter2".to_owned())));
        assert_eq!((found.resolves_names(), found.header()), (Some(Names::Here), None));
        assert!(proxies(&[("NO_PROXY", "*")]).between(&"https://quay.io/".parse().unwrap()).is_none());
        let cgi = proxies(&[("HTTP_PROXY", "http://evil.test"), ("REQUEST_METHOD", "GET")]);
        assert!(cgi.between(&"http://quay.io/".parse().unwrap()).is_none());
    }
}
