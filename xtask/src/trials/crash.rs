//! Damage at every named step of a stand's life.
//!
//! The keeper lists its steps itself (`daas_keeper::steps::ALL`). With `DAAS_FAIL_AT=<step>#<n>` the n-th passing of a
//! step in a keeper fails, with `DAAS_CRASH_AT=<step>#<n>` it ends the keeper by SIGKILL. Repetition needs no damage of
//! its own: after each one the whole life is asked for again.

use super::bed::{Bed, service};
use crate::house::Api;
use anyhow::{Result, bail, ensure};
use std::path::Path;
use std::time::{Duration, Instant};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The step fails.
    Error,
    /// The process that does it is killed.
    Kill,
}

impl Damage {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Error, Self::Kill];

    const fn variable(self) -> &'static str {
        match self {
            Self::Error => "DAAS_FAIL_AT",
            Self::Kill => "DAAS_CRASH_AT",
        }
    }
}

/// How long a damaged life is waited for: one that cannot succeed is tried again and again.
const DAMAGED: Duration = Duration::from_secs(2);

/// Lives one whole life of a stand with each damage at each of `steps`, at its first `passings` passings.
///
/// # Errors
/// Every cell that did not end done or undone within 5 s after the restart, or left something.
pub fn crash_matrix(program: &Path, steps: &[&str], passings: u32) -> Result<String> {
    let mut cells = 0;
    let mut faults = Vec::new();
    let mut bed = Bed::new(program)?;
    for step in steps {
        for passing in 1..=passings {
            for damage in Damage::ALL {
                cells += 1;
                let started = Instant::now();
                let ended = cell(&mut bed, damage, step, passing);
                // A matrix takes minutes: whoever waits sees each cell as it ends.
                let word = ended
                    .as_ref()
                    .map_or_else(|fault| format!("FAILED: {fault:#}"), |()| "good".to_owned());
                let took = started.elapsed().as_millis();
                eprintln!("{}={step}#{passing}: {took} ms, {word}", damage.variable());
                if let Err(fault) = ended {
                    faults.push(format!("{}={step}#{passing}: {fault:#}", damage.variable()));
                    // What this cell left must not be blamed on the next.
                    bed = Bed::new(program)?;
                }
            }
        }
    }
    if !faults.is_empty() {
        bail!("{} of {cells} cells:\n{}", faults.len(), faults.join("\n"));
    }
    Ok(format!(
        "{cells} cells of {} steps end done or undone, nothing left",
        steps.len()
    ))
}

/// Up, change, stop, start: with a node that stays and one that changes.
fn live(bed: &Bed, api: &Api) -> Result<()> {
    let first = bed.project(&(service("stays", "sleep 1000") + &service("changes", "sleep 1000")));
    let second = bed.project(&(service("stays", "sleep 1000") + &service("changes", "sleep 2000")));
    api.up("life", &first, 0)?;
    api.up("life", &second, 0)?;
    let stopped = api.post("/stands/life/stop", &serde_json::json!({"grace": "100ms"}))?;
    api.wait_all(&stopped)?;
    let started = api.post("/stands/life/start", &serde_json::json!({}))?;
    api.wait_all(&started)?;
    api.down("life")
}

fn cell(bed: &mut Bed, damage: Damage, step: &str, passing: u32) -> Result<()> {
    bed.daemon.kill()?;
    bed.daemon.set_environment(vec![(
        damage.variable().into(),
        format!("{step}#{passing}"),
    )]);
    bed.daemon.start_again()?;
    // The damaged life may fail anywhere; what counts is how it ends.
    let _ = live(bed, &bed.api().patient_for(DAMAGED));
    bed.daemon.kill()?;
    bed.daemon.set_environment(Vec::new());
    bed.daemon.start_again()?;
    let until = Instant::now() + Duration::from_secs(5);
    while bed.api().get("/stands/life").is_ok() {
        let _ = bed.api().patient_for(DAMAGED).down("life");
        ensure!(
            Instant::now() < until,
            "the stand is still there after 5 s: {:?}",
            bed.api().get("/stands/life")
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    bed.nothing_is_left()?;
    // The same life once more, whole.
    live(bed, &bed.api())?;
    bed.nothing_is_left()
}
