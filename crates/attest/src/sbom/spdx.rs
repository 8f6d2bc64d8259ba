//! SPDX 2.3, JSON.
//!
//! The image is a package that the document describes; it contains the distribution and its packages, and each of those
//! is generated from its source package. Identifiers come from package URLs, so that equal images give equal documents.

use std::collections::{BTreeMap, BTreeSet};

use gantry_oci::Digest;
use serde_json::{Map, Value, json};

use super::document::Document;
use super::licence::Licence;
use super::package::{Ecosystem, Package};

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";
const SYSTEM: &str = "SPDXRef-OperatingSystem";
/// Where documents are said to be whose makers have no site of their own (SPDX 2.3, 6.5).
const NAMESPACE: &str = "https://spdx.org/spdxdocs/gantry";
const UNKNOWN: &str = "NOASSERTION";

pub(super) fn document(of: &Document<'_>) -> Value {
    let mut packages = vec![image(of)];
    let mut relationships = vec![relationship(DOCUMENT, "DESCRIBES", IMAGE)];
    if let Some(system) = system(of) {
        packages.push(system);
        relationships.push(relationship(IMAGE, "CONTAINS", SYSTEM));
    }
    let mut sources = BTreeMap::new();
    for package in &of.inventory.packages {
        let id = id("Package", package, &package.purl(&of.inventory.distro).to_string());
        relationships.push(relationship(IMAGE, "CONTAINS", &id));
        if let Some((source_id, source)) = source(of, package) {
            relationships.push(relationship(&id, "GENERATED_FROM", &source_id));
            sources.insert(source_id, source);
        }
        packages.push(installed(of, package, &id));
    }
    packages.extend(sources.into_values());
    let uuid = of.uuid(&json!(packages));
    let mut document = Map::new();
    document.insert("spdxVersion".to_owned(), json!("SPDX-2.3"));
    document.insert("dataLicense".to_owned(), json!("CC0-1.0"));
    document.insert("SPDXID".to_owned(), json!(DOCUMENT));
    document.insert("name".to_owned(), json!(of.name()));
    document.insert("documentNamespace".to_owned(), json!(format!("{NAMESPACE}-{uuid}")));
    let creators = [format!("Tool: gantry-{}", of.image.tool_version)];
    document.insert("creationInfo".to_owned(), json!({ "created": of.image.created, "creators": creators }));
    document.insert("packages".to_owned(), Value::Array(packages));
    document.insert("relationships".to_owned(), Value::Array(relationships));
    let licences = extracted_licences(&of.inventory.packages);
    if !licences.is_empty() {
        document.insert("hasExtractedLicensingInfos".to_owned(), Value::Array(licences));
    }
    Value::Object(document)
}

fn image(of: &Document<'_>) -> Value {
    let mut image = package(IMAGE, &of.name(), &of.image.manifest.to_string(), "CONTAINER");
    let checksum = json!([{ "algorithm": "SHA256", "checksumValue": of.image.manifest.hex() }]);
    image.insert("checksums".to_owned(), checksum);
    Value::Object(image)
}

fn system(of: &Document<'_>) -> Option<Value> {
    let distro = &of.inventory.distro;
    if distro.id.is_empty() {
        return None;
    }
    let mut system = package(SYSTEM, &distro.id, &distro.version, "OPERATING-SYSTEM");
    if !distro.name.is_empty() {
        system.insert("description".to_owned(), json!(distro.name));
    }
    Some(Value::Object(system))
}

fn installed(of: &Document<'_>, found: &Package, id: &str) -> Value {
    let version = match found.epoch {
        Some(epoch) if epoch > 0 => format!("{epoch}:{}", found.version),
        _ => found.version.clone(),
    };
    let mut package = package(id, &found.name, &version, "LIBRARY");
    package["licenseDeclared"] = json!(Licence::parse(&found.licence).spdx());
    if let Some(supplier) = supplier(found) {
        package.insert("supplier".to_owned(), json!(supplier));
    }
    if found.homepage.starts_with("http://") || found.homepage.starts_with("https://") {
        package.insert("homepage".to_owned(), json!(found.homepage));
    }
    package.insert("sourceInfo".to_owned(), json!(format!("from the package database /{}", found.database)));
    let purl = found.purl(&of.inventory.distro).to_string();
    package.insert("externalRefs".to_owned(), purl_reference(&purl));
    Value::Object(package)
}

fn source(of: &Document<'_>, package_of: &Package) -> Option<(String, Value)> {
    let source = package_of.source.as_ref()?;
    let purl = package_of.source_purl(&of.inventory.distro)?.to_string();
    let id = id("Source", package_of, &purl);
    let mut package = package(&id, &source.name, &source.version, "SOURCE");
    package.insert("externalRefs".to_owned(), purl_reference(&purl));
    Some((id, Value::Object(package)))
}

/// What every package has.
fn package(id: &str, name: &str, version: &str, purpose: &str) -> Map<String, Value> {
    let mut package = Map::new();
    package.insert("SPDXID".to_owned(), json!(id));
    package.insert("name".to_owned(), json!(name));
    if !version.is_empty() {
        package.insert("versionInfo".to_owned(), json!(version));
    }
    package.insert("downloadLocation".to_owned(), json!(UNKNOWN));
    package.insert("filesAnalyzed".to_owned(), json!(false));
    package.insert("licenseConcluded".to_owned(), json!(UNKNOWN));
    package.insert("licenseDeclared".to_owned(), json!(UNKNOWN));
    package.insert("copyrightText".to_owned(), json!(UNKNOWN));
    package.insert("primaryPackagePurpose".to_owned(), json!(purpose));
    package
}

/// `SPDXRef-Package-deb-0123456789abcdef`: the same for the same package in the same database.
fn id(kind: &str, package: &Package, purl: &str) -> String {
    let ecosystem = match package.ecosystem {
        Ecosystem::Dpkg => "deb",
        Ecosystem::Apk => "apk",
        Ecosystem::Rpm => "rpm",
    };
    format!("SPDXRef-{kind}-{ecosystem}-{}", &Digest::of(format!("{purl} {}", package.database)).hex()[..16])
}

/// `Person: name (address)` for `name <address>`, else an organisation.
fn supplier(package: &Package) -> Option<String> {
    let text = package.supplier.trim();
    match text.split_once('<') {
        _ if text.is_empty() => None,
        Some((name, address)) if !name.trim().is_empty() => {
            Some(format!("Person: {} ({})", name.trim(), address.trim_end_matches('>')))
        }
        _ => Some(format!("Organization: {text}")),
    }
}

fn purl_reference(purl: &str) -> Value {
    json!([{
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl,
    }])
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// The licences that are no expressions, with their words.
fn extracted_licences(packages: &[Package]) -> Vec<Value> {
    let licences: BTreeSet<_> = packages.iter().map(|package| Licence::parse(&package.licence)).collect();
    let extracted = licences.into_iter().filter_map(|licence| match &licence {
        Licence::Text(text) => {
            Some(json!({ "licenseId": licence.spdx(), "name": text, "extractedText": text }))
        }
        _ => None,
    });
    extracted.collect()
}
