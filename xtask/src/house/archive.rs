//! Image archives in the form of `docker save`, made of a folder.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Makes an archive that holds one image `name` with the folder as its only layer.
///
/// `config` is the inner `config` of the image: `Cmd`, `Env`, `User` and so on (OCI image specification, config.md).
///
/// # Errors
/// When `tar` or `sha256sum` fail.
pub fn docker_archive(name: &str, folder: &Path, config: &Value) -> Result<Vec<u8>> {
    let place = tempfile::tempdir().context("cannot make a folder")?;
    let at = |file: &str| place.path().join(file);
    let layer = at("layer.tar");
    run(Command::new("tar")
        .args(["--create", "--numeric-owner", "--file"])
        .arg(&layer)
        .arg("--directory")
        .arg(folder)
        .arg("."))?;
    let sum = run(Command::new("sha256sum").arg(&layer))?;
    let digest = sum.split(' ').next().unwrap_or_default();
    let image = json!({
        "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    fs::write(at("config.json"), image.to_string())?;
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    fs::write(at("manifest.json"), manifest.to_string())?;
    let whole = at("image.tar");
    run(Command::new("tar")
        .arg("--create")
        .arg("--file")
        .arg(&whole)
        .arg("--directory")
        .arg(place.path())
        .args(["manifest.json", "config.json", "layer.tar"]))?;
    fs::read(whole).context("cannot read the archive")
}

fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
