//! Names of stands: there with the stand, gone with it, and there again after a crash of the daemon.

use super::bed::{Bed, service};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
        "  spares: 0\ndns:\n  listen: ['{server}']\n  zone: dev.example.test\n  address: [192.0.2.80]\n  zones: {{office.test: {{records: ['www A 192.0.2.7', 'www AAAA 2001:db8::7']}}, 192.0.2.0/24: {{}}, '2001:db8::/32': {{}}}}\n"
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
    for of_www in ["192.0.2.7", "2001:db8::7"] {
        eventually(server, &["-x", of_www], "www.office.test.")?;
    }
    eventually(server, &["x.10-1-2-3.dev.example.test", "A"], "10.1.2.3")?;
    ensure!(
        status(server, "web.shop-8.dev.example.test")? == "NXDOMAIN",
        "a stand that is not there has a name"
    );

    let record = json!({"name": "printer.office.test", "type": "A", "data": "192.0.2.30"});
    bed.api().post("/dns/records", &record)?;
    eventually(server, &["printer.office.test", "A"], "192.0.2.30")?;
    eventually(server, &["-x", "192.0.2.30"], "printer.office.test.")?;

    bed.daemon.kill()?;
    bed.daemon.start_again()?;
    // Nobody is answered before the names of what is recorded are there.
    let short = dig(server, &["web.shop-7.dev.example.test", "A", "+short"])?;
    ensure!(short.trim() == "192.0.2.80", "after a crash: {short}");

    let short = dig(server, &["printer.office.test", "A", "+short"])?;
    ensure!(
        short.trim() == "192.0.2.30",
        "a kept record after a crash: {short}"
    );
    bed.api()
        .delete("/dns/records?name=printer.office.test&type=A")?;
    ensure!(
        status(server, "printer.office.test")? == "NXDOMAIN",
        "a record that is forgotten is answered"
    );

    ensure!(
        status(server, "30.2.0.192.in-addr.arpa")? == "NXDOMAIN",
        "the address of a record that is forgotten has a name"
    );

    bed.api().down("shop-7")?;
    let until = Instant::now() + PATIENCE;
    let mut octets: Vec<&str> = address.split('.').collect();
    octets.reverse();
    let gone = ["shop-7", "web.shop-7", "direct.shop-7"]
        .map(|name| format!("{name}.dev.example.test"))
        .into_iter()
        .chain([format!("{}.in-addr.arpa", octets.join("."))]);
    for name in gone {
        while status(server, &name)? != "NXDOMAIN" {
            ensure!(
                Instant::now() < until,
                "{name} is answered after its stand is gone"
            );
        }
    }
    bed.nothing_is_left()
}

/// Looks up a thousand foreign names in a stand without a way out, and one in a stand with a free one.
///
/// # Errors
/// When a question of the first stand leaves it, or the second one gets no answer.
pub fn no_way_out_no_questions(program: &Path) -> Result<()> {
    let (server, upstream) = (free_address()?, free_address()?);
    let asked = answer_everything(upstream)?;
    let configuration =
        format!("  spares: 0\ndns:\n  listen: ['{server}']\n  upstreams: ['{upstream}']\n");
    let bed = Bed::configured(program, &configuration)?;
    let of = |egress: &str| {
        bed.project(&format!(
            "{}x-daas:\n  egress: {egress}\n",
            service("web", "sleep 1000")
        ))
    };
    bed.api().up("closed", &of("none"), 0)?;
    bed.api().up("open", &of("full"), 0)?;

    let ran = bed.api().exec(
        "open",
        "web",
        &["/bin/busybox", "nslookup", "control.example.org"],
    )?;
    ensure!(
        said(&ran).contains("203.0.113.7"),
        "a stand with a free way out gets no answer: {}",
        said(&ran)
    );
    let before = asked.load(Ordering::SeqCst);
    ensure!(before > 0, "the answer came from nowhere");

    let look = "i=0; while [ $i -lt 1000 ]; do /bin/busybox nslookup x$i.example.org && exit 1; i=$((i+1)); done > /dev/null 2>&1; echo through";
    let ran = bed
        .api()
        .exec("closed", "web", &["/bin/busybox", "sh", "-c", look])?;
    ensure!(
        said(&ran).contains("through"),
        "a stand without a way out got an answer: {}",
        said(&ran)
    );
    let after = asked.load(Ordering::SeqCst);
    ensure!(
        after == before,
        "{} questions left a stand without a way out",
        after - before
    );
    bed.api().down("closed")?;
    bed.api().down("open")?;
    bed.nothing_is_left()
}

fn said(ran: &crate::house::Ran) -> String {
    String::from_utf8_lossy(&ran.out).into_owned()
}

/// Answers every question for an address with 203.0.113.7 until the process ends, and counts them.
fn answer_everything(address: SocketAddr) -> Result<Arc<AtomicUsize>> {
    let socket = UdpSocket::bind(address).context("cannot bind the resolver of the trial")?;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    std::thread::spawn(move || {
        let mut message = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut message) {
            counted.fetch_add(1, Ordering::SeqCst);
            let Some(end) = message[12..length].iter().position(|octet| *octet == 0) else {
                continue;
            };
            let end = 12 + end + 5;
            let mut reply = message[..end].to_vec();
            reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
            if message[end - 4..end] == [0, 1, 0, 1] {
                reply[7] = 1;
                reply
                    .extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 100, 0, 4, 203, 0, 113, 7]);
            }
            let _ = socket.send_to(&reply, from);
        }
    });
    Ok(asked)
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
