use crate::paint::Paint;
use crate::stop::{Stop, unwritten};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// A place that output goes to.
pub type Sink = Box<dyn Write + Send>;

/// Where data and words go, and what the other end can show. A clone is another handle of the same.
#[derive(Clone)]
pub struct Terminal {
    out: Arc<Mutex<Sink>>,
    err: Arc<Mutex<Sink>>,
    /// Whether standard output is a terminal.
    pub out_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub err_is_terminal: bool,
    /// Whether standard input is a terminal.
    pub in_is_terminal: bool,
    now_ms: fn() -> u64,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal")
            .field("out_is_terminal", &self.out_is_terminal)
            .field("err_is_terminal", &self.err_is_terminal)
            .finish_non_exhaustive()
    }
}

impl Terminal {
    /// Returns the process's own.
    #[must_use]
    pub fn real() -> Self {
        Self {
            out: Arc::new(Mutex::new(Box::new(io::stdout()))),
            err: Arc::new(Mutex::new(Box::new(io::stderr()))),
            out_is_terminal: io::stdout().is_terminal(),
            err_is_terminal: io::stderr().is_terminal(),
            in_is_terminal: io::stdin().is_terminal(),
            now_ms: || {
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| {
                        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
                    })
            },
        }
    }

    /// Returns one that writes to these sinks and is no terminal, at a fixed time: for tests.
    #[must_use]
    pub fn captured(out: Sink, err: Sink, now_ms: fn() -> u64) -> Self {
        Self {
            out: Arc::new(Mutex::new(out)),
            err: Arc::new(Mutex::new(err)),
            out_is_terminal: false,
            err_is_terminal: false,
            in_is_terminal: false,
            now_ms,
        }
    }

    /// Returns the time, in milliseconds of the Unix clock.
    pub(crate) fn now_ms(&self) -> u64 {
        (self.now_ms)()
    }

    /// Writes data.
    pub(crate) fn out(&self, bytes: impl AsRef<[u8]>) -> Result<(), Stop> {
        write(&self.out, bytes.as_ref()).map_err(unwritten)
    }

    /// Writes words. What cannot be told is lost: there is nobody to tell it to.
    pub(crate) fn err(&self, bytes: impl AsRef<[u8]>) {
        let _ = write(&self.err, bytes.as_ref());
    }
}

fn write(sink: &Mutex<Sink>, bytes: &[u8]) -> io::Result<()> {
    let mut sink: MutexGuard<'_, Sink> = sink.lock().unwrap_or_else(PoisonError::into_inner);
    sink.write_all(bytes)?;
    sink.flush()
}

/// What the user wishes about colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` says otherwise.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Returns how to paint for a place that is a terminal or not.
    pub(crate) fn paint(self, is_terminal: bool) -> Paint {
        Paint(match self {
            Self::Auto => {
                is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
            Self::Always => true,
            Self::Never => false,
        })
    }
}
