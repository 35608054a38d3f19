//! Patterns in the sources of `COPY` and `ADD`, as Go's `filepath.Match` reads them.

use daas_image::Merged;
use std::io;

/// Most names that one pattern may mean; a context of more is a mistake of the pattern.
const MOST: usize = 1_000_000;

/// Tells whether a part of a path holds a pattern.
pub(crate) fn is_pattern(part: &[u8]) -> bool {
    part.iter().any(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'))
}

/// Matches one part of a path: `*` any run, `?` any one character, `[a-z]`, `[^a-z]`, `\x` the character itself.
///
/// Nothing means that the pattern is malformed.
pub(crate) fn matches(pattern: &[char], name: &[char]) -> Option<bool> {
    // Where the last star stood and how much it has taken: a later star makes an earlier one's choice final.
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, n));
            p += 1;
            continue;
        }
        if n == name.len() && p == pattern.len() {
            return Some(true);
        }
        if n < name.len() && p < pattern.len() {
            let (hit, next) = one(pattern, p, name[n])?;
            if hit {
                (p, n) = (next, n + 1);
                continue;
            }
        }
        match star {
            Some((at, taken)) if taken < name.len() => {
                star = Some((at, taken + 1));
                (p, n) = (at + 1, taken + 1);
            }
            _ => return well_formed(pattern, p).then_some(false),
        }
    }
}

/// Whether the rest of the pattern could be read.
fn well_formed(pattern: &[char], mut p: usize) -> bool {
    while p < pattern.len() {
        if pattern[p] == '*' {
            p += 1;
            continue;
        }
        match one(pattern, p, 'x') {
            Some((_, next)) => p = next,
            None => return false,
        }
    }
    true
}

/// Matches the piece of pattern at `p` with one character; returns where the pattern goes on.
fn one(pattern: &[char], p: usize, c: char) -> Option<(bool, usize)> {
    match pattern[p] {
        '?' => Some((true, p + 1)),
        '\\' => pattern.get(p + 1).map(|x| (*x == c, p + 2)),
        '[' => class(pattern, p + 1, c),
        x => Some((x == c, p + 1)),
    }
}

fn class(pattern: &[char], mut p: usize, c: char) -> Option<(bool, usize)> {
    let negated = pattern.get(p) == Some(&'^');
    p += usize::from(negated);
    let (mut hit, mut ranges) = (false, 0);
    loop {
        if pattern.get(p) == Some(&']') && ranges > 0 {
            return Some((hit != negated, p + 1));
        }
        let (low, next) = letter(pattern, p)?;
        let (high, next) = if pattern.get(next) == Some(&'-') {
            letter(pattern, next + 1)?
        } else {
            (low, next)
        };
        hit |= (low..=high).contains(&c);
        ranges += 1;
        p = next;
    }
}

fn letter(pattern: &[char], p: usize) -> Option<(char, usize)> {
    match pattern.get(p)? {
        '-' | ']' => None,
        '\\' => pattern.get(p + 1).map(|c| (*c, p + 2)),
        c => Some((*c, p + 1)),
    }
}

/// Finds everything in `tree` that `pattern` means, sorted. Links are followed on the way, as far as no pattern has begun.
pub(crate) fn expand(tree: &Merged, pattern: &[u8]) -> io::Result<Vec<Vec<Vec<u8>>>> {
    let parts: Vec<&[u8]> = pattern
        .split(|b| *b == b'/')
        .filter(|p| !p.is_empty() && *p != b".")
        .collect();
    let plain = parts.iter().take_while(|p| !is_pattern(p)).count();
    let begin = parts[..plain].join(&b'/');
    let (at, found) = tree.land(&begin)?;
    if found.is_none() {
        return Ok(Vec::new());
    }
    let mut level = vec![at];
    for part in &parts[plain..] {
        let mut next = Vec::new();
        for at in &level {
            step(tree, at, part, &mut next)?;
        }
        level = next;
    }
    level.sort();
    level.dedup();
    Ok(level)
}

fn step(
    tree: &Merged,
    at: &[Vec<u8>],
    part: &[u8],
    next: &mut Vec<Vec<Vec<u8>>>,
) -> io::Result<()> {
    let slices: Vec<&[u8]> = at.iter().map(Vec::as_slice).collect();
    let Some(names) = tree.list(&slices)? else {
        return Ok(());
    };
    let below = |name: &[u8]| {
        let mut path = at.to_vec();
        path.push(name.to_vec());
        path
    };
    if part == b"**" {
        next.push(at.to_vec());
        for name in names {
            step(tree, &below(&name), part, next)?;
        }
    } else {
        let pattern: Vec<char> = String::from_utf8_lossy(part).chars().collect();
        for name in names {
            let text: Vec<char> = String::from_utf8_lossy(&name).chars().collect();
            match matches(&pattern, &text) {
                Some(true) => next.push(below(&name)),
                Some(false) => {}
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        format!(
                            "`{}` is a malformed pattern",
                            String::from_utf8_lossy(part).escape_debug()
                        ),
                    ));
                }
            }
        }
    }
    if next.len() > MOST {
        return Err(io::Error::other(format!(
            "a pattern means more than {MOST} names"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(pattern: &str, name: &str) -> Option<bool> {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        matches(&chars(pattern), &chars(name))
    }

    /// The table of Go's `path/filepath/match_test.go`, those without a slash.
    #[test]
    fn patterns_mean_what_go_says() {
        for (pattern, name, wanted) in [
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "a", Some(true)),
            ("a*", "abc", Some(true)),
            ("a*b*c*d*e*", "axbxcxdxe", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("a?b", "a☺b", Some(true)),
            ("a[^a]b", "a☺b", Some(true)),
            ("a???b", "a☺b", Some(false)),
            ("[a-ζ]*", "α", Some(true)),
            ("*[a-ζ]", "A", Some(false)),
            ("[\\]a]", "]", Some(true)),
            ("[\\-]", "-", Some(true)),
            ("[x\\-]", "z", Some(false)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[x-]", "x", None),
            ("[a-b-c]", "a", None),
            ("[", "a", None),
            ("[^", "a", None),
            ("a[", "ab", None),
            ("*x", "xxx", Some(true)),
        ] {
            assert_eq!(hit(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
