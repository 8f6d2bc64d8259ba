//! Logins in addresses, `https://user:password@host`: where they are in a text, and the text without them.
//!
//! Addresses stand in names of steps, in messages, in `.git/config` and in attestations, each with a form of its own for
//! what is hidden; where a login begins and ends is decided here for all of them. In doubt more is hidden than has to be.

use std::borrow::Cow;

/// Where a user without a password is a token.
const WEB: [&str; 2] = ["http", "https"];

/// The user and password, or the token, of an address. The `git@` of SSH is none.
pub fn login_of(address: &str) -> Option<&str> {
    let at = address.find("://")?;
    let (scheme, authority) = (&address[..at], authority(&address[at + "://".len()..]));
    authority.rsplit_once('@').map(|(login, _)| login).filter(|login| is_secret(scheme, login))
}

/// The text in which all addresses have BuildKit's `xxxxx` in the place of user and password, or of a token.
pub fn without_logins(text: &str) -> Cow<'_, str> {
    replace_logins(text, |scheme, login| {
        let mask = if login.contains(':') { "xxxxx:xxxxx" } else { "xxxxx" };
        is_secret(scheme, login).then(|| mask.to_owned())
    })
}

/// The text with what `replacement` says of each scheme and what stands before the `@` of its address; `None` leaves it.
pub fn replace_logins(text: &str, replacement: impl Fn(&str, &str) -> Option<String>) -> Cow<'_, str> {
    let mut replaced = String::new();
    let (mut kept, mut at) = (0, 0);
    while let Some(found) = text[at..].find("://") {
        let start = at + found + "://".len();
        let authority = authority(&text[start..]);
        let scheme =
            text[..at + found].rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        if let Some((login, host)) = authority.rsplit_once('@')
            && !host.starts_with("sha256:")
            && let Some(instead) = replacement(scheme, login)
        {
            replaced.push_str(&text[kept..start]);
            replaced.push_str(&instead);
            kept = start + login.len();
        }
        at = start + authority.len();
    }
    match kept {
        0 => Cow::Borrowed(text),
        _ => Cow::Owned(replaced + &text[kept..]),
    }
}

fn is_secret(scheme: &str, login: &str) -> bool {
    login.contains(':') || WEB.iter().any(|web| scheme.eq_ignore_ascii_case(web))
}

/// The user, host and port at the beginning. It ends where an address does that somebody quotes, too.
fn authority(text: &str) -> &str {
    let ends = |c: char| "/?#\"`<>".contains(c) || c.is_whitespace() || c.is_control();
    &text[..text.find(ends).unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden() {
        for (before, after) in [
            ("https://u:p@h/x", "https://xxxxx:xxxxx@h/x"),
            ("HTTPS://token@h?x", "HTTPS://xxxxx@h?x"),
            ("https://u:p@ss@h/a@b", "https://xxxxx:xxxxx@h/a@b"),
            ("ssh://git@h:22/x", "ssh://git@h:22/x"),
            ("ssh://git:p;w'@h:22/x", "ssh://xxxxx:xxxxx@h:22/x"),
            ("https://h:8080/@scope/x?a=b@c", "https://h:8080/@scope/x?a=b@c"),
            ("a=http://u:p@h `b=http://t@i`", "a=http://xxxxx:xxxxx@h `b=http://xxxxx@i`"),
            ("oci-layout://a:tag@sha256:1", "oci-layout://a:tag@sha256:1"),
            ("no address, a@b ://", "no address, a@b ://"),
        ] {
            assert_eq!(without_logins(before), after);
            assert_eq!(without_logins(after), after, "once is enough");
        }
    }

    #[test]
    fn logins() {
        for (address, login) in [
            ("https://u:p@h/x", Some("u:p")),
            ("HTTPS://token@h", Some("token")),
            ("ssh://git@h/x", None),
            ("ssh://git:p@h/x", Some("git:p")),
            ("git@h:x", None),
            ("https://h/a@b", None),
        ] {
            assert_eq!(login_of(address), login, "{address}");
        }
    }
}
