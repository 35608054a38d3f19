//! The access log: one line of JSON for every answer, in files that are turned over before they are large.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How much is gathered before it is written: some hundred lines, one call of the kernel.
const GATHER: usize = 64 * 1024;
/// How much may wait for the disk; what comes then is counted and not written.
const MOST_WAITING: usize = 4 << 20;
/// How large one file becomes.
const MOST_FILE: u64 = 16 << 20;
/// How many full files are kept.
const KEPT: u32 = 5;

/// The log. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    lost: u64,
}

impl AccessLog {
    /// Opens the log at `path`; full files get `.1` to `.5` behind it. The file is for its owner only (threat S29).
    ///
    /// # Errors
    /// What the system says when the file cannot be made.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        append(path)?;
        Ok(Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                lines: Mutex::default(),
            }),
        })
    }

    /// Writes down what has been gathered. Called by one task, twice a second.
    ///
    /// # Errors
    /// What the system says; the lines are lost then, which the next ones say.
    pub(crate) fn write(&self) -> io::Result<()> {
        let lines = std::mem::take(&mut *self.lines());
        if lines.bytes.is_empty() && lines.lost == 0 {
            return Ok(());
        }
        let mut file = append(&self.inner.path)?;
        if file.metadata()?.len() >= MOST_FILE {
            self.turn_over()?;
            file = append(&self.inner.path)?;
        }
        file.write_all(&lines.bytes)?;
        if lines.lost > 0 {
            writeln!(file, "{{\"lost\":{}}}", lines.lost)?;
        }
        Ok(())
    }

    fn turn_over(&self) -> io::Result<()> {
        let numbered = |n: u32| {
            let mut name = self.inner.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        for n in (1..KEPT).rev() {
            match std::fs::rename(numbered(n), numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.inner.path, numbered(1))
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.inner
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, access: &Access) {
        let mut lines = self.lines();
        if lines.bytes.len() >= MOST_WAITING {
            lines.lost += 1;
            return;
        }
        if lines.bytes.capacity() == 0 {
            lines.bytes.reserve(GATHER);
        }
        access.write(&mut lines.bytes);
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// One request, from its first moment to the end of its answer.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) log: AccessLog,
    pub(crate) began: Instant,
    pub(crate) at: SystemTime,
    pub(crate) client: IpAddr,
    pub(crate) method: hyper::Method,
    pub(crate) scheme: &'static str,
    pub(crate) host: String,
    /// Without the query, which often holds what is nobody's business.
    pub(crate) path: String,
    pub(crate) version: hyper::Version,
    pub(crate) status: u16,
    pub(crate) stand: String,
    pub(crate) node: String,
    pub(crate) sent: u64,
    pub(crate) first: Duration,
    /// Whether the answer was cut off by its back end.
    pub(crate) broken: bool,
}

impl Access {
    fn write(&self, out: &mut Vec<u8>) {
        let at = self
            .at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let version = match self.version {
            hyper::Version::HTTP_2 => "2",
            hyper::Version::HTTP_10 => "1.0",
            _ => "1.1",
        };
        // Writing into memory does not fail.
        let _ = write!(
            out,
            "{{\"at_ms\":{at},\"client\":\"{}\",\"method\":\"",
            self.client
        );
        escape(out, self.method.as_str());
        let _ = write!(
            out,
            "\",\"scheme\":\"{}\",\"version\":\"{version}\",\"host\":\"",
            self.scheme
        );
        escape(out, &self.host);
        out.extend_from_slice(b"\",\"path\":\"");
        escape(out, &self.path);
        let _ = write!(
            out,
            "\",\"status\":{},\"stand\":\"{}\",\"node\":\"{}\"",
            self.status, self.stand, self.node
        );
        let _ = write!(
            out,
            ",\"bytes\":{},\"first_us\":{},\"us\":{}",
            self.sent,
            self.first.as_micros(),
            self.began.elapsed().as_micros()
        );
        if self.broken {
            out.extend_from_slice(b",\"broken\":true");
        }
        out.extend_from_slice(b"}\n");
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.log.clone().add(self);
    }
}

/// Writes a text so that JSON and terminals take it as it is (threat S28).
fn escape(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x20..=0x7e => out.push(byte),
            other => {
                let _ = write!(out, "\\u{:04x}", other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(log: &AccessLog) -> Access {
        Access {
            log: log.clone(),
            began: Instant::now(),
            at: SystemTime::now(),
            client: IpAddr::from([192, 0, 2, 1]),
            method: hyper::Method::GET,
            scheme: "http",
            host: "a.test".into(),
            path: "/\"\u{1b}[2J".into(),
            version: hyper::Version::HTTP_11,
            status: 200,
            stand: "s".into(),
            node: "web".into(),
            sent: 7,
            first: Duration::from_micros(5),
            broken: false,
        }
    }

    #[test]
    fn every_line_is_json_without_control_characters_and_full_files_are_turned_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let log = AccessLog::open(&path).unwrap();
        drop(access(&log));
        log.write().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["path"], &line["bytes"]),
            (&"/\"\u{1b}[2J".into(), &7.into())
        );
        assert!(text.trim_end().bytes().all(|b| (0x20..0x7f).contains(&b)));
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(MOST_FILE)
            .unwrap();
        drop(access(&log));
        log.write().unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 1000);
        assert!(dir.path().join("access.log.1").exists());
    }
}
