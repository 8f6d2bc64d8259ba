//! The flags of an instruction, checked against those that it has.

use crate::error::Fault;
use crate::parser::Node;
use crate::suggest;

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

impl Takes {
    fn example(self, name: &str) -> String {
        match self {
            Self::Bool => format!("write {name}, or {name}=false"),
            Self::Value | Self::Values => format!("write {name}=VALUE"),
        }
    }
}

fn unknown(node: &Node, name: &str, bare: &str, known: &[(&'static str, Takes)]) -> Fault {
    let fault = Fault::syntax(format!("unknown flag: {name}"));
    let keyword = node.keyword.to_uppercase();
    let names = || known.iter().map(|(name, _)| *name);
    match (suggest::closest(&bare.to_lowercase(), names()), known.is_empty()) {
        (Some(near), _) => fault.hint(format!("did you mean `{near}`?")),
        (None, true) => fault.hint(format!("{keyword} has no flags")),
        (None, false) => match names().find(|name| name.eq_ignore_ascii_case(bare)) {
            Some(same) => fault.hint(format!("did you mean `{same}`?")),
            None => {
                let names: Vec<String> = names().map(|name| format!("--{name}")).collect();
                fault.hint(format!("{keyword} has {}", names.join(", ")))
            }
        },
    }
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
            let bare = name.strip_prefix("--").unwrap_or(name);
            let Some((_, takes)) = known.iter().find(|(known, _)| *known == bare) else {
                return Err(unknown(node, name, bare, known));
            };
            if *takes != Takes::Values && flags.0.iter().any(|(given, _)| given == bare) {
                return Err(Fault::syntax(format!("duplicate flag specified: {name}")).hint("give it once"));
            }
            let value = match (takes, value.map(str::to_ascii_lowercase).as_deref(), value) {
                (Takes::Bool, None | Some("true"), _) => "true",
                (Takes::Bool, Some("false"), _) => "false",
                (_, None | Some(""), None) | (Takes::Bool, Some(""), _) => {
                    let fault = Fault::syntax(format!("missing a value on flag: {name}"));
                    return Err(fault.hint(takes.example(name)));
                }
                (Takes::Bool, Some(other), _) => {
                    let fault =
                        Fault::syntax(format!("expecting boolean value for flag {name}, not: {other}"));
                    return Err(fault.hint(takes.example(name)));
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
