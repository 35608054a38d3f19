//! Debian's runc without anything around it: three bundles, no network, no overlay.

use super::{Contender, timed};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(super) struct Runc {
    state: PathBuf,
    bundles: Vec<PathBuf>,
}

impl Runc {
    pub(super) fn new(place: &Path, image: &Path) -> Result<Self> {
        let state = place.join("runc");
        let mut bundles = Vec::new();
        for number in 1..=3 {
            let bundle = place.join(format!("bundle{number}"));
            fs::create_dir(&bundle)?;
            let made = Command::new("runc")
                .arg("spec")
                .current_dir(&bundle)
                .status()
                .context("cannot run runc")?;
            if !made.success() {
                bail!("runc spec failed");
            }
            let file = bundle.join("config.json");
            let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
            config["process"]["terminal"] = json!(false);
            config["process"]["args"] = json!(["/bin/busybox", "sleep", "1000"]);
            // Raising a limit needs a right that many machines do not give away (engine reference, pitfall 6).
            config["process"]["rlimits"] = json!([]);
            config["root"] = json!({"path": image, "readonly": true});
            fs::write(&file, config.to_string())?;
            bundles.push(bundle);
        }
        Ok(Self { state, bundles })
    }

    /// Runs three at once and waits for all: that is the fastest that runc can do.
    fn all(&self, words: &[&str], with_bundle: bool) -> Result<()> {
        let mut children: Vec<Child> = Vec::new();
        for (number, bundle) in self.bundles.iter().enumerate() {
            let mut command = Command::new("runc");
            command.arg("--root").arg(&self.state).args(words);
            if with_bundle {
                command.arg("--bundle").arg(bundle);
            }
            command.arg(format!("daas-bench-{}-{number}", std::process::id()));
            let log = fs::File::create(bundle.join("log"))?;
            children.push(
                command
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(log)
                    .spawn()?,
            );
        }
        for (mut child, bundle) in children.into_iter().zip(&self.bundles) {
            if !child.wait()?.success() {
                bail!(
                    "runc {words:?}: {}",
                    fs::read_to_string(bundle.join("log")).unwrap_or_default()
                );
            }
        }
        Ok(())
    }
}

impl Contender for Runc {
    fn name(&self) -> &'static str {
        "runc run, 3 at once"
    }

    fn up(&mut self) -> Result<Duration> {
        timed(|| self.all(&["run", "--detach"], true))
    }

    fn down(&mut self) -> Result<Duration> {
        timed(|| self.all(&["delete", "--force"], false))
    }
}

impl Drop for Runc {
    fn drop(&mut self) {
        let _ = self.all(&["delete", "--force"], false);
    }
}
