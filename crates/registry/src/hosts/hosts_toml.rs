//! containerd's `certs.d/HOST/hosts.toml`, from text to a rule.
//!
//! Mirrors are asked in the order of the file, then the `server`. What is not known here is left alone: the file is
//! containerd's.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::{
    Connection, HostPattern, HostRule, HostSettings, KeyPair, Location, Mirror, Origin, Rights,
    canonical_host,
};
use crate::Secret;

/// The directory whose file is for all hosts that have none of their own.
const DEFAULT: &str = "_default";

/// One host of the file; the file itself has the same keys for its `server`.
#[derive(Deserialize)]
#[serde(default)]
struct Host {
    capabilities: Vec<String>,
    ca: OneOrMany,
    client: Option<Value>,
    skip_verify: Option<bool>,
    override_path: bool,
    header: Table,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            // All that there is, by containerd's rules.
            capabilities: ["pull", "resolve", "push"].map(str::to_owned).to_vec(),
            ca: OneOrMany::default(),
            client: None,
            skip_verify: None,
            override_path: false,
            header: Table::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

/// Reads the file of a directory with this name. The error is a reason.
pub(super) fn parse(text: &str, directory: &str, file: &Path) -> Result<HostRule, String> {
    let table: Table = text.parse().map_err(|error| describe(&error, text))?;
    let base = file.parent().unwrap_or(Path::new(""));
    let own: Host = Value::Table(without_hosts(&table)).try_into().map_err(|error| error_text(&error))?;
    let server = table.get("server").and_then(Value::as_str).filter(|server| !server.is_empty());
    let location = server.map(|server| Location::of_api(server, own.override_path));
    let hosts = table.get("host").and_then(Value::as_table);
    let mirrors = hosts.into_iter().flatten().map(|(url, host)| mirror(url, host, base));
    let mirrors = mirrors.collect::<Result<Vec<_>, String>>()?;
    let settings = HostSettings {
        connection: connection(&own, base)?,
        mirrors: (!mirrors.is_empty()).then_some(mirrors),
        location: location.transpose().map_err(|error| error.to_string())?,
        blocked: None,
    };
    let pattern = match directory {
        DEFAULT => HostPattern::Any,
        name => HostPattern::Prefix(host_of(name)),
    };
    Ok(HostRule { pattern, origin: Origin::new(file.display(), ""), settings })
}

/// The host that a directory is named after; containerd writes `host_5000_` where a file system has no colons.
pub(super) fn host_of(directory: &str) -> String {
    let port = directory.strip_suffix('_').and_then(|name| name.rsplit_once('_'));
    let port = port.filter(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let host = port.map_or_else(|| directory.to_owned(), |(host, port)| format!("{host}:{port}"));
    canonical_host(&host).to_owned()
}

fn without_hosts(table: &Table) -> Table {
    let own = table.iter().filter(|(key, _)| !matches!(key.as_str(), "host" | "server"));
    own.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn mirror(url: &str, host: &Value, base: &Path) -> Result<Mirror, String> {
    let host: Host = host.clone().try_into().map_err(|error| error_text(&error))?;
    let rights = Rights::parse(host.capabilities.iter().map(String::as_str))
        .map_err(|word| format!("`{word}` is no capability"))?;
    let location = Location::of_api(url, host.override_path).map_err(|error| error.to_string())?;
    // What is not said is `false` for this host, whatever is said of others.
    let skip_verify = Some(host.skip_verify.unwrap_or(false));
    let connection = Connection { skip_verify, ..connection(&host, base)? };
    Ok(Mirror { location, rights, proxy: true, connection })
}

fn connection(host: &Host, base: &Path) -> Result<Connection, String> {
    let ca = match &host.ca {
        OneOrMany::One(path) => std::slice::from_ref(path),
        OneOrMany::Many(paths) => paths,
    };
    Ok(Connection {
        http: None,
        skip_verify: host.skip_verify,
        ca: ca.iter().map(|path| base.join(path)).collect(),
        client: host.client.as_ref().map(|client| key_pair(client, base)).transpose()?,
        headers: headers(&host.header)?,
    })
}

/// One file with both, `[certificate, key]` pairs, or a list of files with both. We show the first.
fn key_pair(client: &Value, base: &Path) -> Result<KeyPair, String> {
    let wrong = || "`client` is neither a file nor a list of files or pairs of files".to_owned();
    let first = match client {
        Value::Array(all) => all.first().ok_or_else(wrong)?,
        one => one,
    };
    let (certificate, key) = match first {
        Value::String(both) => (both.as_str(), ""),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(certificate)] => (certificate.as_str(), ""),
            [Value::String(certificate), Value::String(key)] => (certificate.as_str(), key.as_str()),
            _ => return Err(wrong()),
        },
        _ => return Err(wrong()),
    };
    let key = if key.is_empty() { certificate } else { key };
    Ok(KeyPair { certificate: base.join(certificate), key: base.join(key) })
}

fn headers(table: &Table) -> Result<Vec<(String, Secret)>, String> {
    let mut headers = Vec::new();
    for (name, value) in table {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            let value = value.as_str().filter(|value| is_header(name, value));
            let value = value.ok_or_else(|| format!("`{}` cannot be a header", name.escape_debug()))?;
            headers.push((name.clone(), Secret::new(value)));
        }
    }
    Ok(headers)
}

fn is_header(name: &str, value: &str) -> bool {
    use hyper::header::{HeaderName, HeaderValue};
    name.parse::<HeaderName>().is_ok() && HeaderValue::from_str(value).is_ok()
}

/// What is wrong and where, without the text around it: headers may hold secrets.
pub(super) fn describe(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    line.map_or_else(|| error_text(error), |line| format!("line {line}: {}", error_text(error)))
}

fn error_text(error: &toml::de::Error) -> String {
    error.message().lines().next().unwrap_or("it is not valid").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_in_the_order_of_the_file() {
        let text = r#"
            server = "https://registry-1.docker.io"
            ca = "/etc/ca.pem"

            [host."https://zzz.test"]
              capabilities = ["pull"]
              ca = ["a.crt", "b.crt"]
              client = [["c.cert", "c.key"], ["d.cert", ""]]
              skip_verify = true
              [host."https://zzz.test".header]
                x-token = "hunter2"
                x-both = ["1", "2"]
            [host."http://aaa.test:5000/v2/hub"]
              override_path = true
              capabilities = ["pull", "resolve"]
              unheard_of = 1
            [host."https://mmm.test/cache"]
        "#;
        let rule = parse(text, "docker.io", Path::new("/c/docker.io/hosts.toml")).unwrap();
        assert_eq!(rule.pattern, HostPattern::Prefix("docker.io".to_owned()));
        assert_eq!(rule.settings.location.as_ref().unwrap().to_string(), "docker.io/v2/");
        assert_eq!(rule.settings.connection.ca, [PathBuf::from("/etc/ca.pem")]);
        let mirrors = rule.settings.mirrors.as_ref().unwrap();
        let shown: Vec<_> =
            mirrors.iter().map(|one| (one.location.to_string(), one.rights.names())).collect();
        assert_eq!(
            shown,
            [
                ("zzz.test/v2/".to_owned(), vec!["pull"]),
                ("aaa.test:5000/v2/hub/".to_owned(), vec!["pull", "resolve"]),
                ("mmm.test/cache/v2/".to_owned(), vec!["pull", "resolve", "push"]),
            ]
        );
        let first = &mirrors[0].connection;
        assert_eq!(first.ca, ["/c/docker.io/a.crt", "/c/docker.io/b.crt"].map(PathBuf::from));
        assert_eq!(first.client.as_ref().unwrap().key, PathBuf::from("/c/docker.io/c.key"));
        assert_eq!((first.skip_verify, first.headers.len()), (Some(true), 3));
        assert!(!format!("{rule:?}").contains("hunter2"));
    }

    #[test]
    fn directories_and_mistakes() {
        assert_eq!(host_of("r.test_5000_"), "r.test:5000");
        assert_eq!(host_of("r.test:5000"), "r.test:5000");
        assert_eq!(host_of("_weird_"), "_weird_");
        assert_eq!(host_of("registry-1.docker.io"), "docker.io");
        let parse = |text| parse(text, DEFAULT, Path::new("hosts.toml"));
        assert_eq!(parse("").unwrap().pattern, HostPattern::Any);
        for (text, reason) in [
            ("x = 1\n[host", "line 2: "),
            ("[host.\"https://m\"]\ncapabilities = [\"fly\"]", "`fly` is no capability"),
            ("[host.\"ftp://m\"]", "no registry's address"),
            ("skip_verify = \"hunter2\"", "invalid type"),
            ("[header]\nAuthorization = \"hunter2\\n\"", "cannot be a header"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
