//! The test programs that cargo builds.

use crate::workspace;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// One program full of tests.
#[derive(Debug, Clone)]
pub struct TestProgram {
    /// The crate that it tests.
    pub of_crate: String,
    /// The name of the target: the crate, or a file of its `tests`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The folder that cargo runs it in: that of the crate's manifest.
    pub folder: PathBuf,
}

/// Builds the tests of one crate, and lists the programs.
///
/// Under `./test`, which sets `DAAS_WHOLE_WORKSPACE`, cargo is asked for the whole workspace: then features are unified
/// as in the build that is there already, and nothing is built twice.
///
/// # Errors
/// When the tests do not compile.
pub fn test_programs(of_crate: &str) -> Result<Vec<TestProgram>> {
    let mut command = workspace::cargo();
    command.args([
        "test",
        "--locked",
        "--no-run",
        "--quiet",
        "--message-format=json",
    ]);
    if std::env::var_os("DAAS_WHOLE_WORKSPACE").is_some() {
        command.arg("--workspace");
    } else {
        command.args(["--package", of_crate]);
    }
    let output = command.output().context("cannot run cargo test --no-run")?;
    if !output.status.success() {
        bail!(
            "the tests do not compile: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let mut programs = Vec::new();
    for line in output.stdout.split(|byte| *byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            continue;
        };
        if message["profile"]["test"] != true {
            continue;
        }
        let (Some(path), Some(manifest)) = (
            message["executable"].as_str(),
            message["manifest_path"].as_str(),
        ) else {
            continue;
        };
        let folder = Path::new(manifest)
            .parent()
            .context("a manifest in no folder")?;
        programs.push(TestProgram {
            of_crate: folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            name: message["target"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            path: path.into(),
            folder: folder.to_owned(),
        });
    }
    programs.retain(|program| program.of_crate == of_crate);
    Ok(programs)
}

/// Builds a program of `tools` that has dependencies of its own, outside of the product's. It takes minutes the first time.
///
/// # Errors
/// When it does not compile.
pub fn tool(folder: &str, name: &str) -> Result<PathBuf> {
    let manifest = workspace::root().join(format!("tools/{folder}/Cargo.toml"));
    let target = workspace::target().join(folder);
    let built = workspace::cargo()
        .args(["build", "--locked", "--quiet", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .status()
        .context("cannot run cargo")?;
    anyhow::ensure!(built.success(), "tools/{folder} does not build");
    Ok(target.join("debug").join(name))
}

/// Builds the product as it is shipped: figures and long checks of a debug build would say nothing.
///
/// `DAAS_PROGRAM` names one that is built already.
///
/// # Errors
/// When it does not compile.
pub fn release_build() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("DAAS_PROGRAM") {
        return Ok(program.into());
    }
    let built = workspace::cargo()
        .args(["build", "--release", "--locked", "--package", "daas"])
        .status()
        .context("cannot run cargo build")?;
    anyhow::ensure!(built.success(), "the product does not build");
    Ok(workspace::target().join("release/daas"))
}
