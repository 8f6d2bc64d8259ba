//! Environment variables in the order in which BuildKit passes them on.
//!
//! Setting a name again moves it to the end; the order is part of a command's identity, so it has to be the same.

use std::collections::{BTreeMap, HashMap};

/// An ordered list of variables with unique names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// The names by when they were set.
    order: BTreeMap<u64, String>,
    /// When each was set, and to what.
    values: HashMap<String, (u64, String)>,
    next: u64,
    bytes: usize,
}

impl Environment {
    /// Sets a variable; it becomes the last one.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.order.insert(self.next, name.to_owned());
        self.values.insert(name.to_owned(), (self.next, value.to_owned()));
        self.next += 1;
        self.bytes += name.len() + value.len();
    }

    /// Removes a variable, if it is there.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Some((when, value)) = self.values.remove(name) {
            self.order.remove(&when);
            self.bytes -= name.len() + value.len();
        }
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(_, value)| value.as_str())
    }

    /// The names, oldest first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.order.values().map(String::as_str)
    }

    /// The number of variables.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// About how many bytes [`Environment::to_list`] takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.len() * size_of::<String>()
    }

    /// `NAME=value`, oldest first.
    pub(crate) fn to_list(&self) -> Vec<String> {
        self.names().map(|name| format!("{name}={}", self.get(name).unwrap_or_default())).collect()
    }
}
