//! DaaS itself, through its API as any client uses it.

use super::{Contender, timed};
use crate::house::{Api, Daemon, Project, Settings, docker_archive};
use anyhow::Result;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// The same three nodes that every contender runs, with the same fixed addresses in every stand.
const PROJECT: &str = "\
services:
  one: &node
    image: daas-bench:latest
    command: [/bin/busybox, sleep, '1000']
  two: *node
  three: *node
";

pub(super) struct Product {
    pub(super) daemon: Daemon,
    api: Api,
    project: Project,
}

impl Product {
    pub(super) fn new(image: &Path) -> Result<Self> {
        let daemon = Daemon::start(Settings {
            program: crate::programs::release_build()?,
            configuration: String::new(),
            environment: Vec::new(),
        })?;
        let api = daemon.api();
        api.load_image(&docker_archive("daas-bench:latest", image, &json!({}))?)?;
        let project = Project::of_text(&daemon.place().join("project"), PROJECT);
        Ok(Self {
            daemon,
            api,
            project,
        })
    }

    pub(super) fn up_as(&self, name: &str) -> Result<Duration> {
        timed(|| self.api.up(name, &self.project, 0))
    }

    pub(super) fn down_of(&self, name: &str) -> Result<Duration> {
        timed(|| self.api.down(name))
    }

    pub(super) fn exec(&self, name: &str) -> Result<Duration> {
        timed(|| {
            let ran = self.api.exec(name, "one", &["/bin/busybox", "true"])?;
            anyhow::ensure!(ran.code == 0, "busybox true ended with {}", ran.code);
            Ok(())
        })
    }
}

impl Contender for Product {
    fn name(&self) -> &'static str {
        "DaaS, through its API"
    }

    fn up(&mut self) -> Result<Duration> {
        self.up_as("bench")
    }

    fn down(&mut self) -> Result<Duration> {
        self.down_of("bench")
    }
}
