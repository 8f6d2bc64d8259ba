//! What a token is asked to allow: `repository:NAME:ACTIONS`, as the distribution project's token specification
//! writes it.

use std::fmt;

use super::super::Access;

/// Access to one repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Scope {
    repository: String,
    right: Right,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Right {
    Pull,
    PullAndPush,
}

impl Scope {
    /// Reading a repository.
    pub(crate) fn pull(repository: &str) -> Self {
        Self { repository: repository.to_owned(), right: Right::Pull }
    }

    /// Reading and writing a repository.
    pub(crate) fn push(repository: &str) -> Self {
        Self { repository: repository.to_owned(), right: Right::PullAndPush }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions = match self.right {
            Right::Pull => "pull",
            Right::PullAndPush => "pull,push",
        };
        write!(f, "repository:{}:{actions}", self.repository)
    }
}

impl Access {
    /// The repository that credentials are looked up for.
    pub(crate) fn repository(&self) -> &str {
        self.scopes.first().map_or("", |scope| &scope.repository)
    }

    /// The scopes in the form of the token protocol, those of `challenge` that are not covered included.
    pub(super) fn scope_texts(&self, challenged: &[String]) -> Vec<String> {
        let mut texts: Vec<String> = self.scopes.iter().map(ToString::to_string).collect();
        for scope in challenged {
            if !texts.iter().any(|text| text.starts_with(scope.as_str())) {
                texts.push(scope.clone());
            }
        }
        texts
    }
}
