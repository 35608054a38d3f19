//! What code may do only in its own place, found by reading lines (design, section 2, invariants; security row S8).
//!
//! A line that must break a rule says so on the line above: `// rules: <word> here: <reason>`; a file, in
//! `tools/rules.txt`.

use crate::workspace;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const LIST: &str = "tools/rules.txt";

struct Rule {
    /// The word of an exemption.
    word: &'static str,
    /// Parts of a line, any of which breaks the rule.
    traces: &'static [&'static str],
    /// Crates that may.
    homes: &'static [&'static str],
    /// The rule in words.
    text: &'static str,
}

const RULES: [Rule; 4] = [
    Rule {
        word: "shell",
        traces: &[
            "\"sh\"",
            "\"bash\"",
            "\"dash\"",
            "/bin/sh\"",
            "/bin/bash\"",
            "/bin/dash\"",
            "sh -c",
            "\"-c\"",
        ],
        homes: &[],
        text: "no shell string is ever built",
    },
    Rule {
        word: "unsafe",
        traces: &[
            "unsafe {",
            "unsafe fn",
            "unsafe impl",
            "unsafe extern",
            "unsafe_code",
        ],
        homes: &["daas-sys"],
        text: "only daas-sys is unsafe",
    },
    Rule {
        word: "spawn",
        traces: &[
            "tokio::spawn",
            "task::spawn",
            "spawn_blocking",
            "thread::spawn",
            "thread::Builder",
            "JoinSet",
            "spawn_local",
        ],
        homes: &["daas-tasks"],
        text: "only daas-tasks spawns",
    },
    Rule {
        word: "print",
        traces: &[
            "println!",
            "print!(",
            "eprint!(",
            "io::stdout",
            "io::stderr",
            "dbg!(",
        ],
        homes: &["daas-cli", "daas"],
        text: "only the doors speak to a person",
    },
];

/// Reads the product's code, tests left out.
///
/// # Errors
/// One line, `file:line: rule`, for each breach.
pub(crate) fn check() -> Result<()> {
    let crates = workspace::root().join("crates");
    let list = std::fs::read_to_string(workspace::root().join(LIST))
        .with_context(|| format!("cannot read {LIST}"))?;
    let mut exempt = exemptions(&list)?;
    let mut faults = Vec::new();
    let mut lines = 0;
    let mut names: Vec<PathBuf> = std::fs::read_dir(&crates)
        .with_context(|| format!("cannot read {}", crates.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    names.sort();
    for folder in names {
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for file in sources(&folder.join("src"))? {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            lines += text.lines().count();
            let place = file.strip_prefix(workspace::root()).unwrap_or(&file);
            let place = place.display().to_string();
            for (line, rule) in breaches(&name, &text) {
                match exempt.get_mut(&(place.clone(), rule.word.to_owned())) {
                    Some(used) => *used = true,
                    None => faults.push(format!("{place}:{line}: {}", rule.text)),
                }
            }
        }
    }
    for ((place, word), used) in exempt {
        if !used {
            faults.push(format!("{LIST}: {place} does not need `{word}` any more"));
        }
    }
    if !faults.is_empty() {
        bail!("the rules do not hold:\n  {}", faults.join("\n  "));
    }
    eprintln!("rules: {lines} lines, {} rules, all hold", RULES.len());
    Ok(())
}

/// Reads the list of files that may: path and word of the rule, with whether something needed it.
fn exemptions(list: &str) -> Result<BTreeMap<(String, String), bool>> {
    let mut exempt = BTreeMap::new();
    for (number, line) in list.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        let (Some(path), Some(word), Some(_reason)) = (words.next(), words.next(), words.next())
        else {
            bail!("{LIST}:{}: not a path, a word and a reason", number + 1);
        };
        exempt.insert((path.to_owned(), word.to_owned()), false);
    }
    Ok(exempt)
}

/// Lists the lines of one file that break a rule, counted from 1.
fn breaches<'a>(
    of_crate: &'a str,
    text: &'a str,
) -> impl Iterator<Item = (usize, &'static Rule)> + 'a {
    let mut before = "";
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"))
        .filter_map(move |(number, line)| {
            let code = line.trim_start();
            let exempt = std::mem::replace(&mut before, code);
            if code.starts_with("//") || code.starts_with("use ") {
                return None;
            }
            let rule = RULES.iter().find(|rule| {
                !rule.homes.contains(&of_crate)
                    && rule.traces.iter().any(|trace| code.contains(trace))
                    && !exempt.starts_with(&format!("// rules: {} here: ", rule.word))
            })?;
            Some((number + 1, rule))
        })
}

/// Lists the Rust files below a folder; a file `tests.rs` is a test.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| name == "tests" || name == "tests.rs")
        {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::{breaches, exemptions};

    fn told(of_crate: &str, text: &str) -> Vec<(usize, String)> {
        breaches(of_crate, text)
            .map(|(line, rule)| (line, rule.text.to_owned()))
            .collect()
    }

    #[test]
    fn each_rule_finds_its_breach_and_spares_its_home() {
        for (line, home, text) in [
            (
                "Command::new(\"sh\").arg(\"-c\")",
                "",
                "no shell string is ever built",
            ),
            (
                "let x = unsafe { y() };",
                "daas-sys",
                "only daas-sys is unsafe",
            ),
            (
                "tokio::spawn(work());",
                "daas-tasks",
                "only daas-tasks spawns",
            ),
            (
                "    eprintln!(\"hello\");",
                "daas-cli",
                "only the doors speak to a person",
            ),
        ] {
            assert_eq!(told("daas-plan", line), [(1, text.to_owned())]);
            if !home.is_empty() {
                assert_eq!(told(home, line), []);
            }
        }
    }

    #[test]
    fn comments_tests_and_lines_with_a_reason_are_spared() {
        let text = "// tokio::spawn\n// rules: spawn here: the zygote has no runtime\nthread::spawn(f);\n#[cfg(test)]\nunsafe { x }\n";
        assert_eq!(told("daas-keeper", text), []);
        assert_eq!(
            told(
                "daas-keeper",
                "// rules: print here: wrong word\nthread::spawn(f);"
            )
            .len(),
            1
        );
    }

    #[test]
    fn an_exemption_without_a_reason_is_refused() {
        assert_eq!(exemptions("# note\na.rs spawn because\n").unwrap().len(), 1);
        assert!(exemptions("a.rs spawn\n").is_err());
    }
}
