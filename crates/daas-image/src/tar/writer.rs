use super::header::BLOCK;
use super::{Entry, EntryKind};
use std::io::{self, Read, Write};

/// Largest value of an octal field of 12 bytes: 8 GiB less one.
const MAX_SIZE: u64 = (1 << 33) - 1;
/// Largest value of an octal field of 8 bytes.
const MAX_ID: u64 = (1 << 21) - 1;

/// Writes an archive in pax form: ustar headers, and an extended header only where one is needed.
///
/// The same entries always give the same bytes.
pub struct Writer<W> {
    output: W,
}

impl<W: Write> Writer<W> {
    /// Makes a writer of an uncompressed archive.
    pub fn new(output: W) -> Self {
        Self { output }
    }

    /// Writes one entry with its content, of which exactly `entry.size` bytes are read. Sparse pieces are not kept.
    ///
    /// # Errors
    /// What `output` or `content` say; [`io::ErrorKind::UnexpectedEof`] if the content is too short.
    pub fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let size = if entry.kind == EntryKind::File {
            entry.size
        } else {
            0
        };
        let pax = extended(entry, size);
        if !pax.is_empty() {
            let mut header = Fields::new(b"PaxHeaders/entry", b'x');
            header.number(124, 12, pax.len() as u64);
            header.number(100, 8, 0o644);
            self.output.write_all(&header.finish())?;
            self.padded(&mut pax.as_slice(), pax.len() as u64)?;
        }
        let mut header = Fields::new(&name_of(entry), flag_of(entry.kind));
        header.number(100, 8, u64::from(entry.mode & 0o7777));
        header.number(108, 8, if entry.uid > MAX_ID { 0 } else { entry.uid });
        header.number(116, 8, if entry.gid > MAX_ID { 0 } else { entry.gid });
        header.number(124, 12, if size > MAX_SIZE { 0 } else { size });
        header.number(136, 12, plain_mtime(entry));
        let link = &entry.link[..entry.link.len().min(100)];
        header.0[157..157 + link.len()].copy_from_slice(link);
        if matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
            header.number(329, 8, u64::from(entry.device.0));
            header.number(337, 8, u64::from(entry.device.1));
        }
        self.output.write_all(&header.finish())?;
        self.padded(content, size)
    }

    /// Writes the end of the archive and returns the output.
    ///
    /// # Errors
    /// What `output` says.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn padded(&mut self, content: &mut dyn Read, size: u64) -> io::Result<()> {
        let copied = io::copy(&mut content.take(size), &mut self.output)?;
        if copied != size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the content is shorter than its header says",
            ));
        }
        let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        self.output.write_all(&[0; BLOCK][..padding])
    }
}

/// The name as stored: a directory's ends in a slash.
fn name_of(entry: &Entry) -> Vec<u8> {
    let mut name = entry.path.clone();
    if entry.kind == EntryKind::Directory && !name.ends_with(b"/") {
        name.push(b'/');
    }
    name
}

fn plain_mtime(entry: &Entry) -> u64 {
    u64::try_from(entry.mtime)
        .ok()
        .filter(|t| *t <= MAX_SIZE)
        .unwrap_or(0)
}

/// The records of the extended header that the entry needs; none for most.
fn extended(entry: &Entry, size: u64) -> Vec<u8> {
    let mut pax = Vec::new();
    let name = name_of(entry);
    if name.len() > 100 {
        record(&mut pax, b"path", &name);
    }
    if entry.link.len() > 100 {
        record(&mut pax, b"linkpath", &entry.link);
    }
    for (key, value, limit) in [
        (&b"size"[..], size, MAX_SIZE),
        (b"uid", entry.uid, MAX_ID),
        (b"gid", entry.gid, MAX_ID),
    ] {
        if value > limit {
            record(&mut pax, key, value.to_string().as_bytes());
        }
    }
    if entry.mtime_nanos != 0 || plain_mtime(entry).cast_signed() != entry.mtime {
        record(&mut pax, b"mtime", time(entry).as_bytes());
    }
    for (key, value) in &entry.xattrs {
        record(
            &mut pax,
            &[b"SCHILY.xattr.", key.as_slice()].concat(),
            value,
        );
    }
    pax
}

fn time(entry: &Entry) -> String {
    let nanos = entry.mtime_nanos;
    if entry.mtime >= 0 || nanos == 0 {
        return if nanos == 0 {
            entry.mtime.to_string()
        } else {
            format!("{}.{nanos:09}", entry.mtime)
        };
    }
    // Nanoseconds count forward from the second below.
    format!("-{}.{:09}", -(entry.mtime + 1), 1_000_000_000 - nanos)
}

fn record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let body = key.len() + value.len() + 3;
    let mut len = body + 1;
    while len.to_string().len() + body != len {
        len = len.to_string().len() + body;
    }
    pax.extend_from_slice(len.to_string().as_bytes());
    pax.push(b' ');
    pax.extend_from_slice(key);
    pax.push(b'=');
    pax.extend_from_slice(value);
    pax.push(b'\n');
}

fn flag_of(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::File => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    }
}

struct Fields([u8; BLOCK]);

impl Fields {
    fn new(name: &[u8], flag: u8) -> Self {
        let mut block = [0; BLOCK];
        let name = &name[..name.len().min(100)];
        block[..name.len()].copy_from_slice(name);
        block[156] = flag;
        block[257..265].copy_from_slice(b"ustar\x0000");
        Self(block)
    }

    fn number(&mut self, at: usize, len: usize, value: u64) {
        let text = format!("{value:0width$o}", width = len - 1);
        self.0[at..at + len - 1].copy_from_slice(&text.as_bytes()[text.len() - (len - 1)..]);
    }

    fn finish(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|b| u64::from(*b)).sum();
        self.number(148, 7, sum);
        self.0[155] = b' ';
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;
    use crate::Budget;
    use proptest::prelude::*;

    prop_compose! {
        fn any_entry()(path in "[a-zé]{1,60}(/[a-z]{1,90}){0,4}", link in "[a-z/.]{1,150}", kind in 0..7u8, mode in 0..0o10000u32, uid in 0..5_000_000u64, gid in 0..5_000_000u64,
            mtime in -5_000_000_000i64..20_000_000_000, nanos in prop_oneof![Just(0), 0..1_000_000_000u32], content in proptest::collection::vec(any::<u8>(), 0..1500),
            xattrs in proptest::collection::btree_map("user\\.[a-z]{1,9}", proptest::collection::vec(any::<u8>(), 0..90), 0..3)) -> (Entry, Vec<u8>) {
            let kind = [EntryKind::File, EntryKind::HardLink, EntryKind::Symlink, EntryKind::CharDevice, EntryKind::BlockDevice, EntryKind::Directory, EntryKind::Fifo][usize::from(kind)];
            let device = if matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) { (8, 1) } else { (0, 0) };
            let content = if kind == EntryKind::File { content } else { Vec::new() };
            let mut path = path.into_bytes();
            if kind == EntryKind::Directory { path.push(b'/'); }
            let link = if matches!(kind, EntryKind::HardLink | EntryKind::Symlink) { link.into_bytes() } else { Vec::new() };
            let xattrs = xattrs.into_iter().map(|(k, v)| (k.into_bytes(), v)).collect();
            (Entry { path, link, kind, mode, uid, gid, size: content.len() as u64, mtime, mtime_nanos: nanos, device, xattrs, pieces: None }, content)
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(entries in proptest::collection::vec(any_entry(), 0..8)) {
            let mut writer = Writer::new(Vec::new());
            for (entry, content) in &entries {
                writer.entry(entry, &mut content.as_slice()).unwrap();
            }
            let bytes = writer.finish().unwrap();
            let mut reader = Reader::new(bytes.as_slice(), Budget::default());
            for (entry, content) in &entries {
                let read = reader.next_entry().unwrap().unwrap();
                prop_assert_eq!(&read, entry);
                let mut found = Vec::new();
                let mut buf = [0; 700];
                loop {
                    let n = reader.read_data(&mut buf).unwrap();
                    if n == 0 { break; }
                    found.extend_from_slice(&buf[..n]);
                }
                prop_assert_eq!(&found, content);
            }
            prop_assert!(reader.next_entry().unwrap().is_none());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(entries in proptest::collection::vec(any_entry(), 0..4), cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), end in any::<prop::sample::Index>()) {
            let mut writer = Writer::new(Vec::new());
            for (entry, content) in &entries {
                writer.entry(entry, &mut content.as_slice()).unwrap();
            }
            let mut bytes = writer.finish().unwrap();
            for (at, byte) in cuts {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                // A right checksum lets the damage through to what lies behind it.
                let block = at / BLOCK * BLOCK;
                if bytes.len() >= block + BLOCK && !(148..156).contains(&(at % BLOCK)) {
                    let header: [u8; BLOCK] = bytes[block..block + BLOCK].try_into().unwrap();
                    bytes[block..block + BLOCK].copy_from_slice(&Fields(header).finish());
                }
            }
            let end = end.index(bytes.len() + 1);
            let mut reader = Reader::new(&bytes[..end], Budget::default());
            while let Ok(Some(_)) = reader.next_entry() {}
        }
    }
}
