//! Damage at every named step of a stand's life.
//!
//! The keeper and the daemon list their steps themselves (`daas_keeper::steps::ALL`, `daas_control::steps::ALL`). With
//! `DAAS_FAIL_AT=<step>#<n>` the n-th passing of a step fails, with `DAAS_CRASH_AT=<step>#<n>` it ends its process by
//! SIGKILL, with `DAAS_REPEAT_AT=<step>#<n>` the daemon has the engine do it twice. A keeper's steps are repeated by
//! those of the daemon and by the whole life that follows each damage.

use super::bed::{Bed, service};
use crate::house::Api;
use anyhow::{Context, Result, bail, ensure};
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
    /// Those that `step` can suffer.
    fn of(step: &str) -> &'static [Self] {
        if daas_control::steps::REPEATED.contains(&step) {
            &[Self::Error, Self::Kill, Self::Repeat]
        } else {
            &[Self::Error, Self::Kill]
        }
    }

    const fn variable(self) -> &'static str {
        match self {
            Self::Error => "DAAS_FAIL_AT",
            Self::Kill => "DAAS_CRASH_AT",
            Self::Repeat => "DAAS_REPEAT_AT",
        }
    }
}

/// How long a damaged life is waited for: one that cannot succeed is tried again and again.
const DAMAGED: Duration = Duration::from_secs(1);

/// Lives one whole life of a stand with each damage at each of `steps`, at its first `passings` passings.
///
/// # Errors
/// Every cell that did not end done or undone within 5 s after the restart, or left something.
pub fn crash_matrix(program: &Path, steps: &[&str], passings: u32) -> Result<String> {
    let (mut cells, mut felt) = (0, 0);
    let mut faults = Vec::new();
    let mut bed = Bed::new(program)?;
    // A matrix that damages nothing would be good everywhere.
    live(&bed, &bed.api()).1.context("a life without damage")?;
    for step in steps {
        for passing in 1..=passings {
            for &damage in Damage::of(step) {
                cells += 1;
                let started = Instant::now();
                let ended = cell(&mut bed, damage, step, passing);
                // A matrix takes minutes: whoever waits sees each cell as it ends.
                let word = match &ended {
                    Ok(true) => "good".to_owned(),
                    Ok(false) => "good, mended unseen".to_owned(),
                    Err(fault) => format!("FAILED: {fault:#}"),
                };
                let took = started.elapsed().as_millis();
                eprintln!("{}={step}#{passing}: {took} ms, {word}", damage.variable());
                match ended {
                    Ok(one) => felt += u32::from(one),
                    Err(fault) => {
                        faults.push(format!("{}={step}#{passing}: {fault:#}", damage.variable()));
                        // What this cell left must not be blamed on the next.
                        bed = Bed::new(program)?;
                    }
                }
            }
        }
    }
    if !faults.is_empty() {
        bail!("{} of {cells} cells:\n{}", faults.len(), faults.join("\n"));
    }
    Ok(format!(
        "{cells} cells of {} steps end done or undone, nothing left; each was met, {felt} were felt by a request or in the log",
        steps.len()
    ))
}

/// How far a life came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Up, change, stop, start, restart: the stand is wanted, or was never taken on.
    ToLive,
    /// Down: the stand is unwanted, and nobody has to say so twice.
    ToEnd,
}

/// Up, change, stop, start, restart, down: with a node that stays, one that changes, and another ceiling.
///
/// What fails does not keep the rest from being asked, as a person or a pipeline would ask.
fn live(bed: &Bed, api: &Api) -> (Asked, Result<()>) {
    // A first process that handles no signal hears none: without the short grace each change would take 10 s.
    let grace = "    stop_grace_period: 100ms\n";
    let nodes = |seconds: u32| {
        let changes = service("changes", &format!("sleep {seconds}"));
        let ceiling = format!("x-daas:\n  limits:\n    pids: {seconds}\n");
        service("stays", "sleep 1000") + grace + &changes + grace + &ceiling
    };
    let act = |action: &str| -> Result<()> {
        let accepted = api.post(
            &format!("/stands/life/{action}"),
            &serde_json::json!({"grace": "100ms"}),
        )?;
        api.wait_all(&accepted)
    };
    let lived = [
        api.up("life", &bed.project(&nodes(1000)), 0),
        api.up("life", &bed.project(&nodes(2000)), 0),
        act("stop"),
        act("start"),
        act("restart"),
    ];
    let lived = lived.into_iter().collect::<Result<Vec<()>>>();
    match api.delete("/stands/life") {
        Ok(accepted) => {
            let ended = api.wait_all(&accepted);
            (Asked::ToEnd, lived.and(ended))
        }
        Err(fault) => (Asked::ToLive, lived.and(Err(fault))),
    }
}

/// Waits until a stand is all there or all gone, 5 s at most, without asking for anything.
fn settle(bed: &Bed, asked: Asked) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let Ok(view) = bed.api().get("/stands/life") else {
            return Ok(());
        };
        let state = view["state"].as_str().unwrap_or_default();
        if asked == Asked::ToLive && ["running", "stopped"].contains(&state) {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "asked {asked:?}, after 5 s neither done nor undone: {view}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns whether anybody outside of the keeper felt the damage.
fn cell(bed: &mut Bed, damage: Damage, step: &str, passing: u32) -> Result<bool> {
    bed.daemon.kill()?;
    let met = bed.daemon.place().join("met");
    bed.daemon.set_environment(vec![
        (damage.variable().into(), format!("{step}#{passing}")),
        ("DAAS_MET".into(), met.display().to_string()),
    ]);
    bed.daemon.start_again()?;
    let complaints = |bed: &Bed| bed.daemon.said().matches("WARN").count();
    let before = complaints(bed);
    // The damaged life may fail anywhere; what counts is how it ends.
    let (asked, lived) = live(bed, &bed.api().patient_for(DAMAGED));
    let felt = lived.is_err() || complaints(bed) > before;
    bed.daemon.kill()?;
    bed.daemon.set_environment(Vec::new());
    bed.daemon.start_again()?;
    settle(bed, asked)?;
    if asked == Asked::ToLive && bed.api().get("/stands/life").is_ok() {
        bed.api().down("life").context("down after the damage")?;
    }
    ensure!(met.exists(), "a life does not come to this step");
    std::fs::remove_file(&met)?;
    bed.nothing_is_left()?;
    // The same life once more, whole.
    live(bed, &bed.api())
        .1
        .context("the life after the damage")?;
    bed.nothing_is_left()?;
    Ok(felt)
}
