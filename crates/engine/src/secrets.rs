//! Secrets of the client: read when a step needs them, shown to that step only, and never printed.
//!
//! In the store there is nothing of them but their names, which are part of the operations. A step gets them as files in
//! memory or as variables of its process.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use crate::error::{At, Fault};

/// The most bytes that a secret may have; BuildKit's limit.
const MAX_SECRET: u64 = 500 << 10;

/// Bytes that are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// These bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for where they have to go.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as one line of text, without the line end that files have; `None` if they are no such thing.
    pub(crate) fn line(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.0).ok()?.trim_end_matches(['\r', '\n']);
        (!text.contains(char::is_control)).then_some(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In this file, which is read each time that a step needs it.
    File(PathBuf),
    /// Here.
    Value(Secret),
}

/// The client's secrets by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, SecretSource>);

impl FromIterator<(String, SecretSource)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, SecretSource)>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

impl Secrets {
    /// The secret of this id; `None` if the client has none.
    pub(crate) fn get(&self, id: &str) -> Result<Option<Secret>, Fault> {
        let path = match self.0.get(id) {
            None => return Ok(None),
            Some(SecretSource::Value(secret)) => return Ok(Some(secret.clone())),
            Some(SecretSource::File(path)) => path,
        };
        let mut bytes = Vec::new();
        let file = File::open(path).reading_secret(id)?;
        file.take(MAX_SECRET + 1).read_to_end(&mut bytes).reading_secret(id)?;
        if bytes.len() as u64 > MAX_SECRET {
            return Err(Fault::Secret {
                id: id.to_owned(),
                problem: format!("it is larger than {MAX_SECRET} bytes"),
            });
        }
        Ok(Some(Secret(bytes)))
    }

    /// The secret of this id. `None` if there is none and it is optional.
    pub(crate) fn wanted(&self, id: &str, optional: bool) -> Result<Option<Secret>, Fault> {
        match self.get(id)? {
            None if !optional => Err(Fault::MissingSecret(id.to_owned())),
            found => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_missing_and_too_large() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("big");
        std::fs::write(&path, vec![b'x'; (MAX_SECRET + 1) as usize]).unwrap();
        let value = SecretSource::Value(Secret::new("hunter2"));
        let secrets: Secrets = [
            ("value".to_owned(), value),
            ("big".to_owned(), SecretSource::File(path)),
            ("gone".to_owned(), SecretSource::File("/nowhere/at/all".into())),
        ]
        .into_iter()
        .collect();
        assert_eq!(secrets.wanted("value", false).unwrap().unwrap().reveal(), b"hunter2");
        assert_eq!(secrets.wanted("none", true).unwrap(), None);
        let message = |id| secrets.wanted(id, true).unwrap_err().to_string();
        assert!(message("big").contains("larger than"), "{}", message("big"));
        assert!(message("gone").contains("secret `gone`"), "{}", message("gone"));
        assert!(secrets.wanted("none", false).unwrap_err().to_string().contains("`none`"));
        assert!(!format!("{secrets:?}").contains("hunter2"));
    }

    #[test]
    fn only_a_line_is_a_line() {
        assert_eq!(Secret::new("token\r\n").line(), Some("token"));
        assert_eq!(Secret::new("a\r\nInjected: b").line(), None);
        assert_eq!(Secret::new([0xff]).line(), None);
    }
}
