//! Process 1 of a node that asks for one: reaps orphans and passes signals on.
//!
//! It is a part of the keeper's program that never execs. It holds no descriptor, no capability, and cannot be looked into by the node
//! (not dumpable, memory of the host's namespace).

use crate::channel::Channel;
use crate::child::{give_up, run_program};
use crate::launch::NodeLaunch;
use daas_sys::birth::{Birth, SingleThread, give_birth};
use daas_sys::process;
use daas_sys::signal::Signals;
use std::os::fd::AsFd;

pub(crate) fn live(proof: &SingleThread, launch: &NodeLaunch, status: &Channel) -> i32 {
    // Before the child exists, so that its end cannot be missed. KILL and STOP cannot be taken.
    let all: Vec<i32> = (1..=31).filter(|s| !matches!(s, 9 | 19)).collect();
    let Ok(signals) = Signals::take(&all) else {
        return 126;
    };
    let born = give_birth(proof, &Birth::default(), |_| {
        process::reset_signals();
        let failure = run_program(&launch.argv, &launch.env);
        give_up(status, failure)
    });
    let Ok(main) = born else { return 126 };
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
                return end.code();
            }
        }
    }
}
