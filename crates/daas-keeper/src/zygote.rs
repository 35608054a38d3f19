//! The zygote: forked from the daemon before its first thread, it makes keepers for as long as the daemon lives.

use crate::channel::Channel;
use crate::error::KeeperError;
use crate::keeper::{Inherited, live};
use crate::launch::KeeperSeed;
use crate::protocol::Failure;
use daas_sys::birth::{Birth, SingleThread, give_birth};
use daas_sys::{Attempt, Fault, process};
use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, PoisonError};

/// The daemon's end.
#[derive(Debug)]
pub struct ZygoteHandle {
    channel: Mutex<Channel>,
    pid: i32,
}

/// Forks the zygote. To be called before the process starts its first thread; the zygote ends when the handle is dropped or the daemon dies, keepers live on.
///
/// # Errors
/// [`Fault`] if the process has threads already, or none can be made.
pub fn fork() -> Result<ZygoteHandle, Fault> {
    let proof = SingleThread::prove().attempt(|| "fork the zygote")?;
    let (ours, theirs) = Channel::pair().attempt(|| "make a socket")?;
    let pid = give_birth(&proof, &Birth::default(), |proof| {
        serve(&proof, theirs);
        0
    })
    .attempt(|| "fork the zygote")?;
    Ok(ZygoteHandle {
        channel: Mutex::new(ours),
        pid,
    })
}

impl ZygoteHandle {
    /// Makes a keeper and returns its process id. It may be connected to at once; requests wait until it is prepared, and a keeper that could not
    /// prepare answers every request with the reason. Blocking: about 0.5 ms.
    ///
    /// # Errors
    /// [`Failure`] if its folder or process cannot be made, or the zygote is dead.
    pub fn make_keeper(&self, seed: &KeeperSeed) -> Result<i32, Failure> {
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let dead = |e: std::io::Error| {
            KeeperError::wrong(format!("the zygote does not answer: {e}")).failure()
        };
        channel.send(seed, &[]).map_err(dead)?;
        match channel.receive::<Result<i32, Failure>>() {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(dead(std::io::Error::from(
                std::io::ErrorKind::UnexpectedEof,
            ))),
            Err(e) => Err(dead(e)),
        }
    }

    /// The zygote's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }
}

fn serve(proof: &SingleThread, mut channel: Channel) {
    process::set_name(c"daas-zygote");
    // A signal from the daemon's terminal is for the daemon.
    let _ = rustix::process::setsid();
    // Ended keepers are reaped by the kernel.
    let _ = process::ignore_children();
    let _ = process::close_all_but_standard(&[channel.as_fd()]);
    while let Ok(Some(seed)) = channel.receive::<KeeperSeed>() {
        let answer = make(proof, seed);
        if channel.send(&answer, &[]).is_err() {
            return;
        }
    }
}

fn make(proof: &SingleThread, seed: KeeperSeed) -> Result<i32, Failure> {
    let inherited = Inherited::make(seed).map_err(|fault| KeeperError::from(fault).failure())?;
    give_birth(proof, &Birth::default(), |_| be_keeper(inherited))
        .attempt(|| "make a keeper")
        .map_err(|fault| KeeperError::from(fault).failure())
}

/// Makes the calling process a keeper and lives as one; returns its exit code. The process has one thread and nothing of its own.
///
/// # Errors
/// [`Failure`] if the keeper's folder cannot be made.
pub fn run(seed: KeeperSeed) -> Result<i32, Failure> {
    let inherited = Inherited::make(seed).map_err(|fault| KeeperError::from(fault).failure())?;
    Ok(be_keeper(inherited))
}

fn be_keeper(inherited: Inherited) -> i32 {
    process::set_name(c"daas-keeper");
    process::reset_signals();
    let _ = rustix::process::setsid();
    // A reader that is gone is an error of a write, not the end of the stand.
    let _ = process::ignore_broken_pipes();
    let _ = std::env::set_current_dir("/");
    let _ = process::close_all_but_standard(&[inherited.listener.as_fd()]);
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = process::install_fd(null.as_fd(), 0);
        let _ = process::install_fd(null.as_fd(), 1);
        let _ = process::install_fd(null.as_fd(), 2);
    }
    // What a panic says is worth keeping.
    let trace = inherited.seed.dir.join("keeper.log");
    if let Ok(trace) = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(trace)
    {
        let _ = process::install_fd(trace.as_fd(), 2);
    }
    live(inherited)
}
