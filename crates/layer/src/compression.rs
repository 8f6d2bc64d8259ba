//! Compressing what is written, and recognising and decompressing what is read.
//!
//! Output depends on the content and the level alone, never on the machine: both encoders cut the stream into
//! blocks of a fixed size, and how many threads work on the blocks makes no difference once there are two.
//! Input is recognised by its first bytes; media types and file names are only claims about it.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use flate2::bufread::MultiGzDecoder;
use gantry_oci::media_type;
use gzp::ZWriter;
use gzp::deflate::Gzip;
use gzp::par::compress::{ParCompress, ParCompressBuilder};
use lzma_rust2::XzReader;

use crate::error::LayerError;
use crate::limits::Limits;
use crate::tar_reader;
use crate::tar_writer::BLOCK;

/// With one thread the gzip encoder does not cut into blocks, and its output differs from that of two or more.
const MIN_GZIP_THREADS: usize = 2;
/// Without workers the zstd encoder does not cut into jobs; from one on, output is the same.
const MIN_ZSTD_THREADS: usize = 1;
/// Reading the tree and hashing do not feed more encoders than this.
const MAX_THREADS: usize = 8;
/// The size of image tools' gzip layers: zlib's default.
const GZIP_LEVEL: u32 = 6;
/// zstd's default.
const ZSTD_LEVEL: i32 = 3;
/// Memory that a zstd frame may ask for, as a power of two: 128 MiB, the limit of the `zstd` tool.
const MAX_ZSTD_WINDOW_LOG: u32 = 27;
/// Memory that an xz block may ask for, in KiB: four times what `xz -9` does.
const MAX_XZ_MEMORY_KIB: u32 = 256 << 10;
/// Compressed bytes read at a time.
const READ_BUFFER: usize = 128 << 10;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip with a level from 0 to 9.
    Gzip(u32),
    /// zstd with a level from 1 to 22.
    Zstd(i32),
}

impl Default for Compression {
    fn default() -> Self {
        Self::Gzip(GZIP_LEVEL)
    }
}

impl Compression {
    /// gzip with its usual level.
    pub const GZIP: Self = Self::Gzip(GZIP_LEVEL);
    /// zstd with its usual level.
    pub const ZSTD: Self = Self::Zstd(ZSTD_LEVEL);

    /// The media type of a layer that is compressed so.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => media_type::LAYER_TAR,
            Self::Gzip(_) => media_type::LAYER_GZIP,
            Self::Zstd(_) => media_type::LAYER_ZSTD,
        }
    }
}

/// What an archive is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArchiveKind {
    /// An uncompressed tar.
    Tar,
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// zstd.
    Zstd,
}

/// What the archive is that starts with `head`, of which 512 bytes are looked at; `None` if it is none.
///
/// Whether a compressed file holds a tar is not known before it is decompressed.
pub(crate) fn archive_kind(head: &[u8]) -> Option<ArchiveKind> {
    // First the tar, as the name of its first entry may begin like any magic number.
    if head.first_chunk::<BLOCK>().is_some_and(tar_reader::has_valid_checksum) {
        return Some(ArchiveKind::Tar);
    }
    let magics: [(&[u8], ArchiveKind); 5] = [
        (b"\x1f\x8b\x08", ArchiveKind::Gzip),
        (b"BZh", ArchiveKind::Bzip2),
        (b"\xfd7zXZ\0", ArchiveKind::Xz),
        (b"\x28\xb5\x2f\xfd", ArchiveKind::Zstd),
        // A skippable frame, which may come first.
        (b"\x50\x2a\x4d\x18", ArchiveKind::Zstd),
    ];
    magics.into_iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, kind)| kind)
}

/// Gives `feed` a writer whose bytes arrive compressed, and complete, in `out`.
pub(crate) fn compress<T>(
    compression: Compression,
    out: &mut (dyn Write + Send),
    feed: impl FnOnce(&mut dyn Write) -> Result<T, LayerError>,
) -> Result<T, LayerError> {
    let fed = match compression {
        Compression::None => feed(&mut *out)?,
        Compression::Gzip(level) => compress_gzip(level, &mut *out, feed)?,
        Compression::Zstd(level) => {
            let mut encoder = zstd::Encoder::new(&mut *out, level).map_err(LayerError::Output)?;
            encoder.multithread(threads(MIN_ZSTD_THREADS) as u32).map_err(LayerError::Output)?;
            let fed = feed(&mut encoder)?;
            encoder.finish().map_err(LayerError::Output)?;
            fed
        }
    };
    out.flush().map_err(LayerError::Output)?;
    Ok(fed)
}

fn threads(least: usize) -> usize {
    thread::available_parallelism().map_or(least, usize::from).clamp(least, MAX_THREADS)
}

fn compress_gzip<T>(
    level: u32,
    out: &mut (dyn Write + Send),
    feed: impl FnOnce(&mut dyn Write) -> Result<T, LayerError>,
) -> Result<T, LayerError> {
    thread::scope(|scope| {
        let encoder = ParCompressBuilder::<Gzip>::new()
            .num_threads(threads(MIN_GZIP_THREADS))
            .expect("there are at least two threads")
            .compression_level(flate2::Compression::new(level.min(9)))
            .from_borrowed_writer(out, scope);
        let mut encoder = GzipEncoder { encoder, broken: false };
        let fed = feed(&mut encoder);
        let finished = encoder.finish();
        let fed = fed?;
        finished.map(|()| fed)
    })
}

/// The parallel encoder, guarded against its one trap: it panics when it is dropped or finished after an error.
struct GzipEncoder<'scope, W: Write> {
    encoder: ParCompress<'scope, Gzip, W>,
    broken: bool,
}

impl<W: Write> GzipEncoder<'_, W> {
    fn finish(&mut self) -> Result<(), LayerError> {
        if self.broken {
            return Ok(());
        }
        match self.encoder.finish() {
            Ok(_) => Ok(()),
            Err(gzp::GzpError::Io(error)) => Err(LayerError::Output(error)),
            Err(error) => Err(LayerError::Output(io::Error::other(error))),
        }
    }
}

impl<W: Write> Write for GzipEncoder<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.encoder.write(bytes).inspect_err(|_| self.broken = true)
    }

    /// Does nothing: flushing would cut a block, and output would depend on when that happens.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The uncompressed bytes of an archive, within limits.
pub(crate) struct Decompressed<'a> {
    decoder: Box<dyn Read + Send + 'a>,
    read: Arc<AtomicU64>,
    limits: Limits,
    size: u64,
}

impl<'a> Decompressed<'a> {
    /// Recognises `input` by its first bytes; what is not recognised is taken for a tar, and judged as one.
    pub(crate) fn new(mut input: impl Read + Send + 'a, limits: Limits) -> Result<Self, LayerError> {
        let mut head = Vec::with_capacity(BLOCK);
        input.by_ref().take(BLOCK as u64).read_to_end(&mut head).map_err(LayerError::Input)?;
        let kind = archive_kind(&head).unwrap_or(ArchiveKind::Tar);

        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted { input: Cursor::new(head).chain(input), read: Arc::clone(&read) };
        let input = BufReader::with_capacity(READ_BUFFER, counted);
        let decoder: Box<dyn Read + Send + 'a> = match kind {
            ArchiveKind::Tar => Box::new(input),
            ArchiveKind::Gzip => Box::new(MultiGzDecoder::new(input)),
            ArchiveKind::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
            ArchiveKind::Zstd => Box::new(zstd_decoder(input)?),
            // Streams that follow one another, as parallel compressors write them, are one archive.
            ArchiveKind::Xz => Box::new(XzReader::new_mem_limit(input, true, MAX_XZ_MEMORY_KIB)),
        };
        Ok(Self { decoder, read, limits, size: 0 })
    }

    fn check_limits(&self) -> Result<(), LayerError> {
        let Limits { bytes, ratio, ratio_floor, .. } = self.limits;
        if self.size > bytes {
            return Err(LayerError::Limit { what: "bytes", limit: bytes });
        }
        let read = self.read.load(Ordering::Relaxed);
        if self.size > ratio_floor && self.size / ratio > read {
            return Err(LayerError::Limit { what: "bytes for every compressed byte", limit: ratio });
        }
        Ok(())
    }
}

/// The uncompressed bytes of a file that may be compressed in any way that layers are; of others, the bytes as they are.
///
/// # Errors
/// When its first bytes cannot be read, or its compression is not supported.
pub fn decompressed<'a>(input: impl Read + Send + 'a) -> Result<impl Read + Send + 'a, LayerError> {
    Decompressed::new(input, Limits::default())
}

fn zstd_decoder<'a>(input: impl BufRead + Send + 'a) -> Result<impl Read + Send + 'a, LayerError> {
    let mut decoder = zstd::Decoder::with_buffer(input).map_err(LayerError::Input)?;
    decoder.window_log_max(MAX_ZSTD_WINDOW_LOG).map_err(LayerError::Input)?;
    Ok(decoder)
}

impl fmt::Debug for Decompressed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressed").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Read for Decompressed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        self.size += read as u64;
        self.check_limits().map_err(io::Error::other)?;
        Ok(read)
    }
}

/// Counts what a decoder takes in.
struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_first_bytes() {
        let mut tar = tar::Header::new_ustar();
        tar.as_mut_bytes()[..3].copy_from_slice(b"\x1f\x8b\x08");
        tar.set_size(0);
        tar.set_cksum();
        for (head, kind) in [
            (&tar.as_bytes()[..], Some(ArchiveKind::Tar)),
            (&tar.as_bytes()[..511], Some(ArchiveKind::Gzip)),
            (b"\x1f\x8b\x08\0", Some(ArchiveKind::Gzip)),
            (b"BZh91AY", Some(ArchiveKind::Bzip2)),
            (b"\xfd7zXZ\0\0", Some(ArchiveKind::Xz)),
            (b"\x28\xb5\x2f\xfd\x04", Some(ArchiveKind::Zstd)),
            (b"PK\x03\x04", None),
            (b"", None),
            (&[0; 1024], None),
            (&[b'0'; 1024], None),
        ] {
            assert_eq!(archive_kind(head), kind, "{:x?}", &head[..head.len().min(8)]);
        }
    }

    /// What `xz` makes of `one `.
    const XZ_ONE: [u8; 60] = [
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21, 0x01, 0x16,
        0x00, 0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3, 0x01, 0x00, 0x03, 0x6f, 0x6e, 0x65, 0x20, 0x00, 0x5a, 0x8c,
        0x83, 0xa3, 0x31, 0x35, 0xef, 0x7e, 0x00, 0x01, 0x1c, 0x04, 0x6f, 0x2c, 0x9c, 0xc1, 0x1f, 0xb6, 0xf3,
        0x7d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a,
    ];
    /// What `xz --lzma2=dict=512MiB` makes of `x`.
    const XZ_GREEDY: [u8; 60] = [
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21, 0x01, 0x22,
        0x00, 0x00, 0x00, 0x82, 0x40, 0xac, 0xdc, 0x01, 0x00, 0x00, 0x78, 0x00, 0x00, 0x00, 0x00, 0x45, 0xae,
        0xef, 0x83, 0xf8, 0xee, 0x16, 0x0a, 0x00, 0x01, 0x19, 0x01, 0xa5, 0x2c, 0x81, 0xcc, 0x1f, 0xb6, 0xf3,
        0x7d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a,
    ];

    #[test]
    fn xz_streams_are_joined_and_bounded() {
        let read = |bytes: &[u8]| {
            let mut back = Vec::new();
            Decompressed::new(bytes, Limits::default()).unwrap().read_to_end(&mut back).map(|_| back)
        };
        assert_eq!(read(&XZ_ONE).unwrap(), b"one ");
        assert_eq!(read(&[XZ_ONE, XZ_ONE].concat()).unwrap(), b"one one ");
        assert!(read(&XZ_ONE[..XZ_ONE.len() - 8]).is_err(), "a cut stream");
        assert!(read(&XZ_GREEDY).is_err(), "a dictionary that no honest archive needs");
    }

    #[test]
    fn output_is_the_same_however_it_is_fed() {
        let content: Vec<u8> = (0..3_000_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
            let [whole, parts] = [content.len(), 10_007].map(|size| {
                let mut out = Vec::new();
                compress(compression, &mut out, |sink| {
                    content
                        .chunks(size)
                        .try_for_each(|part| sink.write_all(part))
                        .map_err(LayerError::Output)?;
                    sink.flush().map_err(LayerError::Output)
                })
                .unwrap();
                out
            });
            assert!(whole == parts, "{compression:?}");
            let mut back = Vec::new();
            Decompressed::new(&*whole, Limits::default()).unwrap().read_to_end(&mut back).unwrap();
            assert!(back == content, "{compression:?}");
        }
    }

    #[test]
    fn a_full_disk_is_an_error_and_not_a_panic() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for compression in [Compression::None, Compression::Gzip(0), Compression::ZSTD] {
            for room in [0, 5, 1000] {
                let result = compress(compression, &mut Full(room), |sink| {
                    let mut state = 1_u32;
                    for _ in 0..4096 {
                        let noise: Vec<u8> = std::iter::repeat_with(|| {
                            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                            (state >> 24) as u8
                        })
                        .take(1024)
                        .collect();
                        sink.write_all(&noise).map_err(LayerError::Output)?;
                    }
                    Ok(())
                });
                assert!(matches!(result, Err(LayerError::Output(_))), "{compression:?} {room} {result:?}");
            }
        }
    }

    #[test]
    fn bombs_are_stopped() {
        let mut bomb = Vec::new();
        compress(Compression::ZSTD, &mut bomb, |sink| {
            io::copy(&mut io::repeat(0).take(64 << 20), sink).map(drop).map_err(LayerError::Output)
        })
        .unwrap();
        for limits in [
            Limits { bytes: 32 << 20, ..Limits::default() },
            Limits { ratio: 100, ratio_floor: 1 << 20, ..Limits::default() },
        ] {
            let mut decompressed = Decompressed::new(&*bomb, limits).unwrap();
            let error = io::copy(&mut decompressed, &mut io::sink()).unwrap_err();
            assert!(matches!(LayerError::reading(error), LayerError::Limit { .. }));
        }
    }
}
