//! Whether a tag may move: asked right before it is written, and never for anything else. What a tag pointed at has no
//! influence on what is published, only on whether it is.
//!
//! The question and the write are two requests. Registries that honour `If-Match` make them one; between the two, others
//! let whoever comes in between win, and the tag is then looked at once more and the loss told. See `docs/publishing.md`.

use std::fmt::Display;

use gantry_oci::{Descriptor, Digest, Reference};
use gantry_registry::{Fault, Precondition, Registry, RegistryError};
use serde::{Deserialize, Serialize};

use super::recorded::{Recorded, Source};
use crate::error::{Class, Error, publishing};

/// RFC 9110, section 15.5.13.
const PRECONDITION_FAILED: u16 = 412;

/// When a tag may be pointed at another image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TagPolicy {
    /// Always.
    #[default]
    Overwrite,
    /// Never, once it is there.
    Immutable,
    /// Unless what it points at says that it is newer.
    Forward,
}

/// What a tag has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Not there.
    Absent,
    /// This digest.
    Digest(Digest),
}

/// What one tag, or every tag, has to be for it to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The tag; all of them if none is named.
    pub name: Option<Reference>,
    /// What it has to be.
    pub state: Expected,
}

/// The conditions under which tags move.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// `--tag-policy`; the settings' if none is given.
    pub policy: Option<TagPolicy>,
    /// `--expect-digest`. The first that fits a name counts.
    pub expected: Vec<Expectation>,
    /// `--sign-cmd`: run with the digest after verification; tags move if it succeeds.
    pub sign: Option<String>,
}

impl Terms {
    /// Refuses expectations of names that nothing is published under: they are mistyped.
    pub(crate) fn check(&self, names: &[Reference]) -> Result<(), Error> {
        for name in self.expected.iter().filter_map(|one| one.name.as_ref()) {
            if !names.contains(name) {
                let message = format!("a digest is expected of {name}, under which nothing is published");
                return Err(Error::new(Class::Usage, message));
            }
        }
        Ok(())
    }

    fn expected_of(&self, name: &Reference) -> Option<Expected> {
        let fits = |one: &&Expectation| one.name.as_ref().is_none_or(|of| of == name);
        self.expected.iter().find(fits).map(|one| one.state)
    }
}

/// The answer for one tag.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It may be written, if it still is this.
    Write(Precondition),
    /// It must not be.
    Refuse(Error),
}

/// Decides by these terms.
#[derive(Clone, Copy)]
pub(crate) struct Gate<'a> {
    pub(crate) registry: &'a Registry,
    /// Where the image is that tags are to point at.
    pub(crate) ours: Source<'a>,
    pub(crate) terms: &'a Terms,
}

impl Gate<'_> {
    /// Whether `name` may be pointed at `ours`.
    ///
    /// A tag that points there already may be written whatever the terms: so a publish can be repeated.
    pub(crate) async fn judge(&self, name: &Reference, ours: &Descriptor) -> Result<Verdict, Error> {
        let (policy, expected) = (self.terms.policy.unwrap_or_default(), self.terms.expected_of(name));
        if name.tag().is_none() || (policy == TagPolicy::Overwrite && expected.is_none()) {
            return Ok(Verdict::Write(Precondition::None));
        }
        // The tag is asked for, whatever digest stands beside it: the tag is what is written.
        let name = &name.unpinned();
        let current = self.registry.head(name).await.map_err(|error| publishing(&error))?;
        if let Some(refusal) = differs(name, expected, current.as_ref(), ours) {
            return Ok(Verdict::Refuse(refusal));
        }
        let Some(current) = current else { return Ok(Verdict::Write(Precondition::Absent)) };
        if current.digest == ours.digest {
            return Ok(Verdict::Write(Precondition::None));
        }
        let theirs = (&current, Source::Registry(self.registry, name));
        let refusal = refusal(policy, name, theirs, (ours, self.ours)).await?;
        Ok(refusal.map_or(Verdict::Write(Precondition::Still(current.digest)), Verdict::Refuse))
    }
}

/// The refusal, if a policy does not let `name` be moved from one image to another; each with the place where it is.
pub(crate) async fn refusal(
    policy: TagPolicy,
    name: &dyn Display,
    (current, there): (&Descriptor, Source<'_>),
    (ours, here): (&Descriptor, Source<'_>),
) -> Result<Option<Error>, Error> {
    let digest = current.digest;
    if digest == ours.digest {
        return Ok(None);
    }
    Ok(match policy {
        TagPolicy::Overwrite => None,
        TagPolicy::Immutable => {
            let message = format!("{name} is immutable and points at {digest}, not at {}", ours.digest);
            Some(refused(message).hint("choose another tag, or allow it with --tag-policy overwrite"))
        }
        TagPolicy::Forward => {
            let theirs = Recorded::read(there, current).await?;
            let newer = theirs.newer_than(&Recorded::read(here, ours).await?);
            newer.map(|reason| {
                refused(format!("{name} points at {digest}, which is newer: {reason}"))
                    .hint("start from the newest revision, or allow it with --tag-policy overwrite")
            })
        }
    })
}

/// The error of a tag that was not written: refused, where it was no longer what the verdict was about.
pub(crate) fn unwritten(name: &Reference, error: &RegistryError) -> Option<Error> {
    match &error.fault {
        Fault::Answer(answer) if answer.status == PRECONDITION_FAILED => {
            Some(refused(format!("{name} was moved by somebody else just now")))
        }
        _ => None,
    }
}

/// The refusal, if a tag is not what is expected of it.
fn differs(
    name: &Reference,
    expected: Option<Expected>,
    current: Option<&Descriptor>,
    ours: &Descriptor,
) -> Option<Error> {
    let found = current.map(|current| current.digest);
    let message = match (expected?, found) {
        (_, Some(found)) if found == ours.digest => return None,
        (Expected::Absent, None) => return None,
        (Expected::Digest(wanted), Some(found)) if wanted == found => return None,
        (Expected::Absent, Some(found)) => format!("{name} is expected not to exist, but points at {found}"),
        (Expected::Digest(wanted), Some(found)) => {
            format!("{name} is expected to point at {wanted}, but points at {found}")
        }
        (Expected::Digest(wanted), None) => {
            format!("{name} is expected to point at {wanted}, but does not exist")
        }
    };
    Some(refused(message).hint("somebody else has published: look at what is there before you replace it"))
}

/// The error of a tag that must not move.
pub(crate) fn refused(message: String) -> Error {
    Error::new(Class::Publish, message)
}

#[cfg(test)]
mod tests {
    use gantry_oci::media_type;
    use gantry_registry::RegistryConfig;
    use gantry_store::Store;
    use gantry_testkit::{FakeRegistry, ImageBuilder};

    use super::*;

    #[test]
    fn expectations() {
        let descriptor = |text: &str| Descriptor::of(media_type::INDEX, text.as_bytes());
        let (ours, theirs) = (descriptor("ours"), descriptor("theirs"));
        let name: Reference = "r.io/a:1".parse().unwrap();
        let other: Reference = "r.io/a:2".parse().unwrap();
        let on = |name: Option<&Reference>, state| Expectation { name: name.cloned(), state };
        let digest = Expected::Digest(theirs.digest);
        for (expected, current, refused) in [
            (vec![], Some(&theirs), false),
            (vec![on(None, Expected::Absent)], None, false),
            (vec![on(None, Expected::Absent)], Some(&theirs), true),
            (vec![on(None, Expected::Absent)], Some(&ours), false),
            (vec![on(None, digest)], Some(&theirs), false),
            (vec![on(None, digest)], None, true),
            (vec![on(None, digest)], Some(&ours), false),
            (vec![on(Some(&other), Expected::Absent)], Some(&theirs), false),
            (vec![on(Some(&name), digest), on(None, Expected::Absent)], Some(&theirs), false),
        ] {
            let terms = Terms { expected: expected.clone(), ..Terms::default() };
            let refusal = differs(&name, terms.expected_of(&name), current, &ours);
            assert_eq!(refusal.is_some(), refused, "{expected:?} of {current:?}");
        }
        let terms = Terms { expected: vec![on(Some(&other), digest)], ..Terms::default() };
        assert!(terms.check(&[other]).is_ok() && terms.check(&[name]).is_err());
    }

    #[tokio::test]
    async fn the_tag_is_looked_at_whatever_digest_stands_beside_it() {
        let registry = FakeRegistry::start();
        let image = ImageBuilder::new("linux/amd64").build();
        image.push(&registry, "app", Some("1"));
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let terms = Terms { policy: Some(TagPolicy::Immutable), ..Terms::default() };
        let client = Registry::new(RegistryConfig::default());
        let gate = Gate { registry: &client, ours: Source::Store(&store), terms: &terms };
        let ours = Descriptor::of(media_type::MANIFEST, b"ours");
        let name = registry.reference(&format!("app:1@{}", Digest::of("absent")));
        let verdict = gate.judge(&name, &ours).await.unwrap();
        assert!(matches!(verdict, Verdict::Refuse(_)), "{verdict:?}");
    }
}
