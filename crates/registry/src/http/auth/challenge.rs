//! `WWW-Authenticate`: what a registry wants to be shown (RFC 9110, section 11.6.1).
//!
//! One header may hold several challenges, several headers may stand side by side, and commas separate both
//! challenges and their parameters; so it is read token by token.

use hyper::header::{HeaderMap, WWW_AUTHENTICATE};

/// One way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// The token server's address, perhaps relative.
        realm: String,
        /// What the token server calls the registry.
        service: Option<String>,
        /// What the refused request needed.
        scopes: Vec<String>,
        /// What was wrong with the token that was shown (RFC 6750, section 3.1).
        error: Option<String>,
    },
}

impl Challenge {
    /// The best challenge that we can answer: a token rather than a password.
    pub(super) fn best(headers: &HeaderMap) -> Option<Self> {
        let challenges: Vec<Self> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| Reader { rest: text }.challenges())
            .collect();
        let bearer = challenges.iter().position(|one| matches!(one, Self::Bearer { .. }));
        challenges.into_iter().nth(bearer.unwrap_or(0))
    }

    /// Whether a token was shown that is good, but not for this.
    pub(super) fn is_insufficient_scope(&self) -> bool {
        matches!(self, Self::Bearer { error: Some(error), .. } if error == "insufficient_scope")
    }

    fn new(scheme: &str, parameters: &[(String, String)]) -> Option<Self> {
        let parameter =
            |name: &str| parameters.iter().find(|(one, _)| one == name).map(|(_, value)| value.clone());
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => Some(Self::Basic),
            "bearer" => Some(Self::Bearer {
                realm: parameter("realm")?,
                service: parameter("service"),
                scopes: parameter("scope")
                    .unwrap_or_default()
                    .split_ascii_whitespace()
                    .map(str::to_owned)
                    .collect(),
                error: parameter("error"),
            }),
            _ => None,
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn challenges(mut self) -> Vec<Challenge> {
        let mut found = Vec::new();
        self.skip_separators();
        while let Some(scheme) = self.token() {
            let parameters = self.parameters();
            found.extend(Challenge::new(&scheme, &parameters));
            if self.rest.is_empty() {
                break;
            }
        }
        found
    }

    /// `name=value` pairs up to the next word that no `=` follows: the next scheme.
    fn parameters(&mut self) -> Vec<(String, String)> {
        let mut parameters = Vec::new();
        loop {
            self.skip_separators();
            let before = self.rest;
            let Some(name) = self.token() else { return parameters };
            let after_name = self.rest.trim_start();
            let Some(value) = after_name.strip_prefix('=') else {
                self.rest = before;
                return parameters;
            };
            self.rest = value.trim_start();
            let value =
                if self.rest.starts_with('"') { self.quoted() } else { self.token().unwrap_or_default() };
            parameters.push((name.to_ascii_lowercase(), value));
        }
    }

    fn skip_separators(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
    }

    /// A word. Wider than the standard's, for the sake of values that ought to be quoted and are not.
    fn token(&mut self) -> Option<String> {
        let end = self.rest.find([' ', '\t', ',', '=', '"']).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then(|| token.to_owned())
    }

    fn quoted(&mut self) -> String {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return text;
                }
                '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                other => text.push(other),
            }
        }
        self.rest = "";
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scopes: &[&str]) -> Option<Challenge> {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scopes,
            error: None,
        })
    }

    #[test]
    fn headers_of_all_kinds() {
        for (values, expected) in [
            (
                vec![r#"Bearer realm="https://a.test/t",service="s",scope="repository:x:pull,push""#],
                bearer("https://a.test/t", Some("s"), &["repository:x:pull,push"]),
            ),
            (vec![r#"Basic realm="with, comma and \" quote""#], Some(Challenge::Basic)),
            (vec![r#"Basic realm="x", Bearer realm="/t", service=s"#], bearer("/t", Some("s"), &[])),
            (vec!["Basic", r#"bearer REALM = "/t""#], bearer("/t", None, &[])),
            (vec![r#"Negotiate, Digest realm="a", nonce="b", Basic realm="c""#], Some(Challenge::Basic)),
            (vec!["Bearer service=s"], None),
            (vec![r#"Bearer realm="unclosed"#], bearer("unclosed", None, &[])),
            (vec!["", ",,", "=", "\"\""], None),
            (vec![], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
            }
            assert_eq!(Challenge::best(&headers), expected, "{values:?}");
        }
    }
}
