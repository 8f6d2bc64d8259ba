//! Names of variables that sound like secrets.

/// Words that name a secret.
const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
/// Words that say that it is none.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// Whether a variable of this name probably holds a secret: one of the words between its underscores says so, and
/// none says otherwise.
pub(crate) fn names_secret(name: &str) -> bool {
    let says =
        |words: &[&str]| name.split('_').any(|part| words.iter().any(|word| word.eq_ignore_ascii_case(part)));
    says(&SECRET) && !says(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for secret in ["API_KEY", "passwd", "GITHUB_TOKEN", "secret_message", "Auth", "apikey", "KEY_"] {
            assert!(names_secret(secret), "{secret}");
        }
        for harmless in ["PUBLIC_KEY", "TOKEN_FILE", "AUTH_VERSION", "KEYBOARD", "MONKEY", "AUTHOR", ""] {
            assert!(!names_secret(harmless), "{harmless}");
        }
    }
}
