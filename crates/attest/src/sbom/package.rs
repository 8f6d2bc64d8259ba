//! An installed package, whatever installed it.

use crate::Purl;
use crate::sbom::distro::Distro;

/// What installs packages of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ecosystem {
    /// Debian's and Ubuntu's dpkg.
    Dpkg,
    /// Alpine's apk.
    Apk,
    /// rpm.
    Rpm,
}

/// A package, as its database describes it. Texts that the database does not have are empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// What installed it.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: String,
    /// Its version, with its release but without rpm's epoch.
    pub version: String,
    /// Its architecture, in the ecosystem's words.
    pub architecture: String,
    /// rpm's epoch, which other ecosystems have in the version.
    pub epoch: Option<u32>,
    /// The package that it was built from.
    pub source: Option<Source>,
    /// Its licence, as the database writes it.
    pub licence: String,
    /// Who supplies it: a person's name and address, or an organisation.
    pub supplier: String,
    /// Its home page.
    pub homepage: String,
    /// The database that has it, as a path of the image.
    pub database: String,
}

/// A source package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its version; empty if the database does not say.
    pub version: String,
}

impl Package {
    pub(crate) fn new(ecosystem: Ecosystem, database: &str) -> Self {
        Self {
            ecosystem,
            name: String::new(),
            version: String::new(),
            architecture: String::new(),
            epoch: None,
            source: None,
            licence: String::new(),
            supplier: String::new(),
            homepage: String::new(),
            database: database.to_owned(),
        }
    }

    /// The package's URL in this distribution.
    pub fn purl(&self, distro: &Distro) -> Purl {
        let upstream = self.source.as_ref().filter(|source| source.name != self.name);
        let upstream = upstream.map(|source| source.name.clone()).unwrap_or_default();
        self.base_purl(distro, &self.name, &self.version)
            .with("arch", self.architecture.clone())
            .with(
                "epoch",
                self.epoch.filter(|epoch| *epoch > 0).map(|epoch| epoch.to_string()).unwrap_or_default(),
            )
            .with("upstream", upstream)
    }

    /// The URL of the package that it was built from.
    pub fn source_purl(&self, distro: &Distro) -> Option<Purl> {
        let source = self.source.as_ref()?;
        let purl = self.base_purl(distro, &source.name, &source.version);
        Some(purl.with("arch", if self.ecosystem == Ecosystem::Rpm { "src" } else { "source" }))
    }

    /// What tells it from others: rpm may have several entries for what is one package to everybody else.
    pub(crate) fn identity(&self) -> impl Ord + use<> {
        let names = [&self.database, &self.name, &self.version, &self.architecture].map(String::clone);
        (self.ecosystem, names, self.epoch.unwrap_or_default())
    }

    fn base_purl(&self, distro: &Distro, name: &str, version: &str) -> Purl {
        let (kind, namespace) = match self.ecosystem {
            Ecosystem::Dpkg => ("deb", "debian"),
            Ecosystem::Apk => ("apk", "alpine"),
            Ecosystem::Rpm => ("rpm", ""),
        };
        let namespace = if distro.id.is_empty() { namespace } else { &distro.id };
        // The specification has names of these kinds in lower case, but for those of rpm.
        let name = if self.ecosystem == Ecosystem::Rpm { name.to_owned() } else { name.to_ascii_lowercase() };
        Purl::new(kind, namespace, &name, version).with("distro", distro.tag())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls() {
        let distro =
            |id: &str, version: &str| Distro { id: id.into(), version: version.into(), ..Distro::default() };
        let deb = Package {
            name: "libc6".into(),
            version: "2.36-9+deb12u1".into(),
            architecture: "amd64".into(),
            source: Some(Source { name: "glibc".into(), version: "2.36-9+deb12u1".into() }),
            ..Package::new(Ecosystem::Dpkg, "")
        };
        let debian = distro("debian", "12");
        assert_eq!(
            deb.purl(&debian).to_string(),
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64&distro=debian-12&upstream=glibc"
        );
        assert_eq!(
            deb.source_purl(&debian).unwrap().to_string(),
            "pkg:deb/debian/glibc@2.36-9%2Bdeb12u1?arch=source&distro=debian-12"
        );
        let rpm = Package {
            name: "NetworkManager".into(),
            version: "1.2-3.el9".into(),
            architecture: "x86_64".into(),
            epoch: Some(1),
            ..Package::new(Ecosystem::Rpm, "")
        };
        assert_eq!(
            rpm.purl(&distro("rhel", "9.4")).to_string(),
            "pkg:rpm/rhel/NetworkManager@1.2-3.el9?arch=x86_64&distro=rhel-9.4&epoch=1"
        );
        let apk = Package { name: "a".into(), version: "1-r0".into(), ..Package::new(Ecosystem::Apk, "") };
        assert_eq!(apk.purl(&Distro::default()).to_string(), "pkg:apk/alpine/a@1-r0");
    }
}
