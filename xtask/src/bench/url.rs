//! How soon a stand answers by its name: `cargo xtask bench url`.
//!
//! A visitor asks at the name without a pause while the stand comes up; what counts is the time from the moment at which the node's first check
//! passed, by the platform's own event, to the end of the first good answer. Events have milliseconds, so a figure may be up to 1 ms too large.

use super::QUIET;
use super::figures::{self, Spread};
use crate::trials::Bed;
use crate::trials::urls::ask;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const CONFIGURATION: &str = "ingress:\n  listen: ['127.0.0.1:0']\n  listen_tls: []\n";

/// The port is open at once, and the check passes some checks later.
const WEB: &str = "  web:
    image: trial:latest
    command: [/bin/busybox, sh, -c, 'mkdir /tmp/w; echo here > /tmp/w/index.html; (sleep 0.5; touch /tmp/ready) & exec busybox httpd -f -p 8000 -h /tmp/w']
    expose: ['8000']
    healthcheck: {test: [CMD, /bin/busybox, test, -e, /tmp/ready], interval: 100ms, start_period: 10s, start_interval: 50ms}
";

/// Asks until the answer is good; returns when that was.
fn visitor(url: String, over: Arc<AtomicBool>) -> JoinHandle<Option<SystemTime>> {
    std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            // No connection, and a page that says what is still starting, are the same here: not yet.
            if ask(&url, "/index.html").is_ok_and(|answer| answer.status == 200) {
                return Some(SystemTime::now());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        None
    })
}

/// Measures in `rounds`, and writes a table.
///
/// # Errors
/// When the stand does not come up or does not answer.
pub(super) fn run(rounds: usize) -> Result<()> {
    let program = crate::programs::release_build()?;
    let bed = Bed::configured(&program, CONFIGURATION)?;
    let project = bed.project(WEB);
    bed.api().up("soon", &project, 0)?;
    let view = bed.api().get("/stands/soon")?;
    let url = view["urls"][0]
        .as_str()
        .context("it has no URL")?
        .to_owned();
    bed.api().down("soon")?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        std::thread::sleep(QUIET);
        let before = bed.event_views("soon")?.len();
        let over = Arc::new(AtomicBool::new(false));
        let asking = visitor(url.clone(), over.clone());
        let up = bed.api().up("soon", &project, 0);
        // The visitor has as long again as the aim allows.
        std::thread::sleep(Duration::from_millis(100));
        over.store(true, Ordering::Relaxed);
        let answered = asking.join().ok().flatten();
        up?;
        let answered =
            answered.context("the name did not answer within 100 ms after the stand was up")?;
        let events = bed.event_views("soon")?;
        let healthy = events
            .iter()
            .skip(before)
            .find(|event| event["code"] == "node-health")
            .and_then(|event| event["at_ms"].as_u64())
            .context("there is no event of its health")?;
        let answered = answered.duration_since(UNIX_EPOCH)?;
        let healthy = Duration::from_millis(healthy);
        ensure!(
            answered + Duration::from_millis(1) >= healthy,
            "it answered before it was healthy"
        );
        times.push(answered.saturating_sub(healthy));
        bed.api().down("soon")?;
    }
    let most = times.iter().max().copied().unwrap_or_default();
    let spread = Spread::of(times);
    figures::print(&format!(
        "from healthy to the first good answer, ms, {rounds} rounds   median {:.1}   p10 {:.1}   p90 {:.1}   most {:.1}   (aim 50)\n",
        spread.median,
        spread.p10,
        spread.p90,
        most.as_secs_f64() * 1e3,
    ));
    let value = json!({
        "rounds": rounds, "p10_ms": spread.p10, "median_ms": spread.median, "p90_ms": spread.p90, "most_ms": most.as_secs_f64() * 1e3,
    });
    figures::write(
        "url.json",
        &value,
        &crate::workspace::root().join("target/bench"),
    )
}
