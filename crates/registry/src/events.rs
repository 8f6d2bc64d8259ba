//! What the client tells about its work while it works: exchanges, waits, tokens. Never a secret, never a query
//! (signed addresses keep their signature there).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A request went out and was answered, or was not.
    Exchange {
        /// The method.
        method: String,
        /// The server.
        host: String,
        /// The path.
        path: String,
        /// The answer's status; `None` if there was no answer.
        status: Option<u16>,
        /// From sending to the answer's headers.
        elapsed: Duration,
    },
    /// The client waits before it tries again.
    Waiting {
        /// The server.
        host: String,
        /// What happened.
        reason: String,
        /// For how long.
        delay: Duration,
    },
    /// A mirror could not serve, and the next endpoint is asked.
    MirrorSkipped {
        /// The mirror.
        mirror: String,
        /// Why.
        reason: String,
    },
    /// A registry could not say what a tag points at, and a mirror's word was taken instead.
    MirrorTrusted {
        /// The registry.
        host: String,
        /// The mirror.
        mirror: String,
        /// Why the registry could not.
        reason: String,
    },
    /// A token arrived.
    Token {
        /// The registry that it is for.
        host: String,
        /// What it allows.
        scopes: String,
        /// How long it is valid.
        lifetime: Duration,
    },
}

/// Receives events. Called between two steps of the work, so it returns quickly.
#[derive(Clone)]
pub struct Listener(Option<Arc<dyn Fn(Event) + Send + Sync>>);

impl Listener {
    /// Calls this function with each event.
    pub fn new(function: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(function)))
    }

    /// Listens to nothing.
    pub fn silent() -> Self {
        Self(None)
    }

    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(function) = &self.0 {
            function(event());
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Listener" } else { "Listener::silent" })
    }
}
