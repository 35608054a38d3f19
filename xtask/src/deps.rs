//! What others wrote and we link: bans, oldest versions, sources, licences (security reference, section 5).

use crate::licence;
use crate::workspace;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const RULES: &str = "tools/floors.toml";

/// Section to key to text: the subset of TOML that the rule file is written in.
type Rules = BTreeMap<String, BTreeMap<String, String>>;

/// Checks the locked crates against `tools/floors.toml` and reports crates that are there in several majors.
///
/// # Errors
/// One line for each crate that is banned, too old, not from the registry, or under an unknown licence.
pub(crate) fn check() -> Result<()> {
    let root = workspace::root();
    let text = std::fs::read_to_string(root.join(RULES))
        .with_context(|| format!("cannot read {RULES}"))?;
    let rules = parse(&text)?;
    let metadata = workspace::metadata(&["--filter-platform", "x86_64-unknown-linux-gnu"])?;
    let linked: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .context("cargo metadata resolved nothing")?
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let packages: Vec<&Value> = metadata["packages"]
        .as_array()
        .context("cargo metadata holds no packages")?
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| linked.contains(id)))
        .collect();
    let mut faults = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &packages {
        if let Some(name) = package["name"].as_str() {
            versions
                .entry(name)
                .or_default()
                .insert(package["version"].as_str().unwrap_or_default());
        }
        faults.extend(faults_of(package, &rules));
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        let list: Vec<&str> = versions.iter().copied().collect();
        eprintln!(
            "deps: {name} is linked {} times: {}",
            list.len(),
            list.join(", ")
        );
    }
    if !faults.is_empty() {
        bail!(
            "dependencies are not as they must be:\n  {}",
            faults.join("\n  ")
        );
    }
    eprintln!(
        "deps: {} crates, none banned or too old, all licences known",
        packages.len()
    );
    Ok(())
}

fn faults_of(package: &Value, rules: &Rules) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let version = package["version"].as_str().unwrap_or_default();
    let mut faults = Vec::new();
    if let Some(reason) = rules.get("ban").and_then(|list| list.get(name)) {
        faults.push(format!("{name} {version} is banned: {reason}"));
    }
    if let Some(rule) = rules.get("at-least").and_then(|list| list.get(name)) {
        let (oldest, reason) = rule.split_once(": ").unwrap_or((rule, "no reason given"));
        if order(version) < order(oldest) {
            faults.push(format!("{name} {version} is older than {oldest}: {reason}"));
        }
    }
    match package["source"].as_str() {
        // Ours, or from the registry that cargo is set up with.
        None => {}
        Some(source) if source.starts_with("registry+") || source.starts_with("sparse+") => {}
        Some(source) => faults.push(format!(
            "{name} {version} comes from {source}, not from a registry"
        )),
    }
    let known = rules.get("licence");
    match package["license"].as_str() {
        Some(terms) => {
            if !licence::holds(terms, |word| {
                known.is_some_and(|list| list.contains_key(word))
            }) {
                faults.push(format!(
                    "{name} {version} is under `{terms}`, which {RULES} does not list"
                ));
            }
        }
        None => faults.push(format!("{name} {version} states no licence")),
    }
    faults
}

/// Makes a version comparable; a pre-release is older than its release (semver 2.0.0, section 11).
fn order(version: &str) -> (Vec<u64>, bool) {
    let version = version.split('+').next().unwrap_or_default();
    let (numbers, pre) = match version.split_once('-') {
        Some((numbers, _)) => (numbers, true),
        None => (version, false),
    };
    (
        numbers.split('.').map(|n| n.parse().unwrap_or(0)).collect(),
        !pre,
    )
}

fn parse(text: &str) -> Result<Rules> {
    let mut rules = Rules::new();
    let mut section = String::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name.to_owned();
            continue;
        }
        let entry = line
            .split_once(" = ")
            .and_then(|(key, value)| Some((key, value.strip_prefix('"')?.strip_suffix('"')?)));
        let Some((key, value)) = entry else {
            bail!(
                "{RULES}:{}: neither a section nor `key = \"text\"`",
                number + 1
            );
        };
        rules
            .entry(section.clone())
            .or_default()
            .insert(key.to_owned(), value.to_owned());
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules() -> Rules {
        parse("[ban]\nbad = \"unsound\"\n[at-least]\nold = \"1.2.0: leaks\"\n# note\n[licence]\nMIT = \"notice\"\n").unwrap()
    }

    #[test]
    fn a_banned_an_old_and_a_foreign_crate_are_each_told_with_the_reason() {
        let registry = "registry+https://example.test/index";
        let crates = [
            json!({"name": "bad", "version": "1.0.0", "license": "MIT", "source": registry}),
            json!({"name": "old", "version": "1.2.0-rc.1", "license": "MIT", "source": registry}),
            json!({"name": "far", "version": "1.0.0", "license": "GPL-3.0", "source": "git+https://example.test/far"}),
            json!({"name": "old", "version": "1.10.0", "license": "MIT", "source": registry}),
        ];
        let told: Vec<String> = crates.iter().flat_map(|c| faults_of(c, &rules())).collect();
        assert_eq!(
            told,
            [
                "bad 1.0.0 is banned: unsound",
                "old 1.2.0-rc.1 is older than 1.2.0: leaks",
                "far 1.0.0 comes from git+https://example.test/far, not from a registry",
                "far 1.0.0 is under `GPL-3.0`, which tools/floors.toml does not list",
            ]
        );
    }

    #[test]
    fn a_line_that_is_no_rule_is_a_fault_with_its_number() {
        let fault = parse("[ban]\nbad unsound\n").unwrap_err().to_string();
        assert_eq!(
            fault,
            "tools/floors.toml:2: neither a section nor `key = \"text\"`"
        );
    }
}
