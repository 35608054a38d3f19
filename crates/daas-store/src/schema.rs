//! The tables, and how older ones become the newest.

use crate::error::StoreError;
use rusqlite::Connection;
use std::path::Path;

/// Marks a SQLite file as ours: `DaaS` in ASCII.
pub(crate) const APPLICATION_ID: i32 = 0x4461_6153;

/// One step per schema version, from the empty file on. A published step never changes.
pub(crate) const MIGRATIONS: &[&str] = &["
CREATE TABLE records (
    kind     TEXT NOT NULL,
    key      TEXT NOT NULL,
    json     TEXT NOT NULL,
    revision INTEGER NOT NULL,
    sum      INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE changes (
    revision INTEGER PRIMARY KEY,
    kind     TEXT NOT NULL,
    key      TEXT NOT NULL,
    deleted  INTEGER NOT NULL
) STRICT;
CREATE TABLE events (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    json  TEXT NOT NULL,
    sum   INTEGER NOT NULL
) STRICT;
CREATE INDEX events_of_topic ON events (topic, id);
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('revision', 0), ('changes-cut', 0);
"];

/// Brings the schema of `connection` to the last of `steps`, in one transaction.
pub(crate) fn migrate(
    connection: &mut Connection,
    path: &Path,
    steps: &[&str],
) -> Result<(), StoreError> {
    let failed = |source| StoreError::sqlite("migrate")(source);
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    let found: u32 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed)?;
    if found > known {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    if found == known {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(failed)?;
    for step in steps.iter().skip(found as usize) {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction
        .pragma_update(None, "user_version", known)
        .map_err(failed)?;
    transaction
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[&str] = &[
        "CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (7);",
        "ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 3;",
    ];

    fn version(connection: &Connection) -> u32 {
        connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn an_older_schema_is_brought_forward_with_its_rows() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Path::new("x"), &STEPS[..1]).unwrap();
        migrate(&mut connection, Path::new("x"), STEPS).unwrap();
        let row: (i64, i64) = connection
            .query_row("SELECT x, y FROM a", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!((row, version(&connection)), ((7, 3), 2));
    }

    #[test]
    fn a_step_that_fails_leaves_the_old_schema_whole() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Path::new("x"), &STEPS[..1]).unwrap();
        let broken = [STEPS[0], STEPS[1], "INSERT INTO nowhere VALUES (1);"];
        assert!(matches!(
            migrate(&mut connection, Path::new("x"), &broken),
            Err(StoreError::Sqlite { .. })
        ));
        assert_eq!(version(&connection), 1);
        assert!(
            connection
                .query_row("SELECT y FROM a", [], |row| row.get::<_, i64>(0))
                .is_err(),
            "the second step was undone too"
        );
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Path::new("x"), STEPS).unwrap();
        assert!(matches!(
            migrate(&mut connection, Path::new("x"), &STEPS[..1]),
            Err(StoreError::Newer {
                found: 2,
                known: 1,
                ..
            })
        ));
    }
}
