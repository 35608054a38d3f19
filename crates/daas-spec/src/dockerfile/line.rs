//! Physical lines to logical ones: parser directives, comments, continuations, here-documents.

use super::desk::{Desk, Skips};
use super::expand::Lexer;
use super::instruction::Spot;
use super::json;
use super::split::{Parts, split_line};
use std::cell::Cell;
use std::iter::Peekable;
use std::str::SplitInclusive;

/// One logical line: an instruction with its continuations joined.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) parts: Parts,
    pub(crate) heredocs: Vec<Heredoc>,
    pub(crate) end_line: u32,
    segments: Vec<Segment>,
    /// Where the last question was answered: questions come in the order of the text, so that answers cost nothing.
    cursor: Cell<(usize, usize, u32)>,
}

/// A piece of the logical line that stands in one physical line.
#[derive(Debug, Clone, Copy)]
struct Segment {
    offset: usize,
    at: Spot,
}

impl Line {
    /// Returns where the byte `offset` of the logical line stands in the file.
    pub(crate) fn spot(&self, offset: usize) -> Spot {
        let offset = offset.min(self.text.len());
        let number = self
            .segments
            .partition_point(|s| s.offset <= offset)
            .saturating_sub(1);
        let Some(segment) = self.segments.get(number) else {
            return Spot::default();
        };
        let (known, known_at, known_column) = self.cursor.get();
        let (from, column) = if known == number && known_at <= offset {
            (known_at, known_column)
        } else {
            (segment.offset, segment.at.column)
        };
        let chars = self.text.get(from..offset).map_or(0, |t| t.chars().count());
        let column = column.saturating_add(u32::try_from(chars).unwrap_or(u32::MAX));
        self.cursor.set((number, offset, column));
        Spot {
            line: segment.at.line,
            column,
        }
    }

    pub(crate) fn start(&self) -> Spot {
        self.spot(self.parts.keyword.offset)
    }
}

/// A here-document with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heredoc {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) expands: bool,
    pub(crate) chomps: bool,
}

impl Heredoc {
    /// Returns the text without the leading tabs of every line, if `<<-` asks for it.
    pub(crate) fn chomped(&self) -> String {
        if !self.chomps {
            return self.text.clone();
        }
        self.text
            .split_inclusive('\n')
            .map(|l| l.trim_start_matches('\t'))
            .collect()
    }
}

/// What the parser directives say.
#[derive(Debug, Default)]
pub(crate) struct Directives {
    pub(crate) syntax: Option<String>,
    pub(crate) escape: Option<char>,
}

/// Reads logical lines one after the other.
pub(crate) struct Lines<'t> {
    rest: Peekable<SplitInclusive<'t, char>>,
    number: u32,
    /// Whether parser directives may still come.
    head: bool,
    seen: Vec<String>,
    pub(crate) directives: Directives,
    pub(crate) escape: char,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self {
            rest: text.split_inclusive('\n').peekable(),
            number: 0,
            head: true,
            seen: Vec::new(),
            directives: Directives::default(),
            escape: '\\',
        }
    }

    fn take(&mut self) -> Option<&'t str> {
        let line = self.rest.next()?;
        self.number += 1;
        Some(line)
    }

    /// Returns the next logical line, with its here-documents.
    pub(crate) fn next(&mut self, desk: &mut Desk) -> Option<Line> {
        desk.step_skips = Skips::default();
        loop {
            let Some(raw) = self.take() else {
                desk.step_skips = Skips::default();
                return None;
            };
            let bare = raw.trim_end_matches(['\r', '\n']);
            let text = bare.trim_start();
            let column = column_after(bare, text);
            if let Some(comment) = text.strip_prefix('#') {
                self.comment(comment, column, desk);
                continue;
            }
            self.head = false;
            let (text, ends) = self.without_continuation(text);
            if ends && text.is_empty() {
                // An empty line parts a comment from the instruction only if the comment itself is empty.
                continue;
            }
            if desk.step_skips.all || !desk.step_skips.rules.is_empty() {
                desk.local_skips
                    .insert(self.number, desk.step_skips.clone());
            }
            return Some(self.logical(text, column, ends, desk));
        }
    }

    fn logical(&mut self, text: &str, column: u32, mut ends: bool, desk: &mut Desk) -> Line {
        let first = Spot {
            line: self.number,
            column,
        };
        let mut whole = text.to_owned();
        let mut segments = vec![Segment {
            offset: 0,
            at: first,
        }];
        let mut empty = None;
        while !ends {
            let Some(raw) = self.take() else { break };
            let bare = raw.trim_end_matches(['\r', '\n']);
            let stripped = bare.trim_start();
            if stripped.starts_with('#') {
                continue;
            }
            if stripped.is_empty() {
                empty = empty.or(Some(self.number));
                continue;
            }
            let (text, more) = self.without_continuation(bare);
            ends = more;
            segments.push(Segment {
                offset: whole.len(),
                at: Spot {
                    line: self.number,
                    column: 1,
                },
            });
            whole.push_str(text);
        }
        let parts = split_line(&whole, 0, self.escape);
        let mut line = Line {
            text: whole,
            parts,
            heredocs: Vec::new(),
            end_line: self.number,
            segments,
            cursor: Cell::new((usize::MAX, 0, 0)),
        };
        if let Some(number) = empty {
            desk.check(
                Spot {
                    line: number,
                    column: 0,
                },
                "NoEmptyContinuation",
                "an empty line stands within an instruction",
                "remove it, or write a comment there; it may become an error",
            );
        }
        if may_have_heredoc(&line.parts, self.escape) && line.text.contains("<<") {
            self.heredocs(&mut line, desk);
        }
        line
    }

    /// Takes the escape at the end of a line away, and tells whether the instruction ends here.
    ///
    /// An escape behind an escape is a literal one, however many there are.
    fn without_continuation<'l>(&self, line: &'l str) -> (&'l str, bool) {
        let cut = line.trim_end_matches([' ', '\t']);
        match cut.strip_suffix(self.escape) {
            Some(before) if !before.ends_with(self.escape) => (before, false),
            _ => (line, true),
        }
    }

    fn heredocs(&mut self, line: &mut Line, desk: &mut Desk) {
        let lexer = Lexer::raw('\\');
        // A line that the lexer does not understand has no here-documents; the shell may understand it.
        let Ok(lexed) = lexer.lex(&line.text, &mut |_| None) else {
            return;
        };
        for word in lexed.words {
            let Some(mut heredoc) = read_heredoc(&word) else {
                continue;
            };
            let mut closed = false;
            while let Some(raw) = self.take() {
                let bare = raw.trim_end_matches(['\r', '\n']);
                let end = if heredoc.chomps {
                    bare.trim_start_matches('\t')
                } else {
                    bare
                };
                if end == heredoc.name {
                    closed = true;
                    break;
                }
                heredoc.text.push_str(raw);
            }
            if !closed {
                desk.error(
                    line.start(),
                    "heredoc-open",
                    format!(
                        "the here-document `{}` does not end",
                        super::file::short(&heredoc.name)
                    ),
                    format!(
                        "end it with a line that holds `{}` alone",
                        super::file::short(&heredoc.name)
                    ),
                );
            }
            line.heredocs.push(heredoc);
        }
        line.end_line = self.number;
    }

    /// Reads a comment: a parser directive at the head of the file, or a check option above an instruction.
    fn comment(&mut self, comment: &str, column: u32, desk: &mut Desk) {
        let at = Spot {
            line: self.number,
            column,
        };
        let comment = comment.trim();
        let directive = read_directive(comment);
        if self.head {
            if let Some((name, value)) = &directive {
                if self.seen.contains(name) {
                    desk.error(
                        at,
                        "directive-twice",
                        format!("the parser directive `{name}` stands twice"),
                        "keep one",
                    );
                }
                self.seen.push(name.clone());
                self.directive(name, value, at, desk);
                return;
            }
            self.head = false;
        }
        match directive {
            Some((name, value)) if name == "check" => {
                let value = value.split(' ').next().unwrap_or_default();
                // As BuildKit does it, a fault here is a comment and no fault.
                if let Some((skips, _)) = read_check(value) {
                    desk.step_skips = skips;
                }
            }
            _ if comment.is_empty() => desk.step_skips = Skips::default(),
            _ => {}
        }
    }

    fn directive(&mut self, name: &str, value: &str, at: Spot, desk: &mut Desk) {
        match name {
            "escape" => match value {
                "\\" | "`" => {
                    self.escape = if value == "`" { '`' } else { '\\' };
                    self.directives.escape = Some(self.escape);
                }
                _ => desk.error(
                    at,
                    "directive-escape",
                    format!("`{}` cannot be the escape", super::file::short(value)),
                    "write `# escape=\\` or `# escape=` with a backquote",
                ),
            },
            "check" => match read_check(value) {
                Some((skips, strict)) => {
                    desk.skips = skips;
                    desk.strict = strict;
                }
                None => desk.error(
                    at,
                    "directive-check",
                    format!("`{}` is no check option", super::file::short(value)),
                    "write for example `# check=skip=JSONArgsRecommended;error=true`",
                ),
            },
            _ => {
                let image = value.split(' ').next().unwrap_or_default();
                self.directives.syntax = Some(image.to_owned());
                if !is_usual_syntax(image) {
                    desk.warn(
                        at,
                        "syntax-ignored",
                        format!("the syntax `{}` is not used", super::file::short(image)),
                        "images do not bring readers of their own here: the file is read as docker/dockerfile:1 reads it",
                    );
                }
            }
        }
    }
}

fn column_after(whole: &str, rest: &str) -> u32 {
    let skipped = whole[..whole.len() - rest.len()].chars().count();
    u32::try_from(skipped).unwrap_or(u32::MAX).saturating_add(1)
}

/// Tells whether `image` is a published version of the usual reader.
fn is_usual_syntax(image: &str) -> bool {
    let image = image.strip_prefix("docker.io/").unwrap_or(image);
    ["docker/dockerfile", "docker/dockerfile-upstream"]
        .iter()
        .any(|usual| {
            image
                .strip_prefix(usual)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']))
        })
}

/// Reads `name = value` if the name is one of the three.
fn read_directive(comment: &str) -> Option<(String, String)> {
    let (name, value) = comment.split_once('=')?;
    let name = name.trim_end().to_ascii_lowercase();
    let value = value.trim();
    (matches!(name.as_str(), "syntax" | "escape" | "check") && !value.is_empty())
        .then(|| (name, value.to_owned()))
}

/// Reads `skip=A,B;error=true`.
fn read_check(value: &str) -> Option<(Skips, bool)> {
    let (mut skips, mut strict) = (Skips::default(), false);
    for part in value.splitn(3, ';') {
        let (key, value) = part.split_once('=')?;
        match key.trim() {
            "skip" if value.trim() == "all" => skips.all = true,
            "skip" => {
                skips.rules = value.split(',').map(|r| r.trim().to_owned()).collect();
            }
            "error" => strict = super::flags::read_bool(value.trim())?,
            "experimental" => {}
            _ => return None,
        }
    }
    Some((skips, strict))
}

/// Tells whether an instruction takes here-documents: `RUN`, `COPY`, `ADD`, or one of them as a trigger.
fn may_have_heredoc(parts: &Parts, escape: char) -> bool {
    if parts.keyword.text.eq_ignore_ascii_case("onbuild") {
        let inner = split_line(&parts.args.text, parts.args.offset, escape);
        return takes_heredoc(&inner);
    }
    takes_heredoc(parts)
}

fn takes_heredoc(parts: &Parts) -> bool {
    ["run", "copy", "add"]
        .iter()
        .any(|k| parts.keyword.text.eq_ignore_ascii_case(k))
        && !matches!(json::read(&parts.args.text), json::Json::Strings(_))
}

/// Reads a word such as `<<EOF`, `<<-'EOF'` or `3<<EOF`; nothing if it names no here-document.
pub(crate) fn read_heredoc(word: &str) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest.strip_prefix("<<")?;
    let (chomps, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches(['\t', '\n', '\u{c}', '\r', ' ']);
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let [name] = Lexer::unset('\\')
        .lex(rest, &mut |_| None)
        .ok()?
        .words
        .try_into()
        .ok()?;
    let [raw] = Lexer::unset_with_quotes('\\')
        .lex(rest, &mut |_| None)
        .ok()?
        .words
        .try_into()
        .ok()?;
    // Quotes that went away were quotes: the text is taken as it stands.
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let expands = quotes(&name) == quotes(&raw);
    Some(Heredoc {
        name,
        text: String::new(),
        expands,
        chomps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_name_here_documents_are_known() {
        for (word, wanted) in [
            ("<<EOF", Some(("EOF", true, false))),
            ("<<-EOF", Some(("EOF", true, true))),
            ("<<'E F'", Some(("E F", false, false))),
            ("3<<\"EOF\"", Some(("EOF", false, false))),
            ("<< EOF", Some(("EOF", true, false))),
            ("<<E\\'F", Some(("E'F", true, false))),
            ("<<", None),
            ("<<<EOF", None),
            ("<<A<B", None),
            ("<<A B", None),
            ("a<<EOF", None),
            ("<EOF", None),
        ] {
            let got = read_heredoc(word);
            assert_eq!(
                got.as_ref().map(|h| (h.name.as_str(), h.expands, h.chomps)),
                wanted,
                "{word}"
            );
        }
    }
}
