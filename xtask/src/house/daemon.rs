//! A daemon with state, socket, addresses and cgroup of its own, which can be killed and started again.

use super::api::Api;
use super::cgroups::remove_cgroups;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How a daemon is started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program; that of the test's own build.
    pub program: PathBuf,
    /// Lines that are added to the configuration.
    pub configuration: String,
    /// Variables that are added to the environment, as `DAAS_CRASH_AT`.
    pub environment: Vec<(String, String)>,
}

/// A running daemon; it is asked to end when it is dropped, and its folder goes with it.
#[derive(Debug)]
pub struct Daemon {
    place: PathBuf,
    name: String,
    settings: Settings,
    child: Child,
}

impl Daemon {
    /// Starts a daemon and waits until it answers.
    ///
    /// # Errors
    /// When it does not answer within 20 s; the text holds its log.
    pub fn start(settings: Settings) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("daas-test-{}-{number}", std::process::id());
        let place = std::env::temp_dir().join(&name);
        fs::create_dir(&place).with_context(|| format!("cannot make {}", place.display()))?;
        // A part of the loopback range that no other test of this machine draws: 127.64 to 127.127, by process.
        let part = 64 + (std::process::id().wrapping_mul(7).wrapping_add(number)) % 64;
        let configuration = format!(
            "state: {0}/state\nsocket: {0}/daas.sock\ncgroup: {name}\nstands:\n  addresses: 127.{part}.0.0/16\n{1}",
            place.display(),
            settings.configuration,
        );
        // Tests run side by side: a registry listens only where one asks for it, at a port of the kernel's choice.
        // So does the ingress.
        let registry = if settings.configuration.contains("registry:") {
            ""
        } else {
            "\nregistry:\n  listen: []\n"
        };
        let ingress = if settings.configuration.contains("ingress:") {
            ""
        } else {
            "\ningress:\n  listen: []\n  listen_tls: []\n"
        };
        // The same for names, whose usual port there is once on a machine.
        let dns = if settings.configuration.contains("dns:") {
            ""
        } else {
            "\ndns:\n  listen: []\n"
        };
        let ssh = if settings.configuration.contains("ssh:") {
            ""
        } else {
            "\nssh:\n  listen: []\n"
        };
        fs::write(
            place.join("daas.yaml"),
            configuration + registry + ingress + dns + ssh,
        )?;
        let child = launch(&place, &settings)?;
        let mut daemon = Self {
            place,
            name,
            settings,
            child,
        };
        daemon.wait_until_it_answers()?;
        Ok(daemon)
    }

    /// Starts the daemon on the state that it left.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.child = launch(&self.place, &self.settings)?;
        self.wait_until_it_answers()
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        while self.api().get("/system/info").is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the daemon ended with {status}\n{}", self.said());
            }
            if Instant::now() > until {
                bail!("the daemon does not answer\n{}", self.said());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Replaces what is added to the environment at the next start.
    pub fn set_environment(&mut self, environment: Vec<(String, String)>) {
        self.settings.environment = environment;
    }

    /// Kills the daemon as `kill -9` does.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("cannot kill the daemon")?;
        self.child.wait().context("cannot wait for the daemon")?;
        Ok(())
    }

    /// Asks the daemon to end, and waits.
    ///
    /// # Errors
    /// When it is still there after 20 s.
    pub fn stop(&mut self) -> Result<()> {
        // A child that is not waited for yet keeps its pid, so this meets nobody else.
        Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .context("cannot run kill")?;
        if !self.ends_within(Duration::from_secs(20)) {
            bail!("the daemon does not end\n{}", self.said());
        }
        Ok(())
    }

    /// Starts a second daemon on the same configuration, and waits for its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn rival(&self, limit: Duration) -> Result<Rival> {
        let log = self.place.join("rival.log");
        let file = fs::File::create(&log)?;
        let mut child = command(&self.place, &self.settings)
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot run a second daemon")?;
        let until = Instant::now() + limit;
        let code = loop {
            if let Some(status) = child.try_wait()? {
                break status.code();
            }
            if Instant::now() > until {
                child.kill()?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Ok(Rival {
            code,
            said: fs::read_to_string(log)?,
        })
    }

    /// Waits for the daemon's end; tells whether it came.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        false
    }

    /// Returns its API.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(&self.place.join("daas.sock"))
    }

    /// Returns its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the folder that holds everything of it.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Returns the folder that holds its state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.place.join("state")
    }

    /// Returns the name of its cgroup, which is also the mark of all that it makes.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.name
    }

    /// Returns what it said.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(self.place.join("log")).unwrap_or_default()
    }
}

fn launch(place: &Path, settings: &Settings) -> Result<Child> {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(place.join("log"))?;
    command(place, settings)
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot run {}", settings.program.display()))
}

fn command(place: &Path, settings: &Settings) -> Command {
    let mut command = Command::new(&settings.program);
    command
        .arg("serve")
        .arg("--config")
        .arg(place.join("daas.yaml"))
        .envs(settings.environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        // A signal for the test's terminal is not one for the daemon.
        .process_group(0);
    command
}

/// How a second daemon ended.
#[derive(Debug, Clone)]
pub struct Rival {
    /// Its exit code; nothing if it went on and was killed.
    pub code: Option<i32>,
    /// What it said.
    pub said: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) && self.start_again().is_err() {
            // What it cannot sweep itself is left for the census to tell.
            return;
        }
        let api = self.api();
        if let Ok(list) = api.get("/stands") {
            for stand in list["items"].as_array().into_iter().flatten() {
                if let Some(name) = stand["name"].as_str() {
                    let _ = api.down(name);
                }
            }
        }
        if self.stop().is_err() {
            let _ = self.kill();
        }
        remove_cgroups(&self.name);
        if std::thread::panicking() {
            // The log is what a person will want; the rest of the folder is small without stands.
            return;
        }
        let _ = fs::remove_dir_all(&self.place);
    }
}
