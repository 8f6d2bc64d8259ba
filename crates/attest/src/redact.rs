//! Credentials in URLs, taken out: `https://user:password@host` is `https://xxxxx:xxxxx@host`, as BuildKit writes it.
//!
//! Attestations are published, so this is done to every text that goes into one, wherever in it a URL stands.

use gantry_oci::replace_logins;
use serde_json::Value;

const REPLACEMENT: &str = "xxxxx:xxxxx";

/// The text without credentials of URLs: whatever stands there, be it only the `git@` of SSH.
pub(crate) fn text(text: &str) -> String {
    replace_logins(text, |_, _| Some(REPLACEMENT.to_owned())).into_owned()
}

/// Does the same to all strings of a document.
pub(crate) fn document(value: &mut Value) {
    match value {
        Value::String(string) if string.contains("://") => *string = text(string),
        Value::Array(items) => items.iter_mut().for_each(document),
        Value::Object(fields) => fields.values_mut().for_each(document),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_out() {
        for (before, after) in [
            ("https://u:p@h/x", "https://xxxxx:xxxxx@h/x"),
            ("https://token@h", "https://xxxxx:xxxxx@h"),
            ("ssh://git@h:22/x", "ssh://xxxxx:xxxxx@h:22/x"),
            ("https://u:p@ss@h/x", "https://xxxxx:xxxxx@h/x"),
            ("https://h/@scope/x", "https://h/@scope/x"),
            ("no url, a@b", "no url, a@b"),
            ("a=http://u:p@h b=http://v:q@i", "a=http://xxxxx:xxxxx@h b=http://xxxxx:xxxxx@i"),
            ("docker-image://docker.io/a@sha256:1", "docker-image://docker.io/a@sha256:1"),
            ("://@", "://xxxxx:xxxxx@"),
        ] {
            assert_eq!(text(before), after);
            assert_eq!(text(after), after, "once is enough");
        }
    }
}
