use super::Piece;

/// What a pax extended header says about the next entry (POSIX pax, "pax Extended Header").
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Sparse,
}

/// GNU tar's sparse files in pax form, versions 0.0, 0.1 and 1.0 (GNU tar manual, "Storing Sparse Files").
#[derive(Debug, Default)]
pub(super) struct Sparse {
    major: Option<u64>,
    minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    count: Option<u64>,
    pieces: Vec<Piece>,
    offset: Option<u64>,
}

/// Where the map of a sparse file is.
pub(super) enum Map {
    None,
    Header(Vec<Piece>),
    /// Before the content (version 1.0).
    Data,
}

impl Sparse {
    pub(super) fn map(&mut self) -> Result<Map, &'static str> {
        match (self.major, self.minor) {
            (Some(1), Some(0)) => Ok(Map::Data),
            (None, None) | (Some(0), Some(0 | 1)) => {
                if self.size.is_none() && self.pieces.is_empty() && self.count.is_none() {
                    return Ok(Map::None);
                }
                if self.offset.is_some()
                    || self.count.is_some_and(|n| n != self.pieces.len() as u64)
                {
                    return Err("a sparse map that does not fit its count");
                }
                Ok(Map::Header(std::mem::take(&mut self.pieces)))
            }
            _ => Err("a version of sparse files that nobody writes"),
        }
    }
}

impl Pax {
    /// Parses the records of an extended header: `length key=value\n`. The last of equal keys holds.
    pub(super) fn parse(mut rest: &[u8], max_pieces: usize) -> Result<Self, &'static str> {
        let mut pax = Self::default();
        while !rest.is_empty() {
            let (key, value, next) = record(rest)?;
            pax.set(key, value, max_pieces)?;
            rest = next;
        }
        Ok(pax)
    }

    fn set(&mut self, key: &[u8], value: &[u8], max_pieces: usize) -> Result<(), &'static str> {
        let some = |value: &[u8]| (!value.is_empty()).then(|| value.to_vec());
        let number = |value: &[u8]| {
            if value.is_empty() {
                Ok(None)
            } else {
                decimal(value).map(Some)
            }
        };
        match key {
            b"path" | b"linkpath" | b"GNU.sparse.name" if value.contains(&0) => {
                return Err("a name with NUL in it");
            }
            b"path" => self.path = some(value),
            b"linkpath" => self.link = some(value),
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = number(value)?,
            b"gid" => self.gid = number(value)?,
            b"mtime" => {
                self.mtime = if value.is_empty() {
                    None
                } else {
                    Some(time(value)?)
                }
            }
            b"GNU.sparse.major" => self.sparse.major = number(value)?,
            b"GNU.sparse.minor" => self.sparse.minor = number(value)?,
            b"GNU.sparse.name" => self.sparse.name = some(value),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = number(value)?,
            b"GNU.sparse.numblocks" => self.sparse.count = number(value)?,
            b"GNU.sparse.offset" => {
                if self.sparse.offset.replace(decimal(value)?).is_some() {
                    return Err("a sparse map with two offsets in a row");
                }
            }
            b"GNU.sparse.numbytes" => {
                let offset = self
                    .sparse
                    .offset
                    .take()
                    .ok_or("a sparse map with a length before its offset")?;
                self.sparse.pieces.push(Piece {
                    offset,
                    len: decimal(value)?,
                });
            }
            b"GNU.sparse.map" => self.sparse.pieces = map(value)?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.retain(|(known, _)| known != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        if self.sparse.pieces.len() > max_pieces {
            Err("a sparse map with too many pieces")
        } else {
            Ok(())
        }
    }
}

/// Whether a global header says nothing that would change an entry; readers disagree about the others.
pub(super) fn is_harmless_global(mut rest: &[u8]) -> Result<bool, &'static str> {
    const CHANGING: [&[u8]; 6] = [b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"];
    while !rest.is_empty() {
        let (key, _, next) = record(rest)?;
        if CHANGING.contains(&key)
            || key.starts_with(b"GNU.sparse.")
            || key.starts_with(b"SCHILY.xattr.")
        {
            return Ok(false);
        }
        rest = next;
    }
    Ok(true)
}

/// A key, its value, and what follows.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn record(rest: &[u8]) -> Result<Record<'_>, &'static str> {
    const BAD: &str = "an extended header that breaks its form";
    let space = rest.iter().take(20).position(|b| *b == b' ').ok_or(BAD)?;
    let len = usize::try_from(decimal(&rest[..space])?).map_err(|_| BAD)?;
    if len <= space + 1 || len > rest.len() || rest[len - 1] != b'\n' {
        return Err(BAD);
    }
    let body = &rest[space + 1..len - 1];
    // An extended attribute's name may hold `=` in theory; the first one ends the key for every known reader.
    let equals = body.iter().position(|b| *b == b'=').ok_or(BAD)?;
    if equals == 0 {
        return Err(BAD);
    }
    Ok((&body[..equals], &body[equals + 1..], &rest[len..]))
}

/// Parses plain decimal digits: no sign, no blank.
pub(super) fn decimal(text: &[u8]) -> Result<u64, &'static str> {
    const BAD: &str = "a number that is not decimal";
    if text.is_empty() || text.len() > 20 || !text.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    std::str::from_utf8(text)
        .ok()
        .and_then(|t| t.parse().ok())
        .ok_or(BAD)
}

/// Parses `-12.345` to seconds and nanoseconds; nanoseconds count forward, as the kernel wants them.
fn time(text: &[u8]) -> Result<(i64, u32), &'static str> {
    const BAD: &str = "a time that is no number";
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let dot = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(decimal(&text[..dot])?).map_err(|_| BAD)?;
    let digits = text.get(dot + 1..).unwrap_or(b"");
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    let nanos = digits
        .iter()
        .chain(b"000000000")
        .take(9)
        .fold(0u32, |n, d| n * 10 + u32::from(d - b'0'));
    Ok(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

fn map(text: &[u8]) -> Result<Vec<Piece>, &'static str> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let numbers = text
        .split(|b| *b == b',')
        .map(decimal)
        .collect::<Result<Vec<_>, _>>()?;
    let (pairs, odd) = numbers.as_chunks::<2>();
    if odd.is_empty() {
        Ok(pairs
            .iter()
            .map(|[offset, len]| Piece {
                offset: *offset,
                len: *len,
            })
            .collect())
    } else {
        Err("a sparse map with an odd number of numbers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_by_their_length() {
        let pax =
            Pax::parse(b"12 path=abc\n22 linkpath=with\nbreak\n13 size=1234\n", 10).unwrap_err();
        assert_eq!(pax, "an extended header that breaks its form");
        let pax = Pax::parse(
            b"12 path=abc\n23 linkpath=with\nbreak\n13 size=1234\n12 path=xyz\n",
            10,
        )
        .unwrap();
        assert_eq!(
            (pax.path.as_deref(), pax.link.as_deref(), pax.size),
            (Some(&b"xyz"[..]), Some(&b"with\nbreak"[..]), Some(1234))
        );
        for bad in [
            &b"5 a=\n"[..],
            b"4 =\n\n",
            b"99999999999999999999999 a=b\n",
            b"0 a=b\n",
            b"6 a=b",
            b"-6 a=b\n",
            b"6  a=b\n",
            b"x",
        ] {
            let parsed = Pax::parse(bad, 10);
            assert!(
                parsed.is_err() || bad == b"5 a=\n",
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
    }

    #[test]
    fn times_before_1970_count_their_nanoseconds_forward() {
        assert_eq!(time(b"1.5").unwrap(), (1, 500_000_000));
        assert_eq!(time(b"-1.25").unwrap(), (-2, 750_000_000));
        assert_eq!(time(b"-3").unwrap(), (-3, 0));
        assert_eq!(time(b"7.0000000019").unwrap(), (7, 1));
        assert!(time(b"1e3").is_err());
        assert!(time(b".5").is_err());
    }
}
