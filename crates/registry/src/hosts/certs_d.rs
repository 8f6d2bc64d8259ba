//! Docker's `certs.d/HOST/`: `*.crt` are authorities, `NAME.cert` with `NAME.key` is what we show.

use std::path::{Path, PathBuf};

use super::hosts_toml::host_of;
use super::{Connection, HostPattern, HostRule, HostSettings, KeyPair, Origin};

/// What the names of a directory's files say. `None` if they say nothing; the error is a reason.
pub(super) fn parse(directory: &Path, host: &str, files: &[PathBuf]) -> Result<Option<HostRule>, String> {
    let with = |extension: &str| {
        let mut found: Vec<&PathBuf> =
            files.iter().filter(|file| file.extension().is_some_and(|own| own == extension)).collect();
        found.sort();
        found
    };
    let (ca, certificates) = (with("crt"), with("cert"));
    let client = match certificates.first() {
        None => None,
        Some(certificate) => {
            let key = certificate.with_extension("key");
            if !files.contains(&key) {
                return Err(format!("`{}` has no `{}`", certificate.display(), key.display()));
            }
            Some(KeyPair { certificate: (*certificate).clone(), key })
        }
    };
    if ca.is_empty() && client.is_none() {
        return Ok(None);
    }
    let ca = ca.into_iter().cloned().collect();
    let connection = Connection { ca, client, ..Connection::default() };
    Ok(Some(HostRule {
        pattern: HostPattern::Prefix(host_of(host)),
        origin: Origin::new(directory.display(), ""),
        settings: HostSettings { connection, ..HostSettings::default() },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        let found = |names: &[&str]| {
            let files: Vec<PathBuf> = names.iter().map(|name| Path::new("/d").join(name)).collect();
            parse(Path::new("/d"), "r.test:5000", &files)
        };
        let rule = found(&["b.crt", "a.crt", "me.cert", "me.key", "README"]).unwrap().unwrap();
        assert_eq!(rule.pattern, HostPattern::Prefix("r.test:5000".to_owned()));
        assert_eq!(rule.settings.connection.ca, ["/d/a.crt", "/d/b.crt"].map(PathBuf::from));
        assert_eq!(rule.settings.connection.client.unwrap().key, PathBuf::from("/d/me.key"));
        assert_eq!(found(&["README", "x.key"]).unwrap(), None);
        assert!(found(&["me.cert"]).unwrap_err().contains("has no `/d/me.key`"));
    }
}
