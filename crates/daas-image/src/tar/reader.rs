use super::header::{BLOCK, Flag, Header};
use super::pax::{self, Map, Pax};
use super::{Entry, EntryKind, Piece, sparse};
use crate::Budget;
use crate::layer_error::{LayerError, shown};
use std::io::{self, Read};

/// Reads an archive entry by entry, forward only, in bounded memory.
pub struct Reader<R> {
    input: R,
    budget: Budget,
    position: u64,
    entries: u64,
    /// Stored bytes of the current entry that are not read yet.
    remaining: u64,
    /// Bytes after them up to the next block.
    padding: u64,
    ended: bool,
}

/// What the extension headers before an entry said.
#[derive(Default)]
struct Ahead {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl<R: Read> Reader<R> {
    /// Makes a reader of an uncompressed archive.
    pub fn new(input: R, budget: Budget) -> Self {
        Self {
            input,
            budget,
            position: 0,
            entries: 0,
            remaining: 0,
            padding: 0,
            ended: false,
        }
    }

    /// Returns how many bytes of the archive were read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns how many entries were seen.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Returns the next entry, or nothing at the end of the archive. What was left of the last one is skipped.
    ///
    /// # Errors
    /// [`LayerError::Malformed`], [`LayerError::TooMuch`] and [`LayerError::Read`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        self.skip_rest()?;
        let mut ahead = Ahead::default();
        loop {
            let mut block = [0u8; BLOCK];
            if self.ended || !self.fill_or_end(&mut block)? {
                self.ended = true;
                return self.end_of(&ahead);
            }
            let header = Header(&block);
            if header.is_zero() {
                self.check_end()?;
                return self.end_of(&ahead);
            }
            if !header.checks() {
                return Err(self.malformed("a header with a wrong checksum"));
            }
            self.entries += 1;
            if self.entries > self.budget.entries {
                return Err(LayerError::TooMuch {
                    what: "entries",
                    limit: self.budget.entries,
                });
            }
            match header.flag() {
                Flag::LongName => self.long(&header, &mut ahead, true)?,
                Flag::LongLink => self.long(&header, &mut ahead, false)?,
                Flag::Pax => {
                    let text = self.extension(&header)?;
                    let pax =
                        Pax::parse(&text, self.budget.pieces).map_err(|why| self.malformed(why))?;
                    if ahead.pax.replace(pax).is_some() {
                        return Err(self.malformed("two extended headers for one entry"));
                    }
                }
                Flag::PaxGlobal => {
                    let text = self.extension(&header)?;
                    if !pax::is_harmless_global(&text).map_err(|why| self.malformed(why))? {
                        return Err(self.malformed("a global header that changes entries"));
                    }
                }
                Flag::Nothing => {
                    self.begin(header.size().map_err(|why| self.malformed(why))?)?;
                    self.skip_rest()?;
                }
                Flag::Unknown(flag) => {
                    return Err(
                        self.malformed(&format!("an entry of unknown type `{}`", shown(&[flag])))
                    );
                }
                Flag::Entry(kind) => return self.entry(&header, kind, ahead, false).map(Some),
                Flag::Sparse => return self.entry(&header, EntryKind::File, ahead, true).map(Some),
            }
            if ahead.pax.is_some() && (ahead.long_name.is_some() || ahead.long_link.is_some()) {
                // GNU tar takes the pax name, Go the GNU name.
                return Err(self.malformed("an entry with both a pax header and a GNU long name"));
            }
        }
    }

    /// Reads stored content of the current entry; 0 means that there is no more.
    ///
    /// # Errors
    /// [`LayerError::Malformed`] if the archive breaks off, [`LayerError::Read`].
    pub fn read_data(&mut self, buf: &mut [u8]) -> Result<usize, LayerError> {
        let want = usize::try_from(self.remaining)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        if want == 0 {
            return Ok(0);
        }
        let n = read_some(&mut self.input, &mut buf[..want]).map_err(LayerError::Read)?;
        if n == 0 {
            return Err(self.malformed("the archive breaks off inside a file"));
        }
        self.advance(n)?;
        self.remaining -= n as u64;
        Ok(n)
    }

    /// Reads to the end of the input, so that a digest over it is whole. What follows the archive is ignored.
    ///
    /// # Errors
    /// [`LayerError::TooMuch`], [`LayerError::Read`].
    pub fn drain(&mut self) -> Result<(), LayerError> {
        let mut buf = [0u8; 16 * BLOCK];
        loop {
            let n = read_some(&mut self.input, &mut buf).map_err(LayerError::Read)?;
            if n == 0 {
                return Ok(());
            }
            self.advance(n)?;
        }
    }

    /// Returns the input.
    pub fn into_inner(self) -> R {
        self.input
    }

    fn entry(
        &mut self,
        header: &Header<'_>,
        kind: EntryKind,
        ahead: Ahead,
        old_sparse: bool,
    ) -> Result<Entry, LayerError> {
        let bad = |why: &str| LayerError::Malformed {
            at: self.position,
            why: why.to_owned(),
        };
        let pax_given = ahead.pax.is_some();
        let mut pax = ahead.pax.unwrap_or_default();
        let mut stored = match pax.size {
            Some(size) => size,
            None => header.size().map_err(bad)?,
        };
        let sparse_name = pax.sparse.name.take();
        let sparse_named = sparse_name.is_some();
        let path = sparse_name
            .or(pax.path)
            .or(ahead.long_name)
            .unwrap_or_else(|| header.path());
        let link = pax
            .link
            .or(ahead.long_link)
            .unwrap_or_else(|| header.link());
        // A regular entry whose name ends in a slash is a directory: v7 had no type for one.
        let kind = if kind == EntryKind::File && !old_sparse && path.ends_with(b"/") {
            EntryKind::Directory
        } else {
            kind
        };
        match kind {
            EntryKind::File => {}
            // Writers disagree whether a hard link says its file's size; no reader expects content.
            EntryKind::HardLink => stored = 0,
            // Some readers skip content here, others do not.
            _ if stored != 0 => return Err(bad("content behind an entry that has none")),
            _ => {}
        }
        self.check_names(&path, &link, kind)?;
        let id = |pax: Option<u64>, plain: Result<i64, &'static str>| match pax {
            Some(id) => Ok(id),
            None => plain.and_then(|id| u64::try_from(id).map_err(|_| "a negative owner")),
        };
        let (mtime, mtime_nanos) = match pax.mtime {
            Some(time) => time,
            None => (header.mtime().map_err(bad)?, 0),
        };
        let device = match kind {
            EntryKind::CharDevice | EntryKind::BlockDevice => header.device().map_err(bad)?,
            _ => (0, 0),
        };
        let number = |n: i64| u32::try_from(n).map_err(|_| bad("a device number out of range"));
        let mode = header.mode().map_err(bad)?;
        let mut entry = Entry {
            path,
            link: if matches!(kind, EntryKind::HardLink | EntryKind::Symlink) {
                link
            } else {
                Vec::new()
            },
            kind,
            // Some writers store the type of the file in the mode too.
            mode: u32::try_from(mode & 0o7777).map_err(|_| bad("a mode out of range"))?,
            uid: id(pax.uid, header.uid()).map_err(bad)?,
            gid: id(pax.gid, header.gid()).map_err(bad)?,
            size: stored,
            mtime,
            mtime_nanos,
            device: (number(device.0)?, number(device.1)?),
            xattrs: pax.xattrs,
            pieces: None,
        };
        if old_sparse && pax_given {
            return Err(bad("an old sparse file with a pax header"));
        }
        let map = pax.sparse.map().map_err(bad)?;
        match map {
            Map::None if sparse_named => return Err(bad("a sparse file's name without its map")),
            Map::Header(_) | Map::Data if kind != EntryKind::File => {
                return Err(bad("a sparse map on what is no file"));
            }
            _ => {}
        }
        self.begin(stored)?;
        if let Some((pieces, real)) = self.pieces(header, old_sparse, map, pax.sparse.size)? {
            sparse::check(&pieces, real, self.remaining).map_err(|why| self.malformed(why))?;
            (entry.pieces, entry.size) = (Some(pieces), real);
        }
        Ok(entry)
    }

    /// Returns the pieces of a sparse file and its real size, whichever way they are told; nothing for a plain file.
    fn pieces(
        &mut self,
        header: &Header<'_>,
        old_sparse: bool,
        map: Map,
        real: Option<u64>,
    ) -> Result<Option<(Vec<Piece>, u64)>, LayerError> {
        if old_sparse {
            return self.old_sparse(header).map(Some);
        }
        let pieces = match map {
            Map::None => return Ok(None),
            Map::Header(pieces) => pieces,
            Map::Data => self.data_map()?,
        };
        let real = real.ok_or_else(|| self.malformed("a sparse file without its size"))?;
        Ok(Some((pieces, real)))
    }

    fn check_names(&self, path: &[u8], link: &[u8], kind: EntryKind) -> Result<(), LayerError> {
        let limit = self.budget.path;
        if path.len() > limit || link.len() > limit {
            return Err(LayerError::TooMuch {
                what: "bytes in a name",
                limit: limit as u64,
            });
        }
        if path.is_empty() {
            return Err(self.malformed("an entry without a name"));
        }
        if link.is_empty() && matches!(kind, EntryKind::HardLink | EntryKind::Symlink) {
            return Err(self.malformed("a link without a target"));
        }
        Ok(())
    }

    /// Reads the extension blocks of an old GNU sparse file; they are not part of its stored size.
    fn old_sparse(&mut self, header: &Header<'_>) -> Result<(Vec<Piece>, u64), LayerError> {
        let (mut pieces, real, mut more) = header.sparse().map_err(|why| self.malformed(why))?;
        while more {
            let mut block = [0u8; BLOCK];
            self.fill(&mut block)?;
            pieces
                .extend(sparse::pieces_of_block(&block[..504]).map_err(|why| self.malformed(why))?);
            if pieces.len() > self.budget.pieces {
                return Err(LayerError::TooMuch {
                    what: "pieces of a sparse file",
                    limit: self.budget.pieces as u64,
                });
            }
            more = block[504] != 0;
        }
        Ok((pieces, real))
    }

    /// Reads the map of version 1.0: decimal numbers, one a line, padded to a block, inside the stored size.
    fn data_map(&mut self) -> Result<Vec<Piece>, LayerError> {
        let mut block = [0u8; BLOCK];
        let mut at = BLOCK;
        let mut digits: Vec<u8> = Vec::with_capacity(20);
        let mut count: Option<u64> = None;
        let mut numbers: Vec<u64> = Vec::new();
        while count.is_none_or(|n| numbers.len() as u64 != n * 2) {
            if at == BLOCK {
                if self.remaining < BLOCK as u64 {
                    return Err(self.malformed("a sparse map longer than its file"));
                }
                self.fill(&mut block)?;
                self.remaining -= BLOCK as u64;
                at = 0;
            }
            let byte = block[at];
            at += 1;
            if byte != b'\n' {
                digits.push(byte);
                if digits.len() > 20 {
                    return Err(self.malformed("a sparse map that is not decimal"));
                }
                continue;
            }
            let number = pax::decimal(&digits).map_err(|why| self.malformed(why))?;
            digits.clear();
            if count.is_some() {
                numbers.push(number);
            } else {
                if number > self.budget.pieces as u64 {
                    return Err(LayerError::TooMuch {
                        what: "pieces of a sparse file",
                        limit: self.budget.pieces as u64,
                    });
                }
                count = Some(number);
            }
        }
        let (pairs, _) = numbers.as_chunks::<2>();
        Ok(pairs
            .iter()
            .map(|[offset, len]| Piece {
                offset: *offset,
                len: *len,
            })
            .collect())
    }

    fn long(
        &mut self,
        header: &Header<'_>,
        ahead: &mut Ahead,
        name: bool,
    ) -> Result<(), LayerError> {
        let mut text = self.extension(header)?;
        if let Some(end) = text.iter().position(|b| *b == 0) {
            text.truncate(end);
        }
        let slot = if name {
            &mut ahead.long_name
        } else {
            &mut ahead.long_link
        };
        if slot.replace(text).is_some() {
            Err(self.malformed("two long names for one entry"))
        } else {
            Ok(())
        }
    }

    /// Reads the whole content of an extension header.
    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>, LayerError> {
        let size = header.size().map_err(|why| self.malformed(why))?;
        if size > self.budget.header {
            return Err(LayerError::TooMuch {
                what: "bytes in an extended header",
                limit: self.budget.header,
            });
        }
        self.begin(size)?;
        let mut text = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        self.fill(&mut text)?;
        self.remaining = 0;
        self.skip_rest()?;
        Ok(text)
    }

    fn begin(&mut self, stored: u64) -> Result<(), LayerError> {
        // Refused before a byte is read: an honest header tells it at once.
        if stored > self.budget.bytes.0.saturating_sub(self.position) {
            return Err(LayerError::TooMuch {
                what: "bytes",
                limit: self.budget.bytes.0,
            });
        }
        self.remaining = stored;
        self.padding = stored.wrapping_neg() % BLOCK as u64;
        Ok(())
    }

    fn skip_rest(&mut self) -> Result<(), LayerError> {
        let mut buf = [0u8; 16 * BLOCK];
        while self.read_data(&mut buf)? > 0 {}
        while self.padding > 0 {
            let want = usize::try_from(self.padding)
                .unwrap_or(BLOCK)
                .min(buf.len());
            let n = read_some(&mut self.input, &mut buf[..want]).map_err(LayerError::Read)?;
            if n == 0 {
                // Writers that cut the last padding exist; there is nothing in it.
                self.ended = true;
                self.padding = 0;
                return Ok(());
            }
            self.advance(n)?;
            self.padding -= n as u64;
        }
        Ok(())
    }

    /// Behind the first empty block must be a second one or the end.
    fn check_end(&mut self) -> Result<(), LayerError> {
        self.ended = true;
        let mut block = [0u8; BLOCK];
        if self.fill_or_end(&mut block)? && !Header(&block).is_zero() {
            return Err(self.malformed("an empty block in the middle"));
        }
        Ok(())
    }

    fn end_of(&self, ahead: &Ahead) -> Result<Option<Entry>, LayerError> {
        if ahead.pax.is_some() || ahead.long_name.is_some() || ahead.long_link.is_some() {
            return Err(self.malformed("an extended header without its entry"));
        }
        Ok(None)
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<(), LayerError> {
        if buf.is_empty() || self.fill_or_end(buf)? {
            Ok(())
        } else {
            Err(self.malformed("the archive breaks off"))
        }
    }

    /// Fills `buf`, or returns false if the input ends before its first byte.
    fn fill_or_end(&mut self, buf: &mut [u8]) -> Result<bool, LayerError> {
        let mut done = 0;
        while done < buf.len() {
            let n = read_some(&mut self.input, &mut buf[done..]).map_err(LayerError::Read)?;
            if n == 0 {
                return if done == 0 {
                    Ok(false)
                } else {
                    Err(self.malformed("the archive breaks off inside a block"))
                };
            }
            self.advance(n)?;
            done += n;
        }
        Ok(true)
    }

    fn advance(&mut self, n: usize) -> Result<(), LayerError> {
        self.position += n as u64;
        if self.position > self.budget.bytes.0 {
            return Err(LayerError::TooMuch {
                what: "bytes",
                limit: self.budget.bytes.0,
            });
        }
        Ok(())
    }

    fn malformed(&self, why: &str) -> LayerError {
        LayerError::Malformed {
            at: self.position,
            why: why.to_owned(),
        }
    }
}

fn read_some(input: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buf) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
