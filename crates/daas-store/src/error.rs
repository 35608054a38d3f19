use crate::record::Revision;
use daas_model::{Explain, Kind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What can go wrong with the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A file or folder of the state directory.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Another daemon holds the state directory.
    #[error("cannot use the state directory `{}`: process {holder} uses it", path.display())]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// The other process: its id and host.
        holder: String,
    },
    /// The state directory lies on a file system of another machine.
    #[error("cannot use the state directory `{}`: it lies on a network file system ({kind})", path.display())]
    Network {
        /// The state directory.
        path: PathBuf,
        /// Its kind.
        kind: &'static str,
    },
    /// The state directory holds data, but no records.
    #[error("cannot find the records `{}`, though the directory holds `{found}`", path.display())]
    Missing {
        /// The file that should be there.
        path: PathBuf,
        /// Something that is there.
        found: String,
    },
    /// The file is no database, or its content is damaged.
    #[error("cannot use the records `{}`: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The file is a database of something else.
    #[error("cannot use the records `{}`: the file belongs to another program", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer DaaS.
    #[error("cannot use the records `{}`: they have schema {found}, and this program knows schemas up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema of this program.
        known: u32,
    },
    /// A record is not as the writer expected it.
    #[error(
        "cannot change {kind} `{key}`: it was changed by somebody else (expected {expected}, found {found})"
    )]
    Conflict {
        /// The kind of the record.
        kind: &'static str,
        /// Its key.
        key: String,
        /// What the writer expected: `absent` or a revision.
        expected: String,
        /// What is there: `absent` or a revision.
        found: String,
    },
    /// A record that is not of its type, or whose bytes changed on disk.
    #[error("cannot read {kind} `{key}`: {why}")]
    Record {
        /// The kind of the record.
        kind: String,
        /// Its key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// A change log that was cut behind the asker's revision.
    #[error("cannot tell the changes since revision {from}: the change log begins at {first}")]
    Cut {
        /// The revision of the asker.
        from: Revision,
        /// The first change that is still known.
        first: Revision,
    },
    /// SQLite failed.
    #[error("cannot {action} the records")]
    Sqlite {
        /// What was attempted.
        action: &'static str,
        /// Why not.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// The disk did not take what was committed.
    #[error("cannot bring the records to the disk")]
    Flush {
        /// Why not.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The writer has ended.
    #[error("cannot write the records: the store is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source: Arc::new(source),
        }
    }

    pub(crate) fn sqlite(action: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Sqlite {
            action,
            source: Arc::new(source),
        }
    }

    /// Tells whether somebody else changed the record in between, so that reading and trying again may help.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}

impl Explain for StoreError {
    fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "store-io",
            Self::Locked { .. } => "store-locked",
            Self::Network { .. } => "store-on-network",
            Self::Missing { .. } => "store-missing",
            Self::Damaged { .. } => "store-damaged",
            Self::Foreign { .. } => "store-foreign",
            Self::Newer { .. } => "store-newer",
            Self::Conflict { .. } => "record-changed",
            Self::Record { .. } => "record-damaged",
            Self::Cut { .. } => "changes-cut",
            Self::Sqlite { .. } => "store-failed",
            Self::Flush { .. } => "store-not-flushed",
            Self::Closed => "store-closed",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Io { .. }
            | Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::Foreign { .. }
            | Self::Newer { .. }
            | Self::Record { .. }
            | Self::Network { .. }
            | Self::Flush { .. }
            | Self::Sqlite { .. } => Kind::Outside,
            Self::Locked { .. } | Self::Conflict { .. } | Self::Cut { .. } => Kind::Conflict,
            Self::Closed => Kind::Busy {
                retry_after: Duration::from_secs(1),
            },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Locked { .. } => Some("stop the other daemon first, or give this one another state directory".into()),
            Self::Network { .. } => Some("put the state directory on a disk of this machine: SQLite's WAL needs shared memory".into()),
            Self::Missing { path, .. } | Self::Damaged { path, .. } => {
                Some(format!("put back `{}` from a backup, or move the whole state directory away to begin anew", path.display()))
            }
            Self::Foreign { .. } => Some("give DaaS a directory of its own".into()),
            Self::Newer { .. } => Some("run the newer DaaS again, or put back the records from before its first start".into()),
            Self::Conflict { .. } => Some("read it again and repeat the change".into()),
            Self::Flush { .. } => Some("look after the disk, then start the daemon again: until then nothing is written any more".into()),
            Self::Io { .. } | Self::Record { .. } | Self::Cut { .. } | Self::Sqlite { .. } | Self::Closed => None,
        }
    }
}
