//! The registries of BuildKit's `buildkitd.toml`, from text to rules.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Table;

use super::hosts_toml::describe;
use super::{
    Connection, HostPattern, HostRule, HostSettings, KeyPair, Location, Mirror, Origin, PlainHttp, Rights,
    canonical_host,
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    registry: Table,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Registry {
    mirrors: Vec<String>,
    http: Option<bool>,
    insecure: Option<bool>,
    ca: Vec<PathBuf>,
    keypair: Vec<Pair>,
    tlsconfigdir: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Pair {
    key: PathBuf,
    cert: PathBuf,
}

/// What a file says.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) rules: Vec<HostRule>,
    /// Directories with certificates for a host, in the form of docker's.
    pub(super) directories: Vec<(String, PathBuf)>,
}

/// Reads a file. The error is a reason.
pub(super) fn parse(text: &str, path: &Path) -> Result<Parsed, String> {
    let file: File = toml::from_str(text).map_err(|error| describe(&error, text))?;
    let mut parsed = Parsed { rules: Vec::new(), directories: Vec::new() };
    for (name, registry) in file.registry {
        let registry: Registry =
            registry.try_into().map_err(|error| format!("[registry.\"{name}\"]: {}", error.message()))?;
        let host = canonical_host(&name).to_owned();
        parsed.directories.extend(registry.tlsconfigdir.iter().map(|path| (host.clone(), path.clone())));
        let mirrors = registry.mirrors.iter().map(|mirror| self::mirror(mirror));
        let mirrors = mirrors.collect::<Result<Vec<_>, _>>()?;
        let http = registry.http.map(|http| if http { PlainHttp::Yes } else { PlainHttp::No });
        let client = registry.keypair.into_iter().next();
        let connection = Connection {
            http,
            skip_verify: registry.insecure,
            ca: registry.ca,
            client: client.map(|pair| KeyPair { certificate: pair.cert, key: pair.key }),
            headers: Vec::new(),
        };
        parsed.rules.push(HostRule {
            pattern: HostPattern::Prefix(host),
            origin: Origin::new(path.display(), format!("[registry.\"{name}\"]")),
            settings: HostSettings {
                connection,
                mirrors: (!mirrors.is_empty()).then_some(mirrors),
                ..HostSettings::default()
            },
        });
    }
    Ok(parsed)
}

fn mirror(text: &str) -> Result<Mirror, String> {
    let location = Location::of_names(text).map_err(|error| error.to_string())?;
    Ok(Mirror { location, rights: Rights::READ, proxy: false, connection: Connection::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_of_its_manual() {
        let text = r#"
            debug = true
            [worker.oci]
              enabled = true
              gckeepstorage = 9000
            [registry."docker.io"]
              mirrors = ["yourmirror.local:5000", "core.harbor.domain/proxy.docker.io"]
              http = true
              insecure = true
              ca=["/etc/config/myca.pem"]
              tlsconfigdir = ["/etc/certs"]
              [[registry."docker.io".keypair]]
                key="/etc/config/key.pem"
                cert="/etc/config/cert.pem"
            [registry."yourmirror.local:5000"]
              http = true
        "#;
        let parsed = parse(text, Path::new("/etc/buildkit/buildkitd.toml")).unwrap();
        assert_eq!(parsed.directories, [("docker.io".to_owned(), PathBuf::from("/etc/certs"))]);
        let hub = &parsed.rules[0];
        assert_eq!(hub.origin.to_string(), "/etc/buildkit/buildkitd.toml: [registry.\"docker.io\"]");
        let mirrors = hub.settings.mirrors.as_ref().unwrap();
        assert_eq!(mirrors[1].location.to_string(), "core.harbor.domain/v2/proxy.docker.io");
        let connection = &hub.settings.connection;
        assert_eq!((connection.http, connection.skip_verify), (Some(PlainHttp::Yes), Some(true)));
        assert_eq!(connection.client.as_ref().unwrap().certificate, PathBuf::from("/etc/config/cert.pem"));
        assert_eq!(parsed.rules[1].settings.connection.http, Some(PlainHttp::Yes));
        assert!(parse("[registry.\"a\"]\nca = 1", Path::new("x")).unwrap_err().contains("[registry.\"a\"]"));
    }
}
