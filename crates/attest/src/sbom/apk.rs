//! apk's database: `/lib/apk/db/installed`.
//!
//! Format: stanzas of `X:value` lines, one letter a field: `P` name, `V` version, `A` architecture, `L` licence, `o` source
//! package, `U` home page, `m` maintainer. Lines of files (`F`, `R`, …) follow in the same stanza.

use super::package::{Ecosystem, Package, Source};

/// Reads the database.
pub(super) fn parse(text: &str, database: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    let mut package = Package::new(Ecosystem::Apk, database);
    for line in text.lines().chain([""]) {
        if line.is_empty() {
            let finished = std::mem::replace(&mut package, Package::new(Ecosystem::Apk, database));
            packages.extend(complete(finished));
            continue;
        }
        let Some((field, value)) = line.split_once(':') else { continue };
        let value = value.to_owned();
        match field {
            "P" => package.name = value,
            "V" => package.version = value,
            "A" => package.architecture = value,
            "L" => package.licence = value,
            "U" => package.homepage = value,
            "m" => package.supplier = value,
            "o" => package.source = Some(Source { name: value, version: String::new() }),
            _ => {}
        }
    }
    packages
}

/// A source package has the version of what is built from it.
fn complete(mut package: Package) -> Option<Package> {
    if package.name.is_empty() || package.version.is_empty() {
        return None;
    }
    if let Some(source) = &mut package.source {
        source.version.clone_from(&package.version);
    }
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas() {
        let text = "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\nS:1\nL:MIT\no:musl\nU:https://musl.libc.org/\n\
                    m:T <t@a>\nF:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\nZ:Q1=\n\n\
                    P:busybox-binsh\nV:1.36.1-r29\nA:x86_64\nL:GPL-2.0-only\no:busybox\n\nP:broken\n";
        let found = parse(text, "installed");
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].licence.as_str(), found[0].homepage.as_str()),
            ("MIT", "https://musl.libc.org/")
        );
        assert_eq!(found[1].source, Some(Source { name: "busybox".into(), version: "1.36.1-r29".into() }));
    }
}
