//! Damage at every named step of a stand's life.
//!
//! The program lists its steps itself: with `DAAS_STEPS_TO=<file>` the daemon and its keepers append `<step>` to the
//! file each time they pass one. With `DAAS_DAMAGE=<damage>@<step>#<n>` the n-th passing (from 1, over all processes)
//! goes wrong: `error` fails the step, `kill` ends the process by SIGKILL, `repeat` does the step twice.

use super::bed::{Bed, service};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The step fails.
    Error,
    /// The process that does it is killed.
    Kill,
    /// The step is done twice.
    Repeat,
}

impl Damage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Error, Self::Kill, Self::Repeat];

    const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Kill => "kill",
            Self::Repeat => "repeat",
        }
    }
}

/// Lives one whole life of a stand with each damage at each step, at most `most` passings of each step.
///
/// # Errors
/// Every cell that did not end done or undone within 5 s after the restart, or left something.
pub fn crash_matrix(program: &Path, most: usize) -> Result<String> {
    let steps = steps_of(program)?;
    ensure!(!steps.is_empty(), "the program names no steps");
    let mut cells = 0;
    let mut faults = Vec::new();
    for (step, passings) in &steps {
        for passing in 1..=(*passings).min(most) {
            for damage in Damage::ALL {
                cells += 1;
                if let Err(fault) = cell(program, damage, step, passing) {
                    faults.push(format!("{}@{step}#{passing}: {fault:#}", damage.word()));
                }
            }
        }
    }
    if !faults.is_empty() {
        bail!("{} of {cells} cells: {}", faults.len(), faults.join("\n"));
    }
    Ok(format!(
        "{cells} cells of {} steps end done or undone, nothing left",
        steps.len()
    ))
}

/// Lives a whole life undamaged, and tells which steps it passed how often.
fn steps_of(program: &Path) -> Result<BTreeMap<String, usize>> {
    let list = tempfile::NamedTempFile::new().context("cannot make a file")?;
    let bed = Bed::with(
        program,
        vec![("DAAS_STEPS_TO".into(), list.path().display().to_string())],
    )?;
    // What the warm-up passed is not of this life.
    list.as_file().set_len(0)?;
    live(&bed)?;
    bed.api().down("life")?;
    let mut steps = BTreeMap::new();
    for line in std::fs::read_to_string(list.path())?.lines() {
        *steps.entry(line.to_owned()).or_insert(0) += 1;
    }
    Ok(steps)
}

/// Up, change, stop, start: with a node that ends, one that goes on and one that changes.
fn live(bed: &Bed) -> Result<()> {
    let first = bed.project(&(service("stays", "sleep 1000") + &service("changes", "sleep 1000")));
    let second = bed.project(&(service("stays", "sleep 1000") + &service("changes", "sleep 2000")));
    let api = bed.api();
    api.up("life", &first, 0)?;
    api.up("life", &second, 0)?;
    let stopped = api.post("/stands/life/stop", &serde_json::json!({"grace": "1s"}))?;
    api.wait_all(&stopped)?;
    let started = api.post("/stands/life/start", &serde_json::json!({}))?;
    api.wait_all(&started)
}

fn cell(program: &Path, damage: Damage, step: &str, passing: usize) -> Result<()> {
    let mut bed = Bed::new(program)?;
    bed.daemon.stop()?;
    bed.daemon.set_environment(vec![(
        "DAAS_DAMAGE".into(),
        format!("{}@{step}#{passing}", damage.word()),
    )]);
    bed.daemon.start_again()?;
    // The damaged life may fail anywhere; what counts is how it ends.
    let _ = live(&bed);
    let _ = bed.api().down("life");
    bed.daemon.set_environment(Vec::new());
    if bed.daemon.ends_within(Duration::from_millis(1)) {
        bed.daemon.start_again()?;
    } else {
        bed.daemon.kill()?;
        bed.daemon.start_again()?;
    }
    let until = Instant::now() + Duration::from_secs(5);
    while bed.api().get("/stands/life").is_ok() {
        // Undone as far as the stand was still wanted: then asking again must end it.
        let _ = bed.api().down("life");
        ensure!(Instant::now() < until, "the stand is still there after 5 s");
        std::thread::sleep(Duration::from_millis(50));
    }
    bed.nothing_is_left()
}
