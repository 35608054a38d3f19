//! Interpolation of one text (Compose Specification, "Interpolation").

use std::borrow::Cow;
use std::fmt;

/// The most `${...}` in one another.
const MAX_DEPTH: usize = 16;
/// The most bytes that one text may grow to.
const MAX_RESULT: usize = 1 << 20;

/// The most unset variables that are told of one text.
const MAX_UNSET: usize = 1000;

/// A text after its variables were put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// Variables that were read and not set, with the number of characters before their `$`.
    pub(crate) unset: Vec<(String, usize)>,
}

/// Why a text cannot be interpolated, and how many characters stand before the fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateFault {
    pub(crate) offset: usize,
    pub(crate) kind: TemplateFaultKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TemplateFaultKind {
    /// `${` without `}`.
    NotClosed,
    /// What stands between the braces begins with no name.
    NoName(String),
    /// What follows the name is no operator.
    NoOperator(String, String),
    /// `${NAME:?message}` and the variable is not there.
    Required {
        name: String,
        message: String,
        empty: bool,
    },
    TooDeep,
    TooLong,
}

impl TemplateFaultKind {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotClosed | Self::NoName(_) | Self::NoOperator(..) => "variable-syntax",
            Self::Required { .. } => "variable-required",
            Self::TooDeep | Self::TooLong => "variable-budget",
        }
    }

    pub(crate) fn hint(&self) -> String {
        match self {
            Self::NotClosed => "close it with `}`, or write `$${` for a literal `${`".to_owned(),
            Self::NoName(_) => {
                "a variable's name is letters, digits and `_`; write `$$` for a literal dollar sign"
                    .to_owned()
            }
            Self::NoOperator(name, _) => {
                format!("write `${{{name}}}`, or one of `:-` `-` `:?` `?` `:+` `+` behind the name")
            }
            Self::Required { name, .. } => format!("set `{name}` in the environment or in `.env`"),
            Self::TooDeep => "give the inner default a variable of its own".to_owned(),
            Self::TooLong => "put the text into a file and use `configs`".to_owned(),
        }
    }
}

impl fmt::Display for TemplateFaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotClosed => f.write_str("`${` is not closed"),
            Self::NoName(text) => write!(f, "`${{{}}}` names no variable", short(text)),
            Self::NoOperator(name, rest) => write!(
                f,
                "`{}` behind the variable `{name}` means nothing",
                short(rest)
            ),
            Self::Required {
                name,
                message,
                empty,
            } => {
                write!(
                    f,
                    "variable `{name}` is {}",
                    if *empty { "set but empty" } else { "not set" }
                )?;
                if message.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {}", short(message))
                }
            }
            Self::TooDeep => write!(f, "more than {MAX_DEPTH} variables lie in one another"),
            Self::TooLong => {
                f.write_str("the text grows beyond 1 MiB when its variables are put in")
            }
        }
    }
}

/// Returns the beginning of a text, for a message.
pub(crate) fn short(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(120) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// What a variable's name leads to.
pub(crate) type Lookup<'l> = dyn FnMut(&str) -> Option<String> + 'l;

/// Puts variables into `text`.
///
/// # Errors
/// The first [`TemplateFault`]; what comes behind it is not looked at.
pub(crate) fn expand(text: &str, lookup: &mut Lookup<'_>) -> Result<Expanded, TemplateFault> {
    let mut work = Work {
        lookup,
        unset: Vec::new(),
    };
    let text = work.expand(text, 0, 0)?;
    Ok(Expanded {
        text,
        unset: work.unset,
    })
}

/// Tells whether `text` has anything to interpolate.
pub(crate) fn has_variables(text: &str) -> bool {
    text.contains('$')
}

struct Work<'w, 'l> {
    lookup: &'w mut Lookup<'l>,
    unset: Vec<(String, usize)>,
}

/// What stands between the name and the default.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Default,
    Require,
    Replace,
}

impl Work<'_, '_> {
    fn expand(&mut self, text: &str, offset: usize, depth: usize) -> Result<String, TemplateFault> {
        if depth > MAX_DEPTH {
            return Err(TemplateFault {
                offset,
                kind: TemplateFaultKind::TooDeep,
            });
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut passed = offset;
        while let Some(dollar) = rest.find('$') {
            let (before, tail) = rest.split_at(dollar);
            out.push_str(before);
            passed += before.chars().count();
            let after = &tail[1..];
            let used = if after.starts_with('$') {
                out.push('$');
                2
            } else if let Some(inside) = after.strip_prefix('{') {
                let end = closing(inside).ok_or(TemplateFault {
                    offset: passed,
                    kind: TemplateFaultKind::NotClosed,
                })?;
                let value = self.braced(&inside[..end], passed, depth)?;
                out.push_str(&value);
                2 + end + 1
            } else {
                let name = name_of(after);
                if name.is_empty() {
                    // The specification keeps a `$` that begins no variable.
                    out.push('$');
                    1
                } else {
                    let value = self.value(name, passed);
                    out.push_str(&value);
                    1 + name.len()
                }
            };
            if out.len() > MAX_RESULT {
                return Err(TemplateFault {
                    offset: passed,
                    kind: TemplateFaultKind::TooLong,
                });
            }
            passed += tail[..used].chars().count();
            rest = &tail[used..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&mut self, name: &str, offset: usize) -> String {
        match (self.lookup)(name) {
            Some(value) => value,
            None => {
                if self.unset.len() < MAX_UNSET {
                    self.unset.push((name.to_owned(), offset));
                }
                String::new()
            }
        }
    }

    /// Works out what stands between `${` and `}`; `offset` is that of the `$`.
    fn braced(
        &mut self,
        inside: &str,
        offset: usize,
        depth: usize,
    ) -> Result<String, TemplateFault> {
        let name = name_of(inside);
        if name.is_empty() {
            return Err(TemplateFault {
                offset,
                kind: TemplateFaultKind::NoName(inside.to_owned()),
            });
        }
        let rest = &inside[name.len()..];
        if rest.is_empty() {
            return Ok(self.value(name, offset));
        }
        let (empty_counts, mark) = match rest.strip_prefix(':') {
            Some(mark) => (true, mark),
            None => (false, rest),
        };
        let operator = match mark.chars().next() {
            Some('-') => Operator::Default,
            Some('?') => Operator::Require,
            Some('+') => Operator::Replace,
            Some(_) | None => {
                return Err(TemplateFault {
                    offset,
                    kind: TemplateFaultKind::NoOperator(name.to_owned(), rest.to_owned()),
                });
            }
        };
        let word = &mark[1..];
        let word_offset = offset + 2 + inside[..inside.len() - word.len()].chars().count();
        let value = (self.lookup)(name);
        let is_set = value
            .as_ref()
            .is_some_and(|v| !(empty_counts && v.is_empty()));
        match (operator, is_set) {
            (Operator::Default, false) | (Operator::Replace, true) => {
                self.expand(word, word_offset, depth + 1)
            }
            (Operator::Default | Operator::Require, true) => Ok(value.unwrap_or_default()),
            (Operator::Replace, false) => Ok(String::new()),
            (Operator::Require, false) => {
                let message = self.expand(word, word_offset, depth + 1)?;
                Err(TemplateFault {
                    offset,
                    kind: TemplateFaultKind::Required {
                        name: name.to_owned(),
                        message,
                        empty: value.is_some(),
                    },
                })
            }
        }
    }
}

/// Returns the variable's name at the beginning of `text`: `[_a-zA-Z][_a-zA-Z0-9]*`.
fn name_of(text: &str) -> &str {
    let end = text
        .bytes()
        .position(|b| !(b == b'_' || b.is_ascii_alphanumeric()))
        .unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        ""
    } else {
        &text[..end]
    }
}

/// Returns where the brace closes that was opened before `text`; braces within, as of a JSON default, count in pairs.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0usize;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' if open == 0 => return Some(index),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(name: &str) -> Option<String> {
        match name {
            "A" => Some("a".to_owned()),
            "B" => Some("b-c".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn text(template: &str) -> Result<String, String> {
        expand(template, &mut set)
            .map(|e| e.text)
            .map_err(|f| format!("{}: {}", f.offset, f.kind))
    }

    #[test]
    fn every_form_of_the_specification_is_understood() {
        for (template, wanted) in [
            ("", ""),
            ("plain", "plain"),
            ("$A", "a"),
            ("${A}", "a"),
            ("x${A}y$A-z", "xaya-z"),
            ("$$A", "$A"),
            ("$$$A", "$a"),
            ("$$${A}", "$a"),
            ("${U:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${U-d}", "d"),
            ("${A:-d}", "a"),
            ("${A:?gone}", "a"),
            ("${EMPTY?gone}", ""),
            ("${A:+r}", "r"),
            ("${EMPTY:+r}", ""),
            ("${EMPTY+r}", "r"),
            ("${U+r}", ""),
            ("${U:-${A}}", "a"),
            ("${U:-${V:-${B}}}", "b-c"),
            ("${U:-$A}", "a"),
            ("${U:-}", ""),
            ("${U:-a:b?c+d-e}", "a:b?c+d-e"),
            ("${U:-{\"x\": {\"y\": 1}}}", "{\"x\": {\"y\": 1}}"),
            ("${U:-$$x}", "$x"),
            ("${U:-ä}ö", "äö"),
            ("5$", "5$"),
            ("$5", "$5"),
            ("$ x", "$ x"),
            ("$-", "$-"),
            ("a}b{c", "a}b{c"),
            ("$A$A", "aa"),
            ("${A}${B}", "ab-c"),
        ] {
            assert_eq!(text(template), Ok(wanted.to_owned()), "{template}");
        }
    }

    #[test]
    fn faults_say_where_they_are() {
        for (template, wanted) in [
            ("ab${A", "2: `${` is not closed"),
            ("${}", "0: `${}` names no variable"),
            ("ä${1A}", "1: `${1A}` names no variable"),
            (
                "${A/x/y}",
                "0: `/x/y` behind the variable `A` means nothing",
            ),
            ("${A:}", "0: `:` behind the variable `A` means nothing"),
            ("${ A }", "0: `${ A }` names no variable"),
            (
                "x ${U:?set it to $A}",
                "2: variable `U` is not set: set it to a",
            ),
            ("${EMPTY:?}", "0: variable `EMPTY` is set but empty"),
            ("${U:-x${V?}}", "6: variable `V` is not set"),
        ] {
            assert_eq!(text(template), Err(wanted.to_owned()), "{template}");
        }
    }

    #[test]
    fn unset_variables_are_told_with_their_place() {
        let expanded = expand("a $U ${V}", &mut set).unwrap();
        assert_eq!(expanded.text, "a  ");
        assert_eq!(expanded.unset, [("U".to_owned(), 2), ("V".to_owned(), 5)]);
    }

    #[test]
    fn nesting_and_growth_have_an_end() {
        let deep = format!("{}x{}", "${U:-".repeat(100), "}".repeat(100));
        assert_eq!(
            expand(&deep, &mut set).unwrap_err().kind,
            TemplateFaultKind::TooDeep
        );
        let mut big = |_: &str| Some("x".repeat(100_000));
        assert_eq!(
            expand(&"$A".repeat(20), &mut big).unwrap_err().kind,
            TemplateFaultKind::TooLong
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_places_lie_inside(template in "[\\$\\{\\}:?+A-Ca-z_ä-]{0,40}") {
            let length = template.chars().count();
            match expand(&template, &mut set) {
                Ok(e) => prop_assert!(e.unset.iter().all(|(_, o)| *o < length)),
                Err(f) => prop_assert!(f.offset < length),
            }
        }

        #[test]
        fn a_text_with_doubled_dollars_is_itself(text in "\\PC{0,40}") {
            let escaped = text.replace('$', "$$");
            prop_assert_eq!(expand(&escaped, &mut set).unwrap().text, text);
        }
    }
}
