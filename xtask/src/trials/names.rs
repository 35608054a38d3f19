//! Names of stands: there with the stand, gone with it, and there again after a crash of the daemon.

use super::bed::{Bed, service};
use anyhow::{Context, Result, ensure};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a name may take to come or go before the trial fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Brings stands up and down and asks `dig` for their names.
///
/// # Errors
/// What is not answered as it should.
pub fn names_follow_stands(program: &Path) -> Result<()> {
    let server = free_address()?;
    let configuration = format!(
        "  spares: 0\ndns:\n  listen: ['{server}']\n  zone: dev.example.test\n  address: [192.0.2.80]\n  zones: {{office.test: {{records: ['www A 192.0.2.7']}}}}\n"
    );
    let mut bed = Bed::configured(program, &configuration)?;
    let project = bed.project(&format!(
        "{}{}",
        service("web", "sleep 1000"),
        service("db", "sleep 1000")
    ));
    bed.api().up("shop-7", &project, 0)?;
    for name in ["shop-7", "web.shop-7", "db.shop-7", "whatever.shop-7"] {
        let name = format!("{name}.dev.example.test");
        eventually(server, &[&name, "A"], "192.0.2.80")?;
    }
    let address = bed.address("shop-7")?.to_string();
    eventually(server, &["direct.shop-7.dev.example.test", "A"], &address)?;
    eventually(server, &["-x", &address], "direct.shop-7.dev.example.test.")?;
    eventually(server, &["www.office.test", "A"], "192.0.2.7")?;
    eventually(server, &["x.10-1-2-3.dev.example.test", "A"], "10.1.2.3")?;
    ensure!(
        status(server, "web.shop-8.dev.example.test")? == "NXDOMAIN",
        "a stand that is not there has a name"
    );

    bed.daemon.kill()?;
    bed.daemon.start_again()?;
    // Nobody is answered before the names of what is recorded are there.
    let short = dig(server, &["web.shop-7.dev.example.test", "A", "+short"])?;
    ensure!(short.trim() == "192.0.2.80", "after a crash: {short}");

    bed.api().down("shop-7")?;
    let until = Instant::now() + PATIENCE;
    for name in ["shop-7", "web.shop-7", "direct.shop-7"] {
        while status(server, &format!("{name}.dev.example.test"))? != "NXDOMAIN" {
            ensure!(
                Instant::now() < until,
                "{name} is answered after its stand is gone"
            );
        }
    }
    bed.nothing_is_left()
}

/// Returns an address of loopback of this process alone, with a port that is free for UDP and TCP.
fn free_address() -> Result<SocketAddr> {
    let [.., high, low] = std::process::id().to_be_bytes();
    let ip = std::net::Ipv4Addr::new(127, 2, high, low);
    let tcp = TcpListener::bind((ip, 0)).context("cannot find a free port")?;
    let address = tcp.local_addr()?;
    UdpSocket::bind(address).context("cannot find a free port")?;
    Ok(address)
}

fn dig(server: SocketAddr, arguments: &[&str]) -> Result<String> {
    let output = Command::new("dig")
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string(), "+tries=1", "+time=5"])
        .args(arguments)
        .output()
        .context("cannot run dig (dnsutils)")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn status(server: SocketAddr, name: &str) -> Result<String> {
    let text = dig(server, &[name, "A"])?;
    let (_, behind) = text
        .split_once("status: ")
        .with_context(|| format!("no answer: {text}"))?;
    Ok(behind
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect())
}

fn eventually(server: SocketAddr, question: &[&str], expected: &str) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = dig(server, &[question, &["+short"]].concat())?;
        if answer.trim() == expected {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "{question:?} gives `{}` in place of `{expected}`",
            answer.trim()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
