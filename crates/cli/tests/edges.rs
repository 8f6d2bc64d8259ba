//! The direction of dependencies between the crates, as ARCHITECTURE.md draws it.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Every allowed edge. A new one needs a reason in ARCHITECTURE.md.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("gantry", &["gantry-llb", "gantry-oci", "gantry-release", "gantry-sandbox"]),
    (
        "gantry-release",
        &[
            "gantry-attest",
            "gantry-dockerfile",
            "gantry-engine",
            "gantry-layer",
            "gantry-llb",
            "gantry-oci",
            "gantry-registry",
            "gantry-sandbox",
            "gantry-store",
        ],
    ),
    ("gantry-engine", &["gantry-layer", "gantry-llb", "gantry-oci", "gantry-sandbox", "gantry-store"]),
    ("gantry-dockerfile", &["gantry-llb", "gantry-oci"]),
    ("gantry-layer", &["gantry-oci"]),
    ("gantry-store", &["gantry-oci"]),
    ("gantry-registry", &["gantry-oci"]),
    ("gantry-attest", &["gantry-oci"]),
    ("gantry-llb", &["gantry-oci"]),
    ("gantry-testkit", &["gantry-oci"]),
    ("gantry-oci", &[]),
    ("gantry-sandbox", &[]),
];

/// Crates that see no runtime, no file system helper and no network.
const PURE: [&str; 3] = ["gantry-oci", "gantry-llb", "gantry-dockerfile"];
/// gantry-attest is as pure but for SQLite, in which it opens databases that it has as bytes.
const PURE_BUT_FOR: (&str, &str) = ("gantry-attest", "rusqlite");
const IMPURE_DEPENDENCIES: [&str; 6] = ["tokio", "hyper", "rustix", "nix", "rusqlite", "tempfile"];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    let normal = |package: &cargo_metadata::Package| {
        let dependencies = package.dependencies.iter();
        dependencies.filter(|dep| dep.kind == DependencyKind::Normal).map(|dep| dep.name.clone()).collect()
    };
    metadata.packages.iter().map(|package| (package.name.to_string(), normal(package))).collect()
}

#[test]
fn crates_depend_downwards_only() {
    let expected: BTreeMap<_, BTreeSet<_>> = ALLOWED
        .iter()
        .map(|(name, edges)| ((*name).to_owned(), edges.iter().map(|e| (*e).to_owned()).collect()))
        .collect();
    let mut found = dependencies();
    for edges in found.values_mut() {
        edges.retain(|name| name.starts_with("gantry"));
    }
    assert_eq!(found, expected, "an edge between crates appeared or vanished: change ARCHITECTURE.md, too");
}

#[test]
fn pure_crates_stay_pure() {
    let found = dependencies();
    for name in PURE {
        for dependency in IMPURE_DEPENDENCIES {
            assert!(!found[name].contains(dependency), "{name} must not depend on {dependency}");
        }
    }
    let (name, exception) = PURE_BUT_FOR;
    for dependency in IMPURE_DEPENDENCIES.into_iter().filter(|dependency| *dependency != exception) {
        assert!(!found[name].contains(dependency), "{name} must not depend on {dependency}");
    }
}

#[test]
fn the_architecture_names_every_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    for entry in std::fs::read_dir(root.join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(text.contains(&format!("| `{name}` |")), "ARCHITECTURE.md does not describe crates/{name}");
    }
}
