/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file; its content follows.
    File,
    /// A second name of a file that came earlier.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A run of content in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// One entry of an archive, all extensions applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as stored: any bytes but NUL.
    pub path: Vec<u8>,
    /// The target of a link; empty for other kinds.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Size of the file in bytes, holes included.
    pub size: u64,
    /// Seconds since 1970; may be negative.
    pub mtime: i64,
    /// Nanoseconds on top of `mtime`, 0 to 999,999,999.
    pub mtime_nanos: u32,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes in the order of the archive.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The pieces of a sparse file, ascending and apart; nothing for a plain file.
    pub pieces: Option<Vec<Piece>>,
}
