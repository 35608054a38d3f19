//! What the store does with a state directory: keeps it for itself, survives, refuses what it cannot trust.

use daas_model::Explain;
use daas_store::{Record, Revision, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    text: String,
}

impl Record for Note {
    const KIND: &'static str = "note";
}

fn note(n: u64) -> Note {
    Note {
        text: format!("note number {n}, {}", "and some more words ".repeat(10)),
    }
}

/// A closed store with 200 notes.
async fn filled() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder can be made");
    let state = dir.path().join("state");
    let store = Store::open(&state).expect("it opens");
    for n in 0..200 {
        store
            .put(&format!("{n:04}"), &note(n))
            .await
            .expect("it is kept");
    }
    drop(store);
    (dir, state)
}

fn code(state: &Path) -> &'static str {
    Store::open(state).expect_err("it must be refused").code()
}

#[tokio::test]
async fn everything_is_there_after_closing_and_opening() {
    let (_dir, state) = filled().await;
    let store = Store::open(&state).unwrap();
    assert_eq!(
        (store.list::<Note>("").unwrap().len(), store.revision()),
        (200, Revision(200))
    );
    assert_eq!(store.get::<Note>("0077").unwrap().unwrap().value, note(77));
}

#[tokio::test]
async fn nobody_else_can_read_the_state() {
    let (_dir, state) = filled().await;
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    let store = Store::open(&state).unwrap();
    store.put("x", &note(1)).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for entry in fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_second_store_on_one_directory_is_refused_by_the_name_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert_eq!(error.code(), "store-locked");
    assert!(
        error
            .to_string()
            .contains(&format!("process {} on ", std::process::id())),
        "{error}"
    );
    let clone = first.clone();
    drop(first);
    assert_eq!(code(dir.path()), "store-locked", "a handle is left");
    drop(clone);
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_stale_lock_file_of_a_dead_process_stands_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("lock"), "1 on elsewhere\n").unwrap();
    Store::open(dir.path()).unwrap();
}

#[test]
fn an_interrupted_first_start_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("records.db.new"), b"half").unwrap();
    fs::write(dir.path().join("records.db.new-journal"), b"half").unwrap();
    Store::open(dir.path()).unwrap();
    assert!(!dir.path().join("records.db.new").exists());
}

#[test]
fn no_empty_records_are_made_beside_data() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("images")).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Missing { found, .. } if found == "images"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("backup"));
    assert!(!dir.path().join("records.db").exists());
}

#[tokio::test]
async fn damaged_records_are_refused_and_left_as_they_are() {
    let (_dir, state) = filled().await;
    let file = state.join("records.db");
    let good = fs::read(&file).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let code = code(&state);
        assert!(fs::read(&file).unwrap() == bytes, "the file was changed");
        code
    };
    assert_eq!(refused(b""), "store-damaged");
    assert_eq!(refused(&vec![0; good.len()]), "store-damaged");
    assert_eq!(refused(&vec![0; 4096]), "store-damaged");
    assert_eq!(refused(b"#!/bin/sh\n"), "store-damaged");
    assert_eq!(refused(&good[..good.len() / 2]), "store-damaged");
    fs::write(&file, &good).unwrap();
    assert_eq!(
        Store::open(&state).unwrap().list::<Note>("").unwrap().len(),
        200
    );
}

#[tokio::test]
async fn a_byte_that_changed_in_a_page_is_found_or_harmless() {
    let (_dir, state) = filled().await;
    let file = state.join("records.db");
    let good = fs::read(&file).unwrap();
    let mut refused = 0;
    for page in 0..good.len() / 4096 {
        for offset in [100, 1500, 3000, 4000] {
            let mut bad = good.clone();
            bad[page * 4096 + offset] ^= 0x20;
            fs::write(&file, &bad).unwrap();
            match Store::open(&state) {
                Err(error) => {
                    assert!(
                        [
                            "store-damaged",
                            "store-foreign",
                            "store-newer",
                            "store-failed"
                        ]
                        .contains(&error.code()),
                        "{error}"
                    );
                    refused += 1;
                }
                // A change in free space or in an index of the log: the records must all be as they were.
                Ok(store) => {
                    let notes = store.list::<Note>("").unwrap();
                    assert!(
                        notes.len() == 200
                            && notes
                                .iter()
                                .zip(0..)
                                .all(|(found, n)| found.value == note(n)),
                        "page {page}, offset {offset}"
                    );
                }
            }
            for suffix in ["-wal", "-shm"] {
                let _ = fs::remove_file(state.join(format!("records.db{suffix}")));
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn a_database_of_another_program_or_of_a_newer_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("records.db");
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("CREATE TABLE recipes (x);").unwrap();
    drop(other);
    assert_eq!(code(dir.path()), "store-foreign");
    fs::remove_file(&file).unwrap();
    drop(Store::open(dir.path()).unwrap());
    let newer = rusqlite::Connection::open(&file).unwrap();
    newer.pragma_update(None, "user_version", 999).unwrap();
    drop(newer);
    let error = Store::open(dir.path()).unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 999, .. }),
        "{error}"
    );
}

#[test]
fn a_link_in_place_of_the_records_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("records.db")).unwrap();
    assert_eq!(code(dir.path()), "store-damaged");
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("lock")).unwrap();
    assert_eq!(code(dir.path()), "store-io");
}

#[tokio::test]
async fn a_cut_log_opens_at_an_earlier_moment_and_a_lost_shm_is_made_anew() {
    let (_dir, state) = filled().await;
    // A log that was not carried into the file yet: what a power cut leaves.
    let store = Store::open(&state).unwrap();
    for n in 200..300 {
        store.put(&format!("{n:04}"), &note(n)).await.unwrap();
    }
    let (records, mut log) = (
        fs::read(state.join("records.db")).unwrap(),
        fs::read(state.join("records.db-wal")).unwrap(),
    );
    // What follows was never used.
    log.truncate(log.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    assert!(log.len() > 100_000);
    for part in 0..=10 {
        let copy = tempfile::tempdir().unwrap();
        fs::write(copy.path().join("records.db"), &records).unwrap();
        fs::write(
            copy.path().join("records.db-wal"),
            &log[..log.len() * part / 10],
        )
        .unwrap();
        let notes = Store::open(copy.path()).unwrap().list::<Note>("").unwrap();
        assert!(
            notes
                .iter()
                .zip(0..)
                .all(|(found, n)| found.value == note(n)),
            "part {part}"
        );
        match part {
            0 => assert_eq!(notes.len(), 200),
            10 => assert_eq!(notes.len(), 300),
            _ => assert!(
                (200..300).contains(&notes.len()),
                "part {part}: {}",
                notes.len()
            ),
        }
    }
}

#[tokio::test]
async fn the_log_has_its_length_from_the_beginning_and_keeps_it() {
    let (_dir, state) = filled().await;
    let store = Store::open(&state).unwrap();
    let length = || fs::metadata(state.join("records.db-wal")).unwrap().len();
    let before = length();
    for n in 0..100 {
        store.put(&format!("{n:04}"), &note(n)).await.unwrap();
    }
    assert_eq!(length(), before);
    drop(store);
    let notes = Store::open(&state).unwrap().list::<Note>("").unwrap();
    assert_eq!(notes.len(), 200);
}

/// The child of the next test: writes notes one after the other and says each number that was acknowledged.
#[test]
fn writer_child() {
    let Some(state) = std::env::var_os("DAAS_STORE_CHILD") else {
        return;
    };
    let store = Store::open(Path::new(&state)).unwrap();
    let start = store.revision().0;
    for n in start.. {
        store
            .commit_blocking(
                daas_store::Batch::new()
                    .put(&format!("{n:08}"), &note(n))
                    .unwrap(),
            )
            .unwrap();
        println!("ack {n}");
    }
}

#[test]
fn kill_9_in_the_middle_of_commits_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut acknowledged = 0u64;
    for round in 0..10u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_child", "--nocapture"])
            .env("DAAS_STORE_CHILD", &state)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acks = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("ack ")?.parse::<u64>().ok());
        // Killed after another number of commits each time; what it said until then counts.
        for _ in 0..=round * 7 {
            acknowledged = acks.next().unwrap() + 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = acks.last().map_or(acknowledged, |n| n + 1);
        let store = Store::open(&state).unwrap();
        let notes = store.list::<Note>("").unwrap();
        assert!(
            notes.len() as u64 >= acknowledged,
            "{} of {acknowledged} are left",
            notes.len()
        );
        assert!(
            notes
                .iter()
                .zip(0..)
                .all(|(found, n)| found.value == note(n)),
            "no note is torn or missing"
        );
        assert_eq!(store.revision().0, notes.len() as u64);
    }
    assert!(acknowledged > 300);
}
