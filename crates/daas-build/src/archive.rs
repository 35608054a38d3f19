//! Archives that `ADD` unpacks, read by the one tar reader of the platform.

use daas_image::tar::{Entry, Reader};
use daas_image::{Budget, Plain};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// A stream that was looked at.
pub(crate) enum Sniffed<'a> {
    /// An archive; bzip2 and xz are taken off, what layers have is not.
    Archive(Box<dyn Read + 'a>),
    /// Something else.
    Other(Box<dyn Read + 'a>),
}

/// Tells an archive by its first bytes, as Docker's client does: a compression that archives have, or a header of tar.
///
/// # Errors
/// What reading says.
pub(crate) fn sniff<'a>(mut stream: impl Read + 'a) -> io::Result<Sniffed<'a>> {
    let mut start = vec![0; 512];
    let length = read_start(&mut stream, &mut start)?;
    start.truncate(length);
    let head = start.clone();
    let whole = io::Cursor::new(start).chain(stream);
    Ok(match head.as_slice() {
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => Sniffed::Archive(Box::new(whole)),
        [b'B', b'Z', b'h', ..] => Sniffed::Archive(Fair::of(whole, |packed| {
            bzip2::read::MultiBzDecoder::new(packed)
        })),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Sniffed::Archive(Fair::of(whole, |packed| {
            lzma_rust2::XzReader::new(packed, true)
        })),
        head if is_tar(head) => Sniffed::Archive(Box::new(whole)),
        _ => Sniffed::Other(Box::new(whole)),
    })
}

/// Whether a block is the first of an archive: a header with a sum that is right (tar(5)), or the zeros of an empty one.
fn is_tar(block: &[u8]) -> bool {
    let Some(field) = block.get(148..156).filter(|_| block.len() == 512) else {
        return false;
    };
    let text = String::from_utf8_lossy(field);
    let told = u32::from_str_radix(text.trim_matches(['\0', ' ']), 8);
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            u32::from(if (148..156).contains(&at) {
                b' '
            } else {
                *byte
            })
        })
        .sum();
    told == Ok(sum) || block.iter().all(|byte| *byte == 0)
}

/// What comes out of a compression, bounded by what goes in (threat S21).
struct Fair<D> {
    plain: D,
    packed: Arc<AtomicU64>,
    out: u64,
    budget: Budget,
}

impl<'a, D: Read + 'a> Fair<D> {
    fn of<R: Read + 'a>(
        stream: R,
        decoder: impl FnOnce(BufReader<Counted<R>>) -> D,
    ) -> Box<dyn Read + 'a> {
        let packed: Arc<AtomicU64> = Arc::default();
        let counted = Counted {
            stream,
            count: packed.clone(),
        };
        Box::new(Self {
            plain: decoder(BufReader::new(counted)),
            packed,
            out: 0,
            budget: Budget::default(),
        })
    }
}

impl<D: Read> Read for Fair<D> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.plain.read(buf)?;
        self.out += n as u64;
        let packed = self.packed.load(Ordering::Relaxed);
        let fair = packed.saturating_mul(self.budget.ratio);
        if self.out > self.budget.ratio_after.0.saturating_add(fair) {
            return Err(io::Error::other(
                "the archive unpacks to far more than its size: it looks like a bomb",
            ));
        }
        Ok(n)
    }
}

struct Counted<R> {
    stream: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(buf)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Reads as many bytes as there are, up to the length of `start`.
fn read_start(stream: &mut impl Read, start: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < start.len() {
        match stream.read(&mut start[length..])? {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn is_archive(bytes: &[u8]) -> bool {
        let sniffed = sniff(bytes).unwrap();
        let (archive, mut whole) = match sniffed {
            Sniffed::Archive(whole) => (true, whole),
            Sniffed::Other(whole) => (false, whole),
        };
        let mut read = Vec::new();
        // What is damaged is an archive all the same.
        if whole.read_to_end(&mut read).is_ok() && !bytes.starts_with(b"BZh") {
            assert_eq!(read, bytes);
        }
        archive
    }

    #[test]
    fn archives_are_told_from_dockerfiles_by_their_beginning() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        tar.append_data(&mut header, "FROM scratch", &b"x"[..])
            .unwrap();
        let tar = tar.into_inner().unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        bzip2.write_all(&tar).unwrap();
        for (bytes, wanted) in [
            (tar.clone(), true),
            (vec![0; 1024], true),
            (bzip2.finish().unwrap(), true),
            (vec![0x1f, 0x8b, 8, 0], true),
            (b"FROM scratch\n".to_vec(), false),
            (Vec::new(), false),
            (vec![b'#'; 4096], false),
        ] {
            assert_eq!(is_archive(&bytes), wanted, "{:?}", bytes.get(..4));
        }
    }

    #[test]
    fn a_bomb_in_bzip2_is_refused_while_it_unpacks() {
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        let zeros = vec![0; 1 << 20];
        for _ in 0..160 {
            bzip2.write_all(&zeros).unwrap();
        }
        let bomb = bzip2.finish().unwrap();
        let Sniffed::Archive(mut plain) = sniff(bomb.as_slice()).unwrap() else {
            panic!("no archive");
        };
        let error = io::copy(&mut plain, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("bomb"), "{error}");
    }
}
