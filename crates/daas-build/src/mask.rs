//! Secrets in what commands write: they are put out of sight before anybody hears it.

/// What stands where a secret was.
const HIDDEN: &[u8] = b"***";
/// Shorter words are no secrets worth the name, and would hide half of every log.
const LEAST: usize = 4;

/// Looks for secrets in output that comes in pieces, cut anywhere.
#[derive(Debug)]
pub(crate) struct Mask {
    /// Longest first: a secret may begin with another one.
    words: Vec<Vec<u8>>,
    /// What may be the beginning of a secret: of standard output, and of standard error.
    held: [Vec<u8>; 2],
}

impl Mask {
    /// Hides `secrets`, each line of them on its own: keys are printed line by line.
    pub(crate) fn of<'s>(secrets: impl IntoIterator<Item = &'s [u8]>) -> Self {
        let mut words: Vec<Vec<u8>> = secrets
            .into_iter()
            .flat_map(|secret| secret.split(|b| matches!(b, b'\n' | b'\r')))
            .map(|line| line.trim_ascii().to_vec())
            .filter(|line| line.len() >= LEAST)
            .collect();
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        words.dedup();
        Self {
            words,
            held: [Vec::new(), Vec::new()],
        }
    }

    /// Returns what may be heard of a piece; what could be the beginning of a secret waits for the next one.
    pub(crate) fn pass(&mut self, error: bool, bytes: &[u8]) -> Vec<u8> {
        if self.words.is_empty() {
            return bytes.to_vec();
        }
        let held = &mut self.held[usize::from(error)];
        held.extend_from_slice(bytes);
        let data = std::mem::take(held);
        let mut out = Vec::with_capacity(data.len());
        let mut rest = data.as_slice();
        while let Some(first) = rest.first() {
            // A longer secret may still come: `hunter2` waits where `hunter2hunter` is one, too.
            if self
                .words
                .iter()
                .any(|word| word.len() > rest.len() && word.starts_with(rest))
            {
                *held = rest.to_vec();
                break;
            }
            rest = step(&self.words, rest, *first, &mut out);
        }
        out
    }

    /// Returns what waited, once nothing more comes.
    pub(crate) fn rest(&mut self, error: bool) -> Vec<u8> {
        let held = std::mem::take(&mut self.held[usize::from(error)]);
        let (mut out, mut rest) = (Vec::new(), held.as_slice());
        while let Some(first) = rest.first() {
            rest = step(&self.words, rest, *first, &mut out);
        }
        out
    }
}

/// Writes what may be heard of the beginning of `rest`: one byte, or a mark for a whole secret; returns what is behind it.
fn step<'r>(words: &[Vec<u8>], rest: &'r [u8], first: u8, out: &mut Vec<u8>) -> &'r [u8] {
    if let Some(word) = words.iter().find(|word| rest.starts_with(word)) {
        out.extend_from_slice(HIDDEN);
        &rest[word.len()..]
    } else {
        out.push(first);
        &rest[1..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_wherever_the_pieces_are_cut() {
        let text = b"token=hunter2hunter end hunter2 h";
        for cut in 0..text.len() {
            let mut mask = Mask::of([&b"hunter2\n"[..], b"hunter2hunter"]);
            let mut out = mask.pass(false, &text[..cut]);
            out.extend(mask.pass(false, &text[cut..]));
            out.extend(mask.rest(false));
            assert_eq!(out, b"token=*** end *** h", "cut at {cut}");
        }
        let mut mask = Mask::of([&b"hunter2"[..], b"hunter2hunter"]);
        assert_eq!(mask.pass(false, b"hunter2"), b"");
        assert_eq!(mask.rest(false), b"***");
    }

    #[test]
    fn keys_are_hidden_line_by_line_and_short_words_are_not() {
        let mut mask = Mask::of([&b"BEGIN KEY\nabcdef\nxy\n"[..]]);
        assert_eq!(mask.pass(true, b"> abcdef xy\n"), b"> *** xy\n");
        // The two streams do not finish each other's words.
        assert_eq!(mask.pass(false, b"abc"), b"");
        assert_eq!(mask.pass(true, b"def"), b"def");
        assert_eq!(mask.rest(false), b"abc");
    }
}
