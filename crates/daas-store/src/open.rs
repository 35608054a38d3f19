//! Opening the file of records, or refusing it.

use crate::error::StoreError;
use crate::lock::{DirLock, LOCK_FILE};
use crate::record::sum;
use crate::schema::{APPLICATION_ID, MIGRATIONS, migrate};
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, OpenOptions, Permissions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The file of records in a state directory.
pub(crate) const RECORDS_FILE: &str = "records.db";
/// The file while it is made; renamed when its schema is whole, so that [`RECORDS_FILE`] is never half made.
const NEW_FILE: &str = "records.db.new";
/// The first bytes of every SQLite 3 file (sqlite.org/fileformat2.html, section 1.3).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// A connection for the writer, one for the readers, and the lock that both live under.
pub(crate) struct Opened {
    pub(crate) writer: Connection,
    pub(crate) reader: Connection,
    /// The log of SQLite, which holds every commit until it is copied into the file of records.
    pub(crate) log: fs::File,
    pub(crate) lock: DirLock,
}

/// Opens the records of `dir`; makes both if neither is there.
pub(crate) fn open(dir: &Path) -> Result<Opened, StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(StoreError::io("make", dir))?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))
        .map_err(StoreError::io("close to others", dir))?;
    refuse_network(dir)?;
    let lock = DirLock::take(dir)?;
    let path = dir.join(RECORDS_FILE);
    match path.symlink_metadata() {
        Ok(meta) if meta.is_file() => {}
        Ok(_) => {
            return Err(StoreError::Damaged {
                path,
                why: "it is no ordinary file".into(),
            });
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(dir, &path)?,
        Err(error) => return Err(StoreError::io("look at", &path)(error)),
    }
    check_magic(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))
        .map_err(StoreError::io("close to others", &path))?;
    let mut writer = connect(&path)?;
    check(&writer, &path)?;
    migrate(&mut writer, &path, MIGRATIONS)?;
    check_records(&writer, &path)?;
    let reader = connect(&path)?;
    reader
        .pragma_update(None, "query_only", true)
        .map_err(StoreError::sqlite("open"))?;
    let log = RECORDS_FILE.to_owned() + "-wal";
    // The same file for as long as a connection is open: SQLite removes it with the last one (sqlite.org/wal.html, section 4).
    let log = dir.join(log);
    let log = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&log)
        .and_then(|file| stretch(&file).map(|()| file))
        .map_err(StoreError::io("open", &log))?;
    Ok(Opened {
        writer,
        reader,
        log,
        lock,
    })
}

/// How long the log becomes before SQLite begins it anew: 1,000 pages with their heads (sqlite.org/pragma.html#pragma_wal_autocheckpoint), and the file's
/// own head (sqlite.org/fileformat2.html, section 4.1).
const LOG_BYTES: u64 = 1000 * (4096 + 24) + 32;

/// Fills the log with zeros up to the length that it will have, so that a commit overwrites and does not lengthen it: then a flush is one write of the
/// disk and no commit of the file system's journal, for which everybody else who makes or removes a file would wait too.
///
/// What follows the last whole frame SQLite does not look at: its log always ends in what an earlier round left there.
fn stretch(log: &fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut at = log.metadata()?.len();
    if at >= LOG_BYTES {
        return Ok(());
    }
    let zeros = [0; 64 << 10];
    while at < LOG_BYTES {
        let rest = usize::try_from(LOG_BYTES - at).unwrap_or(zeros.len());
        let piece = zeros.get(..rest.min(zeros.len())).unwrap_or(&zeros);
        log.write_all_at(piece, at)?;
        at += piece.len() as u64;
    }
    log.sync_all()
}

/// Opens records that live only in memory.
pub(crate) fn open_in_memory() -> Result<Connection, StoreError> {
    let mut connection = Connection::open_in_memory().map_err(StoreError::sqlite("open"))?;
    migrate(&mut connection, Path::new(":memory:"), MIGRATIONS)?;
    Ok(connection)
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| damaged_or(path, "open")(source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    // The path's folder may itself lie behind a link (`/var` often does); NOFOLLOW speaks of every component.
    let real = path.canonicalize().map_err(StoreError::io("find", path))?;
    let connection = Connection::open_with_flags(real, flags).map_err(failed)?;
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(failed)?;
    // NORMAL flushes all that FULL does except the log after each commit: that the writer does itself, so that who only needs to see a change need not
    // wait for the disk (decisions/0011).
    connection
        .pragma_update(None, "synchronous", "NORMAL")
        .map_err(failed)?;
    connection
        .pragma_update(None, "trusted_schema", false)
        .map_err(failed)?;
    connection
        .pragma_update(None, "cell_size_check", true)
        .map_err(failed)?;
    // A reader waits only while a checkpoint resets the log: microseconds; 5 s means that something is broken.
    connection
        .busy_timeout(std::time::Duration::from_secs(5))
        .map_err(failed)?;
    Ok(connection)
}

/// Makes the file under another name and renames it when it is whole.
fn make(dir: &Path, path: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let name = entry.map_err(StoreError::io("list", dir))?.file_name();
        let name = name.to_string_lossy();
        // What mkfs leaves and what an interrupted first start leaves is no data of ours.
        if name != LOCK_FILE && name != "lost+found" && !name.starts_with(NEW_FILE) {
            return Err(StoreError::Missing {
                path: path.to_owned(),
                found: name.escape_debug().to_string(),
            });
        }
    }
    let new = dir.join(NEW_FILE);
    for suffix in ["", "-wal", "-shm", "-journal"] {
        match fs::remove_file(dir.join(format!("{NEW_FILE}{suffix}"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", &new)(error));
            }
            _ => {}
        }
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(StoreError::io("make", &new))?;
    let mut connection = Connection::open_with_flags(&new, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(StoreError::sqlite("make"))?;
    migrate(&mut connection, &new, MIGRATIONS)?;
    connection
        .close()
        .map_err(|(_, source)| StoreError::sqlite("make")(source))?;
    fs::File::open(&new)
        .and_then(|file| file.sync_all())
        .map_err(StoreError::io("flush", &new))?;
    fs::rename(&new, path).map_err(StoreError::io("rename", &new))?;
    fs::File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(StoreError::io("flush", dir))
}

fn check_magic(path: &Path) -> Result<(), StoreError> {
    let mut head = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(16).read_to_end(&mut head))
        .map_err(StoreError::io("read", path))?;
    if head == MAGIC {
        return Ok(());
    }
    let why = if head.is_empty() {
        "the file is empty"
    } else {
        "the file is no SQLite database"
    };
    Err(StoreError::Damaged {
        path: path.to_owned(),
        why: why.into(),
    })
}

/// Checks whose file it is and whether its structure is whole.
fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| damaged_or(path, "check")(source);
    let id: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(failed)?;
    if id != APPLICATION_ID {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
        });
    }
    let verdict: String = connection
        .pragma_query_value(None, "integrity_check", |row| row.get(0))
        .map_err(failed)?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(StoreError::Damaged {
            path: path.to_owned(),
            why: verdict.lines().next().unwrap_or_default().to_owned(),
        })
    }
}

/// Checks the sum of every record: what is wanted to run must not be read wrong.
fn check_records(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| damaged_or(path, "check")(source);
    let mut statement = connection
        .prepare("SELECT kind, key, json, revision, sum FROM records")
        .map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let read = || -> Result<(String, String, String, u64, i64), rusqlite::Error> {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ))
        };
        let (kind, key, json, revision, kept) = read().map_err(failed)?;
        if sum(&[&kind, &key, &json], revision) != kept {
            let why = format!(
                "the bytes of {} `{}` changed on disk",
                kind.escape_debug(),
                key.escape_debug()
            );
            return Err(StoreError::Damaged {
                path: path.to_owned(),
                why,
            });
        }
    }
    Ok(())
}

/// Tells damage of the file from other failures of SQLite.
fn damaged_or(path: &Path, action: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    move |source| match source.sqlite_error_code() {
        Some(
            rusqlite::ErrorCode::DatabaseCorrupt
            | rusqlite::ErrorCode::NotADatabase
            | rusqlite::ErrorCode::TypeMismatch,
        ) => StoreError::Damaged {
            path,
            why: source.to_string(),
        },
        _ => match source {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..) => StoreError::Damaged {
                path,
                why: source.to_string(),
            },
            _ => StoreError::sqlite(action)(source),
        },
    }
}

/// Refuses file systems on which neither the lock nor SQLite's shared memory can be trusted.
fn refuse_network(dir: &Path) -> Result<(), StoreError> {
    let stat = rustix::fs::statfs(dir)
        .map_err(|errno| StoreError::io("look at the file system of", dir)(errno.into()))?;
    // linux/magic.h
    let kind = match stat.f_type {
        0x6969 => "nfs",
        0xff53_4d42 => "cifs",
        0xfe53_4d42 => "smb2",
        0x00c3_6400 => "ceph",
        _ => return Ok(()),
    };
    Err(StoreError::Network {
        path: dir.to_owned(),
        kind,
    })
}
