use daas_model::{Explain, Kind};
use std::fmt;

/// What `--chmod` does to a mode: sets it, or changes some of its bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chmod(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// An octal number, at most 07777.
    Set(u32),
    /// Clauses such as `u=rwX` and `go-w`, one after the other.
    Change(Vec<Clause>),
}

/// One clause of a symbolic mode, for one operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Clause {
    /// The bits that the clause speaks of: 0700, 0070, 0007 and the special ones that go with them.
    whom: u32,
    operator: Operator,
    /// Permissions for each of user, group and others: 0 to 7.
    bits: u32,
    /// `X`: `x` for folders, and for files that someone may run already.
    run_if_run: bool,
    special: u32,
    /// `u`, `g` or `o` on the right side: that one's permissions as they are.
    copied_from: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

/// A mode that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChmodFault {
    text: String,
}

impl fmt::Display for ChmodFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no mode", super::file::short(&self.text))
    }
}

impl std::error::Error for ChmodFault {}

impl Explain for ChmodFault {
    fn code(&self) -> &'static str {
        "chmod-syntax"
    }

    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        Some(
            "write it in octal up to 7777, as in `0755`, or as clauses, as in `u=rwX,go=rX`"
                .to_owned(),
        )
    }
}

impl Chmod {
    /// Reads an octal number, or clauses as POSIX `chmod` has them.
    ///
    /// # Errors
    /// [`ChmodFault`] if it is neither.
    pub fn parse(text: &str) -> Result<Self, ChmodFault> {
        let fault = || ChmodFault {
            text: text.to_owned(),
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)
                .map(|mode| Self(Form::Set(mode)))
                .ok_or_else(fault);
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            read_clause(clause, &mut clauses).ok_or_else(fault)?;
        }
        Ok(Self(Form::Change(clauses)))
    }

    /// Returns the mode that `mode` becomes; only the lowest twelve bits are looked at.
    #[must_use]
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match &self.0 {
            Form::Set(set) => *set,
            Form::Change(clauses) => clauses
                .iter()
                .fold(mode & 0o7777, |mode, clause| clause.apply(mode, is_dir)),
        }
    }
}

impl Clause {
    fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let mut each = self.bits;
        if self.run_if_run && (is_dir || mode & 0o111 != 0) {
            each |= 1;
        }
        if let Some(shift) = self.copied_from {
            each |= (mode >> shift) & 7;
        }
        let bits = ((each * 0o111) | self.special) & self.whom;
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => (mode & !(self.whom & !kept(is_dir))) | bits,
        }
    }
}

/// Returns the bits that `=` leaves alone: GNU and BSD keep set-id bits of folders unless they are named.
fn kept(is_dir: bool) -> u32 {
    if is_dir { 0o6000 } else { 0 }
}

fn read_clause(text: &str, clauses: &mut Vec<Clause>) -> Option<()> {
    let operators = text.find(['+', '-', '='])?;
    let (who, mut rest) = text.split_at(operators);
    let mut whom = 0;
    for c in who.chars() {
        whom |= match c {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    if whom == 0 {
        whom = 0o7777;
    }
    while !rest.is_empty() {
        let operator = match rest.chars().next()? {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            '=' => Operator::Set,
            _ => return None,
        };
        let end = rest[1..]
            .find(['+', '-', '='])
            .map_or(rest.len(), |e| e + 1);
        clauses.push(read_bits(&rest[1..end], whom, operator)?);
        rest = &rest[end..];
    }
    Some(())
}

fn read_bits(text: &str, whom: u32, operator: Operator) -> Option<Clause> {
    let mut clause = Clause {
        whom,
        operator,
        bits: 0,
        run_if_run: false,
        special: 0,
        copied_from: None,
    };
    for c in text.chars() {
        match c {
            'r' => clause.bits |= 4,
            'w' => clause.bits |= 2,
            'x' => clause.bits |= 1,
            'X' => clause.run_if_run = true,
            's' => clause.special |= 0o6000,
            't' => {
                clause.special |= 0o1000;
                clause.whom |= 0o1000;
            }
            'u' if text.len() == 1 => clause.copied_from = Some(6),
            'g' if text.len() == 1 => clause.copied_from = Some(3),
            'o' if text.len() == 1 => clause.copied_from = Some(0),
            _ => return None,
        }
    }
    Some(clause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_become_what_chmod_would_make_of_them() {
        for (text, mode, is_dir, wanted) in [
            ("755", 0o644, false, 0o755),
            ("0", 0o644, false, 0),
            ("7777", 0o644, false, 0o7777),
            ("u=rwX,go=rX", 0o640, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("go-rwx", 0o755, false, 0o700),
            ("a=r", 0o777, false, 0o444),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("+t", 0o755, true, 0o1755),
            ("g=u", 0o751, false, 0o771),
            ("u+x-w", 0o644, false, 0o544),
        ] {
            let got = Chmod::parse(text).unwrap().apply(mode, is_dir);
            assert_eq!(got, wanted, "{text}: {got:o}");
        }
        for text in ["", "8", "10000", "rwx", "u=q", "z+x", "+X,", "-1", "u"] {
            assert!(Chmod::parse(text).is_err(), "{text}");
        }
    }
}
