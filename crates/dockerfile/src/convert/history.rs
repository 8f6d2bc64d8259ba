//! The history of images while they are built.
//!
//! A stage continues the history of the one that it builds on, and there may be thousands of both. So entries live in
//! one list and each knows the one before it; a stage has but the place of its last.

use gantry_oci::History;

use super::state::State;

/// An entry by its place in the list.
pub(super) type EntryId = usize;

/// All entries of all stages.
#[derive(Debug, Default)]
pub(super) struct Histories(Vec<(Option<EntryId>, History)>);

impl Histories {
    /// Takes over what a state noted since the last time. Returns how many bytes that is.
    pub(super) fn remember(&mut self, state: &mut State) -> usize {
        let mut bytes = 0;
        for entry in std::mem::take(&mut state.config.history) {
            let size = entry.created_by.len() + size_of::<History>();
            bytes += size;
            // What makes no layer is in the config instead, of which every child has a copy.
            state.weight += if entry.empty_layer { size } else { 0 };
            self.0.push((state.last_entry, entry));
            state.last_entry = Some(self.0.len() - 1);
        }
        bytes
    }

    /// The whole history of a state, oldest first.
    pub(super) fn of(&self, state: &State) -> Vec<History> {
        let mut entries = Vec::new();
        let mut next = state.last_entry;
        while let Some(entry) = next {
            let (before, entry) = &self.0[entry];
            entries.push(entry.clone());
            next = *before;
        }
        entries.reverse();
        entries
    }
}
