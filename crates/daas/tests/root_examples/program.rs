use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use xtask::house::Daemon;

/// The `daas` of this build, as a person uses it on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    socket: PathBuf,
}

impl Program {
    /// Returns where the program is.
    pub(crate) fn path() -> &'static Path {
        Path::new(env!("CARGO_BIN_EXE_daas"))
    }

    /// Speaks to a daemon.
    pub(crate) fn of(daemon: &Daemon) -> Self {
        Self {
            socket: daemon.place().join("daas.sock"),
        }
    }

    /// Speaks to nobody.
    pub(crate) fn offline() -> Self {
        Self {
            socket: "/nonexistent/daas.sock".into(),
        }
    }

    /// Lets another command speak to the same daemon.
    pub(crate) fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("DAAS", Self::path())
            .env("DAAS_SOCKET", &self.socket)
    }

    /// Runs it; its own exit code is no error.
    pub(crate) fn output<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Output, String> {
        let mut command = Command::new(Self::path());
        self.environment(&mut command)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot run daas: {error}"))
    }

    /// Runs it and returns what it printed; any exit code but 0 is an error with its words.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String, String> {
        let output = self.output(arguments)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let words: Vec<_> = arguments
            .iter()
            .map(|word| word.as_ref().to_string_lossy())
            .collect();
        Err(format!(
            "`daas {}` ended with {}: {}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}
