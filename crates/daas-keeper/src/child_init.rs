//! Process 1 of a node that asks for one: reaps orphans and passes signals on.
//!
//! It is a part of the keeper's program that never execs. It holds no descriptor, no capability, and cannot be looked into by the node
//! (not dumpable, memory of the host's namespace).

use crate::channel::Channel;
use crate::child::{Step, give_up};
use daas_sys::birth::{Birth, SingleThread, give_birth};
use daas_sys::process;
use daas_sys::signal::Signals;
use std::os::fd::AsFd;

/// Bears the node's program by `run` and stays as process 1, with the rights that `become_node` leaves.
pub(crate) fn live(
    proof: &SingleThread,
    status: &Channel,
    run: impl FnOnce() -> i32,
    become_node: impl FnOnce() -> Step<()>,
) -> i32 {
    // Before the child exists, so that its end cannot be missed. KILL and STOP cannot be taken.
    let all: Vec<i32> = (1..=31).filter(|s| !matches!(s, 9 | 19)).collect();
    let Ok(signals) = Signals::take(&all) else {
        return 126;
    };
    // In the host's pid namespace orphans go to the host's init otherwise.
    let _ = process::adopt_orphans();
    let born = give_birth(proof, &Birth::default(), |_| {
        process::reset_signals();
        run()
    });
    let Ok(main) = born else { return 126 };
    if let Err(failure) = become_node() {
        return give_up(status, failure);
    }
    process::set_name(c"init");
    let _ = process::close_all_but(&[signals.as_fd()]);
    loop {
        let mut watched = [rustix::event::PollFd::new(
            &signals,
            rustix::event::PollFlags::IN,
        )];
        let _ = rustix::event::poll(&mut watched, None);
        while let Some(signal) = signals.next() {
            if signal != 17 {
                let _ = process::kill(main, signal);
            }
        }
        while let Ok(Some((pid, end))) = process::reap_any() {
            if pid == main {
                // At once: owners of descriptors that are closed by now would end the process instead (a debug build of std checks).
                process::exit_now(end.code());
            }
        }
    }
}
