//! Traefik before the ingress, told of hosts by its HTTP provider.
//!
//! It is no package of a distribution, so that no test may need it; `cargo xtask soak traefik` takes a program that somebody has. Its source wants a folder
//! `webui/static` with any file in it, then `go build ./cmd/traefik` makes one.

use super::bed::{Bed, service};
use anyhow::{Context, Result, ensure};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long Traefik may take to ask again: its shortest pause is a second.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> Result<u16> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(socket.local_addr()?.port())
}

/// Lets Traefik, the program that `DAAS_TRAEFIK` names, ask for the hosts of stands that come and go, and visits them through it.
///
/// # Errors
/// When it shows no page of a stand that is there, or one of a stand that is not, or what it was told is not as it wants it.
pub fn behind_traefik(program: &Path) -> Result<String> {
    let traefik = std::env::var_os("DAAS_TRAEFIK").context(
        "DAAS_TRAEFIK names no program; `go build ./cmd/traefik` in its source, with a file in `webui/static`, makes one",
    )?;
    let folder = tempfile::tempdir()?;
    let tokens = folder.path().join("tokens");
    let made = Command::new(program)
        .args(["system", "token", "edge", "--role", "reader", "--file"])
        .arg(&tokens)
        .output()?;
    ensure!(made.status.success(), "no token: {made:?}");
    let token = String::from_utf8(made.stdout)?;
    let (door, inside, outside) = (free_port()?, free_port()?, free_port()?);
    let bed = Bed::configured(
        program,
        &format!(
            "  spares: 0\nlisten:\n  - {{address: '127.0.0.1:{door}', tokens: '{}'}}\ningress:\n  listen: ['127.0.0.1:{inside}']\n  trusted_proxies: [127.0.0.1/32]\n",
            tokens.display()
        ),
    )?;
    let log = folder.path().join("log");
    let configuration = serde_json::json!({
        "entryPoints": { "web": { "address": format!("127.0.0.1:{outside}") } },
        "providers": { "http": {
            "endpoint": format!("http://127.0.0.1:{door}/api/v1/routes/traefik"),
            "pollInterval": "1s",
            "headers": { "Authorization": format!("Bearer {}", token.trim()) },
        } },
        "global": { "checkNewVersion": false, "sendAnonymousUsage": false },
        "log": { "level": "INFO", "filePath": log },
    });
    // JSON is YAML, too.
    let file = folder.path().join("traefik.yaml");
    std::fs::write(&file, configuration.to_string())?;
    let child = Command::new(&traefik)
        .arg(format!("--configFile={}", file.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", traefik.display()))?;
    let _edge = Running(child);
    let visit = |host: &str| visit(outside, host);
    let eventually = |what: &str, look: &dyn Fn() -> Result<bool>| -> Result<Duration> {
        let begun = Instant::now();
        while !look()? {
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            ensure!(
                begun.elapsed() < PATIENCE,
                "{what} does not happen: {}",
                said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(begun.elapsed())
    };
    // With no host there is nothing, and that is an answer that Traefik takes.
    eventually("an answer of Traefik", &|| {
        Ok(visit("none.localhost")?.1 == "404")
    })?;
    let page = |words: &str| {
        service(
            "web",
            &format!(
                "mkdir -p /tmp/w && echo {words} > /tmp/w/index.html && exec busybox httpd -f -p 8000 -h /tmp/w"
            ),
        ) + "    expose: ['8000']\n"
    };
    let mut came = Vec::new();
    for (stand, words) in [("shop", "first"), ("shop-2", "second")] {
        bed.api().up(stand, &bed.project(&page(words)), 0)?;
        for host in [
            format!("web.{stand}.localhost"),
            format!("{stand}.localhost"),
        ] {
            let expected = (format!("{words}\n"), "200".to_owned());
            came.push(eventually(&host, &|| Ok(visit(&host)? == expected))?);
        }
    }
    bed.api().down("shop")?;
    // Traefik's own page: no host of that name is known to it any more.
    let gone = eventually("the end of a host", &|| {
        let (page, status) = visit("web.shop.localhost")?;
        Ok(status == "404" && page.contains("404 page not found"))
    })?;
    ensure!(
        visit("web.shop-2.localhost")?.1 == "200",
        "another stand went, too"
    );
    bed.api().down("shop-2")?;
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    let faults: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("ERR") || line.contains("level=error"))
        .collect();
    ensure!(faults.is_empty(), "Traefik says:\n{}", faults.join("\n"));
    bed.nothing_is_left()?;
    let longest = came.iter().max().copied().unwrap_or_default();
    Ok(format!(
        "two stands came and went behind Traefik, which asked each second: hosts there after {} ms at most, gone after {} ms",
        longest.as_millis(),
        gone.as_millis()
    ))
}

/// Returns the page of a host and its status.
fn visit(port: u16, host: &str) -> Result<(String, String)> {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--max-time",
            "10",
            "--write-out",
            "\n%{http_code}",
        ])
        .args(["--header", &format!("Host: {host}")])
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .context("cannot run curl")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (page, status) = text.rsplit_once('\n').context("curl says nothing")?;
    Ok((page.to_owned(), status.to_owned()))
}
