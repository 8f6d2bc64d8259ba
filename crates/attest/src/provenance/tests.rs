//! Golden predicates, and what must not be in them.

use super::*;

fn provenance() -> Provenance {
    let source = Digest::of("source");
    let run = Digest::of("run");
    let last = Digest::of("last");
    let step = |digest, op, inputs| Step { digest, op, inputs };
    Provenance {
        builder_id: "https://ci.example/job/1".to_owned(),
        builder_platform: "linux/amd64".parse().unwrap(),
        request: Request {
            frontend: "dockerfile.v0".to_owned(),
            filename: "Dockerfile".to_owned(),
            context: None,
            args: BTreeMap::from([
                ("build-arg:A".to_owned(), "canary".to_owned()),
                ("build-arg:HTTP_PROXY".to_owned(), "http://canary:canary@proxy:3128".to_owned()),
                ("label:L".to_owned(), "canary".to_owned()),
                ("target".to_owned(), "final".to_owned()),
            ]),
            secrets: vec![Secret { id: "token".to_owned(), optional: true }],
            ssh: vec![Secret { id: "default".to_owned(), optional: false }],
            locals: BTreeSet::from(["context".to_owned()]),
        },
        dependencies: vec![
            Dependency::content("pkg:docker/debian@12?platform=linux%2Famd64", &Digest::of("debian")),
            Dependency::commit(
                "https://canary@git.example/x.git",
                "0123456789012345678901234567890123456789",
            ),
        ],
        network: true,
        vcs: BTreeMap::from([("source".to_owned(), "https://u:canary@git.example/y".to_owned())]),
        reproducible: false,
        times: None,
        details: Details {
            steps: vec![
                step(source, json!({ "Op": { "source": { "identifier": "local://context" } } }), vec![]),
                step(run, json!({ "Op": { "exec": {} } }), vec![(source, 0)]),
                step(last, json!({ "Op": {} }), vec![(run, 1)]),
            ],
            sources: vec![SourceFile {
                filename: "Dockerfile".to_owned(),
                language: "Dockerfile".to_owned(),
                text: "ADD https://u:canary@h/x /\n".to_owned(),
            }],
            locations: BTreeMap::from([(run, json!({ "locations": [] }))]),
            layers: Some((run, 1, vec![Descriptor::of("layer", b"1")])),
        },
    }
}

fn pretty(document: &Value) -> String {
    format!("{document:#}\n")
}

#[test]
fn v1_min() {
    let (kind, predicate) = provenance().predicate(Mode::Min, SlsaVersion::V1);
    assert_eq!(kind, "https://slsa.dev/provenance/v1");
    assert_eq!(pretty(&predicate), include_str!("../../fixtures/golden/provenance-v1-min.json"));
}

#[test]
fn v1_max() {
    let (_, predicate) = provenance().predicate(Mode::Max, SlsaVersion::V1);
    assert_eq!(pretty(&predicate), include_str!("../../fixtures/golden/provenance-v1-max.json"));
}

#[test]
fn v02_max() {
    let (kind, predicate) = provenance().predicate(Mode::Max, SlsaVersion::V02);
    assert_eq!(kind, "https://slsa.dev/provenance/v0.2");
    assert_eq!(pretty(&predicate), include_str!("../../fixtures/golden/provenance-v02-max.json"));
}

#[test]
fn nothing_private_is_in_min() {
    for version in [SlsaVersion::V1, SlsaVersion::V02] {
        let (_, predicate) = provenance().predicate(Mode::Min, version);
        let text = predicate.to_string();
        for private in ["canary", "build-arg", "label:", "token", "llbDefinition"] {
            assert!(!text.contains(private), "{private} in {text}");
        }
    }
}

#[test]
fn a_build_of_known_things_alone_is_hermetic() {
    let mut provenance = provenance();
    let hermetic = |provenance: &Provenance| {
        let (_, predicate) = provenance.predicate(Mode::Max, SlsaVersion::V1);
        let metadata = predicate["runDetails"]["metadata"].clone();
        (metadata["buildkit_hermetic"] == true, metadata["buildkit_completeness"].clone())
    };
    let complete =
        |request, dependencies| json!({ "request": request, "resolvedDependencies": dependencies });
    assert_eq!(hermetic(&provenance), (false, complete(true, false)));
    provenance.request.locals.clear();
    assert_eq!(hermetic(&provenance), (false, complete(true, true)));
    provenance.network = false;
    assert_eq!(hermetic(&provenance), (true, complete(true, true)));
}
