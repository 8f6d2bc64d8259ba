//! The proxies that the usual variables name, as other clients understand them.
//!
//! Loopback addresses are never reached through a proxy: there they mean another machine.

use std::ffi::OsString;

use reqwest::{NoProxy, Proxy};

const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// One for each variable that is set.
pub(super) fn from_variables(environment: &[(OsString, OsString)]) -> Result<Vec<Proxy>, reqwest::Error> {
    let variable = |name: &str| {
        let found = environment.iter().find(|(found, _)| found == name)?;
        found.1.to_str().filter(|value| !value.is_empty())
    };
    let either = |name: &str| variable(&name.to_lowercase()).or_else(|| variable(name));
    // In a CGI program that variable is a header of the request (httpoxy).
    let http = match variable("REQUEST_METHOD") {
        Some(_) => variable("http_proxy"),
        None => either("HTTP_PROXY"),
    };
    let direct = NoProxy::from_string(&format!("{LOOPBACK},{}", either("NO_PROXY").unwrap_or_default()));
    let named =
        [http.map(Proxy::http), either("HTTPS_PROXY").map(Proxy::https), either("ALL_PROXY").map(Proxy::all)];
    named.into_iter().flatten().map(|proxy| Ok(proxy?.no_proxy(direct.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        let count = |variables: &[(&str, &str)]| {
            let environment: Vec<_> =
                variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
            from_variables(&environment).map(|proxies| proxies.len()).ok()
        };
        assert_eq!(count(&[]), Some(0));
        assert_eq!(
            count(&[("http_proxy", "http://p:1"), ("HTTPS_PROXY", "p:2"), ("HTTPS_PROXY", "")]),
            Some(2)
        );
        assert_eq!(count(&[("HTTP_PROXY", "http://p:1"), ("REQUEST_METHOD", "GET")]), Some(0));
        assert_eq!(count(&[("ALL_PROXY", "http://[")]), None);
    }
}
