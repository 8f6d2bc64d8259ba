//! What is known of the steps so far: numbers, names, times and unfinished lines. Both views for people keep this.

use std::collections::HashMap;
use std::time::Duration;

use gantry_llb::Outcome;
use gantry_oci::{Digest, Platform};

use crate::failure::clean;

/// A longer line is cut: it is a progress bar, or an attack on memory.
const MAX_LINE: usize = 16 << 10;

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    /// Counted from 1 in the order of their beginnings.
    pub(super) number: usize,
    /// Its name, safe to show.
    pub(super) name: String,
    /// The platform that it works for.
    pub(super) platform: Option<String>,
    /// When it began.
    pub(super) started: Duration,
    /// How and when it ended.
    pub(super) ended: Option<(Outcome, Duration)>,
    line: Vec<u8>,
}

/// All steps.
#[derive(Debug, Default)]
pub(super) struct Steps {
    by_digest: HashMap<Digest, usize>,
    steps: Vec<Step>,
}

impl Steps {
    /// Notes that a step begins; one that began before is taken as it was.
    pub(super) fn start(
        &mut self,
        vertex: Digest,
        name: &str,
        platform: Option<&str>,
        now: Duration,
    ) -> &Step {
        let index = *self.by_digest.entry(vertex).or_insert_with(|| {
            self.steps.push(Step {
                number: self.steps.len() + 1,
                name: clean(name),
                platform: platform.map(clean).or_else(|| platform_in(name)),
                started: now,
                ended: None,
                line: Vec::new(),
            });
            self.steps.len() - 1
        });
        &self.steps[index]
    }

    /// The step of a vertex.
    pub(super) fn get_mut(&mut self, vertex: &Digest) -> Option<&mut Step> {
        self.by_digest.get(vertex).map(|index| &mut self.steps[*index])
    }

    /// All steps, in the order of their beginnings.
    pub(super) fn all(&self) -> &[Step] {
        &self.steps
    }
}

/// The platform in a name like `[linux/arm64 build 2/5] COPY …`: a copy works for the platform of its stage, but is the
/// same for all, so its vertex has none.
fn platform_in(name: &str) -> Option<String> {
    let first = name.strip_prefix('[')?.split([' ', ']']).next()?;
    let platform: Platform = first.parse().ok()?;
    // `2/5` would be one, too.
    first.starts_with("linux/").then(|| platform.to_string())
}

impl Step {
    /// Takes output and gives the lines that it completes, safe to show.
    pub(super) fn lines(&mut self, data: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in data {
            match byte {
                b'\n' => lines.push(self.take_line()),
                _ if self.line.len() < MAX_LINE => self.line.push(*byte),
                _ => {}
            }
        }
        lines
    }

    /// The line that was not ended, if there is one.
    pub(super) fn rest(&mut self) -> Option<String> {
        (!self.line.is_empty()).then(|| self.take_line())
    }

    fn take_line(&mut self) -> String {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        // A program that draws over its line meant only the last drawing to stay.
        let text = text.trim_end_matches('\r');
        clean(text.rsplit('\r').next().unwrap_or_default()).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_of_steps() {
        for (name, platform) in [
            ("[linux/arm64 build 2/5] COPY a b", Some("linux/arm64")),
            ("[linux/amd64 1/2] FROM x", Some("linux/amd64")),
            ("[build 2/5] COPY a b", None),
            ("[2/5] COPY a b", None),
            ("[internal] load build context", None),
            ("linux/arm64", None),
        ] {
            assert_eq!(platform_in(name).as_deref(), platform, "{name}");
        }
    }
}
