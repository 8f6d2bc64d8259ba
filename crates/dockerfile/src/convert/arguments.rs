//! The arguments that a stage declared.
//!
//! Every variable of every text is looked up here if nothing has set it, and every command has the whole list in its
//! history: an argument that is declared ten thousand times is one.

use std::collections::HashMap;

/// Declared arguments in the order of their first declarations.
#[derive(Debug, Clone, Default)]
pub(super) struct Arguments {
    list: Vec<Argument>,
    places: HashMap<String, usize>,
}

/// An argument.
#[derive(Debug, Clone)]
pub(super) struct Argument {
    /// Its name.
    pub(super) name: String,
    /// Its value as of its last declaration, if it has one.
    pub(super) value: Option<String>,
}

impl Arguments {
    /// Declares an argument; one that is there keeps its place.
    pub(super) fn declare(&mut self, name: &str, value: Option<String>) {
        match self.places.get(name) {
            Some(place) => self.list[*place].value = value,
            None => {
                self.places.insert(name.to_owned(), self.list.len());
                self.list.push(Argument { name: name.to_owned(), value });
            }
        }
    }

    /// Whether an argument was declared.
    pub(super) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Argument> {
        self.list.iter()
    }
}
