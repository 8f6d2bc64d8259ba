//! How often a program that knows credentials is run: at most once per second for a server, whoever asks.
//!
//! A client asks for each repository, and a build makes several clients; a helper knows servers only. Whoever asks within
//! the second gets the last answer. Who was refused with it and waits for a second before asking again, as the client does,
//! gets a fresh one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::helper::Helper;
use super::{Credential, CredentialError};

/// Between the end of a run and the beginning of the next.
pub(crate) const LEAST_BETWEEN_RUNS: Duration = Duration::from_secs(1);

/// A program with its arguments, and a server.
type Key = (Vec<String>, String);
/// Locked while the program runs.
type Turn = Arc<tokio::sync::Mutex<Option<Answer>>>;

struct Answer {
    said: Result<Option<Credential>, CredentialError>,
    at: Instant,
}

/// The last answers of programs. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<Key, Turn>>>);

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turns(***)")
    }
}

impl Turns {
    /// Runs the program, or gives its answer of a moment ago.
    pub(super) async fn ask(
        &self,
        helper: &Helper<'_>,
        server: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        let turn = {
            let mut turns = self.0.lock().expect("nothing panics while it holds the turns");
            Arc::clone(turns.entry((helper.command_line(), server.to_owned())).or_default())
        };
        let mut last = turn.lock().await;
        if let Some(answer) = last.as_ref().filter(|answer| answer.at.elapsed() < LEAST_BETWEEN_RUNS) {
            return answer.said.clone();
        }
        let said = helper.get(server).await;
        *last = Some(Answer { said: said.clone(), at: Instant::now() });
        said
    }
}
