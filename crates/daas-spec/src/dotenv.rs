//! `.env` files (Compose Specification, "`env_file` format").

use crate::node::At;
use crate::report::Report;
use crate::template::{Expanded, expand, has_variables, short};
use crate::yaml::MAX_TEXT;
use daas_model::Diagnostic;
use std::collections::HashMap;

/// How an environment file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// With quotes, escapes, comments and variables.
    Compose,
    /// `name=value`, and the value is taken as it stands.
    Raw,
}

/// One line of an environment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// Nothing where the file names the variable without `=`: it is taken from the surrounding environment.
    pub(crate) value: Option<String>,
}

/// Reads `text`; faults go to `report`, and the faulty lines are left out.
///
/// `outer` is asked first for variables in values, then the lines above.
pub(crate) fn parse(
    text: &str,
    source: u16,
    format: Format,
    outer: &mut dyn FnMut(&str) -> Option<String>,
    report: &mut Report,
) -> Vec<Variable> {
    let mut scan = Scan {
        text,
        index: 0,
        at: At {
            source,
            line: 1,
            column: 1,
        },
        report,
        outer,
        known: HashMap::new(),
        found: Vec::new(),
        bytes: 0,
    };
    match format {
        Format::Compose => scan.statements(),
        Format::Raw => scan.raw_lines(),
    }
    scan.found
}

struct Scan<'s> {
    text: &'s str,
    index: usize,
    at: At,
    report: &'s mut Report,
    outer: &'s mut dyn FnMut(&str) -> Option<String>,
    known: HashMap<String, String>,
    found: Vec<Variable>,
    bytes: usize,
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']')
}

impl<'s> Scan<'s> {
    fn peek(&self) -> Option<char> {
        self.text[self.index..].chars().next()
    }

    fn step(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.index += c.len_utf8();
        if c == '\n' {
            self.at.line += 1;
            self.at.column = 1;
        } else {
            self.at.column += 1;
        }
        Some(c)
    }

    fn skip_while(&mut self, test: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&test) {
            self.step();
        }
    }

    /// Takes the rest of the line, without its end.
    fn line(&mut self) -> &'s str {
        let start = self.index;
        self.skip_while(|c| c != '\n');
        self.text[start..self.index].trim_end_matches('\r')
    }

    fn statements(&mut self) {
        loop {
            self.skip_while(char::is_whitespace);
            match self.peek() {
                None => return,
                Some('#') => {
                    self.line();
                }
                Some(_) => self.statement(),
            }
            if self.bytes > MAX_TEXT {
                self.report.say(
                    self.at,
                    Diagnostic::error(
                        "dotenv-too-much-text",
                        "the file's values grow beyond 4 MiB",
                    ),
                );
                return;
            }
        }
    }

    fn statement(&mut self) {
        let rest = &self.text[self.index..];
        if rest
            .strip_prefix("export")
            .is_some_and(|r| r.starts_with([' ', '\t']))
        {
            for _ in 0..6 {
                self.step();
            }
            self.skip_while(|c| matches!(c, ' ' | '\t'));
        }
        let name_at = self.at;
        let start = self.index;
        self.skip_while(is_name_char);
        let name = &self.text[start..self.index];
        self.skip_while(|c| matches!(c, ' ' | '\t' | '\r'));
        match self.peek() {
            _ if name.is_empty() => {
                let line = self.line();
                self.report.error(
                    name_at,
                    "dotenv-syntax",
                    format!("`{}` sets no variable", short(line)),
                    "write `NAME=value`; a comment begins with `#`",
                );
            }
            Some('=' | ':') => {
                self.step();
                self.assign(name, name_at);
            }
            None | Some('\n' | '#') => {
                self.line();
                self.add(name, name_at, None);
            }
            Some(c) => {
                let bad_at = self.at;
                self.line();
                self.report.error(
                    bad_at,
                    "dotenv-syntax",
                    format!(
                        "`{}` cannot stand in the name of a variable",
                        c.escape_debug()
                    ),
                    "write `NAME=value`, and quote a value with spaces or line ends",
                );
            }
        }
    }

    fn assign(&mut self, name: &str, name_at: At) {
        let spaced = self.peek().is_some_and(|c| matches!(c, ' ' | '\t'));
        self.skip_while(|c| matches!(c, ' ' | '\t' | '\r'));
        let value_at = self.at;
        match self.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.step();
                let Some(inside) = self.quoted(quote) else {
                    self.report.error(
                        value_at,
                        "dotenv-quote-open",
                        format!("the quote of `{name}` is not closed"),
                        format!("close it with {quote}; a quote inside is written `\\{quote}`"),
                    );
                    return;
                };
                let tail_at = self.at;
                let tail = self.line().trim();
                if !tail.is_empty() && !tail.starts_with('#') {
                    self.report.error(
                        tail_at,
                        "dotenv-after-quote",
                        format!("`{}` stands behind the closing quote", short(tail)),
                        "a comment begins with `#`; a quote inside is written with a backslash",
                    );
                }
                let value = if quote == '"' {
                    self.expand(&unescape(&inside), value_at, None)
                } else {
                    Some(inside)
                };
                self.add(name, name_at, value.or_else(|| Some(String::new())));
            }
            _ => {
                let line = self.line();
                let comment = if spaced && line.starts_with('#') {
                    Some(0)
                } else {
                    line.find(" #").or_else(|| line.find("\t#"))
                };
                let text = line[..comment.unwrap_or(line.len())].trim_end();
                let value = self.expand(text, value_at, Some(0));
                self.add(name, name_at, value.or_else(|| Some(String::new())));
            }
        }
    }

    /// Takes what stands up to the closing quote; `\` before that quote is dropped, every other backslash stays.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut out = String::new();
        loop {
            match self.step()? {
                '\\' => match self.peek() {
                    Some(c) if c == quote => {
                        out.push(c);
                        self.step();
                    }
                    Some(c) => {
                        out.push('\\');
                        out.push(c);
                        self.step();
                    }
                    None => return None,
                },
                c if c == quote => return Some(out),
                '\r' if self.peek() == Some('\n') => {}
                c => out.push(c),
            }
        }
    }

    fn expand(&mut self, text: &str, at: At, lead: Option<usize>) -> Option<String> {
        if !has_variables(text) {
            return Some(text.to_owned());
        }
        let (outer, known) = (&mut self.outer, &self.known);
        let spot = |offset: usize| lead.map_or(at, |lead| at.plus(lead + offset));
        match expand(text, &mut |name| {
            outer(name).or_else(|| known.get(name).cloned())
        }) {
            Ok(Expanded { text, unset }) => {
                for (name, offset) in unset {
                    self.report.unset(&name, spot(offset));
                }
                Some(text)
            }
            Err(fault) => {
                self.report.error(
                    spot(fault.offset),
                    fault.kind.code(),
                    fault.kind.to_string(),
                    fault.kind.hint(),
                );
                None
            }
        }
    }

    fn add(&mut self, name: &str, at: At, value: Option<String>) {
        if name.starts_with(|c: char| c.is_numeric()) {
            self.report.warn(
                at,
                "dotenv-name",
                format!("`{}` is skipped", short(name)),
                "the name of a variable does not begin with a digit",
            );
            return;
        }
        self.bytes += name.len() + value.as_ref().map_or(0, String::len);
        if let Some(value) = &value {
            self.known.insert(name.to_owned(), value.clone());
        }
        self.found.push(Variable {
            name: name.to_owned(),
            value,
        });
    }

    fn raw_lines(&mut self) {
        while self.peek().is_some() {
            let at = self.at;
            let line = self.line();
            self.step();
            let trimmed = line.trim_start();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let (name, value) = match trimmed.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (trimmed.trim_end(), None),
            };
            if name.is_empty() || name.contains(char::is_whitespace) {
                self.report.error(
                    at,
                    "dotenv-syntax",
                    format!("`{}` sets no variable", short(line)),
                    "write `NAME=value`",
                );
                continue;
            }
            self.add(name, at, value);
        }
    }
}

/// Works out the escapes of a double-quoted value; `\$` becomes `$$`, which interpolation leaves as `$`.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('v') => out.push('\u{b}'),
            Some('\\') => out.push('\\'),
            Some('"') => out.push('"'),
            Some('$') => out.push_str("$$"),
            Some('0') => {
                let mut value = 0;
                for _ in 0..3 {
                    let Some(digit) = rest.peek().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    value = value * 8 + digit;
                    rest.next();
                }
                out.extend(char::from_u32(value));
            }
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, format: Format) -> (Vec<(String, Option<String>)>, String) {
        let mut report = Report::default();
        let source = report.add_source(".env".to_owned(), "/p".to_owned());
        let mut outer = |name: &str| (name == "OUT").then(|| "outer".to_owned());
        let found = parse(text, source, format, &mut outer, &mut report);
        let told = report
            .finish()
            .0
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n");
        (found.into_iter().map(|v| (v.name, v.value)).collect(), told)
    }

    fn one(text: &str) -> Option<String> {
        let (found, told) = read(text, Format::Compose);
        assert_eq!(told, "", "{text}");
        found.last().and_then(|(_, v)| v.clone())
    }

    #[test]
    fn every_form_of_the_specification_is_understood() {
        for (text, wanted) in [
            ("V=VAL", "VAL"),
            ("V=\"VAL\"", "VAL"),
            ("V='VAL'", "VAL"),
            ("V=VAL # comment", "VAL"),
            ("V=VAL# not a comment", "VAL# not a comment"),
            ("V=\"VAL # not a comment\"", "VAL # not a comment"),
            ("V=\"VAL\" # comment", "VAL"),
            ("V='$OTHER'", "$OTHER"),
            ("V='${OTHER}'", "${OTHER}"),
            ("V='Let\\'s go!'", "Let's go!"),
            (
                "V=\"{\\\"hello\\\": \\\"json\\\"}\"",
                "{\"hello\": \"json\"}",
            ),
            ("V=\"some\\tvalue\"", "some\tvalue"),
            ("V='some\\tvalue'", "some\\tvalue"),
            ("V=some\\tvalue", "some\\tvalue"),
            ("V=", ""),
            ("V= # nothing", ""),
            ("export V=x", "x"),
            ("V = x", "x"),
            ("V: x", "x"),
            ("V=a b  ", "a b"),
            ("V=x\r\n", "x"),
            ("V='a\nb'", "a\nb"),
            ("V=\"a\r\nb\"", "a\nb"),
            ("A=1\nV=${A}2", "12"),
            ("OUT=inner\nV=$OUT", "outer"),
            ("V=${NO:-d}", "d"),
            ("V=\"\\$A\"", "$A"),
            ("V=$$A", "$A"),
            ("V=a=b", "a=b"),
            ("V=\"\\0101\"", "A"),
            ("# c\n\n  V=x", "x"),
        ] {
            assert_eq!(one(text).as_deref(), Some(wanted), "{text}");
        }
        assert_eq!(
            read("A\nB=1", Format::Compose).0,
            [
                ("A".to_owned(), None),
                ("B".to_owned(), Some("1".to_owned()))
            ]
        );
    }

    #[test]
    fn raw_files_are_taken_as_they_stand() {
        let (found, told) = read("A=\"x\" # y\n# c\nB=$OUT\r\nC\n", Format::Raw);
        assert_eq!(told, "");
        assert_eq!(
            found,
            [
                ("A".to_owned(), Some("\"x\" # y".to_owned())),
                ("B".to_owned(), Some("$OUT".to_owned())),
                ("C".to_owned(), None)
            ]
        );
    }

    #[test]
    fn faults_have_places_and_the_rest_is_read() {
        let (found, told) = read("A=1\nfoo bar=2\n=x\nB='open\nC", Format::Compose);
        assert_eq!(found.len(), 1);
        insta::assert_snapshot!(told, @r"
        error[dotenv-syntax]: `b` cannot stand in the name of a variable
          --> .env:2:5
          hint: write `NAME=value`, and quote a value with spaces or line ends
        error[dotenv-syntax]: `=x` sets no variable
          --> .env:3:1
          hint: write `NAME=value`; a comment begins with `#`
        error[dotenv-quote-open]: the quote of `B` is not closed
          --> .env:4:3
          hint: close it with '; a quote inside is written `\'`
        ");
    }

    #[test]
    fn values_that_double_come_to_an_end() {
        let text = format!("A=xxxxxxxxxxxxxxxx\n{}", "A=$A$A\n".repeat(100));
        assert!(read(&text, Format::Compose).1.contains("variable-budget"));
        let many = format!("A={}\n{}", "x".repeat(500_000), "B=$A\n".repeat(100));
        assert!(
            read(&many, Format::Compose)
                .1
                .contains("dotenv-too-much-text")
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[A-C=:#'\"\\\\$\\{\\} \t\r\nä-]{0,60}") {
            read(&text, Format::Compose);
            read(&text, Format::Raw);
        }
    }
}
