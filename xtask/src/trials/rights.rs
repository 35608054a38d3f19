//! Who may read what the daemon keeps, and who may knock (security reference, rows S29 and S31).

use super::bed::{Bed, service};
use anyhow::{Context, Result, ensure};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// Looks at the modes of the state, the socket and everything that listens while a stand publishes one port.
///
/// # Errors
/// What is open to others, or listens and was not asked to.
pub fn rights_of_files_and_listeners(program: &Path) -> Result<String> {
    let bed = Bed::new(program)?;
    let text = service("web", "exec busybox httpd -f -p 80 -h /tmp") + "    ports: ['80:80']\n";
    bed.api().up("seen", &bed.project(&text), 0)?;
    let state = bed.daemon.state();
    let mode =
        |path: &Path| -> Result<u32> { Ok(path.symlink_metadata()?.permissions().mode() & 0o777) };
    ensure!(
        mode(&state)? == 0o700,
        "the state folder is {:o}",
        mode(&state)?
    );
    let socket = bed.daemon.place().join("daas.sock");
    ensure!(
        mode(&socket)? == 0o660,
        "the socket is {:o}",
        mode(&socket)?
    );
    let mut looked_at = 0;
    for entry in std::fs::read_dir(&state)? {
        let path = entry?.path();
        let kind = path.symlink_metadata()?.file_type();
        // Nobody else comes to a folder in a folder of 0700.
        if kind.is_dir() {
            continue;
        }
        let open = mode(&path)? & if kind.is_socket() { 0o007 } else { 0o077 };
        ensure!(
            open == 0,
            "{} is open to others: {:o}",
            path.display(),
            mode(&path)?
        );
        looked_at += 1;
    }
    let address = bed.address("seen")?;
    let listeners = listeners_of(bed.daemon.pid())?;
    ensure!(
        listeners == [format!("{address}:80")],
        "the daemon listens on {listeners:?}, asked was {address}:80"
    );
    bed.api().down("seen")?;
    ensure!(
        listeners_of(bed.daemon.pid())?.is_empty(),
        "something listens after the stand is gone"
    );
    bed.nothing_is_left()?;
    Ok(format!(
        "{looked_at} files of the state closed to others, one listener for one port"
    ))
}

/// Lists the TCP and UDP addresses that a process listens on, in this network namespace.
fn listeners_of(pid: u32) -> Result<Vec<String>> {
    let output = Command::new("ss")
        .args([
            "--no-header",
            "--listening",
            "--tcp",
            "--udp",
            "--numeric",
            "--processes",
        ])
        .output()
        .context("cannot run ss")?;
    let mark = format!("pid={pid},");
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.contains(&mark))
        .filter_map(|line| line.split_whitespace().nth(4).map(str::to_owned))
        .collect())
}
