/// The most candidates that are looked at: a hint is not worth more time.
const MAX_CANDIDATES: usize = 500;

/// Returns the candidate that a person probably meant by `word`: at most two edits away, and at most a third of its length.
#[must_use]
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // A word longer than any key has no neighbour, and would only cost time.
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let allowed = (word.len() / 3).clamp(1, 2);
    candidates
        .into_iter()
        .take(MAX_CANDIDATES)
        .map(|candidate| {
            (
                distance(&word, &candidate.to_lowercase().chars().collect::<Vec<_>>()),
                candidate,
            )
        })
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, candidate)| (*edits, *candidate))
        .map(|(_, candidate)| candidate)
}

/// Counts edits: insertions, deletions, replacements, and swaps of neighbours (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_key() {
        let keys = [
            "image",
            "environment",
            "ports",
            "expose",
            "volumes",
            "dns",
            "depends_on",
        ];
        for (word, key) in [
            ("imgae", "image"),
            ("enviroment", "environment"),
            ("port", "ports"),
            ("depend_on", "depends_on"),
            ("Image", "image"),
        ] {
            assert_eq!(nearest(word, keys), Some(key), "{word}");
        }
        for word in ["", "xyz", "completely_else", "d"] {
            assert_eq!(nearest(word, keys), None, "{word}");
        }
    }
}
