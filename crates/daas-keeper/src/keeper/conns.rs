//! Those who are connected.

use super::{Keeper, Outcome, Source, Waiter};
use crate::codec::{Decoder, FrameError, encode};
use crate::error::KeeperError;
use crate::protocol::{Asked, Failure, Request, Response, Told};
use daas_sys::fdpass;
use rustix::event::epoll::EventFlags;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) type ConnId = u64;

/// Somebody who is connected.
#[derive(Debug)]
pub(super) struct Conn {
    stream: UnixStream,
    token: u64,
    decoder: Decoder,
    fds: VecDeque<OwnedFd>,
    outgoing: VecDeque<Outgoing>,
    /// Bytes in `outgoing`.
    pending: usize,
    pub(super) subscribed: bool,
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

/// Who does not read that much is let go: a keeper never waits for a reader, and never grows because of one.
const PATIENCE: usize = 8 << 20;

impl Keeper {
    pub(super) fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let id = self.next_job;
            self.next_job += 1;
            let token = self.eyes.watch(&stream, Source::Conn(id));
            self.conns.insert(
                id,
                Conn {
                    stream,
                    token,
                    decoder: Decoder::default(),
                    fds: VecDeque::new(),
                    outgoing: VecDeque::new(),
                    pending: 0,
                    subscribed: false,
                },
            );
        }
    }

    pub(super) fn conn_ready(&mut self, id: ConnId, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            self.flush(id);
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        loop {
            let Some(conn) = self.conns.get_mut(&id) else {
                return;
            };
            let mut buffer = [0; 16 << 10];
            let mut fds = Vec::new();
            match fdpass::receive(conn.stream.as_fd(), &mut buffer, &mut fds) {
                Ok(0) => return self.drop_conn(id),
                Ok(got) => {
                    conn.fds.extend(fds);
                    conn.decoder.push(buffer.get(..got).unwrap_or_default());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.drop_conn(id),
            }
            self.take_requests(id);
            if self.ending {
                return;
            }
        }
    }

    fn take_requests(&mut self, id: ConnId) {
        loop {
            let Some(conn) = self.conns.get_mut(&id) else {
                return;
            };
            match conn.decoder.take::<Asked>() {
                Ok(None) => return,
                Ok(Some(asked)) => {
                    let wanted = wanted_fds(&asked.request);
                    let have = conn.fds.len().min(wanted);
                    let fds: Vec<OwnedFd> = conn.fds.drain(..have).collect();
                    if wanted == 0 {
                        // What nobody asked for is closed.
                        conn.fds.clear();
                    }
                    let waiter = Waiter {
                        conn: id,
                        id: asked.id,
                    };
                    let answered = self.answer(waiter, asked.request, fds);
                    self.settle(waiter, answered);
                    if self.ending {
                        return;
                    }
                }
                Err(FrameError::Body(error)) => {
                    // Whoever asks in words of another version learns it; the number of the question is unknown.
                    let failure =
                        KeeperError::wrong(format!("the request cannot be read: {error}"))
                            .failure();
                    self.say(
                        id,
                        &Told::Answer {
                            id: 0,
                            result: Err(failure),
                        },
                        Vec::new(),
                    );
                }
                Err(FrameError::TooLong(_)) => return self.drop_conn(id),
            }
        }
    }

    /// Sends the answer, unless it comes later.
    pub(super) fn settle(&mut self, waiter: Waiter, answered: super::Answered) {
        match answered {
            Ok(Outcome::Now(response)) => self.reply(waiter, Ok(response), Vec::new()),
            Ok(Outcome::NowWith(response, fds)) => self.reply(waiter, Ok(response), fds),
            Ok(Outcome::Later) => {}
            Err(error) => self.reply(waiter, Err(error.failure()), Vec::new()),
        }
    }

    pub(super) fn reply(
        &mut self,
        waiter: Waiter,
        result: Result<Response, Failure>,
        fds: Vec<OwnedFd>,
    ) {
        self.say(
            waiter.conn,
            &Told::Answer {
                id: waiter.id,
                result,
            },
            fds,
        );
    }

    pub(super) fn say(&mut self, id: ConnId, told: &Told, fds: Vec<OwnedFd>) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let Ok(bytes) = encode(told) else { return };
        conn.pending += bytes.len();
        conn.outgoing.push_back(Outgoing {
            bytes,
            sent: 0,
            fds,
        });
        if conn.pending > PATIENCE {
            return self.drop_conn(id);
        }
        self.flush(id);
    }

    fn flush(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        while let Some(next) = conn.outgoing.front_mut() {
            let rest = next.bytes.get(next.sent..).unwrap_or_default();
            let fds: Vec<_> = next.fds.iter().map(AsFd::as_fd).collect();
            match fdpass::send(conn.stream.as_fd(), rest, &fds) {
                Ok(sent) => {
                    conn.pending -= sent;
                    next.sent += sent;
                    next.fds.clear();
                    if next.sent == next.bytes.len() {
                        conn.outgoing.pop_front();
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let token = conn.token;
                    self.eyes
                        .change(&conn.stream, token, EventFlags::IN | EventFlags::OUT);
                    return;
                }
                Err(_) => return self.drop_conn(id),
            }
        }
        let token = conn.token;
        self.eyes.change(&conn.stream, token, EventFlags::IN);
    }

    /// Before the keeper ends: what was said must arrive, within reason.
    pub(super) fn flush_all(&mut self) {
        let until = Instant::now() + Duration::from_millis(200);
        let ids: Vec<ConnId> = self.conns.keys().copied().collect();
        for id in ids {
            while self.conns.get(&id).is_some_and(|c| !c.outgoing.is_empty())
                && Instant::now() < until
            {
                self.flush(id);
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    fn drop_conn(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.remove(&id) {
            self.eyes.leave(&conn.stream, conn.token);
            self.hang_up_execs(id);
        }
    }
}

/// How many descriptors come with a request.
fn wanted_fds(request: &Request) -> usize {
    match request {
        Request::Exec { tty: None, .. } => 3,
        Request::CopyOut { .. } | Request::CopyIn { .. } | Request::Files { .. } => 1,
        _ => 0,
    }
}

/// Answers everybody with the reason why there is no keeper, until somebody destroys it or nobody comes for a while.
pub(super) fn refuse_everybody(listener: &UnixListener, error: &KeeperError, dir: &Path) {
    let failure = super::refusal(error);
    let until = Instant::now() + Duration::from_secs(30);
    let _ = listener.set_nonblocking(true);
    while Instant::now() < until && dir.exists() {
        match listener.accept() {
            Ok((stream, _)) => {
                let _ = stream.set_nonblocking(false);
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                if refuse_one(stream, &failure) {
                    return;
                }
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Returns whether the keeper shall end.
fn refuse_one(stream: UnixStream, failure: &Failure) -> bool {
    let mut channel = crate::channel::Channel::new(OwnedFd::from(stream));
    while let Ok(Some(asked)) = channel.receive::<Asked>() {
        let over = matches!(asked.request, Request::Destroy { .. });
        let result = if over {
            Ok(Response::Done)
        } else {
            Err(failure.clone())
        };
        if channel
            .send(
                &Told::Answer {
                    id: asked.id,
                    result,
                },
                &[],
            )
            .is_err()
        {
            return over;
        }
        if over {
            return true;
        }
    }
    // One refusal was heard: whoever asked sweeps.
    true
}
