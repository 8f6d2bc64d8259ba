//! Attestations: what is known about an image besides its bytes, and where it is kept.
//!
//! `statement` is the envelope of every claim; `provenance` and `sbom` make the claims; `layout` puts them into
//! manifests, `read` finds them again, whoever wrote them and wherever; `options` is what users ask for. Everything here
//! is a value: bytes of a tree come through [`sbom::Tree`], documents of a registry through [`read::Documents`].

pub mod layout;
pub mod options;
pub mod provenance;
mod purl;
pub mod read;
mod redact;
pub mod sbom;
mod statement;

pub use purl::Purl;
pub use statement::{Statement, StatementError, Subject, predicate_type};
