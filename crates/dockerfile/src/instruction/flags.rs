//! The flags of an instruction, checked against those that it has.

use crate::error::Fault;
use crate::parser::Node;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, `true` or `false`.
    Bool,
    /// A value, once.
    Value,
    /// A value, any number of times.
    Values,
}

/// The flags that were given, in order.
#[derive(Debug, Default)]
pub(super) struct Flags(Vec<(String, String)>);

impl Flags {
    /// Reads a node's flags; `known` are those that its instruction has.
    pub(super) fn read(node: &Node, known: &[(&'static str, Takes)]) -> Result<Self, Fault> {
        let mut flags = Self::default();
        for flag in &node.flags {
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag.as_str(), None),
            };
            let bare = name.trim_start_matches("--");
            let Some((_, takes)) = known.iter().find(|(known, _)| *known == bare) else {
                let fault = Fault::syntax(format!("unknown flag: {name}"));
                return Err(fault.suggest(bare, known.iter().map(|(name, _)| *name)));
            };
            if *takes != Takes::Values && flags.0.iter().any(|(given, _)| given == bare) {
                return Err(Fault::syntax(format!("duplicate flag specified: {name}")));
            }
            let value = match (takes, value.map(str::to_ascii_lowercase).as_deref(), value) {
                (Takes::Bool, None | Some("true"), _) => "true",
                (Takes::Bool, Some("false"), _) => "false",
                (_, None | Some(""), None) | (Takes::Bool, Some(""), _) => {
                    return Err(Fault::syntax(format!("missing a value on flag: {name}")));
                }
                (Takes::Bool, Some(other), _) => {
                    return Err(Fault::syntax(format!(
                        "expecting boolean value for flag {name}, not: {other}"
                    )));
                }
                (_, _, value) => value.unwrap_or_default(),
            };
            flags.0.push((bare.to_owned(), value.to_owned()));
        }
        Ok(flags)
    }

    /// Refuses all flags.
    pub(super) fn none(node: &Node) -> Result<(), Fault> {
        Self::read(node, &[]).map(drop)
    }

    /// The value of a flag, empty if it was not given.
    pub(super) fn value(&self, name: &str) -> String {
        self.values(name).next().unwrap_or_default().to_owned()
    }

    /// All values of a flag.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// A switch, if it was given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.values(name).next().map(|value| value == "true")
    }
}
