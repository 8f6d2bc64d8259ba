//! `[publish]` of a configuration file: on which terms tags move where no flag says it.
//!
//! ```toml
//! [publish]
//! tag-policy = "immutable"               # as --tag-policy
//! sign-cmd = "cosign sign $GANTRY_REF"   # as --sign-cmd
//! ```

use gantry_release::{TagPolicy, Terms};
use serde::Deserialize;

/// The table as it is written. For each key the first file that has it counts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct PublishTable {
    tag_policy: Option<Policy>,
    sign_cmd: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Policy {
    Overwrite,
    Immutable,
    Forward,
}

impl PublishTable {
    /// This table with what a file of lower precedence adds.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { tag_policy: self.tag_policy.or(other.tag_policy), sign_cmd: self.sign_cmd.or(other.sign_cmd) }
    }

    /// The terms that it makes.
    pub(crate) fn terms(self) -> Terms {
        let policy = self.tag_policy.map(|policy| match policy {
            Policy::Overwrite => TagPolicy::Overwrite,
            Policy::Immutable => TagPolicy::Immutable,
            Policy::Forward => TagPolicy::Forward,
        });
        Terms { policy, sign: self.sign_cmd, ..Terms::default() }
    }
}
