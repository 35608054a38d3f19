//! The shell patterns of `${v#pattern}` and its kin: `*`, `?` and escapes, no brackets (as `BuildKit` has them).

/// One sign of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Any,
    One,
    Char(char),
}

/// The most steps that the matching of one expansion may take.
const MAX_STEPS: usize = 4_000_000;

/// A pattern that was understood.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Vec<Sign>);

/// Why a pattern is none, or is not matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatternFault {
    /// An escape stands before something that needs none.
    Escape,
    /// Matching takes too long.
    Budget,
}

impl Pattern {
    /// Reads a pattern; `\*`, `\?` and `\\` are literal, `\}` and `\/` are how those two are written within `${...}`.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternFault> {
        let mut signs = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            signs.push(match c {
                '*' => Sign::Any,
                '?' => Sign::One,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Sign::Char(c),
                    _ => return Err(PatternFault::Escape),
                },
                c => Sign::Char(c),
            });
        }
        Ok(Self(signs))
    }

    fn reversed(&self) -> Self {
        Self(self.0.iter().rev().copied().collect())
    }

    /// Returns `value` without the shortest or longest beginning that matches.
    pub(crate) fn trim_start(&self, value: &str, longest: bool) -> Result<String, PatternFault> {
        let chars: Vec<char> = value.chars().collect();
        let mut steps = MAX_STEPS;
        let end = self.end(&chars, longest, &mut steps)?;
        Ok(chars[end.unwrap_or(0)..].iter().collect())
    }

    /// Returns `value` without the shortest or longest end that matches.
    pub(crate) fn trim_end(&self, value: &str, longest: bool) -> Result<String, PatternFault> {
        let backwards: String = value.chars().rev().collect();
        let rest = self.reversed().trim_start(&backwards, longest)?;
        Ok(rest.chars().rev().collect())
    }

    /// Returns `value` with the first or every match replaced; a match is as long as possible.
    pub(crate) fn replace(
        &self,
        value: &str,
        with: &str,
        every: bool,
        most: usize,
    ) -> Result<String, PatternFault> {
        let chars: Vec<char> = value.chars().collect();
        let mut steps = MAX_STEPS;
        let mut out = String::new();
        let (mut at, mut last_end) = (0, None);
        while at <= chars.len() {
            let end = self
                .end(&chars[at..], true, &mut steps)?
                .map(|length| at + length);
            match end {
                // Nothing is put in where a match has just ended.
                Some(end) if !(end == at && last_end == Some(at)) => {
                    out.push_str(with);
                    last_end = Some(end);
                    if !every {
                        out.extend(&chars[end..]);
                        return Ok(out);
                    }
                    if end == at {
                        out.extend(chars.get(at));
                        at += 1;
                    } else {
                        at = end;
                    }
                }
                _ => {
                    out.extend(chars.get(at));
                    at += 1;
                }
            }
            if out.len() > most {
                return Err(PatternFault::Budget);
            }
        }
        Ok(out)
    }

    /// Returns where the shortest or longest match that begins at the front of `chars` ends.
    ///
    /// `*` and `?` do not match a line feed, as in `BuildKit`.
    fn end(
        &self,
        chars: &[char],
        longest: bool,
        steps: &mut usize,
    ) -> Result<Option<usize>, PatternFault> {
        let signs = &self.0;
        // `live[i]`: the signs before `i` match what was read.
        let mut live = vec![false; signs.len() + 1];
        live[0] = true;
        spread(signs, &mut live);
        let mut found = None;
        for at in 0..=chars.len() {
            if live[signs.len()] {
                found = Some(at);
                if !longest {
                    break;
                }
            }
            let Some(c) = chars.get(at).copied() else {
                break;
            };
            *steps = steps
                .checked_sub(signs.len() + 1)
                .ok_or(PatternFault::Budget)?;
            let mut next = vec![false; signs.len() + 1];
            for (i, sign) in signs.iter().enumerate().filter(|(i, _)| live[*i]) {
                match sign {
                    Sign::Any if c != '\n' => next[i] = true,
                    Sign::One if c != '\n' => next[i + 1] = true,
                    Sign::Char(wanted) if *wanted == c => next[i + 1] = true,
                    _ => {}
                }
            }
            if !next.contains(&true) {
                break;
            }
            spread(signs, &mut next);
            live = next;
        }
        Ok(found)
    }
}

/// Goes past every `*` that may match nothing.
fn spread(signs: &[Sign], live: &mut [bool]) {
    for (i, sign) in signs.iter().enumerate() {
        if live[i] && *sign == Sign::Any {
            live[i + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_taken_away_as_a_shell_does_it() {
        let p = |text| Pattern::parse(text).unwrap();
        assert_eq!(p("*/").trim_start("a/b/c", false).unwrap(), "b/c");
        assert_eq!(p("*/").trim_start("a/b/c", true).unwrap(), "c");
        assert_eq!(p("/*").trim_end("a/b/c", false).unwrap(), "a/b");
        assert_eq!(p("/*").trim_end("a/b/c", true).unwrap(), "a");
        assert_eq!(p("x").trim_end("abc", true).unwrap(), "abc");
        assert_eq!(p("a\\*").trim_start("a*b", true).unwrap(), "b");
        assert_eq!(p("?").trim_end("añ", true).unwrap(), "a");
        assert_eq!(Pattern::parse("\\a").unwrap_err(), PatternFault::Escape);
    }

    #[test]
    fn matches_are_replaced_from_the_left() {
        let p = |text| Pattern::parse(text).unwrap();
        assert_eq!(p("o").replace("foo", "0", false, 99).unwrap(), "f0o");
        assert_eq!(p("o").replace("foo", "0", true, 99).unwrap(), "f00");
        assert_eq!(p("o*").replace("foo bar", "0", true, 99).unwrap(), "f0");
        assert_eq!(p("").replace("ab", "-", true, 99).unwrap(), "-a-b-");
        assert_eq!(p("*").replace("ab", "-", true, 99).unwrap(), "-");
        assert_eq!(p("\\/").replace("a/b", "_", true, 99).unwrap(), "a_b");
    }

    #[test]
    fn a_pattern_that_never_ends_is_stopped() {
        let p = Pattern::parse(&"*a".repeat(50)).unwrap();
        let value = "ab".repeat(20_000);
        assert_eq!(
            p.replace(&value, "", true, 1 << 20),
            Err(PatternFault::Budget)
        );
    }
}
