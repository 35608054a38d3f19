//! `daas certificate trust`: puts the private authority's roots where programs of this machine look for roots.

use crate::stop::Stop;
use crate::talk::Talk;
use daas_api::{Failure, RootCertificate, RootCertificates};
use daas_model::Kind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder of the system for further roots, and the program that takes them over.
const STORES: [(&str, &str); 2] = [
    ("/usr/local/share/ca-certificates", "update-ca-certificates"),
    ("/etc/pki/ca-trust/source/anchors", "update-ca-trust"),
];

/// Where a user's browsers keep what they trust.
struct Browser {
    folder: PathBuf,
    owner: (u32, u32),
}

/// Adds the roots; what is there already stays as it is.
pub(crate) fn add(roots: &RootCertificates, talk: &Talk) -> Result<(), Stop> {
    let system = store().map(|(folder, program)| {
        for root in &roots.items {
            let path = folder.join(file_name(root));
            std::fs::write(&path, &root.pem).map_err(Stop::io("write", path.display()))?;
        }
        run(Command::new(program))?;
        talk.say(format!("the system trusts the root: {}", folder.display()));
        Ok(())
    });
    let mut done = settle(system, talk)?;
    for browser in browsers() {
        for root in &roots.items {
            done |= nss(&browser, root, talk, true)?;
        }
    }
    told(done)
}

/// Takes the roots out again.
pub(crate) fn remove(roots: &RootCertificates, talk: &Talk) -> Result<(), Stop> {
    let system = store().map(|(folder, program)| {
        for root in &roots.items {
            let path = folder.join(file_name(root));
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Stop::io("remove", path.display())(error));
                }
                _ => {}
            }
        }
        run(Command::new(program))?;
        talk.say("the system does not trust the root any more");
        Ok(())
    });
    let mut done = settle(system, talk)?;
    for browser in browsers() {
        for root in &roots.items {
            done |= nss(&browser, root, talk, false)?;
        }
    }
    told(done)
}

/// Tells whether something was done; a user without rights may still have browsers.
fn settle(system: Option<Result<(), Stop>>, talk: &Talk) -> Result<bool, Stop> {
    match system {
        None => {
            talk.say(
                "this system has no folder for further roots; `daas certificate root` prints them",
            );
            Ok(false)
        }
        Some(Ok(())) => Ok(true),
        Some(Err(Stop::Failed(failure))) if failure.kind() == Kind::Forbidden => {
            talk.say("the system's store takes root: `sudo daas certificate trust`");
            Ok(false)
        }
        Some(Err(stop)) => Err(stop),
    }
}

fn told(done: bool) -> Result<(), Stop> {
    if done {
        return Ok(());
    }
    Err(Stop::Failed(
        Failure::new(
            "trust-nowhere",
            Kind::Forbidden,
            "no store of roots was changed",
        )
        .hint("run it as root, and install libnss3-tools for browsers"),
    ))
}

fn store() -> Option<(&'static Path, &'static str)> {
    let there = |(folder, _): &(&'static str, &'static str)| Path::new(folder).is_dir();
    let (folder, program) = STORES.into_iter().find(there)?;
    Some((Path::new(folder), program))
}

/// The fingerprint makes the name of the file: two daemons' roots lie side by side.
fn file_name(root: &RootCertificate) -> String {
    let safe = root.fingerprint.chars().filter(char::is_ascii_hexdigit);
    format!("daas-{}.crt", safe.take(16).collect::<String>())
}

/// Runs a program to its end; what it says is told only when it fails.
fn run(mut command: Command) -> Result<(), Stop> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(Stop::io("run", &name))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let message = format!("`{name}` failed ({})", output.status);
    Err(Stop::Failed(
        Failure::new("trust-program", Kind::Outside, message).because(words),
    ))
}

/// Adds a root to a browser's database, or takes it out; tells whether something was done.
fn nss(browser: &Browser, root: &RootCertificate, talk: &Talk, add: bool) -> Result<bool, Stop> {
    let name = format!("DaaS {}", file_name(root).trim_end_matches(".crt"));
    let database = format!("sql:{}", browser.folder.display());
    let certutil = || {
        let mut command = Command::new("certutil");
        command.args(["-d", &database]);
        // The database stays its owner's when root runs this.
        if rustix::process::geteuid().is_root() {
            command.uid(browser.owner.0).gid(browser.owner.1);
        }
        command
    };
    let mut gone = certutil();
    gone.args(["-D", "-n", &name]);
    match run(gone) {
        Err(Stop::Failed(failure)) if failure.kind() == Kind::NotFound => {
            talk.say("browsers of this user need `certutil`: install libnss3-tools");
            return Ok(false);
        }
        // What is not there need not be taken out.
        _ if !add => return Ok(true),
        _ => {}
    }
    let file = std::env::temp_dir().join(format!("{}.{}", file_name(root), std::process::id()));
    std::fs::write(&file, &root.pem).map_err(Stop::io("write", file.display()))?;
    let mut put = certutil();
    put.args(["-A", "-t", "C,,", "-n", &name, "-i"]).arg(&file);
    let done = run(put);
    // Nothing of it is secret; a file that stays is only untidy.
    let _ = std::fs::remove_file(&file);
    done?;
    talk.say(format!(
        "browsers trust the root: {}",
        browser.folder.display()
    ));
    Ok(true)
}

/// Returns the databases of this user, or of the one who ran sudo.
fn browsers() -> Vec<Browser> {
    let mut homes: Vec<PathBuf> = std::env::var_os("HOME")
        .into_iter()
        .map(PathBuf::from)
        .collect();
    let sudo = std::env::var("SUDO_USER").ok();
    homes.extend(sudo.and_then(|user| home_of(&user)));
    homes.dedup();
    let mut found = Vec::new();
    for home in homes {
        let chromium = home.join(".pki/nssdb");
        let profiles = [".mozilla/firefox", "snap/firefox/common/.mozilla/firefox"];
        let firefox = profiles
            .iter()
            .filter_map(|folder| std::fs::read_dir(home.join(folder)).ok())
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()));
        for folder in std::iter::once(chromium).chain(firefox) {
            if let Ok(meta) = std::fs::metadata(folder.join("cert9.db")) {
                found.push(Browser {
                    folder,
                    owner: (meta.uid(), meta.gid()),
                });
            }
        }
    }
    found
}

fn home_of(user: &str) -> Option<PathBuf> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = text
        .lines()
        .find(|line| line.split(':').next() == Some(user))?;
    line.split(':').nth(5).map(PathBuf::from)
}
