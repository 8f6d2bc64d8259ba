//! The user and the password that stand in a repository's address.
//!
//! git writes addresses into `.git/config`, also those of submodules that it makes from its origin's, and gives them to
//! its helpers as arguments, which every user of the machine can read. So it works with the address as it is shown,
//! and gets the rest through its environment. For the web that is a credential helper for the shown user of this
//! host; for other protocols, which have none, the address is put together again when the connection is made.

use gantry_llb::GitSource;
use percent_encoding::percent_decode_str;

/// The user by which git knows that the helper is meant.
const PLACEHOLDER: &str = "xxxxx";
/// Only the names of the variables are arguments. git also tells it what was accepted, which is of no interest.
const HELPER: &str = "!f() { if test \"$1\" = get; then \
                      printf 'username=%s\\npassword=%s\\n' \"$GANTRY_GIT_USER\" \"$GANTRY_GIT_PASSWORD\"; fi; }; f";

/// What git has to be told, so that the shown address is as good as the whole one.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// Settings.
    pub(super) configuration: Vec<(String, String)>,
    /// Variables for the helper.
    pub(super) environment: Vec<(&'static str, Vec<u8>)>,
}

impl Login {
    /// What the address of the source holds; nothing for one without a password or token.
    pub(super) fn of(source: &GitSource) -> Self {
        let Some((credentials, (scheme, _))) = source.credentials().zip(source.remote.split_once("://"))
        else {
            return Self::default();
        };
        let shown = host_of(&source.shown());
        if !scheme.starts_with("http") {
            let rewrite = (format!("url.{}.insteadOf", host_of(&source.remote)), shown);
            return Self { configuration: vec![rewrite], environment: Vec::new() };
        }
        let address = shown.rsplit_once('@').map_or(shown.as_str(), |(_, host)| host);
        let named = format!("{scheme}://{PLACEHOLDER}@{address}");
        let mut configuration =
            vec![(format!("credential.{}.helper", named.trim_end_matches('/')), HELPER.to_owned())];
        // An address with a password in it would not make git ask for one.
        if named != shown {
            configuration.push((format!("url.{named}.insteadOf"), shown));
        }
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let decoded = |text: &str| percent_decode_str(text).collect();
        let environment =
            vec![("GANTRY_GIT_USER", decoded(user)), ("GANTRY_GIT_PASSWORD", decoded(password))];
        Self { configuration, environment }
    }
}

/// An address up to its path.
fn host_of(address: &str) -> String {
    let path = address.find("://").and_then(|at| address[at + 3..].find('/').map(|length| at + 3 + length));
    path.map_or_else(|| format!("{address}/"), |at| address[..=at].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_llb::{Source, pb};

    fn login(remote: &str) -> Login {
        let attrs = [("git.fullurl".to_owned(), remote.to_owned())].into();
        match Source::parse(&pb::SourceOp { identifier: "git://h/a".to_owned(), attrs }).unwrap() {
            Source::Git(source) => Login::of(&source),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_git_sees_in_place_of_a_password() {
        for (remote, settings, variables) in [
            ("https://h/a", vec![], vec![]),
            ("ssh://git@h/a", vec![], vec![]),
            (
                "https://me:p%40ss@h:1/a",
                vec![
                    ("credential.https://xxxxx@h:1.helper", HELPER),
                    ("url.https://xxxxx@h:1/.insteadOf", "https://xxxxx:xxxxx@h:1/"),
                ],
                vec!["me", "p@ss"],
            ),
            ("http://token@h/a", vec![("credential.http://xxxxx@h.helper", HELPER)], vec!["token", ""]),
            ("ssh://me:p@h/a", vec![("url.ssh://me:p@h/.insteadOf", "ssh://xxxxx:xxxxx@h/")], vec![]),
        ] {
            let login = login(remote);
            let found: Vec<_> =
                login.configuration.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(found, settings, "{remote}");
            let found: Vec<_> = login.environment.iter().map(|(_, value)| value.clone()).collect();
            assert_eq!(found, variables.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
        }
    }
}
