//! Bytes of packets: numbers, texts, and the status.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The longest packet, as OpenSSH has it (`SFTP_MAX_MSG_LENGTH`).
pub(super) const MOST_PACKET: usize = 256 << 10;
/// The most bytes of a file in one packet: OpenSSH's, too.
pub(super) const MOST_DATA: u32 = (256 << 10) - 1024;

/// A status by its number (draft, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Ok = 0,
    Eof = 1,
    NoSuchFile = 2,
    PermissionDenied = 3,
    Failure = 4,
    BadMessage = 5,
    Unsupported = 8,
}

/// Why a question has no other answer than a status.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) text: String,
}

impl Fault {
    pub(super) fn new(code: Code, text: &str) -> Self {
        Self {
            code,
            text: text.to_owned(),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::NotFound => Code::NoSuchFile,
            io::ErrorKind::PermissionDenied => Code::PermissionDenied,
            io::ErrorKind::InvalidData => Code::BadMessage,
            _ => Code::Failure,
        };
        Self {
            code,
            text: error.to_string(),
        }
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

/// Reads a packet from its first byte on.
pub(super) struct Reader<'p>(&'p [u8]);

impl<'p> Reader<'p> {
    pub(super) fn new(packet: &'p [u8]) -> Self {
        Self(packet)
    }

    fn take(&mut self, length: usize) -> io::Result<&'p [u8]> {
        let (head, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(io::ErrorKind::InvalidData)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn number(&mut self) -> io::Result<u32> {
        let bytes = self.take(4)?.try_into();
        bytes
            .map(u32::from_be_bytes)
            .map_err(|_| io::ErrorKind::InvalidData.into())
    }

    pub(super) fn long(&mut self) -> io::Result<u64> {
        let (high, low) = (self.number()?, self.number()?);
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    pub(super) fn text(&mut self) -> io::Result<&'p [u8]> {
        let length = self.number()?;
        self.take(length as usize)
    }

    /// Returns a path; an empty one is the folder that it began in.
    pub(super) fn path(&mut self) -> io::Result<PathBuf> {
        let text = self.text()?;
        let text = if text.is_empty() { b"." } else { text };
        Ok(PathBuf::from(OsStr::from_bytes(text)))
    }
}

/// Writes a packet.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind])
    }

    pub(super) fn answer(kind: u8, id: u32) -> Self {
        let mut writer = Self::new(kind);
        writer.number(id);
        writer
    }

    pub(super) fn number(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub(super) fn long(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub(super) fn text(&mut self, text: &[u8]) {
        self.number(u32::try_from(text.len()).unwrap_or(0));
        self.0.extend_from_slice(text);
    }

    /// Writes bytes that `fill` puts into the room for at most `most`; returns how many they are.
    pub(super) fn filled(
        &mut self,
        most: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let at = self.0.len();
        self.0.resize(at + 4 + most, 0);
        let got = fill(&mut self.0[at + 4..])?.min(most);
        self.0.truncate(at + 4 + got);
        let length = u32::try_from(got).unwrap_or(0);
        self.0[at..at + 4].copy_from_slice(&length.to_be_bytes());
        Ok(got)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns it with its length before it.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(0);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}
