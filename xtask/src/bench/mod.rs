//! Figures of stands: `cargo xtask bench stand`.
//!
//! Contenders take turns: each round brings one stand of three nodes up and down by each of them, with 100 ms of quiet
//! before every step, so that what the machine does besides hits all alike (engine reference, section 0). A ratio of
//! two medians of one run is worth quoting; a time is not.

mod alive;
mod build;
mod compose;
mod dns;
mod figures;
mod image;
mod ingress;
mod limit;
mod product;
mod registry;
mod runc;
mod ssh;
mod url;

use crate::workspace;
use anyhow::{Context, Result, bail};
pub(crate) use figures::print as say;
use figures::{Figures, Sample};
pub(crate) use ingress::h2spec;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Long enough for one grace period of RCU and for the worker threads of the kernel (engine reference, pitfall 11).
const QUIET: Duration = Duration::from_millis(100);

/// Someone who can bring a stand of three nodes up and down.
trait Contender {
    /// What the table calls it.
    fn name(&self) -> &'static str;
    /// Brings the stand up; it is up when all three nodes run.
    fn up(&mut self) -> Result<Duration>;
    /// Brings it down; it is down when nothing of it is left.
    fn down(&mut self) -> Result<Duration>;
}

/// Runs `work` and tells how long it took.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed())
}

/// Measures all contenders and prints the table; `words` are `stand [rounds]`.
///
/// # Errors
/// When a contender cannot do its work: a figure that leaves one out would flatter the others.
pub(crate) fn run(words: &[String]) -> Result<()> {
    match words {
        [what, rest @ ..] if what == "stand" => stand(rest, true),
        [what, rest @ ..] if what == "quick" => stand(rest, false),
        [what, place, image, cgroups] if what == "limit-once" => {
            let times = limit::once(Path::new(place), Path::new(image), Path::new(cgroups))?;
            figures::print(&format!(
                "{} {}",
                times.up.as_nanos(),
                times.down.as_nanos()
            ));
            Ok(())
        }
        [what] if what == "alive" => alive::run(300),
        [what, most] if what == "alive" => alive::run(most.parse().context("stands are a number")?),
        [what] if what == "build" => build_images(5),
        [what, rounds] if what == "build" => {
            build_images(rounds.parse().context("rounds are a number")?)
        }
        [what] if what == "ingress" => ingress::run(3, &[1, 100, 5000]),
        [what, rounds] if what == "ingress" => ingress::run(
            rounds.parse().context("rounds are a number")?,
            &[1, 100, 5000],
        ),
        [what, rounds, routes] if what == "ingress" => ingress::run(
            rounds.parse().context("rounds are a number")?,
            &[routes.parse().context("routes are a number")?],
        ),
        [what] if what == "registry" => registry::run(5),
        [what, large] if what == "registry" && large == "large" => registry::large(4 << 30),
        [what, rounds] if what == "registry" => {
            registry::run(rounds.parse().context("rounds are a number")?)
        }
        [what] if what == "ssh" => ssh::run(15),
        [what, rounds] if what == "ssh" => ssh::run(rounds.parse().context("rounds are a number")?),
        [what] if what == "url" => url::run(20),
        [what, rounds] if what == "url" => url::run(rounds.parse().context("rounds are a number")?),
        [what] if what == "dns" => dns::run(3),
        [what, rounds] if what == "dns" => dns::run(rounds.parse().context("rounds are a number")?),
        _ => bail!(
            "usage: cargo xtask bench stand [rounds] | quick [rounds] | alive [stands] | build | dns [rounds] | ssh [rounds] | url [rounds] | registry [rounds | large] | ingress [rounds [routes]]"
        ),
    }
}

/// Compares builds of images.
fn build_images(rounds: usize) -> Result<()> {
    let place = Place::new()?;
    build::run(rounds, &image::tree(&place.0)?)
}

/// Lets contenders take turns; without `peers` only the limit and the product, for work on the product.
fn stand(words: &[String], peers: bool) -> Result<()> {
    let rounds: usize = match words {
        [] => 10,
        [number] => number.parse().context("rounds are a number")?,
        _ => bail!("usage: cargo xtask bench stand|quick [rounds]"),
    };
    let place = Place::new()?;
    let image = image::tree(&place.0)?;
    let mut contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(limit::Limit::new(&place.0, &image)?),
        Box::new(product::Product::new(&image)?),
    ];
    if peers {
        contenders.push(Box::new(runc::Runc::new(&place.0, &image)?));
        contenders.push(Box::new(compose::Compose::new(&place.0, &image)?));
    }
    let mut samples: Vec<Vec<Sample>> = contenders.iter().map(|_| Vec::new()).collect();
    // The first round warms caches and is not counted.
    for round in 0..=rounds {
        for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
            let name = contender.name();
            std::thread::sleep(QUIET);
            let up = contender
                .up()
                .with_context(|| format!("{name} does not come up"))?;
            std::thread::sleep(QUIET);
            let down = contender
                .down()
                .with_context(|| format!("{name} does not go down"))?;
            if round > 0 {
                samples.push(Sample { up, down });
            }
        }
        if std::io::stderr().is_terminal() {
            eprint!("\rround {round} of {rounds} ");
        }
    }
    let figures = contenders
        .iter()
        .zip(&samples)
        .map(|(c, samples)| Figures::of(c.name(), samples))
        .collect::<Vec<_>>();
    drop(contenders);
    figures::report(&figures, rounds, &workspace::root().join("target/bench"))
}

/// A folder for one run, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("daas-bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
