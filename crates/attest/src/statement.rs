//! in-toto statements: what is claimed (a predicate) about which artifacts (subjects).
//!
//! Specification: in-toto Attestation Framework, "Statement" v1. The order of the fields is fixed, so equal statements
//! are equal bytes. When reading, v0.1 is accepted, too: it has the same fields.

use std::collections::BTreeMap;

use gantry_oci::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The media type of a statement that is not signed.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.in-toto+json";

const TYPE_V1: &str = "https://in-toto.io/Statement/v1";
const TYPE_V01: &str = "https://in-toto.io/Statement/v0.1";

/// The predicate types that gantry makes.
pub mod predicate_type {
    /// SLSA provenance v1.
    pub const PROVENANCE_V1: &str = "https://slsa.dev/provenance/v1";
    /// SLSA provenance v0.2.
    pub const PROVENANCE_V02: &str = "https://slsa.dev/provenance/v0.2";
    /// An SPDX document.
    pub const SPDX: &str = "https://spdx.dev/Document";
    /// A CycloneDX bill of materials.
    pub const CYCLONEDX: &str = "https://cyclonedx.org/bom";
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    /// A URI that says what `predicate` is.
    pub predicate_type: String,
    /// What the statement is about. Go writes none as `null`.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub subject: Vec<Subject>,
    /// The claim.
    #[serde(default)]
    pub predicate: Value,
}

/// An artifact, by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name: a package URL, a path, or `_`.
    #[serde(default)]
    pub name: String,
    /// Its digests: hexadecimal, by algorithm.
    pub digest: BTreeMap<String, String>,
}

/// Why bytes are no statement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Not JSON, or a field is missing or of the wrong type.
    #[error("the attestation is not an in-toto statement")]
    Json(#[from] serde_json::Error),
    /// A `_type` of another specification.
    #[error("the attestation has the type `{0}`, which is no in-toto statement's")]
    Type(String),
    /// A signed envelope whose payload cannot be decoded.
    #[error("the attestation's envelope has a payload that is not base64 of a statement")]
    Envelope,
}

impl Statement {
    /// A statement about these subjects.
    pub fn new(predicate_type: &str, subject: Vec<Subject>, predicate: Value) -> Self {
        Self { kind: TYPE_V1.to_owned(), predicate_type: predicate_type.to_owned(), subject, predicate }
    }

    /// The same claim about other artifacts.
    #[must_use]
    pub fn about(&self, subject: Vec<Subject>) -> Self {
        Self { subject, ..self.clone() }
    }

    /// Reads a statement.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        let statement: Self = serde_json::from_slice(bytes)?;
        match statement.kind.as_str() {
            TYPE_V1 | TYPE_V01 => Ok(statement),
            _ => Err(StatementError::Type(statement.kind)),
        }
    }

    /// The bytes that are stored. Equal statements give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a statement is plain data")
    }

    /// Whether it is a provenance of SLSA's, of any version.
    pub fn is_provenance(&self) -> bool {
        self.predicate_type.starts_with("https://slsa.dev/provenance/")
    }
}

impl Subject {
    /// The artifact of this name with this digest.
    pub fn new(name: impl Into<String>, digest: &Digest) -> Self {
        Self { name: name.into(), digest: BTreeMap::from([("sha256".to_owned(), digest.hex().to_owned())]) }
    }
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Subject>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_bytes_are_fixed() {
        let digest = Digest::of("x");
        let subject = vec![Subject::new("_", &digest)];
        let statement = Statement::new(predicate_type::SPDX, subject, json!({ "b": 1, "a": [] }));
        let bytes = statement.to_bytes();
        let expected = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://spdx.dev/Document","subject":[{{"name":"_","digest":{{"sha256":"{}"}}}}],"predicate":{{"b":1,"a":[]}}}}"#,
            digest.hex()
        );
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
        assert_eq!(Statement::parse(&bytes).unwrap(), statement);
    }

    #[test]
    fn what_is_read() {
        let old = r#"{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://slsa.dev/provenance/v0.2","subject":null,"predicate":{}}"#;
        assert!(Statement::parse(old.as_bytes()).unwrap().is_provenance());
        let other = old.replace("Statement/v0.1", "Link/v1");
        assert!(matches!(Statement::parse(other.as_bytes()), Err(StatementError::Type(_))));
        assert!(matches!(Statement::parse(b"[]"), Err(StatementError::Json(_))));
    }
}
