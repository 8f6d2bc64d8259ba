//! What the registry is shown: nothing, a password, or a token with the time that is left to it.

use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::Secret;

/// A token is renewed this long before its end: longer than a request takes to be checked, and clocks differ.
const EARLY: Duration = Duration::from_secs(30);

/// The value of an `Authorization` header and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    header: Secret,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Password,
    /// A token, for somebody or nobody in particular. Without an end it lasts until it is refused.
    Token {
        stale_at: Option<Instant>,
        holder: Holder,
    },
}

/// For whom a token was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Anonymous,
    Known,
}

impl Grant {
    pub(super) fn password(user: &str, password: &Secret) -> Self {
        let pair = BASE64_STANDARD.encode(format!("{user}:{}", password.expose()));
        Self { header: Secret::new(format!("Basic {pair}")), kind: Kind::Password }
    }

    /// A token that was asked for at `asked` and is valid for `lifetime` from then on.
    ///
    /// It is renewed after nine tenths of its life, or half a minute early, whichever comes first. A token that
    /// lives for less than a minute is used for half of its life: no lifetime is assumed to be longer than it is.
    pub(super) fn token(token: &Secret, holder: Holder, asked: Instant, lifetime: Option<Duration>) -> Self {
        let stale_at =
            lifetime.map(|lifetime| asked + (lifetime * 9 / 10).min(lifetime - EARLY.min(lifetime / 2)));
        Self {
            header: Secret::new(format!("Bearer {}", token.expose())),
            kind: Kind::Token { stale_at, holder },
        }
    }

    /// The header's value.
    pub(super) fn header(&self) -> &Secret {
        &self.header
    }

    pub(super) fn is_stale(&self, now: Instant) -> bool {
        matches!(self.kind, Kind::Token { stale_at: Some(stale_at), .. } if stale_at <= now)
    }
}

/// A grant as a request holds it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) grant: Option<Grant>,
    /// Grows with every new grant for the same thing.
    pub(super) generation: u64,
    pub(super) origin: Origin,
}

/// Who had a grant made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was there before, or another request had it made.
    Found,
    /// This very request, after a refusal: if it is refused too, nothing better is to be had.
    Own,
}

impl Held {
    pub(super) fn authorise(&self, headers: &mut HeaderMap) {
        // A secret that cannot stand in a header is not sent; the refusal that follows says the rest.
        let value = self.grant.as_ref().and_then(|grant| HeaderValue::from_str(grant.header.expose()).ok());
        if let Some(mut value) = value {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }

    pub(super) fn is_own(&self) -> bool {
        self.origin == Origin::Own
    }

    pub(super) fn is_something(&self) -> bool {
        self.grant.is_some()
    }

    pub(super) fn is_password(&self) -> bool {
        matches!(self.grant, Some(Grant { kind: Kind::Password, .. }))
    }

    pub(super) fn is_anonymous(&self) -> bool {
        match &self.grant {
            None => true,
            Some(grant) => matches!(grant.kind, Kind::Token { holder: Holder::Anonymous, .. }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_early_and_never_assumed_to_live_longer() {
        let now = Instant::now();
        for (lifetime, usable) in [(3600, 3240), (300, 270), (60, 30), (20, 10), (2, 1), (0, 0)] {
            let token =
                Grant::token(&Secret::new("t"), Holder::Known, now, Some(Duration::from_secs(lifetime)));
            let end = now + Duration::from_secs(usable);
            assert!(token.is_stale(end), "{lifetime}");
            assert!(usable == 0 || !token.is_stale(end - Duration::from_millis(1)), "{lifetime}");
        }
    }
}
