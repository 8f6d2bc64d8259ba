//! The platform of a stage, as it was written.
//!
//! `linux/arm64/v8` and `linux/arm64` are one platform, and images are looked up by that one. But the operation that
//! fetches an image, and the names of steps, have what stands in the FROM, and the digest of an operation is that of
//! its bytes.

use std::fmt;

use gantry_llb::pb;
use gantry_oci::{ImageConfig, Platform};

/// A platform with the variant that it was written with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StagePlatform {
    platform: Platform,
    variant: String,
}

impl StagePlatform {
    /// The platform that `--platform` means by this text, which names this platform. As BuildKit has it, `arm64/v8`
    /// keeps its variant and a bare `arm` gets none.
    pub(crate) fn written(text: &str, platform: Platform) -> Self {
        let has_variant = text.split('/').count() > 2;
        let variant = match (platform.architecture(), platform.variant()) {
            ("arm64", "") if has_variant => "v8",
            ("arm", "v7") if !has_variant => "",
            (_, variant) => variant,
        };
        Self { variant: variant.to_owned(), platform }
    }

    /// The platform that a config names; none if it names none.
    pub(crate) fn of(config: &ImageConfig) -> Option<Self> {
        Some(Self { platform: config.platform()?, variant: config.variant.clone() })
    }

    /// The platform, however it was written.
    pub(crate) fn platform(&self) -> &Platform {
        &self.platform
    }

    /// For an operation.
    pub(crate) fn to_pb(&self) -> pb::Platform {
        pb::Platform {
            architecture: self.platform.architecture().to_owned(),
            os: self.platform.os().to_owned(),
            variant: self.variant.clone(),
            os_version: self.platform.os_version().to_owned(),
            os_features: Vec::new(),
        }
    }
}

impl From<&Platform> for StagePlatform {
    fn from(platform: &Platform) -> Self {
        Self { platform: platform.clone(), variant: platform.variant().to_owned() }
    }
}

impl fmt::Display for StagePlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.platform.os(), self.platform.architecture())?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_stays() {
        for (text, shown) in [
            ("linux/arm64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("linux/aarch64/8", "linux/arm64/v8"),
            ("linux/arm", "linux/arm"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/amd64/v1", "linux/amd64"),
            ("amd64", "linux/amd64"),
        ] {
            let platform = StagePlatform::written(text, text.parse().unwrap());
            assert_eq!(platform.to_string(), shown, "{text}");
            assert_eq!(platform.to_pb().variant, shown.split('/').nth(2).unwrap_or_default(), "{text}");
        }
    }
}
