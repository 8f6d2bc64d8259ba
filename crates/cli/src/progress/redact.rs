//! Addresses without what nobody else should see of them, for names of steps and messages that end up in logs of CI
//! systems. Graphs and keys have them as the user wrote them; only what is shown is changed.

use std::borrow::Cow;

use gantry_llb::{Outcome, ProgressEvent};
use gantry_oci::replace_logins;
use gantry_release::Event;

/// What is shown in place of a secret.
const HIDDEN: &str = "***";
/// Where a name without a password is a token.
const WEB: [&str; 2] = ["http", "https"];

/// The event as it may be shown. What steps print is theirs, and stays as it is.
pub(super) fn event(event: Event) -> Event {
    match event {
        Event::Progress(ProgressEvent::Started { vertex, name, platform }) => {
            Event::Progress(ProgressEvent::Started { vertex, name: text(&name).into_owned(), platform })
        }
        Event::Progress(ProgressEvent::Ended { vertex, outcome: Outcome::Failed(message) }) => {
            let outcome = Outcome::Failed(text(&message).into_owned());
            Event::Progress(ProgressEvent::Ended { vertex, outcome })
        }
        Event::Warning { message, hints } => Event::Warning {
            message: text(&message).into_owned(),
            hints: hints.iter().map(|hint| text(hint).into_owned()).collect(),
        },
        Event::Finding { rule, message, excerpt } => {
            Event::Finding { rule, message: text(&message).into_owned(), excerpt }
        }
        other => other,
    }
}

/// A text in which addresses like `https://user:password@host` have no password, and those of the web no token in the
/// place of a user.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    replace_logins(text, |scheme, login| match login.split_once(':') {
        Some((user, _)) => Some(format!("{user}:{HIDDEN}")),
        None => WEB.iter().any(|web| scheme.eq_ignore_ascii_case(web)).then(|| HIDDEN.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_of_addresses() {
        for (given, expected) in [
            ("[1/2] ADD https://u:pw@h.test/a /b", "[1/2] ADD https://u:***@h.test/a /b"),
            ("https://u:p@ss@h.test", "https://u:***@h.test"),
            ("https://token@github.com/a.git#main", "https://***@github.com/a.git#main"),
            ("ssh://git@h.test/a", "ssh://git@h.test/a"),
            ("ssh://git:pw@h.test/a and `HTTP://t@h`", "ssh://git:***@h.test/a and `HTTP://***@h`"),
            ("https://h.test/@scope/x?a=b@c", "https://h.test/@scope/x?a=b@c"),
            ("https://h.test:8080/x", "https://h.test:8080/x"),
            ("git@github.com:a/b", "git@github.com:a/b"),
            ("RUN echo a@b ://", "RUN echo a@b ://"),
        ] {
            assert_eq!(text(given), expected);
        }
    }
}
