//! One logical line to keyword, flags and arguments, and arguments to words.

/// A piece of a line, and how many bytes stand before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) offset: usize,
}

/// A logical line in its three parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) keyword: Piece,
    pub(crate) flags: Vec<Piece>,
    pub(crate) args: Piece,
}

/// Tells what separates words; a line feed never stands in a logical line.
pub(crate) fn is_gap(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Splits `line`, of which the first byte stands at `offset`.
pub(crate) fn split_line(line: &str, offset: usize, escape: char) -> Parts {
    let trimmed = trim(line, offset);
    let text = trimmed.text;
    let (keyword, rest) = match text.find(is_gap) {
        Some(end) => {
            let rest = &text[end..];
            let gap = rest.len() - rest.trim_start_matches(is_gap).len();
            (&text[..end], Some((end + gap, &rest[gap..])))
        }
        None => (text, None),
    };
    let mut parts = Parts {
        keyword: Piece {
            text: keyword.to_owned(),
            offset: trimmed.offset,
        },
        flags: Vec::new(),
        args: Piece {
            text: String::new(),
            offset: trimmed.offset + text.len(),
        },
    };
    if let Some((at, rest)) = rest {
        let (flags, args_at) = take_flags(rest, trimmed.offset + at, escape);
        parts.flags = flags;
        let args = trim(&rest[args_at..], trimmed.offset + at + args_at);
        parts.args = Piece {
            text: args.text.to_owned(),
            offset: args.offset,
        };
    }
    parts
}

/// A borrowed piece.
pub(crate) struct Trimmed<'t> {
    pub(crate) text: &'t str,
    pub(crate) offset: usize,
}

pub(crate) fn trim(text: &str, offset: usize) -> Trimmed<'_> {
    let start = text.trim_start();
    Trimmed {
        offset: offset + text.len() - start.len(),
        text: start.trim_end(),
    }
}

/// Takes words that begin with `--` from the front; quotes and escapes in them are worked out.
///
/// Returns where the arguments begin. A lone `--` ends the flags and is no argument.
fn take_flags(text: &str, offset: usize, escape: char) -> (Vec<Piece>, usize) {
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        at += rest.len() - rest.trim_start().len();
        if !text[at..].starts_with("--") {
            return (flags, at);
        }
        let start = at;
        let (flag, quoted, len) = flag_word(&text[at..], escape);
        at += len;
        if flag == "--" {
            return (flags, at);
        }
        if quoted || !flag.is_empty() {
            flags.push(Piece {
                text: flag,
                offset: offset + start,
            });
        }
    }
}

/// Returns one flag without its quotes, whether it had any, and how many bytes it takes.
fn flag_word(text: &str, escape: char) -> (String, bool, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut quoted = false;
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, quoted, i),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                quoted = true;
            }
            Some(q) if c == q => quote = None,
            // An escape at the end is nothing.
            _ if c == escape => word.extend(chars.next().map(|(_, c)| c)),
            _ => word.push(c),
        }
    }
    (word, quoted, text.len())
}

/// Splits at white space outside quotes; quotes and escapes stay in the words.
pub(crate) fn words(text: &str, offset: usize, escape: char) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut start = None;
    let mut quote: Option<char> = None;
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        if start.is_none() {
            if c.is_whitespace() {
                continue;
            }
            start = Some(i);
        }
        if quote.is_none() && c.is_whitespace() {
            close(&mut found, &mut word, &mut start, offset);
            continue;
        }
        // Nothing is escaped between single quotes.
        if c == escape && quote != Some('\'') {
            if let Some((_, next)) = chars.next() {
                word.push(c);
                word.push(next);
            }
            continue;
        }
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ => {}
        }
        word.push(c);
    }
    close(&mut found, &mut word, &mut start, offset);
    found
}

fn close(found: &mut Vec<Piece>, word: &mut String, start: &mut Option<usize>, offset: usize) {
    let Some(start) = start.take() else { return };
    if !word.is_empty() {
        found.push(Piece {
            text: std::mem::take(word),
            offset: offset + start,
        });
    }
}

/// Splits at gaps, whatever the quotes: sources, ports, volumes and the parts of `FROM`.
pub(crate) fn plain_words(text: &str, offset: usize) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut at = 0;
    for part in text.split(is_gap) {
        if !part.is_empty() {
            found.push(Piece {
                text: part.to_owned(),
                offset: offset + at,
            });
        }
        // Every separator is one byte long.
        at += part.len() + 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &str) -> (String, Vec<String>, String) {
        let p = split_line(line, 0, '\\');
        for piece in p.flags.iter().chain([&p.keyword]) {
            assert!(line.is_char_boundary(piece.offset));
        }
        assert!(line[p.args.offset..].starts_with(&p.args.text));
        (
            p.keyword.text,
            p.flags.into_iter().map(|f| f.text).collect(),
            p.args.text,
        )
    }

    #[test]
    fn flags_stand_before_the_arguments_and_lose_their_quotes() {
        for (line, keyword, flags, args) in [
            ("FROM a", "FROM", vec![], "a"),
            (
                "  RUN  --a=b   --c  d --e ",
                "RUN",
                vec!["--a=b", "--c"],
                "d --e",
            ),
            (
                "COPY --a='b c' --d=\"e\" f",
                "COPY",
                vec!["--a=b c", "--d=e"],
                "f",
            ),
            ("RUN -- --a", "RUN", vec![], "--a"),
            ("RUN --a\\ b c", "RUN", vec!["--a b"], "c"),
            ("RUN --a", "RUN", vec!["--a"], ""),
            ("RUN -a", "RUN", vec![], "-a"),
            ("RUN", "RUN", vec![], ""),
            ("RUN --ä=ö ü", "RUN", vec!["--ä=ö"], "ü"),
        ] {
            let flags = flags.into_iter().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(
                parts(line),
                (keyword.to_owned(), flags, args.to_owned()),
                "{line}"
            );
        }
    }

    #[test]
    fn words_keep_quotes_and_escapes() {
        let split = |text: &str| {
            words(text, 0, '\\')
                .into_iter()
                .map(|w| {
                    assert!(text[w.offset..].starts_with(w.text.chars().next().unwrap()));
                    w.text
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(
            split("a=b  c=\"d e\" f='g \\' h\\ i"),
            ["a=b", "c=\"d e\"", "f='g \\'", "h\\ i"]
        );
        assert_eq!(split("a=\\"), ["a="]);
        assert_eq!(split("a=\"b\\\" c\""), ["a=\"b\\\" c\""]);
        assert_eq!(split("  "), Vec::<String>::new());
        assert_eq!(
            plain_words("a \"b c\"\td", 3)
                .into_iter()
                .map(|p| (p.text, p.offset))
                .collect::<Vec<_>>(),
            [
                ("a".into(), 3),
                ("\"b".into(), 5),
                ("c\"".into(), 8),
                ("d".into(), 11)
            ]
        );
    }
}
