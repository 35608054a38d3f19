use daas_model::ByteSize;

/// What one layer or archive may cost before it is refused (threat S21 of the security reference).
///
/// All of it is checked while the bytes stream, so a bomb is stopped before it has filled the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Most entries of one archive.
    pub entries: u64,
    /// Most bytes of one archive, uncompressed.
    pub bytes: ByteSize,
    /// Most uncompressed bytes for one compressed byte, once [`Budget::ratio_after`] bytes have passed.
    ///
    /// Headers are not counted: 10^6 small files compress far better than content and are bounded by `entries`.
    pub ratio: u64,
    /// How many uncompressed bytes are free of the ratio.
    pub ratio_after: ByteSize,
    /// Longest path, and longest target of a link, in bytes.
    pub path: usize,
    /// Most components of a path.
    pub depth: usize,
    /// Most bytes of the extended header of one entry; it holds its extended attributes too.
    pub header: u64,
    /// Most pieces of one sparse file.
    pub pieces: usize,
}

impl Default for Budget {
    /// Twice the 10^6 entries that must pass, the longest path that Linux takes, and 200 times what was downloaded:
    /// honest layers stay under 20, a run of zeros in gzip reaches 1,032.
    fn default() -> Self {
        Self {
            entries: 2_000_000,
            bytes: ByteSize::gib(128),
            ratio: 200,
            ratio_after: ByteSize::mib(128),
            path: 4096,
            depth: 255,
            header: 1 << 20,
            pieces: 1 << 18,
        }
    }
}
