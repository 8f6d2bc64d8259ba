//! What the registry is shown: nothing, a password, or a token with the time that is left to it.

use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::{Credential, Secret};

/// A token is renewed this long before its end: longer than a request takes to be checked, and clocks differ.
const EARLY: Duration = Duration::from_secs(30);
/// A password is asked for again at this age: those of cloud registries run out, and helpers answer from caches that
/// others keep for five minutes.
const PASSWORD_AGE: Duration = Duration::from_secs(4 * 60);
/// A password that is younger has not run out since it was asked for.
const YOUNG_PASSWORD: Duration = Duration::from_secs(60);
/// A token of which less than this part is over: a new one would not last much longer.
const YOUNG_TOKEN: u32 = 10;

/// The value of an `Authorization` header and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    header: Secret,
    made: Instant,
    stale_at: Instant,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Password,
    /// A token, for somebody or nobody in particular.
    Token(Holder),
}

/// What is known of a grant's worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing: a password, or a token that the user gave.
    Untried,
    /// The token server took the credentials and gave this.
    Issued,
    /// The registry accepted one made of the same credentials.
    Accepted,
}

/// For whom a token was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Anonymous,
    Known,
}

impl Grant {
    pub(super) fn password(user: &str, password: &Secret, made: Instant) -> Self {
        let pair = BASE64_STANDARD.encode(format!("{user}:{}", password.expose()));
        Self {
            header: Secret::new(format!("Basic {pair}")),
            made,
            stale_at: made + PASSWORD_AGE,
            kind: Kind::Password,
        }
    }

    /// A token that came with the credentials, instead of them.
    pub(super) fn given(token: &Secret, made: Instant) -> Self {
        Self {
            header: Secret::new(format!("Bearer {}", token.expose())),
            made,
            stale_at: made + PASSWORD_AGE,
            kind: Kind::Password,
        }
    }

    /// A token that was asked for at `asked` and is valid for `lifetime` from then on.
    ///
    /// It is renewed after nine tenths of its life, or half a minute early, whichever comes first. A token that
    /// lives for less than a minute is used for half of its life: no lifetime is assumed to be longer than it is.
    pub(super) fn token(token: &Secret, holder: Holder, asked: Instant, lifetime: Duration) -> Self {
        let usable = (lifetime.mul_f64(0.9)).min(lifetime.saturating_sub(EARLY.min(lifetime / 2)));
        Self {
            header: Secret::new(format!("Bearer {}", token.expose())),
            made: asked,
            stale_at: asked + usable,
            kind: Kind::Token(holder),
        }
    }

    /// The header's value.
    pub(super) fn header(&self) -> &Secret {
        &self.header
    }

    /// Whether it is good for a request that starts now and takes so long, or as good as it gets.
    pub(super) fn is_good(&self, now: Instant, duration: Duration) -> bool {
        let is_young = now.duration_since(self.made) < (self.stale_at - self.made) / YOUNG_TOKEN;
        now < self.stale_at && (is_young || now + duration < self.stale_at)
    }
}

/// A grant as a request holds it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) grant: Option<Grant>,
    /// Grows with every new grant for the same thing.
    pub(super) generation: u64,
    pub(super) origin: Origin,
    /// What the grant was made of, and whether the registry or its token server accepted that once.
    pub(super) credential: Option<Credential>,
    pub(super) accepted: bool,
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

    /// Whether it is a password that may have run out.
    pub(super) fn is_old_password(&self, now: Instant) -> bool {
        let password = self.grant.as_ref().filter(|grant| matches!(grant.kind, Kind::Password));
        password.is_some_and(|grant| now.duration_since(grant.made) >= YOUNG_PASSWORD)
    }

    pub(super) fn standing(&self) -> Standing {
        match &self.grant {
            Some(Grant { kind: Kind::Token(_), .. }) => Standing::Issued,
            _ if self.accepted => Standing::Accepted,
            _ => Standing::Untried,
        }
    }

    pub(super) fn is_anonymous(&self) -> bool {
        match &self.grant {
            None => true,
            Some(grant) => matches!(grant.kind, Kind::Token(Holder::Anonymous)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(lifetime: u64, made: Instant) -> Grant {
        Grant::token(&Secret::new("t"), Holder::Known, made, Duration::from_secs(lifetime))
    }

    #[test]
    fn tokens_are_renewed_early_and_never_assumed_to_live_longer() {
        let now = Instant::now();
        for (lifetime, usable) in [(3600, 3240), (300, 270), (60, 30), (20, 10), (2, 1), (0, 0)] {
            let (token, end) = (token(lifetime, now), now + Duration::from_secs(usable));
            assert!(!token.is_good(end, Duration::ZERO), "{lifetime}");
            assert!(
                usable == 0 || token.is_good(end - Duration::from_millis(1), Duration::ZERO),
                "{lifetime}"
            );
        }
    }

    #[test]
    fn a_token_has_to_last_for_a_transfer_unless_it_is_as_good_as_new() {
        let now = Instant::now();
        for (age, duration, good) in
            [(0, 60, true), (0, 100_000, true), (20, 100_000, true), (100, 100, true), (100, 200, false)]
        {
            let at = now + Duration::from_secs(age);
            assert_eq!(token(300, now).is_good(at, Duration::from_secs(duration)), good, "{age} {duration}");
        }
    }

    #[test]
    fn a_password_ages() {
        let now = Instant::now();
        let grant = Some(Grant::password("u", &Secret::new("p"), now));
        let held = Held { grant, generation: 1, origin: Origin::Found, credential: None, accepted: true };
        for (seconds, is_old) in [(0, false), (59, false), (60, true)] {
            assert_eq!(held.is_old_password(now + Duration::from_secs(seconds)), is_old);
        }
        assert!(!held.grant.unwrap().is_good(now + PASSWORD_AGE, Duration::ZERO));
    }
}
