//! The documents of a subject: the index with what it lists, or one manifest; and whether they are what they say.

use std::collections::BTreeSet;

use gantry_oci::{Descriptor, Digest, Document, Index, Manifest, media_type};

use super::content::{Content, Problem, Root};
use super::report::{Check, CheckName};
use crate::error::Error;

/// Indexes in indexes. The specification allows any number; nobody uses more than one.
const DEEPEST_NESTING: usize = 3;
/// Entries of all indexes together: no honest one has a tenth.
const MOST_ENTRIES: usize = 1000;
/// The annotation by which an attestation names the manifest that it is about (BuildKit's layout).
const SUBJECT_ANNOTATION: &str = "vnd.docker.reference.digest";

/// The operating system of what is for none.
const UNKNOWN: &str = "unknown";

/// What the documents list.
pub(crate) struct Documents {
    pub(crate) root: Descriptor,
    /// The images, in their order.
    pub(crate) images: Vec<Listed>,
    /// Everything else: attestations, signatures, and whatever no runtime takes for an image.
    pub(crate) attached: Vec<Listed>,
    /// Digests of everything listed.
    listed: BTreeSet<Digest>,
    pub(crate) checks: Vec<Check>,
}

/// A manifest.
pub(crate) struct Listed {
    pub(crate) descriptor: Descriptor,
    pub(crate) manifest: Manifest,
}

/// Reads all documents below the root.
pub(crate) async fn read_tree(content: &Content, root: Root) -> Result<Documents, Error> {
    let mut documents = Documents {
        root: root.descriptor.clone(),
        images: Vec::new(),
        attached: Vec::new(),
        listed: BTreeSet::from([root.descriptor.digest]),
        checks: Vec::new(),
    };
    let mut problems = Vec::new();
    let mut level = vec![(root.descriptor, Ok(root.bytes))];
    for _ in 0..=DEEPEST_NESTING {
        let mut entries = Vec::new();
        for (descriptor, bytes) in level {
            let parsed = bytes.and_then(|bytes| parse(&descriptor, &bytes));
            match parsed {
                Ok(Document::Manifest(manifest)) => {
                    problems.extend(documents.add(Listed { descriptor, manifest }));
                }
                Ok(Document::Index(Index { manifests, .. })) => entries.extend(manifests),
                Err(Problem::Image(problem)) => problems.push(problem),
                Err(Problem::Error(error)) => return Err(error),
            }
        }
        if entries.is_empty() {
            level = Vec::new();
            break;
        }
        documents.listed.extend(entries.iter().map(|entry| entry.digest));
        if documents.listed.len() > MOST_ENTRIES {
            problems.push(format!("it lists more than {MOST_ENTRIES} manifests"));
            entries.clear();
        }
        let read = entries.into_iter().map(|entry| async {
            let bytes = content.manifest(&entry).await;
            (entry, bytes)
        });
        level = futures_util::future::join_all(read).await;
    }
    if !level.is_empty() {
        problems.push(format!("indexes are nested more than {DEEPEST_NESTING} levels deep"));
    }
    let count = documents.images.len();
    documents.checks.push(match problems.is_empty() {
        true => Check::pass(CheckName::Documents, format!("{count} with the right digests, sizes and types")),
        false => Check::fail(CheckName::Documents, problems.join("; ")),
    });
    Ok(documents)
}

fn parse(descriptor: &Descriptor, bytes: &[u8]) -> Result<Document, Problem> {
    let Descriptor { digest, size, media_type, .. } = descriptor;
    let found = Digest::of(bytes);
    if (found, bytes.len() as u64) != (*digest, *size) {
        let length = bytes.len();
        let problem =
            format!("{digest} with {size} bytes is listed, and {found} with {length} bytes is there");
        return Err(Problem::Image(problem));
    }
    Document::parse(bytes, Some(media_type)).map_err(|error| Problem::Image(format!("{digest}: {error}")))
}

impl Documents {
    /// Files a manifest by what runtimes make of it; the problem, if it says two things of itself.
    fn add(&mut self, listed: Listed) -> Option<String> {
        let Descriptor { digest, platform, .. } = &listed.descriptor;
        let is_attestation = listed.descriptor.is_attestation();
        let mut problem = None;
        let is_image = match platform {
            Some(platform) if platform.os() == UNKNOWN => false,
            // Runtimes choose by platform and read no annotations.
            Some(platform) => {
                let text = || format!("{digest} is marked as an attestation, but listed for {platform}");
                problem = is_attestation.then(text);
                true
            }
            None if is_attestation => listed.manifest.is_image() && !listed.manifest.layers.is_empty(),
            None => listed.manifest.is_image(),
        };
        match is_image {
            true => self.images.push(listed),
            false => self.attached.push(listed),
        }
        problem
    }
}

/// Attestations, and everything else with a subject, point at what is listed.
pub(crate) fn check_subjects(documents: &Documents) -> Option<Check> {
    let mut subjects = Vec::new();
    for listed in documents.attached.iter().chain(&documents.images) {
        let annotated = listed.descriptor.annotations.get(SUBJECT_ANNOTATION).map(String::as_str);
        subjects.extend(annotated.map(str::to_owned));
        subjects.extend(listed.manifest.subject().map(|digest| digest.to_string()));
    }
    if subjects.is_empty() {
        return None;
    }
    let lost: Vec<_> = subjects
        .iter()
        .filter(|subject| !subject.parse().is_ok_and(|digest| documents.listed.contains(&digest)))
        .collect();
    Some(match lost.first() {
        None => {
            Check::pass(CheckName::Attestations, format!("{} point at images of the index", subjects.len()))
        }
        Some(first) => Check::fail(
            CheckName::Attestations,
            format!("{} of {} point at nothing in the index: {first}", lost.len(), subjects.len()),
        ),
    })
}

impl Listed {
    /// Whether its config is that of an image.
    pub(crate) fn has_image_config(&self) -> bool {
        matches!(&*self.manifest.config.media_type, media_type::CONFIG | media_type::DOCKER_CONFIG)
    }

    /// All that the manifest names.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifest.layers.iter().chain([&self.manifest.config])
    }
}
