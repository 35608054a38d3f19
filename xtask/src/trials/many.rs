//! The same compose file with fixed addresses, many times at once.

use super::bed::{Bed, IMAGE, fetch};
use crate::house::Api;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::process::Command;
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
    let tried = nobody_is_reached(&api, &addresses)?;
    let asked = Instant::now();
    for number in 1..=count {
        api.down(&format!("many-{number}"))?;
    }
    let down = asked.elapsed();
    bed.nothing_is_left()?;
    Ok(format!(
        "{count} stands of 3 nodes up in {:.2} s, each with its own words, {tried} ways to others and to the host closed, down in {:.2} s, nothing left",
        up.as_secs_f64(),
        down.as_secs_f64()
    ))
}

/// How many others each stand tries: all of fifty.
const MOST: usize = 49;

/// Tries, from each stand, the addresses of others and of the host, directly and through the stand's proxy.
fn nobody_is_reached(api: &Api, addresses: &[IpAddr]) -> Result<usize> {
    // The way in to a stand is for the host, not for neighbours; and nothing of the host answers a stand.
    let host = TcpListener::bind("0.0.0.0:0")?;
    host.set_nonblocking(true)?;
    let port = host.local_addr()?.port();
    let of_host: Vec<String> = addresses_of_host()?
        .iter()
        .map(|address| format!("{address}:{port}"))
        .collect();
    let mut tried = 0;
    for index in 0..addresses.len() {
        let others = addresses.iter().cycle().skip(index + 1);
        let targets: Vec<String> = others
            .take((addresses.len() - 1).min(MOST))
            .map(|other| format!("{other}:80"))
            .collect();
        let script = "for target; do
            busybox nc -w 1 ${target%:*} ${target#*:} </dev/null >/dev/null 2>&1 && echo directly $target
            http_proxy=$HTTP_PROXY busybox wget -Y on -q -T 2 -O - http://$target/ >/dev/null 2>&1 && echo by proxy $target
        done; test -n \"$HTTP_PROXY\" && echo done";
        let mut command = vec!["/bin/busybox", "sh", "-c", script, "sh"];
        command.extend(targets.iter().chain(&of_host).map(String::as_str));
        let said = api.exec(&format!("many-{}", index + 1), "app", &command)?;
        ensure!(
            said.out == b"done\n",
            "many-{} reached others: {said:?}",
            index + 1
        );
        tried += 2 * (targets.len() + of_host.len());
    }
    ensure!(host.accept().is_err(), "a stand reached the host");
    Ok(tried)
}

/// Lists the host's IPv4 addresses: of its interfaces, and of its loopback.
fn addresses_of_host() -> Result<Vec<String>> {
    let said = Command::new("ip").args(["-4", "-o", "addr"]).output()?;
    let text = String::from_utf8(said.stdout)?;
    let found: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3)?.split('/').next())
        .map(str::to_owned)
        .collect();
    // 127.0.0.1 inside of a stand is the stand itself: through the proxy it would be the host.
    ensure!(!found.is_empty(), "the host has no address");
    Ok(found)
}
