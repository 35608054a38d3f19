//! `.dockerignore`, and the patterns of `--exclude`, as moby's `patternmatcher` matches them.

use daas_model::{Explain, Kind};
use std::fmt;

/// The most bytes of an ignore file.
const MAX_TEXT: usize = 1 << 20;
/// The most patterns: every file of a context is held against each.
const MAX_PATTERNS: usize = 10_000;

/// Which files of a context are left out.
///
/// The last pattern that matches a path or a folder above it decides. Paths are relative, with `/`, without `.` and `..`.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// A pattern that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreFault {
    /// The line in the file, or the number of the pattern, from 1.
    pub line: usize,
    kind: FaultKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum FaultKind {
    Bare,
    Syntax(String),
    Budget,
}

impl fmt::Display for IgnoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FaultKind::Bare => write!(f, "`!` of line {} takes nothing back in", self.line),
            FaultKind::Syntax(text) => {
                let text = super::file::short(text);
                write!(f, "`{text}` of line {} is no pattern", self.line)
            }
            FaultKind::Budget => write!(
                f,
                "there are more than {MAX_PATTERNS} patterns, or more than 1 MiB of them"
            ),
        }
    }
}

impl std::error::Error for IgnoreFault {}

impl Explain for IgnoreFault {
    fn code(&self) -> &'static str {
        "ignore-pattern"
    }

    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some(
            match self.kind {
                FaultKind::Bare => "write `!path`, or remove the line",
                FaultKind::Syntax(_) => {
                    "close `[` with `]`, and write something behind every `\\`; `*` `?` `**` and `[a-z]` are known"
                }
                FaultKind::Budget => "leave whole folders out instead of single files",
            }
            .to_owned(),
        )
    }
}

/// What a folder's patterns said, for the paths below it.
#[derive(Debug, Clone, Default)]
pub struct Verdicts(Vec<bool>);

impl Ignore {
    /// Reads a `.dockerignore`; bytes that are no UTF-8 match nothing.
    ///
    /// # Errors
    /// [`IgnoreFault`] at the first pattern that is none.
    pub fn read(bytes: &[u8]) -> Result<Self, IgnoreFault> {
        if bytes.len() > MAX_TEXT {
            return Err(IgnoreFault {
                line: 1,
                kind: FaultKind::Budget,
            });
        }
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut ignore = Self::default();
        for (number, line) in text.split('\n').enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.starts_with('#') {
                continue;
            }
            ignore.add(&normal(line.trim()), number + 1)?;
        }
        Ok(ignore)
    }

    /// Reads patterns that are given one by one: those of `--exclude`.
    ///
    /// # Errors
    /// [`IgnoreFault`] at the first pattern that is none.
    pub fn patterns<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self, IgnoreFault> {
        let mut ignore = Self::default();
        for (number, pattern) in patterns.into_iter().enumerate() {
            ignore.add(pattern, number + 1)?;
        }
        Ok(ignore)
    }

    fn add(&mut self, text: &str, line: usize) -> Result<(), IgnoreFault> {
        // What a cleaned line begins with may be white space again: moby takes it away twice.
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        if self.patterns.len() >= MAX_PATTERNS {
            return Err(IgnoreFault {
                line,
                kind: FaultKind::Budget,
            });
        }
        let cleaned = clean(text);
        let (keeps, body) = match cleaned.strip_prefix('!') {
            Some("") => {
                return Err(IgnoreFault {
                    line,
                    kind: FaultKind::Bare,
                });
            }
            Some(body) => (true, body),
            None => (false, cleaned.as_str()),
        };
        let form = Form::parse(body).ok_or_else(|| IgnoreFault {
            line,
            kind: FaultKind::Syntax(body.to_owned()),
        })?;
        self.patterns.push(Pattern {
            keeps,
            text: body.to_owned(),
            form,
        });
        Ok(())
    }

    /// Tells whether nothing is left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Tells whether `path` is left out, by itself or with a folder above it.
    #[must_use]
    pub fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for pattern in &self.patterns {
            // A pattern that would change nothing is not looked at.
            if pattern.keeps == excluded && with_parents(path).any(|p| pattern.form.matches(p)) {
                excluded = !pattern.keeps;
            }
        }
        excluded
    }

    /// Tells whether `path` is left out, given what was said of its folder; and what to hand to what lies below it.
    ///
    /// It is as [`Ignore::excludes`], and costs less in a walk. The root's own verdicts are the default ones.
    #[must_use]
    pub fn excludes_below(&self, path: &str, above: &Verdicts) -> (bool, Verdicts) {
        let mut excluded = false;
        let mut verdicts = Vec::with_capacity(self.patterns.len());
        for (number, pattern) in self.patterns.iter().enumerate() {
            let inherited = above.0.get(number).copied().unwrap_or_default();
            let matches = inherited || pattern.form.matches(path);
            if matches {
                excluded = !pattern.keeps;
            }
            verdicts.push(matches);
        }
        (excluded, Verdicts(verdicts))
    }

    /// Tells whether a pattern with `!` may take something below the excluded folder `path` back in.
    #[must_use]
    pub fn may_keep_below(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        self.patterns
            .iter()
            .filter(|p| p.keeps)
            .any(|p| match &p.form {
                Form::Exact(text) | Form::Prefix(text) => {
                    format!("{}/", text.trim_end_matches('/')).starts_with(&folder)
                        || matches!(p.form, Form::Prefix(_)) && folder.starts_with(text)
                }
                Form::Suffix(_) | Form::Signs(_) => true,
            })
    }

    /// Tells whether a pattern leaves everything out, so that a copy of the root brings nothing.
    #[must_use]
    pub fn excludes_everything(&self) -> bool {
        !self.patterns.iter().any(|p| p.keeps)
            && self
                .patterns
                .iter()
                .any(|p| matches!(p.text.as_str(), "*" | "**" | "**/*"))
    }
}

/// Returns the folders above `path` from the top, and `path` itself.
fn with_parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/')
        .map(|(end, _)| &path[..end])
        .filter(|p| !p.is_empty())
        .chain(std::iter::once(path))
}

/// Makes a line of the file relative to the context; a leading `/` means nothing.
fn normal(line: &str) -> String {
    let (sign, body) = match line.strip_prefix('!') {
        Some(body) => ("!", body.trim()),
        None => ("", line),
    };
    if body.is_empty() {
        return sign.to_owned();
    }
    let cleaned = clean(body);
    let relative = match cleaned.strip_prefix('/') {
        Some(rest) if !rest.is_empty() => rest,
        _ => &cleaned,
    };
    format!("{sign}{relative}")
}

/// Returns the shortest path that means the same, as Go's `filepath.Clean` does.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[derive(Debug, Clone)]
struct Pattern {
    /// `!`: what matches is taken back in.
    keeps: bool,
    text: String,
    form: Form,
}

/// What a pattern looks for.
#[derive(Debug, Clone)]
enum Form {
    /// One path.
    Exact(String),
    /// `a/**`: what begins so.
    Prefix(String),
    /// `**/a`: what ends so.
    Suffix(String),
    Signs(Vec<Sign>),
}

#[derive(Debug, Clone)]
enum Sign {
    Char(char),
    /// `?`: one character other than `/`.
    One,
    /// `*`: any number of them.
    Any,
    /// `**/`: any number of folders.
    Deep,
    /// `**` at the end: everything.
    Rest,
    Class {
        not: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Form {
    fn parse(text: &str) -> Option<Self> {
        let signs = read_signs(text)?;
        let plain = |signs: &[Sign]| signs.iter().all(|s| matches!(s, Sign::Char(_)));
        if text.contains('\\') {
            return Some(Self::Signs(signs));
        }
        Some(match signs.as_slice() {
            all if plain(all) => Self::Exact(text.to_owned()),
            [Sign::Deep, rest @ ..] if plain(rest) => Self::Suffix(text[2..].to_owned()),
            [Sign::Rest] => Self::Suffix(String::new()),
            [begin @ .., Sign::Rest] if plain(begin) => {
                Self::Prefix(text[..text.len() - 2].to_owned())
            }
            _ => Self::Signs(signs),
        })
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(text) => path == text,
            Self::Prefix(text) => path.starts_with(text),
            Self::Suffix(text) => {
                path.ends_with(text) || text.strip_prefix('/').is_some_and(|rest| path == rest)
            }
            Self::Signs(signs) => matches(signs, path),
        }
    }
}

/// Reads the signs of a pattern; nothing if Go's `filepath.Match` would refuse it.
fn read_signs(text: &str) -> Option<Vec<Sign>> {
    let mut signs = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        signs.push(match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_none() {
                    Sign::Rest
                } else {
                    Sign::Deep
                }
            }
            '*' => Sign::Any,
            '?' => Sign::One,
            '\\' => Sign::Char(chars.next()?),
            '[' => read_class(&mut chars)?,
            c => Sign::Char(c),
        });
    }
    Some(signs)
}

fn read_class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Sign> {
    let not = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Some(Sign::Class { not, ranges });
        }
        let low = class_char(chars)?;
        let high = match chars.next_if_eq(&'-') {
            Some(_) => class_char(chars)?,
            None => low,
        };
        if low > high {
            return None;
        }
        ranges.push((low, high));
    }
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

/// Holds a path against signs, in time that grows with the product of their lengths.
fn matches(signs: &[Sign], path: &str) -> bool {
    // `live[i]`: the signs before `i` match what was read; `deep[i]`: so far, and within the folders of a `**/` at `i`.
    let mut live = vec![false; signs.len() + 1];
    let mut deep = vec![false; signs.len()];
    live[0] = true;
    spread(signs, &mut live);
    for c in path.chars() {
        let mut next = vec![false; signs.len() + 1];
        let mut next_deep = vec![false; signs.len()];
        for (i, sign) in signs.iter().enumerate() {
            if !live[i] && !deep[i] {
                continue;
            }
            match sign {
                Sign::Char(wanted) => next[i + 1] |= *wanted == c,
                Sign::One => next[i + 1] |= c != '/',
                Sign::Any => next[i] |= c != '/',
                Sign::Rest => next[i] |= c != '\n',
                Sign::Class { not, ranges } => {
                    let within = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                    next[i + 1] |= within != *not;
                }
                Sign::Deep => {
                    next_deep[i] |= c != '\n';
                    next[i + 1] |= c == '/';
                }
            }
        }
        spread(signs, &mut next);
        live = next;
        deep = next_deep;
    }
    live[signs.len()]
}

/// Goes past every sign that may match nothing.
fn spread(signs: &[Sign], live: &mut [bool]) {
    for (i, sign) in signs.iter().enumerate() {
        if live[i] && matches!(sign, Sign::Any | Sign::Rest | Sign::Deep) {
            live[i + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn excluded(text: &str, path: &str) -> bool {
        Ignore::read(text.as_bytes()).unwrap().excludes(path)
    }

    #[test]
    fn patterns_match_as_moby_matches_them() {
        for (text, path, wanted) in [
            ("a", "a", true),
            ("a", "a/b", true),
            ("a", "b/a", false),
            ("/a", "a", true),
            ("a/", "a/b", true),
            ("./a//b/../c", "a/c", true),
            ("*", "a/b", true),
            ("*.md", "a/b.md", false),
            ("*/*.md", "a/b.md", true),
            ("**/*.md", "b.md", true),
            ("**/*.md", "a/b/c.md", true),
            ("**.md", "a/b.md", true),
            ("a/**", "a", false),
            ("a/**", "a/b", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/x/y/c", true),
            ("**", "x", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("# a\n#b", "b", false),
            ("a\n!a/b", "a/b", false),
            ("a\n!a/b", "a/c", true),
            ("!a\na", "a", true),
            ("*\n!**/x\nd", "d/x", true),
            ("\u{feff}a\r\n", "a", true),
            ("..", "a", false),
        ] {
            assert_eq!(excluded(text, path), wanted, "{text:?} {path}");
        }
        for wrong in ["!", "[a", "a\\", "[]a]", "[b-a]"] {
            assert!(Ignore::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert_eq!(Ignore::read(b"a\n\n[").unwrap_err().line, 3);
    }

    #[test]
    fn a_folder_is_entered_only_if_something_below_may_come_back() {
        let ignore = |text: &str| Ignore::read(text.as_bytes()).unwrap();
        assert!(!ignore("a").may_keep_below("a"));
        assert!(ignore("a\n!a/b").may_keep_below("a"));
        assert!(!ignore("a\n!c/b").may_keep_below("a"));
        assert!(ignore("a\n!a/**").may_keep_below("a/b"));
        assert!(ignore("a\n!**/b").may_keep_below("a"));
        assert!(ignore("*").excludes_everything() && !ignore("*\n!a").excludes_everything());
    }

    proptest! {
        #[test]
        fn a_walk_says_what_a_look_says(text in "([ab*?!/\n]|\\*\\*){1,12}", path in "[ab]{1,2}(/[ab]{1,2}){0,3}") {
            if let Ok(ignore) = Ignore::read(text.as_bytes()) {
                let mut above = Verdicts::default();
                let mut last = false;
                for part in with_parents(&path) {
                    (last, above) = ignore.excludes_below(part, &above);
                }
                prop_assert_eq!(last, ignore.excludes(&path), "{:?} {}", text, path);
            }
        }
    }
}
