//! How large an archive may be before it is taken for an attack.
//!
//! The defaults are far above every image that people build and below what would hurt a build machine for long.

/// Bounds on what one archive may unpack to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Uncompressed bytes.
    pub bytes: u64,
    /// Uncompressed bytes per compressed byte, looked at only above [`Limits::ratio_floor`].
    pub ratio: u64,
    /// Uncompressed bytes below which any ratio is fine: a sparse disk image compresses extremely well.
    pub ratio_floor: u64,
    /// Entries, the inode bomb's measure.
    pub entries: u64,
    /// Components of one path.
    pub depth: usize,
    /// Bytes of names and link targets together, which the index holds in memory.
    pub names: u64,
}

/// The largest layers in public use are some hundred GiB of model weights.
const MAX_BYTES: u64 = 1 << 40;
/// Deflate cannot exceed 1032:1, so this can only ever stop a zstd bomb.
const MAX_RATIO: u64 = 2000;
/// Unpacking this much hurts nobody.
const RATIO_FLOOR: u64 = 16 << 30;
/// The largest layers seen have about a million files.
const MAX_ENTRIES: u64 = 8_000_000;
/// Removing a tree holds one descriptor per level, and 1024 is the usual limit of a process.
const MAX_DEPTH: usize = 400;

/// A million files with paths of the length that package managers of programming languages make.
const MAX_NAMES: u64 = 512 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: MAX_BYTES,
            ratio: MAX_RATIO,
            ratio_floor: RATIO_FLOOR,
            entries: MAX_ENTRIES,
            depth: MAX_DEPTH,
            names: MAX_NAMES,
        }
    }
}
