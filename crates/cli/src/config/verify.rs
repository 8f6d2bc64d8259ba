//! `[verify]` of a configuration file: what verification of images may overlook, and what it must not.
//!
//! ```toml
//! [verify]
//! allow-foreign = ["opt/vendor/**"]   # programs for other machines that belong there
//! ignore = ["usr/share/doc"]          # not looked at
//! deciding = ["app/bin/*"]            # have to be for the platform, besides what decides anyway
//! majority = 0.5                      # share of the programs in PATH that has to be for the platform
//! ```

use gantry_release::Rules;
use serde::Deserialize;

/// The table as it is written. Lists of several files add up; a number of an earlier file wins.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct VerifyTable {
    allow_foreign: Vec<String>,
    ignore: Vec<String>,
    deciding: Vec<String>,
    majority: Option<f64>,
}

impl VerifyTable {
    /// This table with what a file of lower precedence adds.
    pub(crate) fn or(mut self, other: Self) -> Self {
        self.allow_foreign.extend(other.allow_foreign);
        self.ignore.extend(other.ignore);
        self.deciding.extend(other.deciding);
        self.majority = self.majority.or(other.majority);
        self
    }

    /// The rules that it makes.
    pub(crate) fn rules(self) -> Rules {
        let majority = self.majority.unwrap_or(Rules::default().majority);
        Rules { allow_foreign: self.allow_foreign, ignore: self.ignore, deciding: self.deciding, majority }
    }
}
