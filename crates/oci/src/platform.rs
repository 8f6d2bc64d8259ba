//! Platforms: `os/arch[/variant]`, in the normal form of containerd's `platforms` package.
//!
//! Names are those of Go (`amd64`, `arm64`); the aliases of `uname -m` are understood. `arm64/v8` is `arm64`,
//! bare `arm` is `arm/v7`, `amd64/v1` is `amd64`: what is one platform has one value here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// The operating systems that can stand alone.
const SYSTEMS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
/// The architectures that can stand alone.
const ARCHITECTURES: [&str; 24] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// A normalised platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Platform {
    architecture: String,
    os: String,
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    os_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    variant: String,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a platform: {reason}")]
pub struct PlatformError {
    text: String,
    reason: &'static str,
}

impl Platform {
    /// A platform from its parts, normalised; `variant` may be empty.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Result<Self, PlatformError> {
        let refuse = |reason| PlatformError { text: format!("{os}/{architecture}/{variant}"), reason };
        if os.is_empty() || architecture.is_empty() {
            return Err(refuse("it needs an operating system and an architecture"));
        }
        for part in [os, architecture, variant] {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            // A part that is a step in a path is nobody's, and would lead astray where platforms name files.
            if matches!(part, "." | "..") || os.contains('.') || !part.bytes().all(inner) {
                return Err(refuse(
                    "a part is made of letters, digits, `_`, `-` and, but for the operating system, `.`",
                ));
            }
        }
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) =
            normal_architecture(&architecture.to_ascii_lowercase(), &variant.to_ascii_lowercase());
        Ok(Self { architecture, os, os_version: String::new(), variant })
    }

    /// The platform that this program was compiled for.
    pub fn host() -> Self {
        Self::new(std::env::consts::OS, std::env::consts::ARCH, "").expect("Rust's own names are valid")
    }

    /// The platform that one word stands for, if it is the name of a system or an architecture that Go knows.
    fn of_word(word: &str) -> Option<Result<Self, PlatformError>> {
        let word = word.to_ascii_lowercase();
        if word == "macos" || SYSTEMS.contains(&word.as_str()) {
            return Some(Self::new(&word, std::env::consts::ARCH, ""));
        }
        let (architecture, _) = normal_architecture(&word, "");
        ARCHITECTURES.contains(&architecture.as_str()).then(|| Self::new("linux", &word, ""))
    }

    /// Operating system.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// Architecture.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Variant, empty for the ordinary one.
    pub fn variant(&self) -> &str {
        &self.variant
    }

    /// Version of the operating system, empty if not given.
    pub fn os_version(&self) -> &str {
        &self.os_version
    }

    /// Whether an image of platform `image` may stand in for this one, and how well: 0 is exact, larger is worse.
    ///
    /// An older variant runs on a newer CPU (`arm/v6` on `arm/v7`, `amd64` on `amd64/v3`); nothing else is a match:
    /// which foreign platforms a machine can *run* is not a property of images.
    pub fn accepts(&self, image: &Self) -> Option<u32> {
        if self.os != image.os || self.architecture != image.architecture {
            return None;
        }
        let (wanted, offered) = (variant_rank(self), variant_rank(image));
        match (wanted, offered) {
            (Some(wanted), Some(offered)) => wanted.checked_sub(offered),
            _ => (self.variant == image.variant).then_some(0),
        }
    }
}

fn variant_rank(platform: &Platform) -> Option<u32> {
    let rank = platform.variant.strip_prefix('v').and_then(|number| number.parse().ok());
    match (platform.architecture.as_str(), platform.variant.as_str()) {
        ("arm64", "") => Some(8),
        ("amd64", "") => Some(1),
        ("arm", _) | ("arm64", _) | ("amd64", _) => rank,
        _ => None,
    }
}

fn normal_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", ""),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        ("powerpc64le" | "ppc64el", variant) => ("ppc64le", variant),
        ("riscv64gc", variant) => ("riscv64", variant),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    /// Parses `os/arch[/variant]`, a bare architecture (Linux is meant), a bare operating system (the host's
    /// architecture is meant) or `local` for the host's own.
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let refuse = |reason| PlatformError { text: text.to_owned(), reason };
        let parts: Vec<&str> = text.trim().split('/').collect();
        match parts[..] {
            ["local"] => Ok(Self::host()),
            [""] => Err(refuse("it is empty")),
            [word] => Self::of_word(word).unwrap_or_else(|| {
                Err(refuse(
                    "it is neither an operating system nor an architecture; write it like linux/amd64",
                ))
            }),
            [os, architecture] => Self::new(os, architecture, ""),
            [os, architecture, variant] => Self::new(os, architecture, variant),
            _ => Err(refuse("it has more than three parts")),
        }
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            architecture: String,
            os: String,
            #[serde(default, rename = "os.version")]
            os_version: String,
            #[serde(default)]
            variant: String,
        }
        let wire = Wire::deserialize(deserializer)?;
        let mut platform =
            Self::new(&wire.os, &wire.architecture, &wire.variant).map_err(serde::de::Error::custom)?;
        platform.os_version = wire.os_version;
        Ok(platform)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms() {
        for (text, normal) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("amd64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/arm64/v8", "linux/arm64"),
            ("Linux/AArch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("linux/-", "linux/-"),
            ("linux/.a", "linux/.a"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal, "{text}");
        }
        for (text, os) in [("linux", "linux"), ("Windows", "windows"), ("macos", "darwin")] {
            let (found, host) = (text.parse::<Platform>().unwrap(), Platform::host());
            assert_eq!((found.os(), found.architecture()), (os, host.architecture()), "{text}");
        }
        for bad in ["", "x", "linux/", "/amd64", "a/b/c/d", "linux/am d64", "linux/../x", "li.nux/amd64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn which_image_serves_which_platform() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        for (wanted, image, rank) in [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("linux/arm/v7", "linux/arm/v6", Some(1)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/amd64/v3", "linux/amd64", Some(2)),
            ("linux/amd64", "linux/amd64/v3", None),
            ("linux/arm64", "linux/arm/v7", None),
            ("linux/riscv64", "linux/riscv64", Some(0)),
            ("linux/amd64", "windows/amd64", None),
        ] {
            assert_eq!(platform(wanted).accepts(&platform(image)), rank, "{wanted} from {image}");
        }
    }
}
