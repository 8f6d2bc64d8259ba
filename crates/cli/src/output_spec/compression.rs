//! `compression=`, `compression-level=` and `force-compression=` of an image output.

use gantry_release::{BaseLayers, Compression};

/// The highest levels.
const GZIP_MOST: i64 = 9;
const ZSTD_MOST: i64 = 22;
/// The lowest level of zstd. BuildKit's 0 is its default.
const ZSTD_LEAST: i64 = 1;

/// What the fields say.
#[derive(Debug, Default)]
pub(super) struct CompressionFields {
    pub(super) kind: Option<String>,
    pub(super) level: Option<i64>,
    pub(super) force: bool,
}

impl CompressionFields {
    /// Whether there are any.
    pub(super) fn is_given(&self) -> bool {
        self.kind.is_some() || self.level.is_some() || self.force
    }

    /// How layers are compressed.
    pub(super) fn compression(&self) -> Result<(Compression, BaseLayers), String> {
        let base_layers = if self.force { BaseLayers::Recompressed } else { BaseLayers::AsTheyCame };
        let level = |least: i64, most: i64| match self.level {
            Some(level) if !(least..=most).contains(&level) => {
                Err(format!("compression-level= is a number from {least} to {most}, not {level}"))
            }
            level => Ok(level),
        };
        let compression = match self.kind.as_deref() {
            None | Some("gzip") => match level(0, GZIP_MOST)?.and_then(|level| u32::try_from(level).ok()) {
                Some(level) => Compression::Gzip(level),
                None => Compression::GZIP,
            },
            Some("zstd") => match level(0, ZSTD_MOST)?.and_then(|level| i32::try_from(level).ok()) {
                Some(level) if i64::from(level) >= ZSTD_LEAST => Compression::Zstd(level),
                _ => Compression::ZSTD,
            },
            Some("uncompressed") => Compression::None,
            Some("estargz") => {
                return Err(
                    "compression=estargz is not offered: lazy pulling needs a snapshotter of its own \
                     where the image runs; there are gzip, zstd and uncompressed"
                        .to_owned(),
                );
            }
            Some(other) => {
                return Err(format!("`{other}` is not a compression: there are gzip, zstd and uncompressed"));
            }
        };
        Ok((compression, base_layers))
    }
}
