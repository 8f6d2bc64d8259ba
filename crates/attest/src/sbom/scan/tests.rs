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
        reference: Some("r.example/app:1".parse().unwrap()),
        platform: "linux/amd64".parse().unwrap(),
        manifest: Digest::of("manifest"),
        created: "2024-01-02T03:04:05Z".to_owned(),
        tool_version: "1.2.3".to_owned(),
    }
}

fn purls(inventory: &Inventory) -> Vec<String> {
    inventory.packages.iter().map(|package| package.purl(&inventory.distro).to_string()).collect()
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
    let tree = Files::of(&[("etc/os-release", &[b'x'; 100_000])]);
    assert!(matches!(scan(&tree).unwrap_err(), ScanError::Read { path, .. } if path == "etc/os-release"));
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
    insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap(), @r#"
    {
      "spdxVersion": "SPDX-2.3",
      "dataLicense": "CC0-1.0",
      "SPDXID": "SPDXRef-DOCUMENT",
      "name": "r.example/app:1",
      "documentNamespace": "https://spdx.org/spdxdocs/gantry-df3e9195-98cc-817e-a3c2-7316db5f3f2b",
      "creationInfo": {
        "created": "2024-01-02T03:04:05Z",
        "creators": [
          "Tool: gantry-1.2.3"
        ]
      },
      "packages": [
        {
          "SPDXID": "SPDXRef-Image",
          "name": "r.example/app:1",
          "versionInfo": "sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f",
          "downloadLocation": "NOASSERTION",
          "filesAnalyzed": false,
          "licenseConcluded": "NOASSERTION",
          "licenseDeclared": "NOASSERTION",
          "copyrightText": "NOASSERTION",
          "primaryPackagePurpose": "CONTAINER",
          "checksums": [
            {
              "algorithm": "SHA256",
              "checksumValue": "05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f"
            }
          ],
          "externalRefs": [
            {
              "referenceCategory": "PACKAGE-MANAGER",
              "referenceType": "purl",
              "referenceLocator": "pkg:docker/r.example/app@1?digest=sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f&platform=linux%2Famd64"
            }
          ]
        },
        {
          "SPDXID": "SPDXRef-OperatingSystem",
          "name": "debian",
          "versionInfo": "13",
          "downloadLocation": "NOASSERTION",
          "filesAnalyzed": false,
          "licenseConcluded": "NOASSERTION",
          "licenseDeclared": "NOASSERTION",
          "copyrightText": "NOASSERTION",
          "primaryPackagePurpose": "OPERATING-SYSTEM",
          "description": "Debian GNU/Linux 13 (trixie)"
        },
        {
          "SPDXID": "SPDXRef-Package-deb-984e692b4cd2287f",
          "name": "libc6",
          "versionInfo": "2.41-12",
          "downloadLocation": "NOASSERTION",
          "filesAnalyzed": false,
          "licenseConcluded": "NOASSERTION",
          "licenseDeclared": "NOASSERTION",
          "copyrightText": "NOASSERTION",
          "primaryPackagePurpose": "LIBRARY",
          "supplier": "Person: GNU Libc (l@d.org)",
          "homepage": "https://www.gnu.org/",
          "sourceInfo": "from the package database /var/lib/dpkg/status",
          "externalRefs": [
            {
              "referenceCategory": "PACKAGE-MANAGER",
              "referenceType": "purl",
              "referenceLocator": "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13&upstream=glibc"
            }
          ]
        },
        {
          "SPDXID": "SPDXRef-Package-rpm-2876a28fd81dd69e",
          "name": "hello-server",
          "versionInfo": "2:1.4-3.el9",
          "downloadLocation": "NOASSERTION",
          "filesAnalyzed": false,
          "licenseConcluded": "NOASSERTION",
          "licenseDeclared": "MIT",
          "copyrightText": "NOASSERTION",
          "primaryPackagePurpose": "LIBRARY",
          "supplier": "Organization: Example Project",
          "homepage": "https://example.org/hello",
          "sourceInfo": "from the package database /var/lib/rpm/rpmdb.sqlite",
          "externalRefs": [
            {
              "referenceCategory": "PACKAGE-MANAGER",
              "referenceType": "purl",
              "referenceLocator": "pkg:rpm/debian/hello-server@1.4-3.el9?arch=noarch&distro=debian-13&epoch=2"
            }
          ]
        },
        {
          "SPDXID": "SPDXRef-Package-rpm-7d86ccfc1298acb9",
          "name": "hello-server-libs",
          "versionInfo": "2:1.4-3.el9",
          "downloadLocation": "NOASSERTION",
          "filesAnalyzed": false,
          "licenseConcluded": "NOASSERTION",
          "licenseDeclared": "LicenseRef-8c3c2b577226b47c",
          "copyrightText": "NOASSERTION",
          "primaryPackagePurpose": "LIBRARY",
          "supplier": "Organization: Example Project",
          "homepage": "https://example.org/hello",
          "sourceInfo": "from the package database /var/lib/rpm/rpmdb.sqlite",
          "externalRefs": [
            {
              "referenceCategory": "PACKAGE-MANAGER",
              "referenceType": "purl",
              "referenceLocator": "pkg:rpm/debian/hello-server-libs@1.4-3.el9?arch=noarch&distro=debian-13&epoch=2&upstream=hello-server"
            }
          ]
        },
        {
          "SPDXID": "SPDXRef-Source-deb-10d5abc5c721f925",
          "name": "glibc",
          "versionInfo": "2.41-12",
          "downloadLocation": "NOASSERTION",
          "filesAnalyzed": false,
          "licenseConcluded": "NOASSERTION",
          "licenseDeclared": "NOASSERTION",
          "copyrightText": "NOASSERTION",
          "primaryPackagePurpose": "SOURCE",
          "externalRefs": [
            {
              "referenceCategory": "PACKAGE-MANAGER",
              "referenceType": "purl",
              "referenceLocator": "pkg:deb/debian/glibc@2.41-12?arch=source&distro=debian-13"
            }
          ]
        },
        {
          "SPDXID": "SPDXRef-Source-rpm-d97e391fc0053255",
          "name": "hello-server",
          "versionInfo": "1.4-3.el9",
          "downloadLocation": "NOASSERTION",
          "filesAnalyzed": false,
          "licenseConcluded": "NOASSERTION",
          "licenseDeclared": "NOASSERTION",
          "copyrightText": "NOASSERTION",
          "primaryPackagePurpose": "SOURCE",
          "externalRefs": [
            {
              "referenceCategory": "PACKAGE-MANAGER",
              "referenceType": "purl",
              "referenceLocator": "pkg:rpm/debian/hello-server@1.4-3.el9?arch=src&distro=debian-13"
            }
          ]
        }
      ],
      "relationships": [
        {
          "spdxElementId": "SPDXRef-DOCUMENT",
          "relationshipType": "DESCRIBES",
          "relatedSpdxElement": "SPDXRef-Image"
        },
        {
          "spdxElementId": "SPDXRef-Image",
          "relationshipType": "CONTAINS",
          "relatedSpdxElement": "SPDXRef-OperatingSystem"
        },
        {
          "spdxElementId": "SPDXRef-Image",
          "relationshipType": "CONTAINS",
          "relatedSpdxElement": "SPDXRef-Package-deb-984e692b4cd2287f"
        },
        {
          "spdxElementId": "SPDXRef-Package-deb-984e692b4cd2287f",
          "relationshipType": "GENERATED_FROM",
          "relatedSpdxElement": "SPDXRef-Source-deb-10d5abc5c721f925"
        },
        {
          "spdxElementId": "SPDXRef-Image",
          "relationshipType": "CONTAINS",
          "relatedSpdxElement": "SPDXRef-Package-rpm-2876a28fd81dd69e"
        },
        {
          "spdxElementId": "SPDXRef-Package-rpm-2876a28fd81dd69e",
          "relationshipType": "GENERATED_FROM",
          "relatedSpdxElement": "SPDXRef-Source-rpm-d97e391fc0053255"
        },
        {
          "spdxElementId": "SPDXRef-Image",
          "relationshipType": "CONTAINS",
          "relatedSpdxElement": "SPDXRef-Package-rpm-7d86ccfc1298acb9"
        },
        {
          "spdxElementId": "SPDXRef-Package-rpm-7d86ccfc1298acb9",
          "relationshipType": "GENERATED_FROM",
          "relatedSpdxElement": "SPDXRef-Source-rpm-d97e391fc0053255"
        }
      ],
      "hasExtractedLicensingInfos": [
        {
          "licenseId": "LicenseRef-8c3c2b577226b47c",
          "name": "GPLv2+ and ASL 2.0",
          "extractedText": "GPLv2+ and ASL 2.0"
        }
      ]
    }
    "#);
}

#[test]
fn cyclonedx() {
    let [_, document] = documents(&BOTH);
    insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap(), @r#"
    {
      "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
      "bomFormat": "CycloneDX",
      "specVersion": "1.6",
      "serialNumber": "urn:uuid:0d7d0edf-ce0a-8174-a1e6-b62dc38b7077",
      "version": 1,
      "metadata": {
        "timestamp": "2024-01-02T03:04:05Z",
        "tools": {
          "components": [
            {
              "type": "application",
              "name": "gantry",
              "version": "1.2.3"
            }
          ]
        },
        "component": {
          "bom-ref": "sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f",
          "type": "container",
          "name": "r.example/app:1",
          "version": "sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f",
          "purl": "pkg:docker/r.example/app@1?digest=sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f&platform=linux%2Famd64"
        }
      },
      "components": [
        {
          "bom-ref": "operating-system",
          "type": "operating-system",
          "name": "debian",
          "version": "13",
          "description": "Debian GNU/Linux 13 (trixie)"
        },
        {
          "bom-ref": "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13&upstream=glibc#var/lib/dpkg/status",
          "type": "library",
          "publisher": "GNU Libc <l@d.org>",
          "name": "libc6",
          "version": "2.41-12",
          "purl": "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13&upstream=glibc",
          "externalReferences": [
            {
              "type": "website",
              "url": "https://www.gnu.org/"
            }
          ],
          "pedigree": {
            "ancestors": [
              {
                "type": "library",
                "name": "glibc",
                "version": "2.41-12",
                "purl": "pkg:deb/debian/glibc@2.41-12?arch=source&distro=debian-13"
              }
            ]
          },
          "properties": [
            {
              "name": "gantry:package:database",
              "value": "/var/lib/dpkg/status"
            }
          ]
        },
        {
          "bom-ref": "pkg:rpm/debian/hello-server@1.4-3.el9?arch=noarch&distro=debian-13&epoch=2#var/lib/rpm/rpmdb.sqlite",
          "type": "library",
          "publisher": "Example Project",
          "name": "hello-server",
          "version": "2:1.4-3.el9",
          "licenses": [
            {
              "expression": "MIT"
            }
          ],
          "purl": "pkg:rpm/debian/hello-server@1.4-3.el9?arch=noarch&distro=debian-13&epoch=2",
          "externalReferences": [
            {
              "type": "website",
              "url": "https://example.org/hello"
            }
          ],
          "pedigree": {
            "ancestors": [
              {
                "type": "library",
                "name": "hello-server",
                "version": "1.4-3.el9",
                "purl": "pkg:rpm/debian/hello-server@1.4-3.el9?arch=src&distro=debian-13"
              }
            ]
          },
          "properties": [
            {
              "name": "gantry:package:database",
              "value": "/var/lib/rpm/rpmdb.sqlite"
            }
          ]
        },
        {
          "bom-ref": "pkg:rpm/debian/hello-server-libs@1.4-3.el9?arch=noarch&distro=debian-13&epoch=2&upstream=hello-server#var/lib/rpm/rpmdb.sqlite",
          "type": "library",
          "publisher": "Example Project",
          "name": "hello-server-libs",
          "version": "2:1.4-3.el9",
          "licenses": [
            {
              "license": {
                "name": "GPLv2+ and ASL 2.0"
              }
            }
          ],
          "purl": "pkg:rpm/debian/hello-server-libs@1.4-3.el9?arch=noarch&distro=debian-13&epoch=2&upstream=hello-server",
          "externalReferences": [
            {
              "type": "website",
              "url": "https://example.org/hello"
            }
          ],
          "pedigree": {
            "ancestors": [
              {
                "type": "library",
                "name": "hello-server",
                "version": "1.4-3.el9",
                "purl": "pkg:rpm/debian/hello-server@1.4-3.el9?arch=src&distro=debian-13"
              }
            ]
          },
          "properties": [
            {
              "name": "gantry:package:database",
              "value": "/var/lib/rpm/rpmdb.sqlite"
            }
          ]
        }
      ],
      "dependencies": [
        {
          "ref": "sha256:05b3abf2579a5eb66403cd78be557fd860633a1fe2103c7642030defe32c657f",
          "dependsOn": [
            "operating-system",
            "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13&upstream=glibc#var/lib/dpkg/status",
            "pkg:rpm/debian/hello-server@1.4-3.el9?arch=noarch&distro=debian-13&epoch=2#var/lib/rpm/rpmdb.sqlite",
            "pkg:rpm/debian/hello-server-libs@1.4-3.el9?arch=noarch&distro=debian-13&epoch=2&upstream=hello-server#var/lib/rpm/rpmdb.sqlite"
          ]
        }
      ]
    }
    "#);
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
