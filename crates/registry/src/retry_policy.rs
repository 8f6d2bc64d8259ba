//! How long to try: by progress, not by attempts.
//!
//! A layer of several gigabytes may lose its connection many times and still arrive. So tries are counted only while
//! nothing moves, and every byte that gets through starts the count anew; waiting as a whole is bounded.

use std::time::Duration;

/// Tries in a row that achieve nothing. Eight with the delays below ride out half a minute, the time that a registry
/// behind a load balancer needs to restart; where one answer in five fails, one request in 400 000 is given up.
const FRUITLESS_TRIES: u32 = 8;
/// The first delay's upper bound. Short, since most faults are one lost connection.
const FIRST_DELAY: Duration = Duration::from_millis(500);
/// No delay of our own choosing is longer.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// The sum of delays without progress. Rate limits of public registries are counted in minutes.
const PATIENCE: Duration = Duration::from_secs(600);
/// Tries for a host that refuses connections or has no address: it is more likely absent than busy.
const UNREACHABLE_TRIES: u32 = 3;

/// No byte either way for so long, or only a trickle: the connection is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// Fewer bytes are no progress. A server that lets through a byte now and then would hold us for ever.
pub(crate) const LEAST_PROGRESS: u64 = 16 * 1024;

/// When to give up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in a row without progress.
    pub tries: u32,
    /// The first delay is a random part of this; it doubles with each try.
    pub first_delay: Duration,
    /// The bound of the doubling. A registry's own `Retry-After` may be longer.
    pub longest_delay: Duration,
    /// The sum of delays without progress; a longer `Retry-After` is not waited for.
    pub patience: Duration,
    /// How long a connection may be silent; a registry that stores an upload may be so for five times as long.
    pub silence: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries: FRUITLESS_TRIES,
            first_delay: FIRST_DELAY,
            longest_delay: LONGEST_DELAY,
            patience: PATIENCE,
            silence: SILENCE,
        }
    }
}

impl RetryPolicy {
    pub(crate) fn budget(&self) -> Budget<'_> {
        Budget { policy: self, failures: 0, waited: Duration::ZERO, moved: 0 }
    }
}

/// What is left of a policy.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    policy: &'a RetryPolicy,
    failures: u32,
    waited: Duration,
    /// Bytes since the last progress.
    moved: u64,
}

impl<'a> Budget<'a> {
    /// So many bytes got through. If that is worth the name, all is well again.
    pub(crate) fn progress(&mut self, bytes: u64) {
        self.moved += bytes;
        if self.moved >= LEAST_PROGRESS {
            *self = self.policy.budget();
        }
    }

    /// How long to wait before the next try; `None` when it is time to give up.
    ///
    /// `Retry-After` is a lower bound. The rest is full jitter, so that a fleet does not return in lockstep.
    pub(crate) fn next_delay(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        self.failures += 1;
        if self.failures >= self.policy.tries {
            return None;
        }
        let doubled = self.policy.first_delay.saturating_mul(1 << (self.failures - 1).min(16));
        let jitter = random_part(doubled.min(self.policy.longest_delay));
        let delay = retry_after.unwrap_or_default().saturating_add(jitter);
        self.waited = self.waited.saturating_add(delay);
        (self.waited <= self.policy.patience).then_some(delay)
    }

    /// The same for a host that cannot be reached at all.
    pub(crate) fn next_delay_unreachable(&mut self) -> Option<Duration> {
        if self.failures + 1 >= UNREACHABLE_TRIES {
            return None;
        }
        self.next_delay(None)
    }
}

fn random_part(whole: Duration) -> Duration {
    // Without randomness the whole is as good as any part.
    let random = getrandom::u32().unwrap_or(u32::MAX);
    whole.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_progress_starts_anew() {
        let policy = RetryPolicy { tries: 4, ..RetryPolicy::default() };
        let mut budget = policy.budget();
        for bound in [500, 1000, 2000] {
            assert!(budget.next_delay(None).unwrap() <= Duration::from_millis(bound));
        }
        assert_eq!(budget.next_delay(None), None);
        budget.progress(100);
        assert_eq!(budget.next_delay(None), None);
        budget.progress(LEAST_PROGRESS);
        assert!(budget.next_delay(None).unwrap() <= Duration::from_millis(500));
    }

    #[test]
    fn a_wait_that_is_asked_for_is_kept_unless_it_is_too_long() {
        let policy = RetryPolicy::default();
        assert!(policy.budget().next_delay(Some(Duration::from_secs(7))).unwrap() >= Duration::from_secs(7));
        for seconds in [3600, 1_000_000_000, u64::MAX] {
            assert_eq!(policy.budget().next_delay(Some(Duration::from_secs(seconds))), None);
        }
    }

    #[test]
    fn an_absent_host_is_given_up_sooner() {
        let policy = RetryPolicy::default();
        let mut budget = policy.budget();
        assert!(budget.next_delay_unreachable().is_some() && budget.next_delay_unreachable().is_some());
        assert_eq!(budget.next_delay_unreachable(), None);
    }
}
