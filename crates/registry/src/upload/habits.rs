//! In what form a blob is sent: whole, or in chunks; and what is known of a registry about that.
//!
//! One request with the whole blob is what every registry understands; chunks are not. So everything begins whole, and
//! a registry, or a proxy in front of it, that refuses so large a request makes us send smaller ones. That is remembered
//! for the registry. Some registries are known to do chunks wrong without saying so: those never get any.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

/// The first size of chunks: what limits of proxies are rarely below, in one second of a slow line.
const FIRST_CHUNK: u64 = 8 * 1024 * 1024;
/// Smaller chunks are not tried: whoever refuses these refuses everything.
const SMALLEST_CHUNK: u64 = 64 * 1024;
/// Bytes per second as long as nothing is known: a slow line, so that a token rather lasts too long.
const ASSUMED_PACE: f64 = 1024.0 * 1024.0;
/// A shorter body says more of the registry's speed than of the line's.
const TELLING: u64 = 1024 * 1024;
/// How much the last transfer counts.
const WEIGHT: f64 = 0.5;

/// Registries that refuse chunks (Google's), keep the last one only and say nothing (GitHub's, by report), or cannot
/// say how far an upload came (Amazon's).
const WHOLE_ONLY: [&str; 6] =
    ["ghcr.io", "gcr.io", ".gcr.io", ".pkg.dev", ".amazonaws.com", "public.ecr.aws"];

/// What is known of registries, by name.
#[derive(Debug, Default)]
pub(crate) struct Habits(Mutex<HashMap<String, Habit>>);

#[derive(Debug, Clone, Copy, Default)]
struct Habit {
    form: Form,
    /// Bytes per second.
    pace: Option<f64>,
}

/// The form of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Form {
    /// One closing request with everything.
    #[default]
    Whole,
    /// Chunks of this size, the last one with the closing request.
    Chunks(u64),
    /// Everything in chunks of this size, the closing request without a body.
    ChunksOnly(u64),
}

/// The next request of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Chunk(Range<u64>),
    /// Closes the session, with these bytes.
    Rest(Range<u64>),
}

impl Part {
    pub(super) fn span(&self) -> Range<u64> {
        match self {
            Self::Chunk(span) | Self::Rest(span) => span.clone(),
        }
    }
}

impl Form {
    /// What comes next after `offset` of `size` bytes, with chunks not below `least`.
    pub(super) fn part(self, offset: u64, size: u64, least: u64) -> Part {
        match self {
            Self::Chunks(chunk) if size - offset > chunk.max(least) => {
                Part::Chunk(offset..offset + chunk.max(least))
            }
            Self::ChunksOnly(chunk) if offset < size => {
                Part::Chunk(offset..size.min(offset.saturating_add(chunk.max(least))))
            }
            _ => Part::Rest(offset..size),
        }
    }

    /// A form with smaller requests than one of `refused` bytes. `None` if they would be too small.
    pub(super) fn smaller(self, refused: u64) -> Option<Self> {
        let chunk = FIRST_CHUNK.min(refused / 2);
        match self {
            _ if chunk < SMALLEST_CHUNK => None,
            Self::Whole | Self::Chunks(_) => Some(Self::Chunks(chunk)),
            Self::ChunksOnly(_) => Some(Self::ChunksOnly(chunk)),
        }
    }

    pub(super) fn is_chunked(self) -> bool {
        self != Self::Whole
    }
}

impl Habits {
    /// In which form to begin.
    pub(super) fn form(&self, registry: &str) -> Form {
        self.lock().get(registry).copied().unwrap_or_default().form
    }

    /// A form with which an upload succeeded after others had failed.
    pub(super) fn learn(&self, registry: &str, form: Form) {
        self.lock().entry(registry.to_owned()).or_default().form = form;
    }

    /// How long so many bytes will presumably take.
    pub(super) fn duration(&self, registry: &str, bytes: u64) -> Duration {
        let pace = self.lock().get(registry).and_then(|habit| habit.pace).unwrap_or(ASSUMED_PACE);
        Duration::from_secs_f64((bytes as f64 / pace.max(1.0)).min(1e6))
    }

    /// How long so many bytes took.
    pub(super) fn measured(&self, registry: &str, bytes: u64, took: Duration) {
        if bytes < TELLING || took.is_zero() {
            return;
        }
        let now = bytes as f64 / took.as_secs_f64();
        let mut habits = self.lock();
        let habit = habits.entry(registry.to_owned()).or_default();
        habit.pace = Some(habit.pace.map_or(now, |before| before + WEIGHT * (now - before)));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Habit>> {
        self.0.lock().expect("nothing panics while it holds the habits")
    }
}

/// Whether uploads to this registry go in one piece or not at all.
pub(super) fn is_whole_only(registry: &str) -> bool {
    WHOLE_ONLY.iter().any(|known| match known.strip_prefix('.') {
        Some(_) => registry.ends_with(known),
        None => registry == *known,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_all_forms() {
        for (form, offset, least, part) in [
            (Form::Whole, 0, 0, Part::Rest(0..100)),
            (Form::Whole, 30, 50, Part::Rest(30..100)),
            (Form::Chunks(40), 0, 0, Part::Chunk(0..40)),
            (Form::Chunks(40), 60, 0, Part::Rest(60..100)),
            (Form::Chunks(40), 0, 70, Part::Chunk(0..70)),
            (Form::Chunks(40), 30, 70, Part::Rest(30..100)),
            (Form::ChunksOnly(40), 60, 0, Part::Chunk(60..100)),
            (Form::ChunksOnly(u64::MAX), 60, 0, Part::Chunk(60..100)),
            (Form::ChunksOnly(40), 100, 0, Part::Rest(100..100)),
        ] {
            assert_eq!(form.part(offset, 100, least), part, "{form:?} {offset}");
        }
    }

    #[test]
    fn requests_shrink_to_a_bound() {
        assert_eq!(Form::Whole.smaller(1 << 40), Some(Form::Chunks(FIRST_CHUNK)));
        assert_eq!(Form::Chunks(FIRST_CHUNK).smaller(FIRST_CHUNK), Some(Form::Chunks(FIRST_CHUNK / 2)));
        assert_eq!(Form::ChunksOnly(1 << 20).smaller(1 << 20), Some(Form::ChunksOnly(1 << 19)));
        assert_eq!(Form::Whole.smaller(100_000), None);
    }

    #[test]
    fn who_never_gets_chunks() {
        for (registry, expected) in [
            ("ghcr.io", true),
            ("eu.gcr.io", true),
            ("europe-docker.pkg.dev", true),
            ("1234.dkr.ecr.eu-central-1.amazonaws.com", true),
            ("docker.io", false),
            ("evilghcr.io", false),
            ("gcr.io.evil.test", false),
        ] {
            assert_eq!(is_whole_only(registry), expected, "{registry}");
        }
    }

    #[test]
    fn the_pace_follows_what_is_measured() {
        let habits = Habits::default();
        assert_eq!(habits.duration("r", 10 << 20), Duration::from_secs(10));
        habits.measured("r", 10 << 20, Duration::from_secs(1));
        assert_eq!(habits.duration("r", 10 << 20), Duration::from_secs(1));
        habits.measured("r", 1000, Duration::from_secs(1));
        assert_eq!(habits.duration("r", 10 << 20), Duration::from_secs(1));
    }
}
