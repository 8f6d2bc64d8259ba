//! What a file has to hash to, by any algorithm that the OCI image specification or its tools register.
//!
//! Images are named by SHA-256 alone, which is what [`Digest`] is for; for what is only checked there is a choice.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha384, Sha512};

use crate::{Digest, Hasher};

/// An algorithm and the hex digits that it has to give, as `algorithm:hex`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    hex: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sha256,
    Sha384,
    Sha512,
}

/// Why a text is not a checksum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a checksum: {reason}")]
pub struct ChecksumError {
    text: String,
    reason: String,
}

/// Hashes bytes as they pass, by one algorithm.
#[derive(Debug, Clone)]
pub struct ChecksumHasher(State);

#[derive(Debug, Clone)]
enum State {
    Sha256(Hasher),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Checksum {
    /// A hasher by the same algorithm that has seen nothing.
    pub fn hasher(&self) -> ChecksumHasher {
        ChecksumHasher(match self.algorithm {
            Algorithm::Sha256 => State::Sha256(Hasher::new()),
            Algorithm::Sha384 => State::Sha384(Sha384::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// The digest, if it is one.
    pub fn digest(&self) -> Option<Digest> {
        self.to_string().parse().ok()
    }
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

impl ChecksumHasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        match &mut self.0 {
            State::Sha256(hasher) => hasher.update(bytes),
            State::Sha384(hasher) => hasher.update(bytes),
            State::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The checksum of all that was added.
    pub fn finish(self) -> Checksum {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self.0 {
            State::Sha256(hasher) => Checksum { algorithm: Algorithm::Sha256, hex: hasher.finish().hex() },
            State::Sha384(hasher) => Checksum { algorithm: Algorithm::Sha384, hex: hex(&hasher.finalize()) },
            State::Sha512(hasher) => Checksum { algorithm: Algorithm::Sha512, hex: hex(&hasher.finalize()) },
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl FromStr for Checksum {
    type Err = ChecksumError;

    fn from_str(text: &str) -> Result<Self, ChecksumError> {
        let refuse = |reason: &str| ChecksumError { text: text.to_owned(), reason: reason.to_owned() };
        let (name, hex) = text.split_once(':').ok_or_else(|| refuse("it has no `algorithm:` part"))?;
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        let algorithm = algorithm.ok_or_else(|| refuse("its algorithm is not sha256, sha384 or sha512"))?;
        if hex.len() != algorithm.digits() {
            return Err(refuse(&format!("{name} has {} hex digits", algorithm.digits())));
        }
        match hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            true => Ok(Self { algorithm, hex: hex.to_owned() }),
            false => Err(refuse("only the digits 0-9 and a-f may follow")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_checksums_by_all_algorithms() {
        for text in [
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ] {
            let checksum: Checksum = text.parse().unwrap();
            assert_eq!(checksum.to_string(), text);
            let mut hasher = checksum.hasher();
            hasher.update("a");
            hasher.update("bc");
            assert_eq!(hasher.finish(), checksum);
            assert_eq!(checksum.digest().is_some(), text.starts_with("sha256"));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let zeros = "0".repeat(64);
        for text in
            ["", "sha256", "md5:00", "sha256:00", &format!("sha512:{zeros}"), &format!("SHA256:{zeros}")]
        {
            assert!(text.parse::<Checksum>().is_err(), "{text}");
        }
        assert!(format!("sha256:{}", "A".repeat(64)).parse::<Checksum>().is_err());
    }
}
