//! The same compose file with fixed addresses, many times at once.

use super::bed::{Bed, IMAGE, fetch};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

fn project() -> String {
    // The words of each stand are drawn inside of it, so no two can have the same by chance or by sharing.
    let speak =
        "cat /proc/sys/kernel/random/uuid > /tmp/index.html; exec busybox httpd -f -p 80 -h /tmp";
    format!(
        "  web:
    image: {IMAGE}
    container_name: web
    command: [/bin/busybox, sh, -c, '{speak}']
    ports: ['80:80']
    networks: {{default: {{ipv4_address: 10.77.0.10}}}}
  app:
    image: {IMAGE}
    command: [/bin/busybox, sleep, '100000']
    networks: {{default: {{ipv4_address: 10.77.0.11}}}}
  store:
    image: {IMAGE}
    command: [/bin/busybox, sleep, '100000']
    networks: {{default: {{ipv4_address: 10.77.0.12}}}}
networks:
  default: {{ipam: {{config: [{{subnet: 10.77.0.0/24}}]}}}}
"
    )
}

/// Brings `count` stands of one file up at once, looks into each from outside and inside, and throws them away.
///
/// # Errors
/// When one answers with the words of another, reaches another, or leaves something behind.
pub fn many_at_once(program: &Path, count: u32) -> Result<String> {
    let bed = Bed::new(program)?;
    let api = bed.api();
    let project = bed.project(&project());
    let started = Instant::now();
    api.up("many", &project, count)?;
    let up = started.elapsed();
    let mut words = BTreeSet::new();
    let mut addresses = Vec::new();
    for number in 1..=count {
        let stand = format!("many-{number}");
        let address = bed.address(&stand)?;
        let own = api
            .exec(&stand, "web", &["/bin/cat", "/tmp/index.html"])?
            .out;
        let own = String::from_utf8_lossy(&own).into_owned();
        let outside = fetch(address, 80).with_context(|| format!("stand {stand} at {address}"))?;
        ensure!(
            outside == own,
            "{stand} says {own:?} and its address {address} {outside:?}"
        );
        // Busybox knows no NO_PROXY: without `-Y off` it would ask the stand's proxy for a neighbour.
        let inside = api.exec(
            &stand,
            "app",
            &[
                "/bin/wget",
                "-Y",
                "off",
                "-q",
                "-O",
                "-",
                "http://10.77.0.10/",
            ],
        )?;
        ensure!(
            inside.out == own.as_bytes(),
            "{stand}: a neighbour inside heard {inside:?}"
        );
        ensure!(words.insert(own), "{stand} says the words of another");
        addresses.push(address);
    }
    // From the first stand to the address of the last: the way in is for the host, not for neighbours.
    if let Some(last) = addresses.last().filter(|_| count > 1) {
        let url = format!("http://{last}/");
        let reached = api.exec(
            "many-1",
            "app",
            &["/bin/wget", "-Y", "off", "-q", "-T", "2", "-O", "-", &url],
        )?;
        ensure!(reached.code != 0, "many-1 reached {last}: {reached:?}");
    }
    let asked = Instant::now();
    for number in 1..=count {
        api.down(&format!("many-{number}"))?;
    }
    let down = asked.elapsed();
    bed.nothing_is_left()?;
    Ok(format!(
        "{count} stands of 3 nodes up in {:.2} s, each with its own words, down in {:.2} s, nothing left",
        up.as_secs_f64(),
        down.as_secs_f64()
    ))
}
