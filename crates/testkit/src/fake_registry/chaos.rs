//! Faults by chance: any answer may be spoiled, in an order that a seed decides.

use super::fault::{Fault, Seen};

/// A hook for [`super::FakeRegistry::on_request`] that spoils each exchange with this probability.
///
/// It refuses, answers 429, 500, 502 and 503, resets, truncates, closes early, and loses answers. The token server
/// does all that but refuse: a refused password is no passing fault.
pub fn chaos(seed: u64, probability: f64) -> impl FnMut(&Seen<'_>) -> Option<Fault> + Send + 'static {
    let mut random = Random(seed.wrapping_mul(2).wrapping_add(1));
    move |seen| {
        if random.fraction() >= probability {
            return None;
        }
        let after = random.below(seen.length().max(1));
        let kinds = if seen.path == "/token" { 8 } else { 10 };
        Some(match random.below(kinds) {
            0 => Fault::status_with(429, "retry-after", "0"),
            1 => Fault::status(500),
            2 => Fault::LateAnswer { status: 502, headers: Vec::new() },
            3 => Fault::MidAnswer { after, status: 503 },
            4 => Fault::Reset { after },
            5 => Fault::Drop { after },
            6 => Fault::Truncate { after: usize::try_from(random.below(1000)).unwrap_or_default() },
            7 => Fault::LoseAnswer,
            8 => Fault::Refuse { challenge: true, after: Some(after) },
            _ => Fault::Refuse { challenge: true, after: None },
        })
    }
}

/// SplitMix64: enough for tests, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn fraction(&mut self) -> f64 {
        // 53 bits are what a double holds exactly.
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
