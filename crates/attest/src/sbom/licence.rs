//! Licences: what a database writes, as an SPDX expression if it is one.
//!
//! apk and newer rpm packages have SPDX expressions; older ones have names of their own (`GPLv2+ and MIT`), which are kept
//! word for word under an id made of them, as SPDX wants it.

use gantry_oci::Digest;
use spdx::Expression;

/// A licence as documents have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Licence {
    /// The database says nothing.
    None,
    /// A valid SPDX expression.
    Expression(String),
    /// Anything else.
    Text(String),
}

impl Licence {
    /// Reads what a database has.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() {
            return Self::None;
        }
        match is_expression(text) {
            true => Self::Expression(text.to_owned()),
            false => match Expression::canonicalize(text) {
                Ok(Some(canonical)) if is_expression(&canonical) => Self::Expression(canonical),
                _ => Self::Text(text.to_owned()),
            },
        }
    }

    /// What stands for it in an SPDX document.
    pub(super) fn spdx(&self) -> String {
        match self {
            Self::None => "NOASSERTION".to_owned(),
            Self::Expression(expression) => expression.clone(),
            Self::Text(text) => format!("LicenseRef-{}", &Digest::of(text).hex()[..16]),
        }
    }
}

/// Whether it is an expression of licences that SPDX lists. References to texts elsewhere are not: no such text is here.
fn is_expression(text: &str) -> bool {
    Expression::parse(text)
        .is_ok_and(|parsed| parsed.requirements().all(|part| part.req.license.id().is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (text, expected) in [
            ("", Licence::None),
            (" MIT ", Licence::Expression("MIT".to_owned())),
            (
                "GPL-2.0-or-later AND (MIT OR BSD-3-Clause)",
                Licence::Expression("GPL-2.0-or-later AND (MIT OR BSD-3-Clause)".to_owned()),
            ),
            ("GPLv2+ and ASL 2.0", Licence::Text("GPLv2+ and ASL 2.0".to_owned())),
            ("LicenseRef-Fedora-Public-Domain", Licence::Text("LicenseRef-Fedora-Public-Domain".to_owned())),
        ] {
            assert_eq!(Licence::parse(text), expected);
        }
        let id = Licence::Text("x".into()).spdx();
        assert!(id.len() == 27 && id.starts_with("LicenseRef-"), "{id}");
    }
}
