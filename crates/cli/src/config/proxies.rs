//! Proxies for what runs in builds, from Docker's `config.json`:
//!
//! ```text
//! { "proxies": { "default" | ENGINE: { "httpProxy": …, "httpsProxy": …, "noProxy": …, "ftpProxy": … } } }
//! ```
//!
//! What an engine's address stands for counts for builds with that engine's `DOCKER_HOST`, and `default` for all others.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use gantry_release::{Class, Error};
use serde::Deserialize;

const DEFAULT: &str = "default";

#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    proxies: HashMap<String, Proxies>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Proxies {
    http_proxy: String,
    https_proxy: String,
    no_proxy: String,
    ftp_proxy: String,
}

/// The proxies for builds as build arguments.
///
/// # Errors
/// When the file is there and cannot be read. If it is no configuration, those who ask it for credentials say so.
pub(super) fn read(path: &Path, engine: &str) -> Result<BTreeMap<String, String>, Error> {
    match fs::read(path) {
        Ok(text) => Ok(arguments(&text, engine)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(BTreeMap::new())
        }
        Err(error) => Err(Error::new(Class::Usage, format!("cannot read `{}`: {error}", path.display()))),
    }
}

fn arguments(text: &[u8], engine: &str) -> BTreeMap<String, String> {
    let config: Config = serde_json::from_slice(text).unwrap_or_default();
    let proxies =
        config.proxies.get(engine).or_else(|| config.proxies.get(DEFAULT)).cloned().unwrap_or_default();
    let arguments = [
        ("HTTP_PROXY", proxies.http_proxy),
        ("HTTPS_PROXY", proxies.https_proxy),
        ("NO_PROXY", proxies.no_proxy),
        ("FTP_PROXY", proxies.ftp_proxy),
    ];
    let given = arguments.into_iter().filter(|(_, value)| !value.is_empty());
    given.map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_engine_or_of_all() {
        let text = br#"{ "auths": {}, "proxies": {
            "default": { "httpProxy": "http://p:3128", "noProxy": "localhost", "allProxy": "socks5://s" },
            "tcp://e:2376": { "httpsProxy": "http://q" }
        } }"#;
        let of = |engine| arguments(text, engine).into_iter().map(|(name, value)| format!("{name}={value}"));
        assert_eq!(of("").collect::<Vec<_>>(), ["HTTP_PROXY=http://p:3128", "NO_PROXY=localhost"]);
        assert_eq!(of("tcp://e:2376").collect::<Vec<_>>(), ["HTTPS_PROXY=http://q"]);
        assert!(arguments(b"{}", "").is_empty() && arguments(b"nonsense", "").is_empty());
    }
}
