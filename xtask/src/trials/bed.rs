//! A daemon with one small image and a census, for one trial.

use crate::census::{Census, Difference, Kind};
use crate::house::{Api, Daemon, Project, Settings, docker_archive};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

/// The image of trials: busybox and nothing else.
pub(super) const IMAGE: &str = "trial:latest";

/// How long leftovers may take to vanish: the issue grants 5 s.
const GRACE: Duration = Duration::from_secs(5);

/// A daemon in which a trial plays.
#[derive(Debug)]
pub struct Bed {
    /// The daemon.
    pub daemon: Daemon,
    before: Census,
}

impl Bed {
    /// Starts a daemon of `program` with the trial image, and counts what there is.
    ///
    /// # Errors
    /// When the daemon does not start, or a stand of one node does not come up and go down.
    pub fn new(program: &Path) -> Result<Self> {
        Self::with(program, Vec::new())
    }

    /// As [`Bed::new`], with more in the daemon's environment.
    ///
    /// # Errors
    /// As [`Bed::new`].
    pub fn with(program: &Path, environment: Vec<(String, String)>) -> Result<Self> {
        // Keepers in store come and go by themselves; a census would take one that is just made for a leftover.
        Self::made(program, "  spares: 0\n", environment)
    }

    /// As [`Bed::new`], with these lines below `stands:` in the configuration.
    ///
    /// # Errors
    /// As [`Bed::new`].
    pub fn configured(program: &Path, configuration: &str) -> Result<Self> {
        Self::made(program, configuration, Vec::new())
    }

    fn made(
        program: &Path,
        configuration: &str,
        environment: Vec<(String, String)>,
    ) -> Result<Self> {
        let daemon = Daemon::start(Settings {
            program: program.to_owned(),
            configuration: configuration.to_owned(),
            environment,
        })?;
        let tree = daemon.place().join("tree");
        busybox_tree(&tree)?;
        let archive = docker_archive(IMAGE, &tree, &json!({"Env": ["PATH=/bin"]}))?;
        std::fs::remove_dir_all(&tree)?;
        daemon
            .api()
            .load_image(&archive)
            .context("cannot load the trial image")?;
        let mut bed = Self {
            daemon,
            before: Census::default(),
        };
        // The first stand makes what all share: layers, cgroups, folders. That is no leftover.
        let one = bed.project(&service("one", "sleep 1000"));
        bed.api().up("warm", &one, 0)?;
        bed.api().down("warm")?;
        std::thread::sleep(Duration::from_millis(300));
        bed.before = Census::take(&bed.daemon.state())?;
        Ok(bed)
    }

    /// Returns the daemon's API.
    #[must_use]
    pub fn api(&self) -> Api {
        self.daemon.api()
    }

    /// Makes a project of services' text.
    #[must_use]
    pub fn project(&self, services: &str) -> Project {
        Project::of_text(
            &self.daemon.place().join("project"),
            &format!("services:\n{services}"),
        )
    }

    /// Waits until nothing is left that was not there at the start.
    ///
    /// # Errors
    /// What is left after 5 s, in words.
    pub fn nothing_is_left(&self) -> Result<()> {
        let until = Instant::now() + GRACE;
        loop {
            let left = self.leftovers()?;
            if left.is_empty() {
                return Ok(());
            }
            ensure!(
                Instant::now() < until,
                "left behind:\n{left}\n{}",
                self.daemon.said()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Tells what there is more of than at the start. Spare keepers are made anew all the time, so only numbers count.
    ///
    /// # Errors
    /// When the census cannot be taken.
    pub fn leftovers(&self) -> Result<Difference> {
        let mark = self.daemon.mark().to_owned();
        let difference = self
            .before
            .until(&Census::take(&self.daemon.state())?)
            .that_bear(&[&mark]);
        // Records grow in their files; those of a stand lie in a folder of its own.
        let log_of_store = |words: &str| words.contains(".sqlite") || words.contains(".db");
        let mut difference = difference.surplus();
        // An empty disk of each size is kept for the next stand of that size.
        let template = |words: &str| words.contains("/state/templates/");
        difference.more.retain(|(kind, words)| {
            *kind != Kind::File || !(log_of_store(words) || template(words))
        });
        Ok(difference)
    }

    /// Returns the address of a stand.
    ///
    /// # Errors
    /// When there is no such stand, or it has none.
    pub fn address(&self, stand: &str) -> Result<IpAddr> {
        let view = self.api().get(&format!("/stands/{stand}"))?;
        view["address"]
            .as_str()
            .with_context(|| format!("stand {stand} has no address: {view}"))?
            .parse()
            .context("a strange address")
    }

    /// Returns the codes of a stand's events.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn events(&self, stand: &str) -> Result<Vec<String>> {
        let views = self.event_views(stand)?;
        Ok(views
            .iter()
            .filter_map(|event| event["code"].as_str().map(str::to_owned))
            .collect())
    }

    /// Returns a stand's events.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn event_views(&self, stand: &str) -> Result<Vec<Value>> {
        let mut answer = self.api().ask(
            "GET",
            &format!("/stands/{stand}/events?last=1000"),
            &[("Accept", "application/x-ndjson")],
            &[],
        )?;
        let mut text = String::new();
        answer.read_to_string(&mut text)?;
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }
}

/// Makes a service of the trial image that runs one line of busybox's shell.
pub(super) fn service(name: &str, line: &str) -> String {
    let command = json!(["/bin/busybox", "sh", "-c", line]).to_string();
    format!(
        "  {name}:\n    image: {IMAGE}\n    command: {}\n",
        command.replace('$', "$$")
    )
}

/// Gets a page over plain HTTP/1.0.
pub(super) fn fetch(address: IpAddr, port: u16) -> Result<String> {
    let patience = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let Some((_, body)) = text.split_once("\r\n\r\n") else {
        bail!("{address}:{port} answered {text:?}");
    };
    Ok(body.to_owned())
}

/// Makes the root of the trial image.
pub(super) fn busybox_tree(root: &Path) -> Result<()> {
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp", "root", "var"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).context("install busybox-static")?;
    for name in [
        "sh", "sleep", "true", "cat", "wget", "nc", "dd", "httpd", "usleep", "hostname", "ip",
    ] {
        symlink("busybox", root.join("bin").join(name))?;
    }
    Ok(())
}
