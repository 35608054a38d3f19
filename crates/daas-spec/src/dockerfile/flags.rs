use super::desk::Desk;
use super::instruction::{Spot, Word};
use super::line::Line;
use super::split::Piece;
use crate::nearest::nearest;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// `--link`, `--link=false`.
    Bool,
    /// `--from=x`, once.
    One,
    /// `--mount=x`, any number of times.
    Many,
}

/// The flags of one instruction.
#[derive(Debug, Default)]
pub(crate) struct Flags(Vec<(&'static str, Word)>);

/// What an instruction's flags are.
pub(crate) type Known = &'static [(&'static str, Takes)];

impl Flags {
    /// Reads the flags of `line`, and tells those that are unknown, doubled, or have a wrong value.
    pub(crate) fn read(pieces: &[Piece], line: &Line, known: Known, desk: &mut Desk) -> Self {
        let mut found = Self::default();
        for piece in pieces {
            let at = line.spot(piece.offset);
            let body = piece.text.strip_prefix("--").unwrap_or(&piece.text);
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            let Some((name, takes)) = known.iter().find(|(n, _)| *n == name) else {
                unknown(name, known, at, desk);
                continue;
            };
            if *takes != Takes::Many && found.0.iter().any(|(n, _)| n == name) {
                desk.error(
                    at,
                    "flag-twice",
                    format!("the flag `--{name}` stands twice"),
                    "keep one",
                );
                continue;
            }
            let raw = match (takes, value) {
                (Takes::Bool, None) => "true".to_owned(),
                (Takes::Bool, Some(value)) => {
                    let value = value.to_lowercase();
                    if value != "true" && value != "false" {
                        desk.error(
                            at,
                            "flag-value",
                            format!("the flag `--{name}` takes `true` or `false`"),
                            format!("write `--{name}`, or leave it out"),
                        );
                        continue;
                    }
                    value
                }
                (_, Some(value)) => value.to_owned(),
                (_, None) => {
                    desk.error(
                        at,
                        "flag-value",
                        format!("the flag `--{name}` has no value"),
                        format!("write `--{name}=VALUE`, without a space"),
                    );
                    continue;
                }
            };
            found.0.push((name, Word { raw, at }));
        }
        found
    }

    /// Returns a flag's value; nothing if it is absent or empty.
    pub(crate) fn one(&mut self, name: &str) -> Option<Word> {
        let at = self.0.iter().position(|(n, _)| *n == name)?;
        Some(self.0.remove(at).1).filter(|w| !w.raw.is_empty())
    }

    /// Returns whether a flag is set; nothing if it is absent.
    pub(crate) fn set(&mut self, name: &str) -> Option<bool> {
        self.one(name).map(|w| w.raw == "true")
    }

    pub(crate) fn many(&mut self, name: &str) -> Vec<Word> {
        let (named, rest) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(n, _)| *n == name);
        self.0 = rest;
        named.into_iter().map(|(_, w)| w).collect()
    }
}

fn unknown(name: &str, known: Known, at: Spot, desk: &mut Desk) {
    let near = nearest(name, known.iter().map(|(n, _)| *n));
    let hint = match near {
        Some(near) => format!("did you mean `--{near}`?"),
        None if known.is_empty() => {
            "this instruction has no flags; write `--` before an argument that begins with `--`"
                .to_owned()
        }
        None => format!(
            "it has {}",
            known
                .iter()
                .map(|(n, _)| format!("`--{n}`"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    desk.error(
        at,
        "flag-unknown",
        format!("there is no flag `--{}` here", super::file::short(name)),
        hint,
    );
}

/// Reads a truth value as Go's `strconv.ParseBool` does it.
pub(crate) fn read_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
