//! Trees with the databases of real systems, the documents made of them, and bytes that nobody wrote.

use std::collections::BTreeMap;

use gantry_oci::Digest;
use proptest::prelude::*;
use serde_json::Value;

use super::super::document::{Document, Image};
use super::*;
use crate::options::SbomFormat;

/// A tree of these files.
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn of(files: &[(&str, &[u8])]) -> Self {
        Self(files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect())
    }
}

impl Tree for Files {
    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        assert!(is_kept(path), "{path} is read, so it has to be kept");
        match self.0.get(path) {
            Some(bytes) if bytes.len() as u64 > limit => Err(io::Error::other("too large")),
            found => Ok(found.cloned()),
        }
    }

    fn names(&self, directory: &str) -> io::Result<Vec<String>> {
        let below = |path: &String| path.strip_prefix(directory)?.strip_prefix('/').map(str::to_owned);
        Ok(self.0.keys().filter_map(below).collect())
    }
}

const STATUS: &[u8] = include_bytes!("../../../fixtures/dpkg-status");
const INSTALLED: &[u8] = include_bytes!("../../../fixtures/apk-installed");
const RPMDB: &[u8] = include_bytes!("../../../fixtures/rpmdb.sqlite");
const DEBIAN: &[u8] = b"PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\nVERSION_ID=\"13\"\n";
const ALPINE: &[u8] = b"NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.21.2\n";

fn image() -> Image {
    Image {
        platform: "linux/amd64".parse().unwrap(),
        manifest: Digest::of("manifest"),
        created: "2024-01-02T03:04:05Z".to_owned(),
        tool_version: "1.2.3".to_owned(),
    }
}

fn purls(inventory: &Inventory) -> Vec<String> {
    inventory.packages.iter().map(|package| package.purl(&inventory.distro).to_string()).collect()
}

fn pretty(document: &Value) -> String {
    format!("{document:#}\n")
}

#[test]
fn debian() {
    let tree = Files::of(&[("etc/os-release", DEBIAN), ("var/lib/dpkg/status", STATUS)]);
    insta::assert_snapshot!(purls(&scan(&tree).unwrap()).join("\n"), @r#"
    pkg:deb/debian/apt@3.0.3?arch=amd64&distro=debian-13
    pkg:deb/debian/bash@5.2.37-2%2Bb10?arch=amd64&distro=debian-13
    pkg:deb/debian/libc6@2.41-12%2Bdeb13u4?arch=amd64&distro=debian-13&upstream=glibc
    pkg:deb/debian/libgcc-s1@14.2.0-19?arch=amd64&distro=debian-13&upstream=gcc-14
    pkg:deb/debian/mawk@1.3.4.20250131-1?arch=amd64&distro=debian-13
    pkg:deb/debian/tzdata@2026c-0%2Bdeb13u1?arch=all&distro=debian-13
    "#);
}

#[test]
fn distroless() {
    let one = b"Package: base-files\nVersion: 12.4\nArchitecture: amd64\n";
    let tree = Files::of(&[
        ("usr/lib/os-release", DEBIAN),
        ("var/lib/dpkg/status.d/base", one),
        ("var/lib/dpkg/status.d/base.md5sums", b"0 Package: no\n"),
    ]);
    assert_eq!(purls(&scan(&tree).unwrap()), ["pkg:deb/debian/base-files@12.4?arch=amd64&distro=debian-13"]);
}

#[test]
fn alpine_and_rpm_in_one_tree() {
    let tree = Files::of(&[
        ("etc/os-release", ALPINE),
        ("lib/apk/db/installed", INSTALLED),
        ("usr/lib/apk/db/installed", INSTALLED),
        ("usr/lib/sysimage/rpm/rpmdb.sqlite", RPMDB),
        ("var/lib/rpm/rpmdb.sqlite", RPMDB),
    ]);
    insta::assert_snapshot!(purls(&scan(&tree).unwrap()).join("\n"), @r#"
    pkg:apk/alpine/alpine-baselayout@3.6.8-r1?arch=x86_64&distro=alpine-3.21.2
    pkg:apk/alpine/busybox@1.37.0-r12?arch=x86_64&distro=alpine-3.21.2
    pkg:apk/alpine/ssl_client@1.37.0-r12?arch=x86_64&distro=alpine-3.21.2&upstream=busybox
    pkg:rpm/alpine/hello-server@1.4-3.el9?arch=noarch&distro=alpine-3.21.2&epoch=2
    pkg:rpm/alpine/hello-server-libs@1.4-3.el9?arch=noarch&distro=alpine-3.21.2&epoch=2&upstream=hello-server
    "#);
}

#[test]
fn what_cannot_be_read_is_told() {
    let tree = Files::of(&[("var/lib/rpm/Packages", b"nothing of the kind")]);
    let error = scan(&tree).unwrap_err().to_string();
    assert_eq!(
        error,
        "the package database `/var/lib/rpm/Packages` cannot be read: it is damaged: it is no hash of Berkeley DB"
    );
    // A distribution that cannot be read is none: packages are what matters.
    let tree = Files::of(&[("etc/os-release", &[b'x'; 100_000])]);
    assert_eq!(scan(&tree).unwrap(), Inventory::default());
    assert_eq!(scan(&Files::of(&[])).unwrap(), Inventory::default());
}

fn documents(files: &[(&str, &[u8])]) -> [Value; 2] {
    let inventory = scan(&Files::of(files)).unwrap();
    let document = Document { image: &image(), inventory: &inventory };
    [SbomFormat::Spdx, SbomFormat::CycloneDx].map(|format| document.write(format).1)
}

const TWO: &[u8] = b"Package: libc6\nStatus: install ok installed\nVersion: 2.41-12\nArchitecture: amd64\nSource: glibc\nMaintainer: GNU Libc <l@d.org>\nHomepage: https://www.gnu.org/\n";
const BOTH: [(&str, &[u8]); 3] =
    [("etc/os-release", DEBIAN), ("var/lib/dpkg/status", TWO), ("var/lib/rpm/rpmdb.sqlite", RPMDB)];

#[test]
fn spdx() {
    let [document, _] = documents(&BOTH);
    assert_eq!(pretty(&document), include_str!("../../../fixtures/golden/spdx.json"));
}

#[test]
fn cyclonedx() {
    let [_, document] = documents(&BOTH);
    assert_eq!(pretty(&document), include_str!("../../../fixtures/golden/cyclonedx.json"));
}

/// The rules of the SPDX schema and specification that a document of ours could break.
#[test]
fn spdx_documents_are_valid() {
    let [document, _] = documents(&[
        ("etc/os-release", DEBIAN),
        ("var/lib/dpkg/status", STATUS),
        ("lib/apk/db/installed", INSTALLED),
        ("var/lib/rpm/rpmdb.sqlite", RPMDB),
    ]);
    let packages = document["packages"].as_array().unwrap();
    let ids: BTreeSet<&str> = packages.iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), packages.len(), "ids are unique");
    for id in &ids {
        let rest = id.strip_prefix("SPDXRef-").unwrap();
        assert!(rest.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')), "{id}");
    }
    let licences = document["hasExtractedLicensingInfos"].as_array().unwrap();
    for package in packages {
        let declared = package["licenseDeclared"].as_str().unwrap();
        let known = licences.iter().any(|licence| licence["licenseId"] == declared);
        assert!(
            declared == "NOASSERTION" || known || spdx::Expression::parse(declared).is_ok(),
            "{declared}"
        );
        for field in ["name", "downloadLocation"] {
            assert!(!package[field].as_str().unwrap().is_empty(), "{field} is required");
        }
    }
    for relationship in document["relationships"].as_array().unwrap() {
        for end in ["spdxElementId", "relatedSpdxElement"] {
            let id = relationship[end].as_str().unwrap();
            assert!(id == "SPDXRef-DOCUMENT" || ids.contains(id), "{id}");
        }
    }
}

#[test]
fn equal_images_have_equal_documents() {
    assert_eq!(documents(&BOTH), documents(&BOTH));
    let [spdx, cyclonedx] = documents(&BOTH);
    let [other_spdx, other_cyclonedx] = documents(&BOTH[..2]);
    assert_ne!(spdx["documentNamespace"], other_spdx["documentNamespace"]);
    assert_ne!(cyclonedx["serialNumber"], other_cyclonedx["serialNumber"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_is_too_much(text in "(?s)(P:|V:|L:|o:|m:|Package: |Version: |Source: |Status: |ID=|[ -~\n\\\\\"<(]|\\PC){0,60}") {
        let bytes = text.as_bytes();
        let files: Vec<(&str, &[u8])> =
            vec![("etc/os-release", bytes), ("var/lib/dpkg/status", bytes), ("lib/apk/db/installed", bytes)];
        let [spdx, _] = documents(&files);
        prop_assert!(spdx["packages"].as_array().unwrap().len() < 100);
    }

    #[test]
    fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for path in ["etc/os-release", "var/lib/dpkg/status", "lib/apk/db/installed", "var/lib/rpm/Packages"] {
            let _ = scan(&Files::of(&[(path, &bytes)]));
        }
    }
}
