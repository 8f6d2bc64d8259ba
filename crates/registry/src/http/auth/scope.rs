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

    /// Those of the challenged scopes that we do not ask for anyway.
    pub(super) fn missing_scopes(&self, challenged: &[String]) -> Vec<String> {
        let own = self.scope_texts(&[]);
        let covered = |scope: &&String| own.iter().any(|text| covers(text, scope));
        challenged.iter().filter(|scope| !covered(scope)).cloned().collect()
    }

    /// The scopes in the form of the token protocol, the one to push first, and these at the end.
    pub(super) fn scope_texts(&self, extra: &[String]) -> Vec<String> {
        self.scopes.iter().map(ToString::to_string).chain(extra.iter().cloned()).collect()
    }
}

/// Whether a scope allows at least what another does.
fn covers(scope: &str, other: &str) -> bool {
    let (Some((name, actions)), Some((other_name, others))) =
        (scope.rsplit_once(':'), other.rsplit_once(':'))
    else {
        return scope == other;
    };
    name == other_name && others.split(',').all(|one| actions.split(',').any(|action| action == one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_covers_what() {
        for (scope, other, covered) in [
            ("repository:a:pull,push", "repository:a:pull", true),
            ("repository:a:pull,push", "repository:a:push,pull", true),
            ("repository:a:pull", "repository:a:pull,push", false),
            ("repository:a:pull", "repository:a/b:pull", false),
            ("registry:catalog:*", "registry:catalog:*", true),
        ] {
            assert_eq!(covers(scope, other), covered, "{scope} {other}");
        }
    }
}
