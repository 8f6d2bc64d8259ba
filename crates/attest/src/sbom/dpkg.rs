//! dpkg's database: `/var/lib/dpkg/status`, or one file per package in `status.d`, as distroless images have it.
//!
//! Format: deb822(5): stanzas of `Field: value` lines, continued by lines that begin with a blank.

use super::package::{Ecosystem, Package, Source};

/// Reads a status file. A package counts if it is installed; where nothing is said about that, it is.
pub(super) fn parse(text: &str, database: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    let mut lines = text.lines().peekable();
    while lines.peek().is_some() {
        let stanza: Vec<&str> = lines.by_ref().take_while(|line| !line.trim().is_empty()).collect();
        packages.extend(package(&stanza, database));
    }
    packages
}

fn package(stanza: &[&str], database: &str) -> Option<Package> {
    let mut package = Package::new(Ecosystem::Dpkg, database);
    let mut source = None;
    let fields = stanza.iter().filter(|line| !line.starts_with([' ', '\t']));
    for (name, value) in fields.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "package" => package.name = value.to_owned(),
            "version" => package.version = value.to_owned(),
            "architecture" => package.architecture = value.to_owned(),
            "maintainer" => package.supplier = value.to_owned(),
            "homepage" => package.homepage = value.to_owned(),
            "source" => source = Some(value.to_owned()),
            // Desired state, error flag, state.
            "status" if value.split_whitespace().nth(2) != Some("installed") => return None,
            _ => {}
        }
    }
    if package.name.is_empty() || package.version.is_empty() {
        return None;
    }
    let source = source.unwrap_or_else(|| package.name.clone());
    package.source = Some(source_of(&source, &package.version));
    Some(package)
}

/// `name (version)`; without a version, it is the package's.
fn source_of(text: &str, version: &str) -> Source {
    let (name, of_source) = match text.split_once('(') {
        Some((name, rest)) => (name.trim(), rest.trim_end().trim_end_matches(')').trim()),
        None => (text, version),
    };
    Source { name: name.to_owned(), version: of_source.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas() {
        let text = "Package: libc6\nStatus: install ok installed\nMaintainer: GNU Libc <d@x>\nArchitecture: amd64\n\
                    Source: glibc\nVersion: 2.36-9\nDescription: GNU C Library\n Package: not a field\n .\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\n\
                    Package: kept\nStatus: hold ok installed\nVersion: 1:2+b1\nSource: src (1:2)\nHomepage: https://x\n\n\
                    Package: no-version\n\nnonsense";
        let found = parse(text, "status");
        let names: Vec<_> = found.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["libc6", "kept"]);
        assert_eq!(found[0].source, Some(Source { name: "glibc".into(), version: "2.36-9".into() }));
        assert_eq!(found[1].source, Some(Source { name: "src".into(), version: "1:2".into() }));
        assert_eq!((found[0].supplier.as_str(), found[1].homepage.as_str()), ("GNU Libc <d@x>", "https://x"));
    }
}
