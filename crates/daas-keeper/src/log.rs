//! Logs of nodes: what was written, byte by byte, with stream and time.
//!
//! A log is a row of files, `web.log` the newest, `web.log.1`, `web.log.2`, ... older. Each begins with a head of 16 bytes: `DAASLOG1` and a `u64` in little
//! endian, the position of its first record in the whole log. Records follow: `u64` nanoseconds of the Unix clock, `u8` stream (1 output, 2 error), `u32` length,
//! all little endian, then the bytes as the node wrote them. A position counts bytes of records, without heads, from the first record ever written; it stays
//! valid across rotation, restarts of the daemon, and restarts of the node.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"DAASLOG1";
const HEAD: u64 = 16;
const RECORD_HEAD: usize = 13;
/// The largest record that is ever written: one read of a pipe.
pub(crate) const LARGEST: usize = 64 << 10;
/// What a reader believes at most, before it calls a file damaged.
const LARGEST_READ: u32 = 1 << 20;

/// Where a piece of log came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Output,
    /// Standard error.
    Error,
}

impl Stream {
    fn number(self) -> u8 {
        match self {
            Self::Output => 1,
            Self::Error => 2,
        }
    }
}

/// One piece of log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The position of the record.
    pub at: u64,
    /// The position behind it: where to go on.
    pub next: u64,
    /// When it was read from the node, nanoseconds of the Unix clock.
    pub time_ns: u64,
    /// Where it came from.
    pub stream: Stream,
    /// The bytes as they were written; lines may be cut anywhere.
    pub bytes: Vec<u8>,
}

/// Writes a log.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: File,
    /// The position of the first record of `file`.
    start: u64,
    /// Bytes of `file`, head included.
    length: u64,
    max_bytes: u64,
    keep: u32,
}

impl Writer {
    /// Opens the log at `path` to go on; half a record at its end, from a keeper that died while writing, is cut off.
    pub(crate) fn open(path: &Path, max_bytes: u64, keep: u32) -> io::Result<Self> {
        // Below that a log would rotate with every record.
        let max_bytes = max_bytes.max(2 * LARGEST as u64);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let mut writer = Self {
            path: path.to_path_buf(),
            file,
            start: 0,
            length: 0,
            max_bytes,
            keep: keep.max(1),
        };
        let have = writer.file.metadata()?.len();
        let head = if have >= HEAD {
            read_head(&writer.file)?
        } else {
            None
        };
        match head {
            None => writer.begin(0)?,
            Some(start) => {
                writer.start = start;
                writer.length = whole_records(&writer.file, have)?;
                writer.file.set_len(writer.length)?;
            }
        }
        writer.file.seek(SeekFrom::Start(writer.length))?;
        Ok(writer)
    }

    fn begin(&mut self, start: u64) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file
            .write_all_at(&[MAGIC.as_slice(), &start.to_le_bytes()].concat(), 0)?;
        self.start = start;
        self.length = HEAD;
        Ok(())
    }

    /// Appends one record of at most [`LARGEST`] bytes. After a failure the log is as it was before.
    pub(crate) fn append(&mut self, time_ns: u64, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if self.length >= self.max_bytes {
            self.rotate()?;
        }
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut record = Vec::with_capacity(RECORD_HEAD + bytes.len());
        record.extend_from_slice(&time_ns.to_le_bytes());
        record.push(stream.number());
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(bytes);
        match self.file.write_all(&record) {
            Ok(()) => {
                self.length += record.len() as u64;
                Ok(())
            }
            Err(e) => {
                let _ = self.file.set_len(self.length);
                let _ = self.file.seek(SeekFrom::Start(self.length));
                Err(e)
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.keep).rev() {
            let (from, to) = (
                numbered(&self.path, number - 1),
                numbered(&self.path, number),
            );
            match fs::rename(from, to) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        if self.keep == 1 {
            match fs::remove_file(&self.path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        let start = self.start + self.length - HEAD;
        self.file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)?;
        self.begin(start)?;
        self.file.seek(SeekFrom::Start(HEAD))?;
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_path_buf();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn read_head(file: &File) -> io::Result<Option<u64>> {
    let mut head = [0; 16];
    match file.read_exact_at(&mut head, 0) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let (magic, start) = head.split_at(8);
    Ok((magic == MAGIC).then(|| u64::from_le_bytes(start.try_into().unwrap_or_default())))
}

/// Returns where the last whole record ends.
fn whole_records(file: &File, length: u64) -> io::Result<u64> {
    let mut at = HEAD;
    let mut head = [0; RECORD_HEAD];
    while at + RECORD_HEAD as u64 <= length {
        file.read_exact_at(&mut head, at)?;
        let Some((_, _, size)) = parse_head(&head) else {
            break;
        };
        let next = at + RECORD_HEAD as u64 + u64::from(size);
        if next > length {
            break;
        }
        at = next;
    }
    Ok(at)
}

fn parse_head(head: &[u8; RECORD_HEAD]) -> Option<(u64, Stream, u32)> {
    let (time, rest) = head.split_first_chunk::<8>()?;
    let (stream, length) = rest.split_first()?;
    let stream = match stream {
        1 => Stream::Output,
        2 => Stream::Error,
        _ => return None,
    };
    let length = u32::from_le_bytes(length.try_into().ok()?);
    (length <= LARGEST_READ).then_some((u64::from_le_bytes(*time), stream, length))
}

/// Reads a log while it is written, by whoever may read the files; no keeper and no daemon need to live.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: Option<File>,
    start: u64,
    position: u64,
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At the oldest record that is kept.
    Oldest,
    /// At this position, or at the oldest record if it is rotated away.
    Position(u64),
    /// Behind the newest record.
    End,
}

impl Reader {
    /// Opens the log whose newest file is at `path`; it need not exist yet.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn open(path: &Path, from: From) -> io::Result<Self> {
        let mut reader = Self {
            path: path.to_path_buf(),
            file: None,
            start: 0,
            position: 0,
        };
        match from {
            From::Oldest => {}
            From::Position(position) => reader.position = position,
            From::End => {
                if let Some((file, start)) = open_log(path)? {
                    let length = file.metadata()?.len();
                    reader.position = start + whole_records(&file, length)? - HEAD;
                }
            }
        }
        Ok(reader)
    }

    /// Where the next record begins; give it to [`Reader::open`] later to go on.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads the next whole record, or `None` when there is none yet. Never waits: watch the folder (inotify) or ask again.
    ///
    /// A gap (`record.at` is not the `next` of the one before) means that the log was rotated away under a slow reader.
    ///
    /// # Errors
    /// If a file cannot be read; `InvalidData` if it is damaged.
    pub fn read_next(&mut self) -> io::Result<Option<Record>> {
        loop {
            if self.file.is_none() && !self.find()? {
                return Ok(None);
            }
            let Some(file) = &self.file else {
                return Ok(None);
            };
            if let Some(record) = read_record(file, self.start, self.position)? {
                self.position = record.next;
                return Ok(Some(record));
            }
            // At the end of this file: is it still the newest?
            let end = self.start + file.metadata()?.len().saturating_sub(HEAD);
            match open_log(&self.path)? {
                Some((newest, start))
                    if newest.metadata()?.ino() != file.metadata()?.ino()
                        && self.position >= end.min(start) =>
                {
                    // A record may have come between our read and the rotation: only past the end of the old file is it done.
                    if let Some(record) = read_record(file, self.start, self.position)? {
                        self.position = record.next;
                        return Ok(Some(record));
                    }
                    self.file = None;
                    self.position = self.position.max(end);
                }
                _ => return Ok(None),
            }
        }
    }

    /// Finds the file that holds our position, or the oldest that is newer.
    fn find(&mut self) -> io::Result<bool> {
        let mut best: Option<(File, u64)> = None;
        for number in 0.. {
            let Some((file, start)) = open_log(&numbered(&self.path, number))? else {
                if number == 0 {
                    return Ok(false);
                }
                break;
            };
            let done = start <= self.position;
            best = Some((file, start));
            if done {
                break;
            }
        }
        let Some((file, start)) = best else {
            return Ok(false);
        };
        self.position = self.position.max(start);
        self.start = start;
        self.file = Some(file);
        Ok(true)
    }
}

fn open_log(path: &Path) -> io::Result<Option<(File, u64)>> {
    match File::open(path) {
        Ok(file) => Ok(read_head(&file)?.map(|start| (file, start))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn read_record(file: &File, start: u64, position: u64) -> io::Result<Option<Record>> {
    let at = HEAD + position.saturating_sub(start);
    let mut head = [0; RECORD_HEAD];
    match file.read_exact_at(&mut head, at) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let Some((time_ns, stream, length)) = parse_head(&head) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the log is damaged at position {position}"),
        ));
    };
    let mut bytes = Vec::new();
    let mut body = file;
    body.seek(SeekFrom::Start(at + RECORD_HEAD as u64))?;
    body.take(u64::from(length)).read_to_end(&mut bytes)?;
    if bytes.len() < length as usize {
        return Ok(None);
    }
    Ok(Some(Record {
        at: position,
        next: position + RECORD_HEAD as u64 + u64::from(length),
        time_ns,
        stream,
        bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(reader: &mut Reader) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(record) = reader.read_next().unwrap() {
            bytes.extend(record.bytes);
        }
        bytes
    }

    #[test]
    fn a_reader_follows_across_rotation_and_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let mut reader = Reader::open(&path, From::Oldest).unwrap();
        assert_eq!(reader.read_next().unwrap(), None);
        let mut writer = Writer::open(&path, 1, 3).unwrap();
        let mut written = Vec::new();
        let mut read = Vec::new();
        for n in 0..40u32 {
            let piece = vec![u8::try_from(n).unwrap(); 20_000];
            writer
                .append(
                    u64::from(n),
                    if n % 2 == 0 {
                        Stream::Output
                    } else {
                        Stream::Error
                    },
                    &piece,
                )
                .unwrap();
            written.extend(piece);
            if n == 17 {
                drop(writer);
                writer = Writer::open(&path, 1, 3).unwrap();
            }
            if n % 3 == 0 {
                read.extend(all(&mut reader));
                let position = reader.position();
                reader = Reader::open(&path, From::Position(position)).unwrap();
            }
        }
        read.extend(all(&mut reader));
        assert!(read == written, "{} of {}", read.len(), written.len());
        assert!(numbered(&path, 2).exists() && !numbered(&path, 3).exists());
        // A late reader gets what is kept, whole records only.
        let mut late = Reader::open(&path, From::Oldest).unwrap();
        let kept = all(&mut late);
        assert!(
            written.ends_with(&kept)
                && kept.len() >= 2 * 2 * LARGEST - 40_000
                && kept.len() < written.len()
        );
        assert_eq!(all(&mut Reader::open(&path, From::End).unwrap()), b"");
    }

    #[test]
    fn half_a_record_at_the_end_is_cut_off_by_the_next_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let mut writer = Writer::open(&path, 1 << 20, 2).unwrap();
        writer.append(1, Stream::Output, b"whole").unwrap();
        let whole = fs::metadata(&path).unwrap().len();
        writer
            .append(2, Stream::Output, b"half of it is lost")
            .unwrap();
        OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(whole + 20)
            .unwrap();
        let mut reader = Reader::open(&path, From::Oldest).unwrap();
        assert_eq!(all(&mut reader), b"whole");
        let mut writer = Writer::open(&path, 1 << 20, 2).unwrap();
        writer.append(3, Stream::Error, b" and new").unwrap();
        assert_eq!(all(&mut reader), b" and new");
    }

    proptest! {
        #[test]
        fn a_damaged_file_never_makes_reader_or_writer_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), head in any::<bool>()) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.log");
            let mut content = if head { [MAGIC.as_slice(), &[0; 8]].concat() } else { Vec::new() };
            content.extend(bytes);
            fs::write(&path, content).unwrap();
            let mut reader = Reader::open(&path, From::Oldest).unwrap();
            for _ in 0..50 {
                if !matches!(reader.read_next(), Ok(Some(_))) {
                    break;
                }
            }
            Writer::open(&path, 1 << 20, 2).unwrap().append(1, Stream::Output, b"x").unwrap();
        }
    }
}
