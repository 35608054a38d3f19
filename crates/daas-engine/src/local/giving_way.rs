//! Stands that take much of the processors give way to those that take little.
//!
//! The kernel lets a program that wakes up run at once only while what runs there has had its slice; otherwise it waits for the next tick, up to
//! 4 ms, at every step of a request. Beside a stand whose programs never sleep, answers that take a millisecond take ten now and then.
//! A cgroup that is idle (`cpu.idle`, Documentation/admin-guide/cgroup-v2.rst) is left at once for one that is not, and still gets all
//! the time that nobody else wants (decision 29).
//!
//! Not here: how much a stand may take at most (`daas-keeper`, its ceiling).

use super::LocalEngine;
use super::look::cpu_us;
use daas_keeper::protocol::CgroupPaths;
use daas_model::StandId;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often is looked. What one look costs is one file, while all stands together take little.
const LOOK: Duration = Duration::from_millis(200);
/// How long a stand gives way after it last took much: it may only have paused.
const CALM: Duration = Duration::from_secs(2);
/// Who takes less than this part of a processor takes little, however many there are.
const LITTLE: f64 = 0.25;

/// What was seen of one stand.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    cpu_us: u64,
    took_much: Option<Instant>,
    gives_way: bool,
}

/// Who gives way.
#[derive(Debug, Default)]
struct Shares {
    seen: HashMap<StandId, Seen>,
}

impl Shares {
    /// Judges all stands by the time that each has used so far, in microseconds; returns whose fate changes.
    fn judge(
        &mut self,
        used: &[(StandId, u64)],
        processors: f64,
        now: Instant,
    ) -> Vec<(StandId, bool)> {
        let mut rates = HashMap::new();
        for (stand, cpu_us) in used {
            let seen = self.seen.entry(stand.clone()).or_insert(Seen {
                at: now,
                cpu_us: *cpu_us,
                took_much: None,
                gives_way: false,
            });
            let passed = now.saturating_duration_since(seen.at).as_secs_f64();
            let more = Duration::from_micros(cpu_us.saturating_sub(seen.cpu_us)).as_secs_f64();
            if passed > 0.0 {
                rates.insert(stand.clone(), more / passed);
            }
            (seen.at, seen.cpu_us) = (now, *cpu_us);
        }
        self.seen
            .retain(|stand, _| used.iter().any(|(known, _)| known == stand));
        let active = rates.values().filter(|rate| **rate > 0.01).count();
        // Half of what would be everybody's part, with one more who sleeps.
        let much = LITTLE.max(processors / (2.0 * (1.0 + active as f64)));
        let modest: f64 = rates.values().filter(|rate| **rate <= much).sum();
        // Where the modest ones alone fill the machine, who gives way would get nothing.
        let room = modest <= processors / 2.0;
        let mut changes = Vec::new();
        for (stand, seen) in &mut self.seen {
            if rates.get(stand).is_some_and(|rate| *rate > much) {
                seen.took_much = Some(now);
            }
            let lately = seen
                .took_much
                .is_some_and(|at| now.saturating_duration_since(at) < CALM);
            let gives_way = room && lately;
            if gives_way != seen.gives_way {
                seen.gives_way = gives_way;
                changes.push((stand.clone(), gives_way));
            }
        }
        changes
    }

    fn anybody_gives_way(&self) -> bool {
        self.seen.values().any(|seen| seen.gives_way)
    }
}

impl LocalEngine {
    /// Looks after who takes how much of the processors, until the shutdown.
    pub(super) fn let_give_way(&self) {
        let engine = self.clone();
        self.inner
            .tasks
            .run("shares of the processors", |shutdown| async move {
                let processors = std::thread::available_parallelism().map_or(1, |n| n.get()) as f64;
                let (mut shares, mut all) = (Shares::default(), None);
                loop {
                    tokio::select! {
                        () = tokio::time::sleep(LOOK) => {}
                        () = shutdown.asked() => return,
                    }
                    match engine.look_at_shares(shares, all, processors).await {
                        Some(looked) => (shares, all) = looked,
                        None => return,
                    }
                }
            });
    }

    fn groups_of_stands(&self) -> Vec<(StandId, CgroupPaths)> {
        super::lock(&self.inner.stands)
            .iter()
            .filter_map(|(id, place)| {
                Some((id.clone(), place.link.as_ref()?.hello.cgroups.clone()))
            })
            .collect()
    }

    /// Looks once. `all` is what all stands together had used, and when; returns the same of now, or nothing at the end of the program.
    async fn look_at_shares(
        &self,
        mut shares: Shares,
        all: Option<(Instant, u64)>,
        processors: f64,
    ) -> Option<(Shares, Option<(Instant, u64)>)> {
        let engine = self.clone();
        let look = move || {
            let now = Instant::now();
            let total = cpu_us(&engine.inner.platform_cgroups);
            let rate = all.map_or(0.0, |(at, before)| {
                let more = Duration::from_micros(total.saturating_sub(before)).as_secs_f64();
                more / now.saturating_duration_since(at).as_secs_f64().max(1e-3)
            });
            if rate > LITTLE || shares.anybody_gives_way() {
                let stands = engine.groups_of_stands();
                let used: Vec<(StandId, u64)> = stands
                    .iter()
                    .map(|(id, paths)| (id.clone(), cpu_us(paths)))
                    .collect();
                for (stand, gives_way) in shares.judge(&used, processors, now) {
                    tracing::debug!(%stand, gives_way, "share of the processors");
                    let folder = stands
                        .iter()
                        .find_map(|(id, paths)| (*id == stand).then(|| cpu_folder(paths))?);
                    // A stand that ends meanwhile has no group any more; older kernels know no such thing.
                    if let Some(folder) = folder {
                        let _ = daas_sys::cgroup::give_way(&folder, gives_way);
                    }
                }
            }
            (shares, Some((now, total)))
        };
        self.blocking("look at shares of the processors", look)
            .await
            .ok()
    }
}

fn cpu_folder(paths: &CgroupPaths) -> Option<PathBuf> {
    paths.v1.get("cpu").or(paths.unified.as_ref()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> StandId {
        StandId::parse(name).unwrap()
    }

    /// Lets stands take these parts of a processor, in hundredths, for a while; returns who gives way then.
    fn after(
        shares: &mut Shares,
        at: &mut Instant,
        percents: &[(&str, u64)],
        processors: f64,
    ) -> Vec<String> {
        let mut used: HashMap<StandId, u64> = shares
            .seen
            .iter()
            .map(|(stand, seen)| (stand.clone(), seen.cpu_us))
            .collect();
        for _ in 0..2 {
            let now: Vec<_> = percents
                .iter()
                .map(|(name, percent)| {
                    let sum = used.entry(id(name)).or_default();
                    *sum += percent * 8_000;
                    (id(name), *sum)
                })
                .collect();
            shares.judge(&now, processors, *at);
            *at += Duration::from_millis(800);
        }
        let mut who: Vec<String> = shares
            .seen
            .iter()
            .filter(|(_, seen)| seen.gives_way)
            .map(|(stand, _)| stand.to_string())
            .collect();
        who.sort();
        who
    }

    #[test]
    fn who_takes_much_gives_way_until_he_was_calm_for_a_while() {
        let (mut shares, mut at) = (Shares::default(), Instant::now());
        assert_eq!(
            after(&mut shares, &mut at, &[("quiet", 15), ("loud", 100)], 2.0),
            ["loud"]
        );
        assert_eq!(
            after(&mut shares, &mut at, &[("quiet", 15), ("loud", 0)], 2.0),
            ["loud"]
        );
        assert!(after(&mut shares, &mut at, &[("quiet", 15), ("loud", 0)], 2.0).is_empty());
        // Alone on the machine he gives way to nobody, which costs him nothing.
        assert_eq!(after(&mut shares, &mut at, &[("loud", 190)], 2.0), ["loud"]);
        assert_eq!(shares.seen.len(), 1, "who is gone is forgotten");
    }

    #[test]
    fn where_the_modest_fill_the_machine_nobody_starves() {
        let (mut shares, mut at) = (Shares::default(), Instant::now());
        let names: Vec<String> = (0..8).map(|n| format!("s{n}")).collect();
        let mut parts: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 24)).collect();
        parts.push(("more", 30));
        assert!(after(&mut shares, &mut at, &parts, 2.0).is_empty());
    }
}
