//! A publication's entry in the store's journal: there before the first byte is sent, gone when the last tag is written.
//!
//! The terms of a publication are kept as
//!
//! ```json
//! { "policy": "immutable", "expected": [["host/name:tag", "sha256:…"], [null, "absent"]], "signed": true }
//! ```
//!
//! so that whoever ends it later keeps to what was asked for. The command that signs is not kept: it may hold secrets.

use std::time::Duration;

use gantry_oci::{Descriptor, Digest, Reference};
use gantry_store::{Lock, Publication as Row, Store};
use serde::{Deserialize, Serialize};

use super::policy::{Expectation, Expected, TagPolicy, Terms};
use super::{Publication, Publisher};
use crate::error::{Class, Error};
use crate::events::Event;
use crate::results::unfinished;

/// How often it is looked whether another process is done with the same publication.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// An entry that this process works on.
pub(crate) struct Entry<'a> {
    store: &'a Store,
    id: Digest,
    root: Digest,
    names: Vec<String>,
    _lock: Lock,
}

impl<'a> Entry<'a> {
    /// Begins a publication, or one that was begun before again. Waits for whoever publishes the same.
    pub(crate) async fn begin(publisher: &Publisher<'a>, publication: &Publication) -> Result<Self, Error> {
        let store = publisher.gantry.store().as_ref();
        let names = names(publication);
        let root = publication.root.digest;
        let id = Store::publication_id(&root, &names);
        let mut tries = 0;
        let lock = loop {
            if let Some(lock) = store.try_lock_publication(&id)? {
                break lock;
            }
            // Whoever lists what is unfinished holds it for a moment: that is nothing to tell.
            tries += 1;
            if tries == 2 {
                let message =
                    format!("another process publishes {root} under the same names: waiting for it");
                publisher.events.event(Event::Warning { message, hints: Vec::new() });
            }
            tokio::time::sleep(LOCK_INTERVAL).await;
        };
        store.begin_publication(&root, &names, &write(publisher.terms))?;
        Ok(Self { store, id, root, names, _lock: lock })
    }

    /// Notes that everything was read back.
    pub(crate) fn proven(&self) -> Result<(), Error> {
        Ok(self.store.publication_proven(&self.id)?)
    }

    /// Ends it, and with it what was begun for the same names before and never ended.
    pub(crate) fn end(self) -> Result<(), Error> {
        for other in self.store.publications()? {
            let is_replaced = other.kept().all(|name| self.names.contains(name));
            if !is_replaced || other.id == self.id {
                continue;
            }
            // Held until it is gone: nobody begins it again in between.
            if let Some(_lock) = self.store.try_lock_publication(&other.id)? {
                self.store.end_publication(&other.id)?;
            }
        }
        self.abandon()
    }

    /// Forgets it: it was refused, and will be again.
    pub(crate) fn abandon(self) -> Result<(), Error> {
        Ok(self.store.end_publication(&self.id)?)
    }
}

/// Notes that a tag was written, in the entry that it belongs to.
pub(crate) fn tagged(entries: &[Entry<'_>], root: &Descriptor, name: &Reference) -> Result<(), Error> {
    let name = name.to_string();
    for entry in entries.iter().filter(|entry| entry.root == root.digest && entry.names.contains(&name)) {
        entry.store.publication_tagged(&entry.id, &name)?;
    }
    Ok(())
}

/// Tells of publications that nobody ended and nobody works on.
pub(crate) fn mention_unfinished(
    publisher: &Publisher<'_>,
    publications: &[Publication],
) -> Result<(), Error> {
    let ours: Vec<_> = publications.iter().map(id).collect();
    for row in unfinished(publisher.gantry)?.into_iter().filter(|row| !ours.contains(&row.id)) {
        let kept: Vec<_> = row.kept().map(String::as_str).collect();
        if kept.is_empty() {
            continue;
        }
        let message = format!("an earlier publish of {} as {} did not end", row.root, kept.join(", "));
        let hints =
            vec![format!("`gantry publish {0}` ends it, `gantry publish {0} --forget` drops it", row.root)];
        publisher.events.event(Event::Warning { message, hints });
    }
    Ok(())
}

/// What a publication is called in the journal.
pub(crate) fn id(publication: &Publication) -> Digest {
    Store::publication_id(&publication.root.digest, &names(publication))
}

fn names(publication: &Publication) -> Vec<String> {
    let mut names: Vec<_> = publication.names.iter().map(ToString::to_string).collect();
    names.sort();
    names
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    policy: TagPolicy,
    expected: Vec<(Option<String>, String)>,
    signed: bool,
}

fn write(terms: &Terms) -> String {
    let expected = terms.expected.iter().map(|one| {
        let state = match one.state {
            Expected::Absent => "absent".to_owned(),
            Expected::Digest(digest) => digest.to_string(),
        };
        (one.name.as_ref().map(ToString::to_string), state)
    });
    let written = Written {
        policy: terms.policy.unwrap_or_default(),
        expected: expected.collect(),
        signed: terms.sign.is_some(),
    };
    serde_json::to_string(&written).expect("terms are plain data")
}

/// The terms of an unfinished publication, completed by those that are asked for now.
///
/// # Errors
/// It was to be signed, and nothing says how.
pub(crate) fn terms_of(row: &Row, asked: &Terms) -> Result<Terms, Error> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Error::new(Class::Internal, format!("the journal's terms for {} cannot be read: {error}", row.root))
    };
    let written: Written = serde_json::from_str(&row.terms).map_err(|error| unreadable(&error))?;
    if written.signed && asked.sign.is_none() {
        let message = format!("{} was to be signed before its tags move", row.root);
        return Err(Error::new(Class::Usage, message)
            .hint("give --sign-cmd again, or name the tags with --tag to publish it on other terms"));
    }
    let mut expected = asked.expected.clone();
    for (name, state) in written.expected {
        let name =
            name.map(|name| name.parse::<Reference>()).transpose().map_err(|error| unreadable(&error))?;
        let state = match state.as_str() {
            "absent" => Expected::Absent,
            digest => Expected::Digest(digest.parse().map_err(|error| unreadable(&error))?),
        };
        // The first that fits a name counts: what is asked for now.
        expected.push(Expectation { name, state });
    }
    Ok(Terms { policy: asked.policy.or(Some(written.policy)), expected, sign: asked.sign.clone() })
}

#[cfg(test)]
mod tests {
    use gantry_store::PublicationState;

    use super::*;

    #[test]
    fn terms_survive_the_process() {
        let name: Reference = "r.io/a:1".parse().unwrap();
        let digest = Digest::of("before");
        let terms = Terms {
            policy: Some(TagPolicy::Immutable),
            expected: vec![
                Expectation { name: Some(name.clone()), state: Expected::Digest(digest) },
                Expectation { name: None, state: Expected::Absent },
            ],
            sign: Some("sign --key secret".to_owned()),
        };
        let text = write(&terms);
        assert!(!text.contains("secret"), "{text}");
        let row = Row {
            id: Digest::of("id"),
            root: Digest::of("root"),
            names: Vec::new(),
            terms: text,
            state: PublicationState::Uploading,
            started: 0,
            tagged: Vec::new(),
            lost: Vec::new(),
        };
        let error = terms_of(&row, &Terms::default()).unwrap_err();
        assert_eq!(error.class, Class::Usage);
        let asked = Terms { policy: None, expected: Vec::new(), sign: terms.sign.clone() };
        assert_eq!(terms_of(&row, &asked).unwrap(), terms);
        let asked = Terms { policy: Some(TagPolicy::Overwrite), ..asked };
        assert_eq!(
            terms_of(&row, &asked).unwrap().policy,
            Some(TagPolicy::Overwrite),
            "what is said now counts"
        );
    }
}
