//! The way of a program's output to the other side.

use crate::gate::Pulse;
use crate::room::End;
use bytes::{Bytes, BytesMut};
use daas_api::Failure;
use russh::server::{Handle, Msg};
use russh::{ChannelId, ChannelWriteHalf, Sig};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The pieces in which output travels: what a packet takes (RFC 4253, section 6.1), OpenSSH's too.
const PIECE: usize = 32 * 1024;
/// The kind of extended data that is standard error (RFC 4254, section 5.2).
const STDERR: u32 = 1;
/// What a session ends with that could not begin or was cut off, as OpenSSH's own failures do (ssh(1), "EXIT STATUS").
pub(crate) const FAILED: u32 = 255;

/// One channel's end on this side. Waits when the other side does not read; safe to drop between pieces.
pub(crate) struct Outlet {
    channel: ChannelWriteHalf<Msg>,
    handle: Handle,
    pulse: Arc<Pulse>,
}

/// The other side is gone.
pub(crate) struct Gone;

impl Outlet {
    pub(crate) fn new(channel: ChannelWriteHalf<Msg>, handle: Handle, pulse: Arc<Pulse>) -> Self {
        Self {
            channel,
            handle,
            pulse,
        }
    }

    fn id(&self) -> ChannelId {
        self.channel.id()
    }

    async fn send(&self, bytes: Bytes, errors: bool) -> Result<(), Gone> {
        self.pulse.moves();
        let sent = if errors {
            self.channel.extended_data_bytes(STDERR, bytes).await
        } else {
            self.channel.data_bytes(bytes).await
        };
        sent.map_err(|_| Gone)
    }

    /// Carries everything that comes out of a pipe.
    pub(crate) async fn carry(
        &self,
        mut pipe: impl AsyncRead + Unpin,
        errors: bool,
    ) -> Result<(), Gone> {
        let mut piece = BytesMut::new();
        loop {
            piece.reserve(PIECE);
            // A terminal whose program has ended may fail (EIO) where a pipe ends.
            match pipe.read_buf(&mut piece).await {
                Ok(0) | Err(_) => return Ok(()),
                Ok(_) => self.send(piece.split().freeze(), errors).await?,
            }
        }
    }

    /// Says something to a person.
    pub(crate) async fn say(&self, text: &str) -> Result<(), Gone> {
        // Right with a terminal and without one.
        let text = text.replace('\n', "\r\n");
        self.send(format!("{text}\r\n").into(), true).await
    }

    /// Says why something did not work.
    pub(crate) async fn complain(&self, failure: &Failure) -> Result<(), Gone> {
        let mut text = format!("daas: {}", failure.message());
        for cause in failure.causes() {
            text.push_str(": ");
            text.push_str(cause);
        }
        if let Some(hint) = failure.hint_text() {
            text.push_str("\n  hint: ");
            text.push_str(hint);
        }
        self.say(&text).await
    }

    /// Says how it ended, and closes the channel (RFC 4254, sections 5.3 and 6.10).
    pub(crate) async fn end(&self, end: Option<End>) {
        let id = self.id();
        let _ = match end {
            Some(End::Exited(code)) => {
                let code = u32::try_from(code).unwrap_or(FAILED);
                self.handle.exit_status_request(id, code).await
            }
            Some(End::Killed(signal)) => {
                let (name, text) = (name_of(signal), String::new());
                let asked = self
                    .handle
                    .exit_signal_request(id, name, false, text, String::new());
                asked.await
            }
            Some(End::CutOff) => self.handle.exit_status_request(id, FAILED).await,
            None => Ok(()),
        };
        // Whoever is gone needs no good-bye.
        let _ = self.handle.eof(id).await;
        let _ = self.handle.close(id).await;
    }
}

/// Signals by their names in RFC 4254, section 6.10, and those that are common beside them.
const SIGNALS: [(i32, &str); 16] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (6, "ABRT"),
    (7, "BUS"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
    (28, "WINCH"),
];

fn name_of(signal: i32) -> Sig {
    let known = SIGNALS.iter().find(|(number, _)| *number == signal);
    let name = known.map_or_else(|| format!("{signal}@daas"), |(_, name)| (*name).to_owned());
    match name.as_str() {
        "ABRT" => Sig::ABRT,
        "ALRM" => Sig::ALRM,
        "FPE" => Sig::FPE,
        "HUP" => Sig::HUP,
        "ILL" => Sig::ILL,
        "INT" => Sig::INT,
        "KILL" => Sig::KILL,
        "PIPE" => Sig::PIPE,
        "QUIT" => Sig::QUIT,
        "SEGV" => Sig::SEGV,
        "TERM" => Sig::TERM,
        "USR1" => Sig::USR1,
        _ => Sig::Custom(name),
    }
}

/// Returns the number of a signal; nothing for names that mean nothing here.
pub(crate) fn number_of(signal: &Sig) -> Option<i32> {
    let name = match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    };
    let known = SIGNALS.iter().find(|(_, known)| *known == name);
    known.map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_names_of_the_protocol_both_ways() {
        for (number, _) in SIGNALS {
            assert_eq!(number_of(&name_of(number)), Some(number));
        }
        assert_eq!(number_of(&Sig::Custom("NONE".into())), None);
        assert!(matches!(name_of(64), Sig::Custom(name) if name == "64@daas"));
    }
}
