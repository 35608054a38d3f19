//! The one rule of the house: a crate depends only on smaller floors (design, section 2).

use crate::workspace;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// Crates of the two lowest floors may not name these: they hold no IO, no clock, no randomness.
const FORBIDDEN_BELOW: [&str; 8] = [
    "std::fs",
    "std::net::Tcp",
    "std::process",
    "std::env",
    "SystemTime",
    "Instant::now",
    "tokio",
    "rand::",
];

/// Checks every crate of the workspace.
///
/// # Errors
/// One line for each crate that depends upwards, has no floor, or does what its floor forbids.
pub(crate) fn check() -> Result<()> {
    let metadata = workspace::metadata(&["--no-deps"])?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata holds no packages")?;
    let mut floors = BTreeMap::new();
    let mut faults = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        if name == "xtask" {
            continue;
        }
        match package["metadata"]["daas"]["floor"].as_u64() {
            Some(floor) => {
                let step = package["metadata"]["daas"]["step"].as_u64().unwrap_or(0);
                floors.insert(name.to_owned(), (floor, step));
            }
            None => faults.push(format!("{name}: no [package.metadata.daas] floor")),
        }
    }
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(own) = floors.get(name) else {
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            let Some(other) = floors.get(on) else {
                continue;
            };
            // Tests may look upwards only at nothing as well: a dev dependency is a dependency.
            if other >= own {
                faults.push(format!(
                    "{name} (floor {}.{}) depends on {on} (floor {}.{})",
                    own.0, own.1, other.0, other.1
                ));
            }
        }
        if own.0 <= 1 {
            let manifest = package["manifest_path"].as_str().unwrap_or_default();
            faults.extend(forbidden(
                std::path::Path::new(manifest)
                    .with_file_name("src")
                    .as_path(),
            )?);
        }
    }
    if faults.is_empty() {
        eprintln!(
            "floors: {} crates, every one depends only on smaller floors",
            floors.len()
        );
        Ok(())
    } else {
        bail!("the floors do not hold:\n  {}", faults.join("\n  "))
    }
}

/// Lists the lines of code below `folder`, tests left out, that do IO.
fn forbidden(folder: &std::path::Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            faults.extend(forbidden(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path)?;
            for (number, line) in text.lines().enumerate() {
                if line.trim_start().starts_with("#[cfg(test)]") {
                    break;
                }
                if line.trim_start().starts_with("//") {
                    continue;
                }
                if let Some(word) = FORBIDDEN_BELOW.iter().find(|word| line.contains(**word)) {
                    faults.push(format!(
                        "{}:{}: `{word}` on a floor without IO",
                        path.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    Ok(faults)
}
