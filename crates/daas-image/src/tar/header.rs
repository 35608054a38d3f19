use super::sparse;
use super::{EntryKind, Piece};

/// Size of a tar block in bytes (POSIX pax, "ustar Interchange Format").
pub(super) const BLOCK: usize = 512;

/// One header block, read field by field.
pub(super) struct Header<'a>(pub(super) &'a [u8; BLOCK]);

/// What the type flag says.
pub(super) enum Flag {
    Entry(EntryKind),
    /// Old GNU sparse file.
    Sparse,
    LongName,
    LongLink,
    Pax,
    PaxGlobal,
    /// A label or the like, which makes nothing.
    Nothing,
    Unknown(u8),
}

impl Header<'_> {
    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|b| *b == 0)
    }

    /// Whether the checksum holds; old writers summed signed bytes.
    pub(super) fn checks(&self) -> bool {
        let Ok(wanted) = number(&self.0[148..156]) else {
            return false;
        };
        let masked = |i: usize, b: u8| if (148..156).contains(&i) { b' ' } else { b };
        let unsigned: i64 = self
            .0
            .iter()
            .enumerate()
            .map(|(i, b)| i64::from(masked(i, *b)))
            .sum();
        let signed: i64 = self
            .0
            .iter()
            .enumerate()
            .map(|(i, b)| i64::from(masked(i, *b).cast_signed()))
            .sum();
        wanted == unsigned || wanted == signed
    }

    fn is_ustar(&self) -> bool {
        &self.0[257..263] == b"ustar\0"
    }

    fn is_gnu(&self) -> bool {
        &self.0[257..265] == b"ustar  \0"
    }

    pub(super) fn flag(&self) -> Flag {
        match self.0[156] {
            b'0' | 0 | b'7' => Flag::Entry(EntryKind::File),
            b'1' => Flag::Entry(EntryKind::HardLink),
            b'2' => Flag::Entry(EntryKind::Symlink),
            b'3' => Flag::Entry(EntryKind::CharDevice),
            b'4' => Flag::Entry(EntryKind::BlockDevice),
            b'5' => Flag::Entry(EntryKind::Directory),
            b'6' => Flag::Entry(EntryKind::Fifo),
            // GNU tar sees a plain file where the magic is another, Python a sparse one.
            b'S' if self.is_gnu() => Flag::Sparse,
            b'L' => Flag::LongName,
            b'K' => Flag::LongLink,
            b'x' | b'X' => Flag::Pax,
            b'g' => Flag::PaxGlobal,
            b'V' => Flag::Nothing,
            other => Flag::Unknown(other),
        }
    }

    fn name(&self) -> &[u8] {
        text(&self.0[..100])
    }

    pub(super) fn path(&self) -> Vec<u8> {
        // Star keeps times behind a shorter prefix and marks itself at the end of the block.
        let prefix = match self.is_ustar() {
            true if &self.0[508..512] == b"tar\0" => text(&self.0[345..476]),
            true => text(&self.0[345..500]),
            false => b"",
        };
        if prefix.is_empty() {
            self.name().to_vec()
        } else {
            [prefix, b"/", self.name()].concat()
        }
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.0[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> Result<i64, &'static str> {
        number(&self.0[100..108])
    }

    pub(super) fn uid(&self) -> Result<i64, &'static str> {
        number(&self.0[108..116])
    }

    pub(super) fn gid(&self) -> Result<i64, &'static str> {
        number(&self.0[116..124])
    }

    pub(super) fn size(&self) -> Result<u64, &'static str> {
        u64::try_from(number(&self.0[124..136])?).map_err(|_| "a negative size")
    }

    pub(super) fn mtime(&self) -> Result<i64, &'static str> {
        number(&self.0[136..148])
    }

    pub(super) fn device(&self) -> Result<(i64, i64), &'static str> {
        if self.is_ustar() || self.is_gnu() {
            Ok((number(&self.0[329..337])?, number(&self.0[337..345])?))
        } else {
            Ok((0, 0))
        }
    }

    /// Returns the pieces in the header of an old GNU sparse file, its real size, and whether more pieces follow.
    pub(super) fn sparse(&self) -> Result<(Vec<Piece>, u64, bool), &'static str> {
        let pieces = sparse::pieces_of_block(&self.0[386..482])?;
        let real = u64::try_from(number(&self.0[483..495])?).map_err(|_| "a negative size")?;
        Ok((pieces, real, self.0[482] != 0))
    }
}

/// The bytes up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|b| *b == 0).unwrap_or(field.len())]
}

/// Reads a number: octal digits with blanks around, or base-256 if the first bit is set (GNU tar manual, "Extensions").
pub(super) fn number(field: &[u8]) -> Result<i64, &'static str> {
    if field[0] & 0x80 != 0 {
        return base_256(field);
    }
    let mut digits = field.iter().copied().skip_while(|b| *b == b' ').peekable();
    let mut value: i64 = 0;
    while let Some(digit) = digits.next_if(|b| matches!(b, b'0'..=b'7')) {
        value = value
            .checked_mul(8)
            .and_then(|v| v.checked_add(i64::from(digit - b'0')))
            .ok_or("a number too large")?;
    }
    // Behind the digits only a terminator: `12garbage` is a number to some readers and a fault to others.
    if digits.all(|b| b == 0 || b == b' ') {
        Ok(value)
    } else {
        Err("a number that is not octal")
    }
}

fn base_256(field: &[u8]) -> Result<i64, &'static str> {
    let negative = field[0] & 0x40 != 0;
    let first = if negative { field[0] } else { field[0] & 0x7f };
    let mut value: i64 = if negative {
        i64::from(first.cast_signed())
    } else {
        i64::from(first)
    };
    for byte in &field[1..] {
        value = value
            .checked_mul(256)
            .and_then(|v| v.checked_add(i64::from(*byte)))
            .ok_or("a number too large")?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_form() {
        assert_eq!(number(b"0000644\0"), Ok(0o644));
        assert_eq!(number(b"   644 \0"), Ok(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Ok(0));
        assert_eq!(number(b"77777777"), Ok(0o77_777_777));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Ok(256));
        assert_eq!(
            number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]),
            Ok(-2)
        );
        assert_eq!(
            number(&[0x80, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
            Ok(1 << 56)
        );
        assert!(
            number(&[
                0x80, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
            ])
            .is_err()
        );
        assert!(number(b"12x\0\0\0\0\0").is_err());
        assert!(number(b"-1\0\0\0\0\0\0").is_err());
    }
}
