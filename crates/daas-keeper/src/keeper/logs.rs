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
pub(super) const BURST: u64 = 16 << 20;
/// What a node may write per second over time. More than any log that somebody reads, and little enough that a flood costs the machine under a
/// twentieth of one CPU, which is not the stand's own.
const PER_SECOND: u64 = 16 << 20;

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
        let allowance = &mut node.log_allowance;
        if allowance.bytes > 0 {
            return;
        }
        // A flood: leave the pipe full until there is an allowance again, so that the node waits and not the machine.
        for pipe in node.output.iter_mut().chain(node.error_output.iter_mut()) {
            if !pipe.waiting {
                pipe.waiting = true;
                self.eyes.change(&pipe.fd, pipe.token, EventFlags::empty());
            }
        }
        self.alarm_in(Duration::from_millis(50), Alarm::Log(name.clone()));
    }

    pub(super) fn log_again(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        refill(&mut node.log_allowance);
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
        let mut buffer = [0; LARGEST];
        let got = match rustix::io::read(&pipe.fd, &mut buffer) {
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
        refill(&mut node.log_allowance);
        node.log_allowance.bytes = node.log_allowance.bytes.saturating_sub(got as u64);
        let written = match &mut node.log {
            Some(log) => log.append(unix_ns(), stream, buffer.get(..got).unwrap_or_default()),
            None => Ok(()),
        };
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

fn refill(allowance: &mut super::node::Allowance) {
    let now = Instant::now();
    let passed = now.saturating_duration_since(allowance.at);
    let earned = u64::try_from(passed.as_micros())
        .unwrap_or(u64::MAX)
        .saturating_mul(PER_SECOND)
        / 1_000_000;
    if earned > 0 {
        allowance.bytes = allowance.bytes.saturating_add(earned).min(BURST);
        allowance.at = now;
    }
}
