//! What every child of a keeper does between its birth and its program.

use crate::birth::{ChildFailure, Person, Report};
use crate::channel::Channel;
use crate::launch::IDS_PER_STAND;
use crate::spawner::Filters;
use daas_sys::{caps, process};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

pub(crate) type Step<T> = Result<T, ChildFailure>;

/// Names what was attempted.
pub(crate) trait At<T> {
    fn at<S: Into<String>>(self, step: impl FnOnce() -> S) -> Step<T>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at<S: Into<String>>(self, step: impl FnOnce() -> S) -> Step<T> {
        self.map_err(|e| {
            let e: io::Error = e.into();
            ChildFailure {
                step: step().into(),
                errno: e.raw_os_error().unwrap_or(0),
                cause: e.raw_os_error().is_none().then(|| e.to_string()),
                hint: None,
            }
        })
    }
}

/// A failure that is not the kernel's.
pub(crate) fn refuse<T>(step: impl Into<String>, hint: &str) -> Step<T> {
    Err(ChildFailure {
        step: step.into(),
        errno: 0,
        cause: None,
        hint: Some(hint.to_owned()),
    })
}

/// Takes a descriptor by its place.
pub(crate) fn fd(fds: &[OwnedFd], at: usize) -> Step<BorrowedFd<'_>> {
    match fds.get(at) {
        Some(fd) => Ok(fd.as_fd()),
        None => refuse(
            "find a descriptor of the birth",
            "this is a mistake of the keeper",
        ),
    }
}

/// Reports a failure and ends.
pub(crate) fn give_up(status: &Channel, failure: ChildFailure) -> i32 {
    let _ = status.send_parcel(&Report::Failed(failure), &[]);
    // What shells answer for "found but could not be run"; nobody reads it, the report counts.
    126
}

/// Joins cgroups by writing to their files.
pub(crate) fn join(procs: &[PathBuf]) -> Step<()> {
    for path in procs {
        std::fs::write(path, "0").at(|| format!("join {}", path.display()))?;
    }
    Ok(())
}

/// Dies with the keeper from now on; must follow every change of user, which the kernel forgets it at.
pub(crate) fn follow_keeper(status: &Channel) -> Step<()> {
    process::die_with_parent(9).at(|| "ask to die with the keeper")?;
    // The keeper may have died a moment before the kernel knew: then nobody holds the other end.
    let mut watched = [rustix::event::PollFd::new(
        status,
        rustix::event::PollFlags::empty(),
    )];
    let now = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut watched, Some(&now)).at(|| "look for the keeper")?;
    if watched[0]
        .revents()
        .intersects(rustix::event::PollFlags::HUP | rustix::event::PollFlags::ERR)
    {
        process::exit_now(126);
    }
    Ok(())
}

/// Sets resource limits; what is not given gets 65,536 open files (1,048,576 at most), which suits databases and programs that close all of them alike.
pub(crate) fn limit(rlimits: &BTreeMap<String, (u64, u64)>) -> Step<()> {
    if !rlimits.contains_key("nofile") {
        process::set_rlimit("nofile", 65_536, 1_048_576).at(|| "limit nofile")?;
    }
    for (name, (soft, hard)) in rlimits {
        process::set_rlimit(name, *soft, *hard).at(|| format!("limit {name}"))?;
    }
    Ok(())
}

/// Sets the kernel's preference to kill us, where there is one.
pub(crate) fn set_oom_score(score: Option<i32>) -> Step<()> {
    let Some(score) = score else { return Ok(()) };
    match std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        // Lowering it needs CAP_SYS_RESOURCE of the host: clamp, do not die (reference/engine.md 8.6).
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other.at(|| "set oom_score_adj"),
    }
}

/// Becomes `person` for good: bounding set, user, groups, capabilities, no_new_privs, filter.
pub(crate) fn become_person(person: &Person, filters: &Filters, status: &Channel) -> Step<()> {
    if person.uid >= IDS_PER_STAND
        || person.gid >= IDS_PER_STAND
        || person.groups.iter().any(|g| *g >= IDS_PER_STAND)
    {
        return refuse(
            format!("become user {}:{}", person.uid, person.gid),
            "user and group ids inside a stand are 0 to 65535",
        );
    }
    let rights = &person.rights;
    let filter = if rights.seccomp.filters() {
        filters.get(&rights.caps)
    } else {
        None
    };
    if rights.seccomp.filters() && filter.is_none() {
        return refuse(
            "find the system call filter",
            "this is a mistake of the keeper",
        );
    }
    caps::bound(rights.caps).at(|| "bound capabilities")?;
    if !rights.no_new_privs
        && let Some(filter) = filter
    {
        // Without no_new_privs only CAP_SYS_ADMIN may set a filter, and it is about to go.
        filter.apply().at(|| "filter system calls")?;
    }
    process::become_user(person.uid, person.gid, &person.groups)
        .at(|| format!("become user {}:{}", person.uid, person.gid))?;
    follow_keeper(status)?;
    // A user that is not root has lost all by the change, as it should.
    caps::set(if person.uid == 0 { rights.caps } else { 0 }).at(|| "set capabilities")?;
    if rights.no_new_privs {
        process::no_new_privileges().at(|| "set no_new_privs")?;
        if let Some(filter) = filter {
            filter.apply().at(|| "filter system calls")?;
        }
    }
    Ok(())
}

/// Replaces the process by the program, looked up in the `PATH` of its own environment; returns why it could not.
pub(crate) fn run_program(argv: &[String], env: &[String]) -> ChildFailure {
    let text = |s: &String| CString::new(s.as_bytes());
    let (Ok(argv_c), Ok(env_c)) = (
        argv.iter().map(text).collect::<Result<Vec<_>, _>>(),
        env.iter().map(text).collect::<Result<Vec<_>, _>>(),
    ) else {
        return ChildFailure {
            step: "pass arguments or environment with a zero byte".to_owned(),
            errno: 0,
            cause: None,
            hint: None,
        };
    };
    let Some(program) = argv.first() else {
        return ChildFailure {
            step: "run nothing".to_owned(),
            errno: 0,
            cause: None,
            hint: Some("neither the image nor the file names a command".to_owned()),
        };
    };
    let mut last = rustix::io::Errno::NOENT.into();
    if program.contains('/') {
        if let Ok(path) = CString::new(program.as_bytes()) {
            last = process::exec(&path, &argv_c, &env_c);
        }
    } else {
        let path = env
            .iter()
            .find_map(|e| e.strip_prefix("PATH="))
            .unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        for folder in path.split(':') {
            let folder = if folder.is_empty() { "." } else { folder };
            let Ok(path) = CString::new(format!("{folder}/{program}")) else {
                continue;
            };
            let e = process::exec(&path, &argv_c, &env_c);
            // As execvp does: a file that may not be run is remembered, one that is not there is passed by.
            match e.raw_os_error() {
                Some(2 | 20) => {}
                Some(13) => last = e,
                _ => {
                    last = e;
                    break;
                }
            }
        }
    }
    let hint = match last.raw_os_error() {
        Some(2) => Some(format!(
            "`{program}` is not in the image, or the loader or interpreter that it names is not"
        )),
        Some(8) => Some(
            "the file is no program for this machine; a script needs `#!` as its first two bytes"
                .to_owned(),
        ),
        Some(13) => Some("the file is not executable, or its file system forbids it".to_owned()),
        _ => None,
    };
    ChildFailure {
        step: format!("run `{program}`"),
        errno: last.raw_os_error().unwrap_or(0),
        cause: None,
        hint,
    }
}

/// Makes a terminal in the devpts that is mounted at `/dev/pts`, hands its master to the keeper, and takes the other end as ours.
pub(crate) fn make_terminal(
    status: &Channel,
    size: Option<(u16, u16)>,
    uid: u32,
    gid: u32,
) -> Step<OwnedFd> {
    use rustix::fs::{Gid, Mode, OFlags, Uid};
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master =
        rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty()).at(|| "open /dev/pts/ptmx")?;
    unlockpt(&master).at(|| "unlock a terminal")?;
    let slave = ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .at(|| "open a terminal")?;
    if let Some((rows, columns)) = size {
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&master, size).at(|| "size a terminal")?;
    }
    rustix::fs::fchown(&slave, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
        .at(|| "give a terminal to its user")?;
    status
        .send_parcel(&Report::Terminal, &[master.as_fd()])
        .at(|| "hand a terminal to the keeper")?;
    Ok(slave)
}

/// Makes `slave` our controlling terminal and standard descriptors.
pub(crate) fn take_terminal(slave: BorrowedFd<'_>) -> Step<()> {
    process::take_terminal(slave).at(|| "take a terminal")?;
    for number in 0..3 {
        process::install_fd(slave, number).at(|| "install a terminal")?;
    }
    Ok(())
}

/// Goes to a folder, which is there or is refused.
pub(crate) fn go_to(cwd: &str) -> Step<()> {
    absolute(cwd)?;
    let gone = rustix::process::chdir(cwd);
    gone.map_err(|errno| ChildFailure {
        step: format!("start in {cwd}"),
        errno: errno.raw_os_error(),
        cause: None,
        hint: Some("name a folder that the node has".to_owned()),
    })
}

/// A working folder of no absolute path would be below who knows what.
fn absolute(cwd: &str) -> Step<()> {
    if cwd.starts_with('/') {
        return Ok(());
    }
    refuse(
        format!("start in `{cwd}`"),
        "the working folder must be an absolute path inside the node",
    )
}

/// Makes the folder if it is missing, and goes there.
pub(crate) fn make_and_go_to(cwd: &str) -> Step<()> {
    absolute(cwd)?;
    match rustix::process::chdir(cwd) {
        Err(rustix::io::Errno::NOENT) => {
            // Inside of our own root already: links can lead nowhere else.
            std::fs::create_dir_all(cwd).at(|| format!("make the working folder {cwd}"))?;
            rustix::process::chdir(cwd).at(|| format!("start in {cwd}"))
        }
        other => other.at(|| format!("start in {cwd}")),
    }
}
