//! Debian's docker-compose on Debian's docker.io: a daemon of our own, in a network namespace of its own, gone at the end.

use super::{Contender, timed};
use crate::house::remove_cgroups;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROJECT: &str = "\
version: '2.4'
services:
  one: &node
    image: daas-bench
    command: [/bin/busybox, sleep, '1000']
  two: *node
  three: *node
";

pub(super) struct Compose {
    daemon: Child,
    host: String,
    project: PathBuf,
}

impl Compose {
    pub(super) fn new(place: &Path, image: &Path) -> Result<Self> {
        let place = place.join("docker");
        fs::create_dir(&place)?;
        let project = place.join("project");
        fs::create_dir(&project)?;
        fs::write(project.join("docker-compose.yml"), PROJECT)?;
        let socket = place.join("docker.sock");
        let host = format!("unix://{}", socket.display());
        let log = fs::File::create(place.join("log"))?;
        // unshare executes the daemon in its own place, so the child is the daemon.
        let daemon = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "/usr/sbin/dockerd",
                "--storage-driver=overlay2",
                "--host",
                &host,
            ])
            .arg("--cgroup-parent")
            .arg(cgroup())
            .arg("--data-root")
            .arg(place.join("data"))
            .arg("--exec-root")
            .arg(place.join("exec"))
            .arg("--pidfile")
            .arg(place.join("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run dockerd; tools/install-packages bench")?;
        let mut compose = Self {
            daemon,
            host,
            project,
        };
        let until = Instant::now() + Duration::from_secs(60);
        while !compose.docker(&["version"]).output()?.status.success() {
            if compose.daemon.try_wait()?.is_some() || Instant::now() > until {
                bail!(
                    "dockerd does not start: {}",
                    fs::read_to_string(place.join("log")).unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let archive = place.join("image.tar");
        said(
            Command::new("tar")
                .arg("--create")
                .arg("--file")
                .arg(&archive)
                .arg("--directory")
                .arg(image)
                .arg("."),
        )?;
        said(compose.docker(&["import"]).arg(&archive).arg("daas-bench"))?;
        Ok(compose)
    }

    pub(super) fn docker(&self, words: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/docker");
        command
            .env("DOCKER_HOST", &self.host)
            .args(words)
            .stdin(Stdio::null());
        command
    }

    fn compose(&self, words: &[&str]) -> Result<()> {
        said(
            Command::new("/usr/bin/docker-compose")
                .env("DOCKER_HOST", &self.host)
                .args(words)
                .current_dir(&self.project)
                .stdin(Stdio::null()),
        )
    }
}

fn said(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

impl Contender for Compose {
    fn name(&self) -> &'static str {
        "docker-compose, docker"
    }

    fn up(&mut self) -> Result<Duration> {
        timed(|| self.compose(&["up", "--detach"]))
    }

    fn down(&mut self) -> Result<Duration> {
        timed(|| self.compose(&["down", "--timeout", "0"]))
    }
}

/// The name of the cgroup that all containers are below.
fn cgroup() -> String {
    format!("daas-bench-{}", std::process::id())
}

impl Drop for Compose {
    fn drop(&mut self) {
        let _ = self.compose(&["down", "--timeout", "0"]);
        // Asked, not killed: only then does it end its containerd and unmount what it mounted.
        let _ = Command::new("kill")
            .arg(self.daemon.id().to_string())
            .status();
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until && matches!(self.daemon.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        // Docker leaves the folders of its parent cgroup behind, empty.
        remove_cgroups(&cgroup());
    }
}
