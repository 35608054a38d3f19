//! Variables, quotes and escapes of one word, as `BuildKit`'s `shell` package works them out.

use super::pattern::{Pattern, PatternFault};
use std::collections::BTreeSet;
use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

/// The most bytes that one word may grow to.
pub(crate) const MAX_EXPANDED: usize = 1 << 20;
/// The most `${...}` in one another.
const MAX_DEPTH: usize = 32;

/// How words are worked out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lexer {
    escape: char,
    raw_quotes: bool,
    raw_escapes: bool,
    plain_quotes: bool,
    keep_unset: bool,
}

/// A text after its variables were put in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Lexed {
    pub(crate) text: String,
    /// The same split at white space that stood outside quotes.
    pub(crate) words: Vec<String>,
    /// Variables that were read, set and not set.
    pub(crate) matched: BTreeSet<String>,
    pub(crate) unmatched: BTreeSet<String>,
}

/// Why a word cannot be worked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExpandFault {
    QuoteOpen(char),
    BraceOpen,
    NoName,
    Modifier(String),
    Required { name: String, message: String },
    Pattern(String),
    TooDeep,
    TooLong,
    TooSlow,
}

impl ExpandFault {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::QuoteOpen(_) => "quote-open",
            Self::BraceOpen | Self::NoName | Self::Modifier(_) | Self::Pattern(_) => {
                "variable-syntax"
            }
            Self::Required { .. } => "variable-required",
            Self::TooDeep | Self::TooLong | Self::TooSlow => "variable-budget",
        }
    }

    pub(crate) fn hint(&self) -> String {
        match self {
            Self::QuoteOpen(quote) => {
                format!("close it with {quote}, or write `\\{quote}` for a literal quote")
            }
            Self::BraceOpen => {
                "close it with `}`, or write `\\$` for a literal dollar sign".to_owned()
            }
            Self::NoName => {
                "a variable's name is letters, digits and `_`; write `\\$` for a literal dollar sign"
                    .to_owned()
            }
            Self::Modifier(_) => {
                "known are `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`".to_owned()
            }
            Self::Required { name, .. } => format!("give it with `--build-arg {name}=VALUE`"),
            Self::Pattern(_) => "only `*`, `?` and `\\` are escaped in a pattern".to_owned(),
            Self::TooDeep => "give the inner value a variable of its own".to_owned(),
            Self::TooLong | Self::TooSlow => "bring the text as a file with `COPY`".to_owned(),
        }
    }
}

impl fmt::Display for ExpandFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = super::file::short;
        match self {
            Self::QuoteOpen('"') => f.write_str("a double quote is not closed"),
            Self::QuoteOpen(_) => f.write_str("a single quote is not closed"),
            Self::BraceOpen => f.write_str("`${` is not closed"),
            Self::NoName => f.write_str("`${` is followed by no name"),
            Self::Modifier(text) => {
                write!(
                    f,
                    "`{}` behind a variable's name means nothing",
                    short(text)
                )
            }
            Self::Required { name, message } => {
                write!(f, "variable `{}`: {}", short(name), short(message))
            }
            Self::Pattern(text) => write!(f, "`{}` is no pattern", short(text)),
            Self::TooDeep => write!(f, "more than {MAX_DEPTH} variables lie in one another"),
            Self::TooLong => {
                f.write_str("the text grows beyond 1 MiB when its variables are put in")
            }
            Self::TooSlow => f.write_str("the pattern takes too long to match"),
        }
    }
}

/// What a variable's name leads to.
pub(crate) type Lookup<'l> = dyn FnMut(&str) -> Option<String> + 'l;

impl Lexer {
    /// Works out variables, quotes and escapes.
    pub(crate) fn words(escape: char) -> Self {
        Self {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            plain_quotes: false,
            keep_unset: false,
        }
    }

    /// Works out variables and escapes, and leaves quotes alone: the text of a here-document.
    pub(crate) fn text() -> Self {
        Self {
            plain_quotes: true,
            ..Self::words('\\')
        }
    }

    /// Only splits into words: quotes, escapes and variables stay as they are.
    pub(crate) fn raw(escape: char) -> Self {
        Self {
            raw_quotes: true,
            raw_escapes: true,
            keep_unset: true,
            ..Self::words(escape)
        }
    }

    /// Works out quotes and escapes, and leaves variables that are not set.
    pub(crate) fn unset(escape: char) -> Self {
        Self {
            keep_unset: true,
            ..Self::words(escape)
        }
    }

    /// Works out escapes, and leaves quotes and variables that are not set.
    pub(crate) fn unset_with_quotes(escape: char) -> Self {
        Self {
            raw_quotes: true,
            keep_unset: true,
            ..Self::words(escape)
        }
    }

    /// Works out `text` with the variables that `lookup` knows.
    ///
    /// # Errors
    /// [`ExpandFault`] if quotes or braces are open, a modifier is unknown, a required variable is missing, or a
    /// budget is used up.
    pub(crate) fn lex(self, text: &str, lookup: &mut Lookup<'_>) -> Result<Lexed, ExpandFault> {
        let mut run = Run {
            lexer: self,
            rest: text.chars().peekable(),
            lookup,
            lexed: Lexed::default(),
            depth: 0,
        };
        let (text, words) = run.until(None, self.raw_escapes)?;
        let mut lexed = run.lexed;
        lexed.text = text;
        lexed.words = words;
        Ok(lexed)
    }
}

struct Run<'t, 'a, 'l> {
    lexer: Lexer,
    rest: Peekable<Chars<'t>>,
    lookup: &'a mut Lookup<'l>,
    lexed: Lexed,
    depth: usize,
}

/// Words as they grow.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
    inside: bool,
}

impl Words {
    fn add(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
            self.inside = true;
        } else if self.inside && !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
            self.inside = false;
        }
    }

    fn add_raw(&mut self, text: &str) {
        self.word.push_str(text);
        self.inside = true;
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

impl Run<'_, '_, '_> {
    /// Works out the text up to `stop`, or to its end.
    fn until(
        &mut self,
        stop: Option<char>,
        raw_escapes: bool,
    ) -> Result<(String, Vec<String>), ExpandFault> {
        if self.depth > MAX_DEPTH {
            return Err(ExpandFault::TooDeep);
        }
        self.depth += 1;
        let outer = std::mem::replace(&mut self.lexer.raw_escapes, raw_escapes);
        let result = self.pieces(stop);
        self.lexer.raw_escapes = outer;
        self.depth -= 1;
        result
    }

    fn pieces(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), ExpandFault> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(c) = self.rest.peek().copied() {
            if Some(c) == stop {
                self.rest.next();
                return Ok((text, words.finish()));
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|c| words.add(c));
                    text.push_str(&value);
                }
                '<' => {
                    let value = self.less();
                    words.add_raw(&value);
                    text.push_str(&value);
                }
                '\'' | '"' if !self.lexer.plain_quotes => {
                    let value = if c == '"' {
                        self.double()?
                    } else {
                        self.single()?
                    };
                    words.add_raw(&value);
                    text.push_str(&value);
                }
                _ => self.plain(&mut text, &mut words),
            }
            if text.len() > MAX_EXPANDED {
                return Err(ExpandFault::TooLong);
            }
        }
        match stop {
            None => Ok((text, words.finish())),
            Some(_) => Err(ExpandFault::BraceOpen),
        }
    }

    /// Takes a character that means nothing, or an escaped one.
    fn plain(&mut self, text: &mut String, words: &mut Words) {
        let Some(c) = self.rest.next() else { return };
        if c != self.lexer.escape {
            words.add(c);
            text.push(c);
            return;
        }
        let mut raw = String::new();
        if self.lexer.raw_escapes {
            raw.push(c);
        }
        raw.extend(self.rest.next());
        if !raw.is_empty() {
            words.add_raw(&raw);
            text.push_str(&raw);
        }
    }

    /// Takes everything between single quotes as it stands.
    fn single(&mut self) -> Result<String, ExpandFault> {
        let mut value = String::new();
        self.quote(&mut value);
        loop {
            match self.rest.peek() {
                None => return Err(ExpandFault::QuoteOpen('\'')),
                Some('\'') => {
                    self.quote(&mut value);
                    return Ok(value);
                }
                Some(_) => value.extend(self.rest.next()),
            }
        }
    }

    fn double(&mut self) -> Result<String, ExpandFault> {
        let mut value = String::new();
        self.quote(&mut value);
        loop {
            match self.rest.peek().copied() {
                None => return Err(ExpandFault::QuoteOpen('"')),
                Some('"') => {
                    self.quote(&mut value);
                    return Ok(value);
                }
                Some('$') => value.push_str(&self.dollar()?),
                Some(c) => {
                    self.rest.next();
                    if c == self.lexer.escape {
                        self.escaped(c, &mut value);
                    } else {
                        value.push(c);
                    }
                }
            }
            if value.len() > MAX_EXPANDED {
                return Err(ExpandFault::TooLong);
            }
        }
    }

    /// Between double quotes only a quote, a dollar sign and the escape itself are escaped.
    fn escaped(&mut self, escape: char, value: &mut String) {
        if self.lexer.raw_escapes {
            value.push(escape);
        }
        match self.rest.peek().copied() {
            None => {}
            Some(c) if c == '"' || c == '$' || c == escape => value.extend(self.rest.next()),
            Some(_) => value.push(escape),
        }
    }

    fn quote(&mut self, value: &mut String) {
        let quote = self.rest.next();
        if self.lexer.raw_quotes {
            value.extend(quote);
        }
    }

    /// Keeps `<<` and what stands between it and the name of a here-document in one word.
    fn less(&mut self) -> String {
        self.rest.next();
        if self.rest.next_if_eq(&'<').is_none() {
            return "<".to_owned();
        }
        let mut value = "<<".to_owned();
        while let Some(gap) = self.rest.next_if(|c| matches!(c, '\t' | '\r' | ' ')) {
            value.push(gap);
        }
        value
    }

    fn dollar(&mut self) -> Result<String, ExpandFault> {
        self.rest.next();
        if self.rest.peek() != Some(&'{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.get(&name) {
                Some(value) => value,
                None if self.lexer.keep_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.rest.next();
        match self.rest.peek() {
            None => return Err(ExpandFault::BraceOpen),
            Some('{' | '}' | ':') => return Err(ExpandFault::NoName),
            Some(_) => {}
        }
        let name = self.name();
        match self.rest.next() {
            None => Err(ExpandFault::BraceOpen),
            Some('}') => Ok(match self.get(&name) {
                Some(value) => value,
                None if self.lexer.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            Some('/') => self.replaced(&name),
            Some(':') => {
                let modifier = self.rest.next().ok_or(ExpandFault::BraceOpen)?;
                self.modified(&name, modifier, true)
            }
            Some(modifier) => self.modified(&name, modifier, false),
        }
    }

    fn modified(
        &mut self,
        name: &str,
        modifier: char,
        empty_is_unset: bool,
    ) -> Result<String, ExpandFault> {
        let sign = if empty_is_unset {
            format!(":{modifier}")
        } else {
            modifier.to_string()
        };
        let cuts = matches!(modifier, '#' | '%');
        if !matches!(modifier, '+' | '-' | '?' | '#' | '%') || cuts && empty_is_unset {
            return Err(ExpandFault::Modifier(sign));
        }
        let (word, _) = self.until(Some('}'), cuts)?;
        let value = self.get(name);
        if value.is_none() && self.lexer.keep_unset {
            return Ok(format!("${{{name}{sign}{word}}}"));
        }
        let given = value
            .as_deref()
            .filter(|value| !(empty_is_unset && value.is_empty()));
        match modifier {
            '-' => Ok(given.map_or(word, str::to_owned)),
            '+' => Ok(given.map_or(String::new(), |_| word)),
            '?' => match given {
                Some(given) => Ok(given.to_owned()),
                None => Err(ExpandFault::Required {
                    name: name.to_owned(),
                    message: match (word.is_empty(), value.is_some()) {
                        (false, _) => word,
                        (true, true) => "is not allowed to be empty".to_owned(),
                        (true, false) => "is not allowed to be unset".to_owned(),
                    },
                }),
            },
            _ => cut(&word, modifier, &value.unwrap_or_default()),
        }
    }

    /// Works out `${name/pattern/replacement}` and `${name//pattern/replacement}`.
    fn replaced(&mut self, name: &str) -> Result<String, ExpandFault> {
        let every = self.rest.next_if_eq(&'/').is_some();
        let (pattern, _) = self.until(Some('/'), true)?;
        let (with, _) = self.until(Some('}'), true)?;
        let value = self.get(name);
        if value.is_none() && self.lexer.keep_unset {
            return Ok(format!("${{{name}/{pattern}/{with}}}"));
        }
        Pattern::parse(&pattern)
            .and_then(|p| p.replace(&value.unwrap_or_default(), &with, every, MAX_EXPANDED))
            .map_err(|fault| pattern_fault(&pattern, fault))
    }

    /// Takes a name: letters, digits and `_`, only digits, or one special sign.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.rest.peek().copied() {
            Some(c) if c.is_numeric() => {
                while let Some(c) = self.rest.next_if(|c| c.is_numeric()) {
                    name.push(c);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.rest.next()),
            _ => {
                while let Some(c) = self.rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
        }
        name
    }

    fn get(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        let noted = if value.is_some() {
            &mut self.lexed.matched
        } else {
            &mut self.lexed.unmatched
        };
        if !noted.contains(name) {
            noted.insert(name.to_owned());
        }
        value
    }
}

fn cut(word: &str, modifier: char, value: &str) -> Result<String, ExpandFault> {
    let (pattern, longest) = match word.strip_prefix(modifier) {
        Some(pattern) => (pattern, true),
        None => (word, false),
    };
    Pattern::parse(pattern)
        .and_then(|p| {
            if modifier == '%' {
                p.trim_end(value, longest)
            } else {
                p.trim_start(value, longest)
            }
        })
        .map_err(|fault| pattern_fault(pattern, fault))
}

fn pattern_fault(pattern: &str, fault: PatternFault) -> ExpandFault {
    match fault {
        PatternFault::Escape => ExpandFault::Pattern(pattern.to_owned()),
        PatternFault::Budget => ExpandFault::TooSlow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("hello".to_owned()),
            "P" => Some("/usr/local/lib.tar.gz".to_owned()),
            "E" => Some(String::new()),
            "W" => Some("a  b".to_owned()),
            _ => None,
        }
    }

    fn word(text: &str) -> Result<String, ExpandFault> {
        Lexer::words('\\').lex(text, &mut lookup).map(|l| l.text)
    }

    #[test]
    fn every_form_of_a_variable_is_worked_out() {
        for (text, wanted) in [
            ("$A", "hello"),
            ("${A}x", "hellox"),
            ("$Ax", ""),
            ("\\$A", "$A"),
            ("'$A'", "$A"),
            ("\"$A\"", "hello"),
            ("\"\\$A \\n\"", "$A \\n"),
            ("$", "$"),
            ("a$ b", "a$ b"),
            ("${N:-d}", "d"),
            ("${E:-d}", "d"),
            ("${E-d}", ""),
            ("${N-d}", "d"),
            ("${A:+y}", "hello".replace("hello", "y").as_str()),
            ("${E:+y}", ""),
            ("${E+y}", "y"),
            ("${N:+y}", ""),
            ("${N:-${A:-x}}", "hello"),
            ("${N:-\"a b\"}", "a b"),
            ("${A:?no}", "hello"),
            ("${P#*/}", "usr/local/lib.tar.gz"),
            ("${P##*/}", "lib.tar.gz"),
            ("${P%.*}", "/usr/local/lib.tar"),
            ("${P%%.*}", "/usr/local/lib"),
            ("${A/l/L}", "heLlo"),
            ("${A//l/L}", "heLLo"),
            ("${P//\\//_}", "_usr_local_lib.tar.gz"),
            ("${A//x*/}", "hello"),
            ("a\\ b", "a b"),
            ("a\\", "a"),
        ] {
            assert_eq!(word(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn words_split_where_variables_have_spaces_and_not_within_quotes() {
        let words = |text| Lexer::words('\\').lex(text, &mut lookup).unwrap().words;
        assert_eq!(words("$W c"), ["a", "b", "c"]);
        assert_eq!(words("\"$W\" c"), ["a  b", "c"]);
        assert_eq!(words("x$W"), ["xa", "b"]);
        assert_eq!(words("cat << EOF"), ["cat", "<< EOF"]);
        assert_eq!(words("a\\ b"), ["a b"]);
    }

    #[test]
    fn faults_are_told_by_kind() {
        assert_eq!(word("'a"), Err(ExpandFault::QuoteOpen('\'')));
        assert_eq!(word("\"a"), Err(ExpandFault::QuoteOpen('"')));
        assert_eq!(word("${A"), Err(ExpandFault::BraceOpen));
        assert_eq!(word("${A:-"), Err(ExpandFault::BraceOpen));
        assert_eq!(word("${}"), Err(ExpandFault::NoName));
        assert_eq!(word("${A^^}"), Err(ExpandFault::Modifier("^".to_owned())));
        assert_eq!(word("${A:#x}"), Err(ExpandFault::Modifier(":#".to_owned())));
        assert!(
            matches!(word("${N:?give it}"), Err(ExpandFault::Required { message, .. }) if message == "give it")
        );
        assert_eq!(word(&"${N:-".repeat(100)), Err(ExpandFault::TooDeep));
        let long = "x".repeat(MAX_EXPANDED / 2 + 1);
        let grown = Lexer::words('\\').lex("$A$A", &mut |_| Some(long.clone()));
        assert_eq!(grown, Err(ExpandFault::TooLong));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[AEN${}:#%/?+*\"'\\\\<\\- a-cä\n]{0,40}") {
            for lexer in [Lexer::words('\\'), Lexer::words('`'), Lexer::text(), Lexer::raw('\\'), Lexer::unset('\\')] {
                let _ = lexer.lex(&text, &mut lookup);
            }
        }

        #[test]
        fn a_text_without_signs_stays_as_it_is(text in "[a-z0-9 /.,=_-]{0,40}") {
            prop_assert_eq!(word(&text), Ok(text));
        }
    }
}
