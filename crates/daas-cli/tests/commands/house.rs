//! A daemon and a terminal for one test.

use daas_api::fake::{FakePlatform, NOW_MS};
use daas_api::{Check, CheckVerdict, DoctorReport, Failure};
use daas_cli::{House, Terminal};
use daas_model::Kind;
use daas_server::{Server, Timers, UnixDoor};
use daas_tasks::Supervisor;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A daemon on a socket of its own; it ends with the test.
pub(crate) struct Daemon {
    pub(crate) platform: Arc<FakePlatform>,
    pub(crate) folder: tempfile::TempDir,
    socket: PathBuf,
    supervisor: Supervisor,
    runtime: Option<tokio::runtime::Runtime>,
}

/// What a command said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: u8,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Daemon {
    pub(crate) fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let socket = folder.path().join("daas.sock");
        let platform = Arc::new(FakePlatform::new());
        let supervisor = Supervisor::new();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("there is room for a thread");
        runtime.block_on(async {
            Server::new(platform.clone(), supervisor.clone()).open_unix(
                UnixDoor::bind(&socket).expect("it is free"),
                Timers::local(),
            );
        });
        Self {
            platform,
            folder,
            socket,
            supervisor,
            runtime: Some(runtime),
        }
    }

    /// Runs `daas <words>` with this daemon.
    pub(crate) fn run(&self, words: &[&str]) -> Said {
        let mut all = vec!["--socket", self.socket()];
        all.extend(words);
        run(&all)
    }

    pub(crate) fn socket(&self) -> &str {
        self.socket.to_str().expect("it is text")
    }

    /// Makes a file in the test's folder and returns its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it lies in the folder"))
            .expect("the folder can be written");
        std::fs::write(&path, content).expect("the folder can be written");
        path.display().to_string()
    }

    /// Makes a compose file in a folder of its own and returns its path.
    pub(crate) fn compose(&self, content: &str) -> String {
        self.file("shop/compose.yaml", content)
    }

    /// What changed, without who asked for it.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.platform
            .asked()
            .iter()
            .map(|line| {
                line.split_once(": ")
                    .map_or(line.clone(), |(_, what)| what.to_owned())
            })
            .collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(self.supervisor.shutdown(Duration::from_secs(10)));
        }
    }
}

impl Said {
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// Everything as a person sees it, for snapshots.
    pub(crate) fn all(&self, daemon: &Daemon) -> String {
        let folder = daemon.folder.path().display().to_string();
        format!(
            "{}--- stderr\n{}--- exit {}\n",
            self.out(),
            self.err,
            self.code
        )
        .replace(&folder, "FOLDER")
    }
}

/// A house without a daemon.
pub(crate) struct Nobody;

impl House for Nobody {
    fn version(&self) -> &'static str {
        "0.1.0"
    }

    fn serve(&self, config: Option<&Path>) -> Result<(), Failure> {
        Err(Failure::new(
            "serve-not-root",
            Kind::Forbidden,
            format!("cannot serve with {config:?}"),
        ))
    }

    fn doctor(&self) -> DoctorReport {
        DoctorReport {
            checks: vec![Check {
                code: "kernel-version".into(),
                title: "kernel".into(),
                verdict: CheckVerdict::Fail,
                found: "2.6.32".into(),
                fix: Some("install a newer one".into()),
            }],
        }
    }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("no writer panics")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `daas <words>`.
pub(crate) fn run(words: &[&str]) -> Said {
    let (out, err) = (Buffer::default(), Buffer::default());
    // Half a minute after all that the fake knows.
    let terminal = Terminal::captured(Box::new(out.clone()), Box::new(err.clone()), || {
        NOW_MS + 30_000
    });
    let arguments = std::iter::once("daas")
        .chain(words.iter().copied())
        .map(OsString::from);
    let code = daas_cli::run(arguments, &Nobody, &terminal);
    let bytes = |buffer: &Buffer| buffer.0.lock().expect("no writer panics").clone();
    Said {
        code,
        out: bytes(&out),
        err: String::from_utf8_lossy(&bytes(&err)).into_owned(),
    }
}
