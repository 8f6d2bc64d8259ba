//! Who may do what in the fake registry: nothing, Basic, or Bearer tokens from its own token endpoint.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};

/// The kind of access control.
#[derive(Debug, Clone, Default)]
pub enum Access {
    /// Everybody may do everything.
    #[default]
    Open,
    /// User name and password with every request.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token for user name and password, or for an identity token whose value is the password.
    Bearer {
        /// The user.
        user: String,
        /// The password.
        password: String,
        /// How long a token is valid.
        lifetime: Duration,
        /// Whether somebody without credentials gets a token for pulling.
        anonymous_pull: bool,
    },
}

impl Access {
    /// Basic authentication.
    pub fn basic(user: &str, password: &str) -> Self {
        Self::Basic { user: user.to_owned(), password: password.to_owned() }
    }

    /// Tokens that live for `lifetime`, for nobody but this user.
    pub fn bearer(user: &str, password: &str, lifetime: Duration) -> Self {
        Self::Bearer { user: user.to_owned(), password: password.to_owned(), lifetime, anonymous_pull: false }
    }
}

/// Checks requests and gives out tokens.
#[derive(Debug, Default)]
pub(super) struct Doorkeeper {
    access: Access,
    tokens: HashMap<String, Token>,
    issued: usize,
}

#[derive(Debug)]
struct Token {
    expires: Instant,
    scopes: Vec<String>,
}

/// Whether a request may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// It may not: it has no credentials.
    Missing,
    /// Its credentials are wrong, or no longer valid.
    Wrong,
    /// Its token is valid, but not for this.
    Insufficient,
}

/// What the token endpoint answers.
#[derive(Debug)]
pub(super) enum Issue {
    Token { token: String, lifetime: Duration },
    Refused,
}

impl Doorkeeper {
    pub(super) fn set(&mut self, access: Access) {
        self.access = access;
        self.tokens.clear();
    }

    pub(super) fn revoke(&mut self) {
        self.tokens.clear();
    }

    pub(super) fn issued(&self) -> usize {
        self.issued
    }

    /// Whether a request may pass. `needs` are pairs of repository and action.
    pub(super) fn judge(&self, authorization: Option<&str>, needs: &[(String, &str)]) -> Verdict {
        let wrong = if authorization.is_some() { Verdict::Wrong } else { Verdict::Missing };
        match &self.access {
            Access::Open => Verdict::Pass,
            Access::Basic { user, password } if authorization == Some(&basic(user, password)) => {
                Verdict::Pass
            }
            Access::Basic { .. } => wrong,
            Access::Bearer { .. } => match self.token(authorization) {
                None => wrong,
                Some(token) if needs.iter().all(|need| allows(&token.scopes, need)) => Verdict::Pass,
                Some(_) => Verdict::Insufficient,
            },
        }
    }

    /// The value of `WWW-Authenticate` for a request with these needs.
    pub(super) fn challenge(&self, needs: &[(String, &str)], host: &str) -> String {
        if !matches!(self.access, Access::Bearer { .. }) {
            return "Basic realm=\"fake, with a comma\"".to_owned();
        }
        let scopes: Vec<String> = needs
            .iter()
            .map(|(repository, action)| {
                let actions = if *action == "push" { "pull,push" } else { "pull" };
                format!("repository:{repository}:{actions}")
            })
            .collect();
        format!("Bearer realm=\"http://{host}/token\",service=\"fake\",scope=\"{}\"", scopes.join(" "))
    }

    fn token(&self, authorization: Option<&str>) -> Option<&Token> {
        let token = self.tokens.get(authorization?.strip_prefix("Bearer ")?)?;
        (Instant::now() < token.expires).then_some(token)
    }

    /// The user's identity token.
    pub(super) fn identity(&self) -> Option<String> {
        match &self.access {
            Access::Bearer { user, .. } => Some(format!("identity-of-{user}")),
            Access::Open | Access::Basic { .. } => None,
        }
    }

    /// The password that an identity token stands for, if it is the one that is given out; else the token as it is.
    pub(super) fn password_for(&self, identity: Option<&str>, given_out: bool) -> Option<String> {
        match &self.access {
            Access::Bearer { password, .. } if given_out && identity == self.identity().as_deref() => {
                Some(password.clone())
            }
            _ => identity.map(str::to_owned),
        }
    }

    /// Gives out a token. `identity` is the refresh token of a POST.
    pub(super) fn issue(
        &mut self,
        authorization: Option<&str>,
        identity: Option<&str>,
        scopes: Vec<String>,
    ) -> Issue {
        let Access::Bearer { user, password, lifetime, anonymous_pull } = &self.access else {
            return Issue::Refused;
        };
        let known = authorization == Some(&basic(user, password)) || identity == Some(password);
        let anonymous = authorization.is_none() && identity.is_none() && *anonymous_pull;
        if !known && !anonymous {
            return Issue::Refused;
        }
        let scopes = match known {
            true => scopes,
            false => scopes.iter().map(|scope| scope.replace("pull,push", "pull")).collect(),
        };
        self.issued += 1;
        let token = format!("token-{}-of-{password}", self.issued);
        self.tokens.insert(token.clone(), Token { expires: Instant::now() + *lifetime, scopes });
        Issue::Token { token, lifetime: *lifetime }
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

fn allows(scopes: &[String], (repository, action): &(String, &str)) -> bool {
    scopes.iter().any(|scope| {
        let actions =
            scope.strip_prefix("repository:").and_then(|rest| rest.strip_prefix(repository.as_str()));
        actions
            .and_then(|rest| rest.strip_prefix(':'))
            .is_some_and(|rest| rest.split(',').any(|one| one == *action))
    })
}
