//! One entry of a tar archive, as both the reader and the writer see it.

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file; its bytes follow the header.
    File,
    /// Another name for an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device, with its major and minor number.
    Char(u32, u32),
    /// A block device, with its major and minor number.
    Block(u32, u32),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// Extended attributes: names and values.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// An entry without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name as it stands in the archive: unclean, when it was read.
    pub(crate) name: Vec<u8>,
    /// What it is.
    pub(crate) kind: Kind,
    /// Permission bits with setuid, setgid and sticky: `07777` at most.
    pub(crate) mode: u32,
    /// Numeric owner.
    pub(crate) uid: u32,
    /// Numeric group.
    pub(crate) gid: u32,
    /// Bytes of content; 0 unless it is a file.
    pub(crate) size: u64,
    /// Time of modification.
    pub(crate) mtime: Time,
    /// The target of a link; empty for all else.
    pub(crate) link: Vec<u8>,
    /// Extended attributes; sorted by name when they are to be written.
    pub(crate) xattrs: Xattrs,
}

/// A point in time since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Time {
    /// Whole seconds, rounded down.
    pub(crate) seconds: i64,
    /// Nanoseconds to add.
    pub(crate) nanoseconds: u32,
}

impl Entry {
    /// An entry owned by root, made at the epoch, without content: the form of everything that only marks.
    pub(crate) fn marker(name: Vec<u8>, kind: Kind) -> Self {
        Self {
            name,
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Time::default(),
            link: Vec::new(),
            xattrs: Vec::new(),
        }
    }
}
