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
    /// The proxies by the scheme of what is asked for, as they are given.
    http: Option<Url>,
    https: Option<Url>,
    /// Hosts with a port that are reached without; the library knows only whole hosts.
    direct: Vec<(String, u16)>,
}

/// A variable that is set and names no proxy that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the variable {variable} names no proxy: {reason}")]
pub struct ProxyError {
    /// The variable.
    variable: String,
    /// Why, without its value: a password may stand there.
    reason: String,
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
    ///
    /// # Errors
    /// If one of the first three is not the address of an HTTP or SOCKS 5 proxy: whoever set it does not want to go without.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ProxyError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let get = |name: &str| {
            let lower = name.to_lowercase();
            set(&lower).map(|value| (lower, value)).or_else(|| Some((name.to_owned(), set(name)?)))
        };
        let proxy = |found: Option<(String, String)>| match found {
            Some((variable, value)) => {
                parse(&value).map(Some).map_err(|reason| ProxyError { variable, reason })
            }
            None => Ok(None),
        };
        // In a CGI program that variable is a header of the request (httpoxy).
        let http = match variable("REQUEST_METHOD") {
            Some(_) => set("http_proxy").map(|value| ("http_proxy".to_owned(), value)),
            None => get("HTTP_PROXY"),
        };
        let (http, https, all) = (proxy(http)?, proxy(get("HTTPS_PROXY"))?, proxy(get("ALL_PROXY"))?);
        let (http, https) = (http.or_else(|| all.clone()), https.or(all));
        if http.is_none() && https.is_none() {
            return Ok(Self::default());
        }
        let no = get("NO_PROXY").map(|(_, value)| value).unwrap_or_default();
        let direct = no.split(',').filter_map(|entry| {
            let (host, port) = entry.trim().rsplit_once(':')?;
            let host = host.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
            Some((host, port.parse().ok()?))
        });
        let direct = direct.collect();
        let text = |proxy: &Option<Url>| proxy.as_ref().map(Url::to_string).unwrap_or_default();
        let matcher = Matcher::builder().http(text(&http)).https(text(&https)).no(no).build();
        Ok(Self(Some(Arc::new(Table { matcher, http, https, direct }))))
    }

    /// The address of the proxy for an address, with the login that is part of it, for another client than ours.
    pub fn address(&self, url: &Url) -> Option<Url> {
        self.between(url)?;
        let table = self.0.as_ref()?;
        if url.scheme() == "https" { table.https.clone() } else { table.http.clone() }
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

/// Reads what a variable says. The error is a reason that repeats nothing of it.
fn parse(value: &str) -> Result<Url, String> {
    let text = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url: Url = text.parse().map_err(|error: url::ParseError| error.to_string())?;
    match url.scheme() {
        "http" | "https" | "socks5" | "socks5h" => {}
        // Before `://` nothing is secret.
        scheme => {
            return Err(format!(
                "there are no proxies of the scheme `{scheme}`: use http, https, socks5 or socks5h"
            ));
        }
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it has no host".to_owned());
    }
    // The library that connects is stricter about some characters.
    let _: Uri = url.as_str().parse().map_err(|error: hyper::http::uri::InvalidUri| error.to_string())?;
    Ok(url)
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
        .unwrap()
    }

    #[test]
    fn what_names_no_proxy_is_refused_without_its_password() {
        for (name, value, reason) in [
            ("HTTP_PROXY", "http://[", "invalid IPv6 address"),
            ("https_proxy", "http://me:hunter2@p.test:port", "invalid port number"),
            ("ALL_PROXY", "socks4://me:hunter2@p.test", "no proxies of the scheme `socks4`"),
            ("ALL_PROXY", "socks5://", "no host"),
        ] {
            let read = Proxies::from_variables(|asked| (asked == name).then(|| value.to_owned()));
            let message = read.unwrap_err().to_string();
            assert!(message.contains(name) && message.contains(reason), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
        let cgi = Proxies::from_variables(|name| match name {
            "REQUEST_METHOD" => Some("GET".to_owned()),
            "HTTP_PROXY" => Some("http://[".to_owned()),
            _ => None,
        });
        assert!(cgi.is_ok());
    }

    #[test]
    fn addresses_for_other_clients_have_the_login() {
        let proxies = proxies(&[
            ("all_proxy", "socks5h://me:hunter2@s.test"),
            ("HTTP_PROXY", "plain.test:3128"),
            ("NO_PROXY", "r.test:5000"),
        ]);
        for (url, address) in [
            ("https://quay.io/x", Some("socks5h://me:hunter2@s.test")),
            ("http://quay.io/x", Some("http://plain.test:3128/")),
            ("https://r.test:5000/x", None),
            ("https://r.test/x", Some("socks5h://me:hunter2@s.test")),
            ("https://127.0.0.1/x", None),
        ] {
            let found = proxies.address(&url.parse().unwrap());
            assert_eq!(found.as_ref().map(Url::as_str), address, "{url}");
        }
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
