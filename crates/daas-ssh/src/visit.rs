//! One connection: signing in, and the channels that it opens.

use crate::gate::{FLOOD, Pulse};
use crate::key::PublicKey;
use crate::keyring::{Keyring, KnownKey};
use crate::lane::{Asked, Forward, Input, Lane, Seat, Session};
use crate::outlet::{Outlet, number_of};
use crate::room::{House, Terminal, Tweak, Visitor, Wish};
use bytes::Bytes;
use daas_api::WindowSize;
use daas_tasks::Supervisor;
use russh::keys::Algorithm;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, watch};

/// The window of a channel: what may be on its way to us (RFC 4254, section 5.2).
pub(crate) const WINDOW: u32 = 1 << 20;
/// The window while programs take less than comes: as little as the library opens again by itself.
const SHUT: u32 = 2;
/// The most channels of one connection: `ssh -D` of a browser opens dozens.
const MOST_CHANNELS: usize = 64;
/// The most variables of one session, and characters of one.
const MOST_VARIABLES: usize = 32;
const MOST_VALUE: usize = 256;
/// The longest command, below what the kernel takes for one argument (execve(2), `MAX_ARG_STRLEN`).
const MOST_COMMAND: usize = 120 * 1024;

/// Why a connection is ended.
#[derive(Debug, Error)]
pub(crate) enum VisitError {
    /// The protocol's rules were broken, or the other side is gone.
    #[error("the connection broke")]
    Protocol(#[from] russh::Error),
    /// It sends more than its windows allow.
    #[error("more was sent than the windows allow")]
    Flood,
}

/// What the door knows of one connection while it lives, beside the protocol.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Whether a key was shown that is not known, or another way was tried.
    pub(crate) tried: AtomicBool,
    /// Channels that are open.
    pub(crate) channels: AtomicUsize,
    /// How many sessions go on.
    pub(crate) sessions: Arc<watch::Sender<usize>>,
}

/// What answers one connection.
pub(crate) struct Visit {
    pub(crate) house: Arc<dyn House>,
    pub(crate) keyring: Keyring,
    pub(crate) tasks: Supervisor,
    pub(crate) peer: SocketAddr,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) facts: Arc<Facts>,
    /// Held until somebody has signed in.
    pub(crate) stranger: Option<OwnedSemaphorePermit>,
    pub(crate) visitor: Option<Arc<Visitor>>,
    pub(crate) lanes: HashMap<ChannelId, Lane>,
}

impl Visit {
    /// Returns whose key it is. The user name has no say: whoever has no key learns nothing of stands.
    fn known(&self, key: &russh::keys::PublicKey, algorithm: &Algorithm) -> Option<KnownKey> {
        // The name `ssh-rsa` is a signature by SHA-1 (RFC 8332).
        let by_sha1 = matches!(algorithm, Algorithm::Rsa { hash: None });
        let known = PublicKey::of(key.clone())
            .ok()
            .filter(|_| !by_sha1)
            .and_then(|key| self.keyring.find(&key));
        if known.is_none() {
            self.facts.tried.store(true, Ordering::Relaxed);
        }
        known
    }

    fn has_room(&mut self) -> bool {
        self.lanes.retain(|_, lane| !lane.end.is_cancelled());
        self.visitor.is_some() && self.lanes.len() < MOST_CHANNELS
    }

    fn count_lanes(&self) {
        self.facts
            .channels
            .store(self.lanes.len(), Ordering::Relaxed);
    }

    /// Starts what a session asked for; tells whether it could be started.
    fn start(
        &mut self,
        id: ChannelId,
        session: &russh::server::Session,
        asked: impl FnOnce(&mut Lane) -> Asked,
    ) -> bool {
        let (Some(visitor), Some(lane)) = (self.visitor.clone(), self.lanes.get_mut(&id)) else {
            return false;
        };
        // One request of these per channel (RFC 4254, section 6.5).
        let Some(channel) = lane.outlet.take() else {
            return false;
        };
        let asked = asked(lane);
        let name = format!("ssh session of {}", visitor.key);
        let session = Session {
            house: self.house.clone(),
            visitor,
            outlet: Outlet::new(channel, session.handle(), self.pulse.clone()),
            fed: lane.open_feed(),
            pulse: self.pulse.clone(),
            end: lane.end.clone(),
            _seat: Seat::take(&self.facts.sessions),
        };
        let work = |shutdown| session.serve(asked, shutdown);
        drop(self.tasks.run(name, work));
        true
    }

    fn tweak(&self, id: ChannelId, tweak: Tweak) {
        if let Some(feed) = self.lanes.get(&id).and_then(|lane| lane.feed.as_ref()) {
            // What finds no room is followed by another, or nobody listens.
            let _ = feed.tweaks.try_send(tweak);
        }
    }
}

fn answer(
    session: &mut russh::server::Session,
    id: ChannelId,
    yes: bool,
) -> Result<(), VisitError> {
    if yes {
        session.channel_success(id)?;
    } else {
        session.channel_failure(id)?;
    }
    Ok(())
}

fn size(columns: u32, rows: u32) -> WindowSize {
    let short = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    // A size of nothing is no size: programs divide by it.
    let usual = |n: u16, usual: u16| if n == 0 { usual } else { n };
    WindowSize {
        rows: usual(short(rows), 24),
        columns: usual(short(columns), 80),
    }
}

/// Tells whether a text may become the value of a variable.
fn is_plain(text: &str) -> bool {
    text.len() <= MOST_VALUE
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.+@:=,/".contains(&b))
}

fn is_allowed(name: &str) -> bool {
    let category = |rest: &str| {
        !rest.is_empty()
            && rest.len() <= 32
            && rest.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    };
    name == "LANG" || name.strip_prefix("LC_").is_some_and(category)
}

impl Handler for Visit {
    type Error = VisitError;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, VisitError> {
        Ok(match self.known(offer.public_key, offer.algorithm) {
            Some(_) => Auth::Accept,
            None => Auth::reject(),
        })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, VisitError> {
        let Some(known) = self.known(key.public_key, key.algorithm) else {
            return Ok(Auth::reject());
        };
        tracing::info!(key = %known.name, user = %daas_model::visible(user), peer = %self.peer, "signed in over SSH");
        self.visitor = Some(Arc::new(Visitor {
            key: known.name,
            rights: known.rights,
            user: user.to_owned(),
            peer: self.peer,
        }));
        self.pulse.sign_in();
        self.stranger = None;
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut russh::server::Session,
    ) -> Result<(), VisitError> {
        if !self.has_room() {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        let id = channel.id();
        // What comes is taken from the handler, where nothing waits: a program that does not read must not stop the connection.
        let (_, outlet) = channel.split();
        self.lanes.insert(id, Lane::new(Some(outlet)));
        self.count_lanes();
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        session: &mut russh::server::Session,
    ) -> Result<(), VisitError> {
        let has_room = self.has_room();
        let visitor = self.visitor.clone().filter(|_| has_room);
        let (Some(visitor), Ok(port)) = (visitor, u16::try_from(port)) else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let id = channel.id();
        let (_, outlet) = channel.split();
        let mut lane = Lane::new(None);
        let forward = Forward {
            session: Session {
                house: self.house.clone(),
                visitor,
                outlet: Outlet::new(outlet, session.handle(), self.pulse.clone()),
                fed: lane.open_feed(),
                pulse: self.pulse.clone(),
                end: lane.end.clone(),
                _seat: Seat::take(&self.facts.sessions),
            },
            host: host.to_owned(),
            port,
            reply,
        };
        self.lanes.insert(id, lane);
        self.count_lanes();
        let work = |shutdown| forward.serve(shutdown);
        drop(self.tasks.run("ssh forward", work));
        Ok(())
    }

    async fn channel_close(
        &mut self,
        id: ChannelId,
        _: &mut russh::server::Session,
    ) -> Result<(), VisitError> {
        self.lanes.remove(&id);
        self.count_lanes();
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        id: ChannelId,
        _: &mut russh::server::Session,
    ) -> Result<(), VisitError> {
        if let Some(feed) = self.lanes.get(&id).and_then(|lane| lane.feed.as_ref()) {
            let _ = feed.input.send(Input::End);
        }
        Ok(())
    }

    async fn data(
        &mut self,
        id: ChannelId,
        data: &[u8],
        _: &mut russh::server::Session,
    ) -> Result<(), VisitError> {
        let Some(feed) = self.lanes.get(&id).and_then(|lane| lane.feed.as_ref()) else {
            return Ok(());
        };
        let waiting = self.pulse.take_in(data.len());
        if waiting > FLOOD {
            return Err(VisitError::Flood);
        }
        let input = Input::Data(Bytes::copy_from_slice(data));
        if feed.input.send(input).is_err() {
            self.pulse.let_out(data.len());
        }
        Ok(())
    }

    /// Opens windows by little only while more came than programs take. The library opens them as soon as something came; a
    /// handler that waited instead would stop output as well, and two pipes that wait for each other would wait for ever.
    fn adjust_window(&mut self, _: ChannelId, _: u32) -> u32 {
        if self.pulse.is_full() { SHUT } else { WINDOW }
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut russh::server::Session,
    ) -> Result<(), VisitError> {
        let lane = self.lanes.get_mut(&id).filter(|lane| lane.outlet.is_some());
        let Some(lane) = lane.filter(|_| is_plain(term)) else {
            return answer(session, id, false);
        };
        let kind = if term.is_empty() { "dumb" } else { term };
        lane.terminal = Some(Terminal {
            kind: kind.to_owned(),
            size: size(columns, rows),
        });
        answer(session, id, true)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), VisitError> {
        let lane = self.lanes.get_mut(&id);
        let lane = lane.filter(|lane| lane.environment.len() < MOST_VARIABLES);
        let Some(lane) = lane.filter(|_| is_allowed(name) && is_plain(value)) else {
            return answer(session, id, false);
        };
        lane.environment.insert(name.to_owned(), value.to_owned());
        answer(session, id, true)
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        session: &mut russh::server::Session,
    ) -> Result<(), VisitError> {
        let started = self.start(id, session, |lane| wish(lane, None));
        answer(session, id, started)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut russh::server::Session,
    ) -> Result<(), VisitError> {
        let command = str::from_utf8(command)
            .ok()
            .filter(|text| text.len() <= MOST_COMMAND && !text.contains('\0'));
        let started = command.is_some_and(|command| {
            self.start(id, session, |lane| wish(lane, Some(command.to_owned())))
        });
        answer(session, id, started)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), VisitError> {
        let started = name == "sftp" && self.start(id, session, |_| Asked::Files);
        answer(session, id, started)
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        _: &mut russh::server::Session,
    ) -> Result<(), VisitError> {
        let size = size(columns, rows);
        self.tweak(id, Tweak::Resize(size));
        Ok(())
    }

    async fn signal(
        &mut self,
        id: ChannelId,
        signal: Sig,
        _: &mut russh::server::Session,
    ) -> Result<(), VisitError> {
        if let Some(number) = number_of(&signal) {
            self.tweak(id, Tweak::Signal(number));
        }
        Ok(())
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut russh::server::Session,
    ) -> Result<(), VisitError> {
        answer(session, id, false)
    }
}

fn wish(lane: &mut Lane, command: Option<String>) -> Asked {
    Asked::Run(Wish {
        command,
        terminal: lane.terminal.take(),
        environment: std::mem::take(&mut lane.environment),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_of_language_pass_and_no_value_that_could_be_more() {
        for name in ["LANG", "LC_ALL", "LC_CTYPE"] {
            assert!(is_allowed(name), "{name}");
        }
        for name in [
            "PATH",
            "LD_PRELOAD",
            "LC_",
            "LC_a",
            "LANGUAGE_X",
            "lang",
            "LC_A=B",
            "TERM",
        ] {
            assert!(!is_allowed(name), "{name}");
        }
        assert!(is_plain("de_DE.UTF-8@euro") && is_plain(""));
        for value in ["() { :; }", "a\nb", "$(x)", "ü", &"x".repeat(257)] {
            assert!(!is_plain(value), "{value}");
        }
    }

    #[test]
    fn a_terminal_has_a_size_that_programs_can_bear() {
        let of = |columns, rows| {
            let size = size(columns, rows);
            (size.columns, size.rows)
        };
        assert_eq!(of(0, 0), (80, 24));
        assert_eq!(of(132, 50), (132, 50));
        assert_eq!(of(u32::MAX, 70_000), (u16::MAX, u16::MAX));
    }
}
