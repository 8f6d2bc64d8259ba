//! The last answer of the credential function, and how often it may be asked.
//!
//! It may read files and run programs, so it is asked at most once per second for a repository. Within that second its
//! answer holds; who needs another one, because this one was refused, waits for its end. By then a program that answers
//! for many repositories may run again, too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::super::Access;
use crate::credentials::LEAST_BETWEEN_RUNS;
use crate::{Credential, CredentialError, Credentials, Secret};

/// Between two questions: when one was refused, the program that gave the answer has to run again.
const LEAST_BETWEEN_QUESTIONS: Duration = LEAST_BETWEEN_RUNS;

/// Registry and repository.
type Key = (String, String);

/// Asks the credential function.
pub(super) struct Source {
    function: Arc<dyn Credentials>,
    answers: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<Option<Asked>>>>>,
}

/// An answer.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) credential: Credential,
    at: Instant,
    /// Whether it was given for this very question.
    pub(super) is_new: bool,
}

/// Which answer will do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The last one, if it is not older than a second.
    Recent,
    /// Another than the last one, which was refused.
    Another,
}

impl Source {
    pub(super) fn new(function: Arc<dyn Credentials>) -> Self {
        Self { function, answers: Mutex::default() }
    }

    /// Where an identity token is to be left, if one is wanted.
    pub(super) fn identity_token(&self) -> Option<&Mutex<Option<Secret>>> {
        self.function.identity_token()
    }

    pub(super) async fn ask(&self, access: &Access, wanted: Wanted) -> Result<Asked, CredentialError> {
        let key = (access.endpoint.name().to_owned(), access.repository().to_owned());
        let slot = {
            let mut answers = self.answers.lock().expect("nothing panics while it holds the answers");
            Arc::clone(answers.entry(key).or_default())
        };
        let asked_at = Instant::now();
        let mut slot = slot.lock().await;
        if let Some(last) = &*slot {
            // Somebody else may have asked while this question waited for its turn.
            let is_newer = last.at > asked_at;
            let age = last.at.elapsed();
            if is_newer || wanted == Wanted::Recent && age < LEAST_BETWEEN_QUESTIONS {
                return Ok(Asked { is_new: is_newer, ..last.clone() });
            }
            tokio::time::sleep(LEAST_BETWEEN_QUESTIONS.saturating_sub(age)).await;
        }
        let credential = self.function.find(access.endpoint.name(), access.repository()).await?;
        let asked = Asked { credential, at: Instant::now(), is_new: true };
        *slot = Some(asked.clone());
        Ok(asked)
    }
}
