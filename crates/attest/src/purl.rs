//! Package URLs: one name for a package, whatever ecosystem it is of.
//!
//! Specification: purl-spec, `scheme:type/namespace/name@version?qualifiers`. Only writing is needed here. Qualifiers
//! are sorted and empty ones are left out, so one package has one URL.

use std::collections::BTreeMap;
use std::fmt;

use gantry_oci::{Platform, Reference};

/// A package URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Purl {
    kind: &'static str,
    namespace: String,
    name: String,
    version: String,
    qualifiers: BTreeMap<&'static str, String>,
}

impl Purl {
    /// The URL of a package. `namespace` may be empty and may have several segments.
    pub(crate) fn new(kind: &'static str, namespace: &str, name: &str, version: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            qualifiers: BTreeMap::new(),
        }
    }

    /// The URL with one qualifier more; an empty value adds nothing.
    #[must_use]
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.qualifiers.insert(key, value);
        }
        self
    }

    /// An image of a registry, as BuildKit names it: the familiar name, the tag as version, digest and platform as
    /// qualifiers.
    pub fn of_image(reference: &Reference, platform: Option<&Platform>) -> Self {
        let familiar = reference.familiar();
        let name = familiar.split('@').next().unwrap_or_default();
        let name = match reference.tag() {
            Some(tag) => name.strip_suffix(tag).and_then(|name| name.strip_suffix(':')).unwrap_or(name),
            None => name,
        };
        let (namespace, name) = name.rsplit_once('/').unwrap_or(("", name));
        Self::new("docker", namespace, name, reference.tag().unwrap_or_default())
            .with("digest", reference.digest().map(ToString::to_string).unwrap_or_default())
            .with("platform", platform.map(ToString::to_string).unwrap_or_default())
    }
}

impl fmt::Display for Purl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkg:{}", self.kind)?;
        for segment in self.namespace.split('/').filter(|segment| !segment.is_empty()) {
            write!(f, "/{}", Encoded(segment))?;
        }
        write!(f, "/{}", Encoded(&self.name))?;
        if !self.version.is_empty() {
            write!(f, "@{}", Encoded(&self.version))?;
        }
        for (position, (key, value)) in self.qualifiers.iter().enumerate() {
            write!(f, "{}{key}={}", if position == 0 { '?' } else { '&' }, Encoded(value))?;
        }
        Ok(())
    }
}

/// Percent-encoded but for what the specification leaves as it is; a colon stays, too.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                    write!(f, "{}", char::from(byte))?;
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images() {
        let amd64: Platform = "linux/amd64".parse().unwrap();
        let digest = gantry_oci::Digest::of("");
        for (reference, expected) in [
            ("busybox", "pkg:docker/busybox@latest?platform=linux%2Famd64".to_owned()),
            ("r.io:5000/a/b:1", "pkg:docker/r.io:5000/a/b@1?platform=linux%2Famd64".to_owned()),
            (
                &format!("debian:12@{digest}"),
                format!("pkg:docker/debian@12?digest={digest}&platform=linux%2Famd64"),
            ),
            (
                &format!("grafana/grafana@{digest}"),
                format!("pkg:docker/grafana/grafana?digest={digest}&platform=linux%2Famd64"),
            ),
        ] {
            let reference: Reference = reference.parse().unwrap();
            assert_eq!(Purl::of_image(&reference, Some(&amd64)).to_string(), expected);
        }
    }

    #[test]
    fn packages() {
        let purl = Purl::new("deb", "debian", "libstdc++6", "1:12.2.0-14+b1")
            .with("distro", "debian-12")
            .with("arch", "amd64")
            .with("epoch", "");
        assert_eq!(
            purl.to_string(),
            "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bb1?arch=amd64&distro=debian-12"
        );
    }
}
