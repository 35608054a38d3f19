//! Archives that `ADD` unpacks, read by the one tar reader of the platform.

use daas_image::tar::{Entry, Reader};
use daas_image::{Budget, Plain};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

/// An archive that is read entry by entry; between two entries it is the content of the first.
pub(crate) struct Archive {
    reader: Reader<Box<dyn Read>>,
    /// How many bytes may come out of a file of this size.
    fair: u64,
}

/// Opens `file` as an archive; nothing if it is none. An archive is told by its first header, as the name says nothing.
///
/// # Errors
/// What reading says.
pub(crate) fn open(mut file: File) -> io::Result<Option<Archive>> {
    let is_archive = {
        let Ok(plain) = plain(file.try_clone()?) else {
            return Ok(None);
        };
        let mut reader = Reader::new(plain, Budget::default());
        matches!(reader.next_entry(), Ok(Some(_)))
    };
    file.rewind()?;
    if !is_archive {
        return Ok(None);
    }
    let budget = Budget::default();
    let fair = budget
        .ratio_after
        .0
        .saturating_add(file.metadata()?.len().saturating_mul(budget.ratio));
    Ok(Some(Archive {
        reader: Reader::new(plain(file)?, budget),
        fair,
    }))
}

/// Decompresses what Docker does: gzip and zstd, which layers have as well, and bzip2 and xz, which only archives have.
///
/// What comes out is bounded by the budget of the reader of archives.
fn plain(mut file: File) -> io::Result<Box<dyn Read>> {
    let mut start = [0; 6];
    let length = read_start(&mut file, &mut start)?;
    file.rewind()?;
    Ok(match &start[..length] {
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::read::MultiBzDecoder::new(BufReader::new(file))),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            Box::new(lzma_rust2::XzReader::new(BufReader::new(file), true))
        }
        _ => Box::new(Plain::new(file, None).map_err(io::Error::other)?),
    })
}

/// Reads as many bytes as there are, up to the length of `start`.
fn read_start(file: &mut File, start: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < start.len() {
        match file.read(&mut start[length..])? {
            0 => break,
            n => length += n,
        }
    }
    Ok(length)
}

impl Archive {
    /// Returns the next entry.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        self.reader.next_entry().map_err(io::Error::other)
    }

    /// Reads to the end, so that a file that breaks off is found.
    pub(crate) fn finish(self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Archive {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // Two blocks are the price of an entry, as for layers (threat S21).
        let content = self
            .reader
            .position()
            .saturating_sub(self.reader.entries() * 1024);
        if content > self.fair {
            return Err(io::Error::other(
                "the archive unpacks to far more than its size: it looks like a bomb",
            ));
        }
        self.reader.read_data(buf).map_err(io::Error::other)
    }
}
