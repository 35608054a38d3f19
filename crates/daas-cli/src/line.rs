//! Splits bytes into lines, however they come.

/// Takes pieces of bytes and gives whole lines with their line feeds.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

/// The longest line that is kept together; a longer one comes in parts.
const LONGEST: usize = 1 << 20;

impl Lines {
    /// Adds bytes and returns the lines that are whole now.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") || self.rest.len() >= LONGEST {
                lines.push(std::mem::take(&mut self.rest));
            }
        }
        lines
    }

    /// Returns what is left without a line feed.
    pub(crate) fn rest(&mut self) -> Option<Vec<u8>> {
        (!self.rest.is_empty()).then(|| std::mem::take(&mut self.rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_byte_is_lost_and_lines_end_at_line_feeds(pieces: Vec<Vec<u8>>) {
            let mut lines = Lines::default();
            let mut out = Vec::new();
            for piece in &pieces {
                for line in lines.push(piece) {
                    prop_assert!(line.ends_with(b"\n") && line.iter().filter(|b| **b == b'\n').count() == 1);
                    out.extend(line);
                }
            }
            out.extend(lines.rest().unwrap_or_default());
            prop_assert_eq!(out, pieces.concat());
        }
    }
}
