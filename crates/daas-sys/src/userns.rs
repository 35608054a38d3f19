//! User namespaces with a range of ids of their own.

use crate::birth::{Birth, Namespaces, SingleThread, give_birth};
use crate::fault::{Attempt, Fault};
use crate::process;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

/// One line of an id map: `count` ids from `inside` on are `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first id inside.
    pub inside: u32,
    /// The first id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Makes a user namespace with these maps, held by the returned descriptor only.
///
/// # Errors
/// If a process cannot be made or the maps are refused (overlap, no privilege).
pub fn create(proof: &SingleThread, uids: &[IdRange], gids: &[IdRange]) -> Result<OwnedFd, Fault> {
    let (mut hold, held) = std::io::pipe().attempt(|| "make a pipe")?;
    let birth = Birth {
        namespaces: Namespaces::USER,
        ..Birth::default()
    };
    let pid = give_birth(proof, &birth, |_| {
        // Lives until the namespace is opened: the parent closes its end, or dies.
        let _ = process::die_with_parent(libc::SIGKILL);
        drop(held);
        let _ = hold.read(&mut [0]);
        0
    })
    .attempt(|| "make a user namespace")?;
    let opened = write_map(pid, "uid_map", uids)
        .and_then(|()| write_map(pid, "gid_map", gids))
        .and_then(|()| {
            File::open(format!("/proc/{pid}/ns/user")).attempt(|| "open the new user namespace")
        });
    let _ = process::kill(pid, libc::SIGKILL);
    process::wait_for(pid).attempt(|| "reap the process that held the user namespace")?;
    opened.map(OwnedFd::from)
}

fn write_map(pid: i32, which: &str, ranges: &[IdRange]) -> Result<(), Fault> {
    let mut text = String::new();
    for range in ranges {
        text.push_str(&format!(
            "{} {} {}\n",
            range.inside, range.outside, range.count
        ));
    }
    let path = format!("/proc/{pid}/{which}");
    // One write: the kernel takes a map whole (user_namespaces(7)).
    File::options()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .attempt(|| format!("write {which} of a user namespace"))
}
