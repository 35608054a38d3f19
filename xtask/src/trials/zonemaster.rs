//! A signed zone of stands, judged by zonemaster as the registries of the world judge the zones that are delegated to.
//!
//! A network namespace is a small world of its own: a root and a `com` by BIND, which delegate `example.com` and the addresses of its two name servers, the daemon, and
//! BIND as its secondary.

use super::bed::{Bed, service};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(20);

const ROOT: [&str; 2] = ["198.41.0.4", "2001:503:ba3e::2:30"];
const COM: [&str; 2] = ["192.5.6.30", "2001:503:a83e::2:30"];
const FIRST: [&str; 2] = ["5.0.0.1", "2a00:1::1"];
const SECOND: [&str; 2] = ["6.0.0.1", "2a02:1::1"];

/// Zones of the addresses of both name servers, as they are delegated.
const OF_ADDRESSES: [&str; 4] = [
    "0.0.5.in-addr.arpa",
    "0.0.6.in-addr.arpa",
    "1.0.0.0.0.0.a.2.ip6.arpa",
    "1.0.0.0.2.0.a.2.ip6.arpa",
];

const CONFIGURATION: &str = "  spares: 0
dns:
  listen: ['5.0.0.1:53', '[2a00:1::1]:53']
  address: [5.0.0.1]
  zone: example.com
  zones:
    example.com:
      servers: [ns1.example.com., ns2.example.com.]
      sign: true
      secondaries: ['6.0.0.1:53']
      transfer: [6.0.0.1]
      records:
        - ns1 A 5.0.0.1
        - ns1 AAAA 2a00:1::1
        - ns2 A 6.0.0.1
        - ns2 AAAA 2a02:1::1
        - '@ A 5.0.0.1'
        - '@ MX 10 mail'
        - mail A 5.0.0.1
    5.0.0.0/24: {servers: [ns1.example.com.]}
    6.0.0.0/24: {servers: [ns1.example.com.]}
    '2a00:1::/32': {servers: [ns1.example.com.]}
    '2a02:1::/32': {servers: [ns1.example.com.]}
";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets zonemaster (Debian's `zonemaster-cli`) judge the zone; returns what it told beside its good words.
///
/// # Errors
/// When it has a warning, an error or worse to tell, or never came to its tests.
pub fn judged_by_zonemaster(program: &Path) -> Result<String> {
    // The namespace goes with the last process in it.
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                daas_sys::netns::unshare(false, true, false)?;
                judge(program)
            })
            .join()
            .unwrap_or_else(|_| bail!("the judge panicked"))
    })
}

fn judge(program: &Path) -> Result<String> {
    ip(&["link", "set", "lo", "up"])?;
    for [v4, v6] in [ROOT, COM, FIRST, SECOND] {
        ip(&["addr", "add", &format!("{v4}/32"), "dev", "lo"])?;
        // An address that is still looked for by others cannot be listened at.
        ip(&["addr", "add", &format!("{v6}/128"), "dev", "lo", "nodad"])?;
    }
    let bed = Bed::configured(program, CONFIGURATION)?;
    bed.api()
        .up("shop", &bed.project(&service("web", "sleep 1000")), 0)?;
    let ds = eventually(FIRST[0], &["example.com", "CDS"])?;
    let folder = tempfile::tempdir()?;
    let _world = world(folder.path(), ds.lines().next().unwrap_or_default())?;
    let _second = second(folder.path())?;
    eventually(COM[0], &["example.com", "DS"])?;
    eventually(SECOND[0], &["shop.example.com", "A"])?;
    let told = zonemaster(folder.path())?;
    bed.api().down("shop")?;
    bed.nothing_is_left()?;
    Ok(told)
}

fn ip(words: &[&str]) -> Result<()> {
    let done = Command::new("ip").args(words).status()?;
    ensure!(done.success(), "ip {words:?} ended with {done}");
    Ok(())
}

/// Asks until there is an answer; returns it.
fn eventually(server: &str, question: &[&str]) -> Result<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let asked = Command::new("dig")
            .args([&format!("@{server}"), "+short", "+norecurse", "+time=1"])
            .args(question)
            .output()?;
        let answer = String::from_utf8(asked.stdout)?.trim().to_owned();
        if asked.status.success() && !answer.is_empty() {
            return Ok(answer);
        }
        ensure!(
            Instant::now() < until,
            "{server} does not answer {question:?}: {answer}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The root of this world, and `com`.
fn world(folder: &Path, ds: &str) -> Result<Running> {
    let [root, com, first, second] = [ROOT, COM, FIRST, SECOND];
    let start = "86400 SOA a.root. nobody.root. 1 1800 900 604800 86400";
    let mut zone = format!(
        ". {start}\n. NS a.root.\na.root. A {}\na.root. AAAA {}\ncom. NS a.com.\na.com. A {}\na.com. AAAA {}\n",
        root[0], root[1], com[0], com[1]
    );
    for of_addresses in OF_ADDRESSES {
        zone += &format!("{of_addresses}. NS ns1.example.com.\n");
    }
    std::fs::write(folder.join("root"), zone)?;
    let zone = format!(
        "com. {start}\ncom. NS a.com.\na.com. A {}\na.com. AAAA {}\nexample.com. DS {ds}\nexample.com. NS ns1.example.com.\nexample.com. NS ns2.example.com.\nns1.example.com. A {}\nns1.example.com. AAAA {}\nns2.example.com. A {}\nns2.example.com. AAAA {}\n",
        com[0], com[1], first[0], first[1], second[0], second[1]
    );
    std::fs::write(folder.join("com"), zone)?;
    named(
        folder,
        "world",
        &[root, com],
        "zone \".\" { type primary; file \"root\"; };\nzone \"com\" { type primary; file \"com\"; };\n",
    )
}

/// The other name server of the zone.
fn second(folder: &Path) -> Result<Running> {
    named(
        folder,
        "second",
        &[SECOND],
        "zone \"example.com\" { type secondary; primaries { 5.0.0.1; }; transfer-source 6.0.0.1; };\n",
    )
}

fn named(folder: &Path, name: &str, addresses: &[[&str; 2]], zones: &str) -> Result<Running> {
    let of = |family: usize| -> String {
        let list = addresses.iter().map(|both| format!("{}; ", both[family]));
        list.collect()
    };
    let text = format!(
        "options {{ directory \"{}\"; pid-file none; session-keyfile none; listen-on {{ {}}}; listen-on-v6 {{ {}}}; recursion no; dnssec-validation no; allow-transfer {{ none; }}; }};\ncontrols {{ }};\n{zones}",
        folder.display(),
        of(0),
        of(1),
    );
    let file = folder.join(format!("{name}.conf"));
    std::fs::write(&file, text)?;
    let child = Command::new("/usr/sbin/named")
        .args(["-g", "-n", "1", "-c"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join(format!("{name}.log")))?)
        .spawn()
        .context("cannot run named; Debian has it in bind9")?;
    Ok(Running(child))
}

fn zonemaster(folder: &Path) -> Result<String> {
    let hints = folder.join("hints");
    std::fs::write(
        &hints,
        format!(
            ". 3600000 NS a.root.\na.root. 3600000 A {}\na.root. 3600000 AAAA {}\n",
            ROOT[0], ROOT[1]
        ),
    )?;
    let judged = Command::new("zonemaster-cli")
        .args(["--level", "INFO", "--no-time", "--show-testcase", "--hints"])
        .arg(&hints)
        .arg("example.com")
        .output()
        .context("cannot run zonemaster-cli; Debian has it in the package of that name")?;
    let words = String::from_utf8(judged.stdout)?;
    let of = |level: &str| -> Vec<&str> {
        let lines = words.lines();
        lines.filter(|line| line.starts_with(level)).collect()
    };
    let bad: Vec<&str> = ["CRITICAL", "ERROR", "WARNING"]
        .iter()
        .flat_map(|level| of(level))
        .collect();
    // Where it finds no zone it tells little, and ends well.
    ensure!(
        bad.is_empty() && of("INFO").len() > 40 && words.contains("DNSSEC10"),
        "zonemaster has something to tell:\n{words}{}",
        String::from_utf8_lossy(&judged.stderr)
    );
    Ok(format!(
        "{} findings are good, no warning, no error; beside them:\n{}",
        of("INFO").len(),
        of("NOTICE").join("\n")
    ))
}
