use super::Piece;
use super::header::number;

/// Reads the pieces of a block of an old GNU sparse file: pairs of 12-byte numbers, ended by an empty one.
pub(super) fn pieces_of_block(block: &[u8]) -> Result<Vec<Piece>, &'static str> {
    let mut pieces = Vec::new();
    for pair in block.chunks_exact(24) {
        if pair[0] == 0 && pair[12] == 0 {
            break;
        }
        let positive = |n: i64| u64::try_from(n).map_err(|_| "a negative sparse piece");
        pieces.push(Piece {
            offset: positive(number(&pair[..12])?)?,
            len: positive(number(&pair[12..])?)?,
        });
    }
    Ok(pieces)
}

/// Checks that pieces ascend, do not overlap, end with the file and use exactly the stored bytes.
pub(super) fn check(pieces: &[Piece], real: u64, stored: u64) -> Result<(), &'static str> {
    let mut end = 0u64;
    let mut sum = 0u64;
    for piece in pieces {
        if piece.offset < end {
            return Err("a sparse map that goes back");
        }
        end = piece
            .offset
            .checked_add(piece.len)
            .ok_or("a sparse map out of range")?;
        sum += piece.len;
    }
    // GNU tar cuts the file where the map ends, others at the size that is told: the two must say the same.
    if end != real || real > i64::MAX.cast_unsigned() {
        return Err("a sparse map that does not end where its file does");
    }
    if sum == stored {
        Ok(())
    } else {
        Err("a sparse map that does not fit the stored size")
    }
}
