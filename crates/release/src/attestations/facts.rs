//! What provenance tells, found in the request and in the graph.
//!
//! The graph is what was built, so what was read is taken from its sources, and secrets from its steps.

use std::collections::{BTreeMap, BTreeSet};

use gantry_attest::Purl;
use gantry_attest::options::ProvenanceOptions;
use gantry_attest::provenance::{Dependency, Details, Provenance, Request, Secret, SourceFile, Step};
use gantry_llb::pb::op::Op;
use gantry_llb::{Definition, json, pb};
use gantry_oci::{Digest, Platform, Reference};

use super::{Facts, repository};
use crate::report::PlatformReport;
use crate::request::CacheUse;

/// BuildKit's name of the front end whose language and options these are.
const FRONTEND: &str = "dockerfile.v0";

pub(super) fn provenance(
    facts: Facts<'_>,
    options: &ProvenanceOptions,
    report: &PlatformReport,
    times: Option<(String, String)>,
) -> Provenance {
    let mut found = Found::default();
    for vertex in facts.definition.vertices() {
        match &vertex.op.op {
            Some(Op::Source(source)) => found.source(source, vertex.op.platform.as_ref()),
            Some(Op::Exec(exec)) => found.exec(exec),
            _ => {}
        }
    }
    Provenance {
        builder_id: options.builder_id.clone(),
        builder_platform: Platform::host(),
        request: Request {
            frontend: FRONTEND.to_owned(),
            filename: facts.input.name.clone(),
            context: None,
            args: arguments(facts),
            secrets: found.secrets.into_iter().map(|(id, optional)| Secret { id, optional }).collect(),
            ssh: found.ssh.into_iter().map(|(id, optional)| Secret { id, optional }).collect(),
            locals: found.locals,
        },
        dependencies: found.dependencies.into_iter().collect(),
        network: found.network,
        vcs: facts.input.directory.as_deref().map(repository::describe).unwrap_or_default(),
        reproducible: options.reproducible,
        times,
        details: details(facts.definition, report),
    }
}

/// What the request gives the front end, by BuildKit's names.
fn arguments(facts: Facts<'_>) -> BTreeMap<String, String> {
    let request = facts.request;
    let mut arguments = BTreeMap::new();
    arguments
        .extend(request.build_args.iter().map(|(name, value)| (format!("build-arg:{name}"), value.clone())));
    arguments.extend(request.labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone())));
    arguments.extend(request.target.iter().map(|target| ("target".to_owned(), target.clone())));
    if request.cache == CacheUse::Ignore {
        arguments.insert("no-cache".to_owned(), String::new());
    }
    arguments
}

/// What the steps of a graph read and use.
#[derive(Default)]
struct Found {
    dependencies: BTreeSet<Dependency>,
    locals: BTreeSet<String>,
    /// Ids, and whether every user can do without.
    secrets: BTreeMap<String, bool>,
    ssh: BTreeMap<String, bool>,
    network: bool,
}

impl Found {
    fn source(&mut self, source: &pb::SourceOp, platform: Option<&pb::Platform>) {
        let Some((scheme, rest)) = source.identifier.split_once("://") else { return };
        match scheme {
            "local" => {
                self.locals.insert(rest.to_owned());
            }
            "docker-image" => self.dependencies.extend(image(rest, platform)),
            "git" => {
                self.dependencies.insert(repository(rest, &source.attrs));
            }
            _ => {
                let digest =
                    source.attrs.get("http.checksum").and_then(|digest| digest.parse::<Digest>().ok());
                let uri = source.identifier.clone();
                self.dependencies.insert(match digest {
                    Some(digest) => Dependency::content(uri, &digest),
                    None => Dependency { uri, digest: None },
                });
            }
        }
    }

    fn exec(&mut self, exec: &pb::ExecOp) {
        self.network |= exec.network != i32::from(pb::NetMode::None);
        for mount in &exec.mounts {
            if let Some(secret) = &mount.secret_opt {
                note(&mut self.secrets, &secret.id, secret.optional);
            }
            if let Some(ssh) = &mount.ssh_opt {
                let id = if ssh.id.is_empty() { "default" } else { &ssh.id };
                note(&mut self.ssh, id, ssh.optional);
            }
        }
        for secret in &exec.secretenv {
            note(&mut self.secrets, &secret.id, secret.optional);
        }
    }
}

fn note(secrets: &mut BTreeMap<String, bool>, id: &str, optional: bool) {
    *secrets.entry(id.to_owned()).or_insert(true) &= optional;
}

/// A base image. Its reference was pinned before anything was built.
fn image(reference: &str, platform: Option<&pb::Platform>) -> Option<Dependency> {
    let reference: Reference = reference.parse().ok()?;
    let platform = platform
        .and_then(|platform| Platform::new(&platform.os, &platform.architecture, &platform.variant).ok());
    let uri = Purl::of_image(&reference, platform.as_ref()).to_string();
    Some(match reference.digest() {
        Some(digest) => Dependency::content(uri, digest),
        None => Dependency { uri, digest: None },
    })
}

/// A repository at a commit: `host/path#commit[:directory]`, with the whole address in an attribute if it is not HTTPS.
fn repository(rest: &str, attributes: &BTreeMap<String, String>) -> Dependency {
    let (path, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let uri = match attributes.get("git.fullurl") {
        Some(url) => url.clone(),
        None => format!("https://{path}"),
    };
    let named = fragment.split(':').next().unwrap_or_default();
    let commit = attributes.get("git.checksum").map_or(named, String::as_str);
    let is_commit = matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_commit {
        true => Dependency::commit(uri, commit),
        false => Dependency { uri, digest: None },
    }
}

/// The graph as it stands in provenance: with an element at its end that names the result, as on the wire.
fn details(definition: &Definition, report: &PlatformReport) -> Details {
    let mut steps: Vec<Step> = Vec::new();
    let mut locations = BTreeMap::new();
    for vertex in definition.vertices() {
        let inputs = vertex.inputs.iter().map(|edge| (edge.vertex, edge.index)).collect();
        steps.push(Step { digest: vertex.digest, op: json::op(&vertex.op), inputs });
        locations.insert(vertex.digest, json::locations(&vertex.locations));
    }
    let root = definition.root();
    if let (Some(root), Some(last)) = (root, definition.to_pb().def.last()) {
        let inputs = vec![(root.vertex, root.index)];
        steps.push(Step { digest: Digest::of(last), op: json::op(&pb::Op::default()), inputs });
    }
    let sources = definition.sources.iter().map(|info| SourceFile {
        filename: info.filename.clone(),
        language: info.language.clone(),
        text: String::from_utf8_lossy(&info.data).into_owned(),
    });
    let layers = report.layers.iter().map(|layer| layer.descriptor.clone()).collect();
    Details {
        steps,
        sources: sources.collect(),
        locations,
        layers: root.map(|root| (root.vertex, root.index, layers)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(identifier: &str, attributes: &[(&str, &str)]) -> Found {
        let attrs =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut found = Found::default();
        let platform = pb::Platform {
            os: "linux".to_owned(),
            architecture: "arm64".to_owned(),
            ..pb::Platform::default()
        };
        found.source(&pb::SourceOp { identifier: identifier.to_owned(), attrs }, Some(&platform));
        found
    }

    #[test]
    fn sources() {
        let sha256 = Digest::of("x");
        let commit = "0123456789012345678901234567890123456789";
        let git = format!("git://git.example/a.git#{commit}:directory");
        let ssh = [("git.fullurl", "ssh://git@git.example/a.git"), ("git.checksum", commit)];
        for (identifier, attributes, expected) in [
            (
                format!("docker-image://docker.io/library/debian:12@{sha256}").as_str(),
                &[][..],
                Dependency::content(
                    format!("pkg:docker/debian@12?digest={sha256}&platform=linux%2Farm64"),
                    &sha256,
                ),
            ),
            (&git, &[], Dependency::commit("https://git.example/a.git", commit)),
            ("git://git.example/a.git#main", &ssh, Dependency::commit("ssh://git@git.example/a.git", commit)),
            (
                "git://git.example/a.git#main",
                &[],
                Dependency { uri: "https://git.example/a.git".to_owned(), digest: None },
            ),
            (
                "https://files.example/x.tar",
                &[("http.checksum", &sha256.to_string())],
                Dependency::content("https://files.example/x.tar", &sha256),
            ),
        ] {
            let found = source(identifier, attributes);
            assert_eq!(found.dependencies.into_iter().collect::<Vec<_>>(), [expected], "{identifier}");
        }
        assert_eq!(source("local://context", &[]).locals, BTreeSet::from(["context".to_owned()]));
    }

    #[test]
    fn secrets_and_the_network() {
        let secret = |id: &str, optional| pb::Mount {
            secret_opt: Some(pb::SecretOpt { id: id.to_owned(), optional, ..pb::SecretOpt::default() }),
            ..pb::Mount::default()
        };
        let ssh = pb::Mount { ssh_opt: Some(pb::SshOpt::default()), ..pb::Mount::default() };
        let mut found = Found::default();
        let network = i32::from(pb::NetMode::None);
        let mounts = vec![secret("a", true), secret("b", true), secret("b", false), ssh];
        found.exec(&pb::ExecOp { mounts, network, ..pb::ExecOp::default() });
        assert_eq!(found.secrets, BTreeMap::from([("a".to_owned(), true), ("b".to_owned(), false)]));
        assert_eq!(found.ssh, BTreeMap::from([("default".to_owned(), false)]));
        assert!(!found.network);
        found.exec(&pb::ExecOp::default());
        assert!(found.network);
    }
}
