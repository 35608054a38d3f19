//! Certificates that somebody else made and renews: pairs of files, looked at again and again.

use crate::pair::{Pair, PairError};
use daas_model::Explain;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// A pair of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenFiles {
    /// The chain as PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key as PEM.
    pub key: PathBuf,
}

/// A pair that cannot be used.
#[derive(Debug, Error)]
pub enum GivenError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What they hold does not fit.
    #[error("cannot use the certificate `{}`", path.display())]
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: PairError,
    },
}

impl Explain for GivenError {
    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "certificate-file",
            Self::Pair { source, .. } => source.code(),
        }
    }

    fn kind(&self) -> daas_model::Kind {
        daas_model::Kind::Input
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => Some("look at `certificates.files` in /etc/daas/daas.yaml".into()),
            Self::Pair { source, .. } => source.hint(),
        }
    }
}

/// What tells that a file has changed: inode, size, time of change in nanoseconds.
type Stamp = (u64, u64, i64, i64);

#[derive(Debug, Default)]
struct Loaded {
    stamps: Option<[Stamp; 2]>,
    pair: Option<Arc<Pair>>,
    fault: Option<Arc<GivenError>>,
}

/// All pairs of the configuration.
#[derive(Debug)]
pub(crate) struct Given {
    files: Vec<GivenFiles>,
    loaded: Mutex<Vec<Loaded>>,
}

/// What a pair of files is now.
#[derive(Debug, Clone)]
pub(crate) struct GivenNow {
    pub(crate) files: GivenFiles,
    /// The last pair that was good, served until there is a better one.
    pub(crate) pair: Option<Arc<Pair>>,
    pub(crate) fault: Option<Arc<GivenError>>,
}

impl Given {
    pub(crate) fn new(files: Vec<GivenFiles>) -> Self {
        let loaded = files.iter().map(|_| Loaded::default()).collect();
        Self {
            files,
            loaded: Mutex::new(loaded),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Reads what has changed; tells whether something has. A pair that is half written keeps the old one in service.
    pub(crate) fn reload(&self) -> bool {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for (files, loaded) in self.files.iter().zip(loaded.iter_mut()) {
            let stamps = stamp(&files.certificate)
                .zip(stamp(&files.key))
                .map(|(a, b)| [a, b]);
            if stamps.is_some() && stamps == loaded.stamps {
                continue;
            }
            match read(files) {
                Ok(pair) => {
                    tracing::info!(certificate = %files.certificate.display(), "certificate read");
                    (loaded.pair, loaded.fault) = (Some(Arc::new(pair)), None);
                    changed = true;
                }
                Err(error) => {
                    if loaded.fault.is_none() || stamps != loaded.stamps {
                        tracing::warn!(cause = %daas_model::render_chain(&error), "a given certificate is not used");
                    }
                    loaded.fault = Some(Arc::new(error));
                }
            }
            loaded.stamps = stamps;
        }
        changed
    }

    pub(crate) fn now(&self) -> Vec<GivenNow> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let now = |(files, loaded): (&GivenFiles, &Loaded)| GivenNow {
            files: files.clone(),
            pair: loaded.pair.clone(),
            fault: loaded.fault.clone(),
        };
        self.files.iter().zip(loaded.iter()).map(now).collect()
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}

fn read(files: &GivenFiles) -> Result<Pair, GivenError> {
    let bytes = |path: &Path| {
        std::fs::read(path).map_err(|source| GivenError::Read {
            path: path.to_owned(),
            source,
        })
    };
    let key = zeroize::Zeroizing::new(bytes(&files.key)?);
    Pair::from_pem(&bytes(&files.certificate)?, &key).map_err(|source| GivenError::Pair {
        path: files.certificate.clone(),
        source,
    })
}
