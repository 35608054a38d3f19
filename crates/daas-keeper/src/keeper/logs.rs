//! What nodes write goes to disk.

use super::node::Pipe;
use super::{Alarm, Keeper, Source, unix_ns};
use crate::log::{LARGEST, Stream};
use crate::protocol::EventKind;
use daas_model::NodeName;
use rustix::event::epoll::EventFlags;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a node may write at once before it is slowed down.
const BURST: i64 = 16 << 20;
/// What a node may write per second over time. More than any log that somebody reads.
const PER_SECOND: i64 = 16 << 20;
/// Which part of a processor, not the stand's own, may go into a node's log over time: one of so many. That many bytes take it on a slow machine only.
const ONE_OF: u32 = 20;
/// How much of a processor may go into it at once.
const BURST_WORK: Duration = Duration::from_millis(200);

/// How much is read at once when little of the work is left: the kernel copies a piece without a pause, and somebody waits for the processor meanwhile.
const SMALL: usize = 8 << 10;
/// How long a node that has spent its allowance waits for the next piece.
const WAIT: Duration = Duration::from_millis(50);
/// The same where it is the work that is short, so that many small pieces come and no large one.
const SHORT_WAIT: Duration = Duration::from_millis(10);

/// How much of a node's log may be read now; a flood is slowed down by not being read. Both are below zero after a piece that took more than there was.
#[derive(Debug)]
pub(super) struct Allowance {
    bytes: i64,
    /// Nanoseconds of the keeper's processor time.
    work: i64,
    at: Instant,
}

impl Allowance {
    pub(super) fn new(at: Instant) -> Self {
        Self {
            bytes: BURST,
            work: nanoseconds(BURST_WORK),
            at,
        }
    }

    /// Adds what the time since the last refill earns.
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        let earned = i64::try_from(passed.as_micros())
            .unwrap_or(i64::MAX)
            .saturating_mul(PER_SECOND)
            / 1_000_000;
        if earned > 0 {
            self.bytes = self.bytes.saturating_add(earned).min(BURST);
            let earned = nanoseconds(passed / ONE_OF);
            self.work = self
                .work
                .saturating_add(earned)
                .min(nanoseconds(BURST_WORK));
            self.at = now;
        }
    }

    fn spend(&mut self, bytes: usize, work: Duration) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.work = self.work.saturating_sub(nanoseconds(work));
    }

    /// Tells whether it is the work that is short: on a slow machine.
    fn is_hard_work(&self) -> bool {
        self.work < nanoseconds(BURST_WORK) / 4
    }

    /// How much may be read at once.
    fn piece(&self) -> usize {
        if self.is_hard_work() { SMALL } else { LARGEST }
    }

    /// How long who has spent it waits before it is looked at again.
    fn wait(&self) -> Duration {
        if self.is_hard_work() {
            SHORT_WAIT
        } else {
            WAIT
        }
    }

    fn is_spent(&self) -> bool {
        self.bytes <= 0 || self.work <= 0
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Returns the processor time of this thread so far.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

impl Keeper {
    pub(super) fn log_path(&self, name: &NodeName) -> PathBuf {
        self.seed
            .dir
            .join(super::prepare::LOGS_FOLDER)
            .join(format!("{name}.log"))
    }

    pub(super) fn watch_pipe(&mut self, fd: OwnedFd, source: Source) -> Pipe {
        let token = self.eyes.watch(&fd, source);
        Pipe {
            fd,
            token,
            waiting: false,
        }
    }

    /// Reads once from a node's pipe; the loop comes again while there is more, after everybody else had a turn.
    pub(super) fn read_log(&mut self, name: &NodeName, stream: Stream) {
        if !self.read_piece(name, stream) {
            return;
        }
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        if !node.log_allowance.is_spent() {
            return;
        }
        // A flood: leave the pipe full until there is an allowance again, so that the node waits and not the machine.
        for pipe in node.output.iter_mut().chain(node.error_output.iter_mut()) {
            if !pipe.waiting {
                pipe.waiting = true;
                self.eyes.change(&pipe.fd, pipe.token, EventFlags::empty());
            }
        }
        let wait = node.log_allowance.wait();
        self.alarm_in(wait, Alarm::Log(name.clone()));
    }

    pub(super) fn log_again(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        node.log_allowance.refill(Instant::now());
        // One that was read too far stays closed until its debt is paid.
        if node.log_allowance.is_spent() {
            let wait = node.log_allowance.wait();
            self.alarm_in(wait, Alarm::Log(name.clone()));
            return;
        }
        for pipe in node.output.iter_mut().chain(node.error_output.iter_mut()) {
            if pipe.waiting {
                pipe.waiting = false;
                self.eyes.change(&pipe.fd, pipe.token, EventFlags::IN);
            }
        }
    }

    /// Returns whether a piece was read.
    fn read_piece(&mut self, name: &NodeName, stream: Stream) -> bool {
        let Some(node) = self.nodes.get_mut(name) else {
            return false;
        };
        let pipe = match stream {
            Stream::Output => &node.output,
            Stream::Error => &node.error_output,
        };
        let Some(pipe) = pipe else { return false };
        let began = worked();
        let mut buffer = [0; LARGEST];
        let room = buffer
            .get_mut(..node.log_allowance.piece())
            .unwrap_or_default();
        let got = match rustix::io::read(&pipe.fd, room) {
            Ok(0) => 0,
            Ok(got) => got,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return false,
            // EIO: the last holder of a terminal has closed it.
            Err(_) => 0,
        };
        if got == 0 {
            let closed = match stream {
                Stream::Output => node.output.take(),
                Stream::Error => node.error_output.take(),
            };
            if let Some(pipe) = closed {
                self.eyes.leave(&pipe.fd, pipe.token);
            }
            return false;
        }
        let written = match &mut node.log {
            Some(log) => log.append(unix_ns(), stream, buffer.get(..got).unwrap_or_default()),
            None => Ok(()),
        };
        node.log_allowance.refill(Instant::now());
        node.log_allowance
            .spend(got, worked().saturating_sub(began));
        let lost_before = node.log_lost;
        match written {
            Ok(()) if lost_before == 0 => {}
            Ok(()) => {
                node.log_lost = 0;
                let text = format!(
                    "{lost_before} bytes of the log of node {name} were lost: the disk of the host could not take them"
                );
                self.tell(Some(name), EventKind::LogLost { bytes: lost_before }, text);
            }
            // Told once it works again; a node is never stopped by a full disk of the host.
            Err(_) => node.log_lost += got as u64,
        }
        true
    }

    /// Reads what is left in the pipes of a node that has ended; all its processes are dead, so it is at most what pipes hold.
    pub(super) fn drain_logs(&mut self, name: &NodeName) {
        for stream in [Stream::Output, Stream::Error] {
            while self.read_piece(name, stream) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads pieces of 64 KiB, each of which takes `work`, for a minute of the clock; returns how many bytes a second there were after the burst.
    fn rate(work: Duration) -> u64 {
        let start = Instant::now();
        let (mut now, mut allowance, mut bytes) = (start, Allowance::new(start), 0);
        while now < start + Duration::from_secs(60) {
            allowance.refill(now);
            if allowance.is_spent() {
                now += allowance.wait();
                continue;
            }
            let piece = allowance.piece();
            let work = work * u32::try_from(piece).unwrap() / u32::try_from(LARGEST).unwrap();
            allowance.spend(piece, work);
            now += work;
            if now > start + Duration::from_secs(10) {
                bytes += piece as u64;
            }
        }
        bytes / 50
    }

    #[test]
    fn a_flood_has_so_many_bytes_and_on_a_slow_machine_so_much_of_a_processor() {
        let fast = rate(Duration::from_micros(100));
        assert!((15 << 20..=17 << 20).contains(&fast), "{fast}");
        // 64 KiB in 4 ms are 16 MiB in a whole second of a processor.
        let slow = rate(Duration::from_millis(4));
        let part = (16 << 20) / u64::from(ONE_OF);
        assert!((part * 9 / 10..=part * 11 / 10).contains(&slow), "{slow}");
    }
}
