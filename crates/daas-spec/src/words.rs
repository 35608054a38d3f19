//! A command line to words, as a shell would cut it; nothing is expanded and no shell is run.

use std::fmt;

/// Why a text cannot be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordsFault {
    /// This quote is not closed.
    QuoteOpen(char),
    /// Nothing is behind the last backslash.
    BackslashAtEnd,
}

impl fmt::Display for WordsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QuoteOpen(quote) => write!(f, "a {quote} is not closed"),
            Self::BackslashAtEnd => f.write_str("a backslash stands at the end"),
        }
    }
}

/// Cuts `text` into words by the rules of POSIX quoting (as Go's shellwords and Python's shlex do for Compose).
///
/// # Errors
/// [`WordsFault`] if the text ends inside of a word.
pub fn split(text: &str) -> Result<Vec<String>, WordsFault> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err(WordsFault::QuoteOpen('\'')),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('"') => break,
                        Some('\\') => match rest.next() {
                            // Within double quotes a backslash escapes these only.
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some('\n') => {}
                            Some(c) => word.extend(['\\', c]),
                            None => return Err(WordsFault::QuoteOpen('"')),
                        },
                        Some(c) => word.push(c),
                        None => return Err(WordsFault::QuoteOpen('"')),
                    }
                }
            }
            '\\' => match rest.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(WordsFault::BackslashAtEnd),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_cut_as_a_shell_cuts_them() {
        for (text, wanted) in [
            ("", &[] as &[&str]),
            ("nginx -g 'daemon off;'", &["nginx", "-g", "daemon off;"]),
            (
                "sh -c \"echo \\\"$X\\\" && true\"",
                &["sh", "-c", "echo \"$X\" && true"],
            ),
            ("a\\ b c", &["a b", "c"]),
            ("--x=\"a b\"'c'", &["--x=a bc"]),
            ("''", &[""]),
            ("a \\\n  b", &["a", "b"]),
            ("a\n b", &["a", "b"]),
            ("\"a\\nb\"", &["a\\nb"]),
            ("a # b", &["a", "#", "b"]),
            ("a | b > c", &["a", "|", "b", ">", "c"]),
        ] {
            assert_eq!(split(text).unwrap(), wanted, "{text}");
        }
        assert_eq!(split("a 'b"), Err(WordsFault::QuoteOpen('\'')));
        assert_eq!(split("a \"b"), Err(WordsFault::QuoteOpen('"')));
        assert_eq!(split("a \\"), Err(WordsFault::BackslashAtEnd));
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(words in proptest::collection::vec("\\PC{0,10}", 0..5)) {
            let line: Vec<String> = words.iter().map(|w| format!("'{}'", w.replace('\'', "'\\''"))).collect();
            prop_assert_eq!(split(&line.join(" ")).unwrap(), words);
        }
    }
}
