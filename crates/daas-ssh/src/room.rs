//! What is behind the door: a house with rooms. Today a room is a node of a stand.

use crate::keyring::Rights;
use daas_api::Failure;
use daas_api::WindowSize;
use daas_api::platform::{Answer, BoxDuplex, BoxRead, BoxWrite};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Somebody who has signed in.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The name of the key.
    pub key: String,
    /// What the key may enter.
    pub rights: Rights,
    /// The user name that was asked for.
    pub user: String,
    /// Where the connection comes from.
    pub peer: SocketAddr,
}

/// What answers sessions. Nothing of it is asked before somebody has signed in.
pub trait House: Send + Sync + 'static {
    /// Finds the room that the visitor's user name means. A failure's words are shown to the visitor.
    fn enter<'a>(&'a self, visitor: &'a Visitor) -> Answer<'a, Arc<dyn Room>>;

    /// Hears what a visitor did, when it is over.
    fn done(&self, visitor: &Visitor, deed: Deed);
}

/// One place that a session is in.
pub trait Room: Send + Sync + 'static {
    /// Returns what is told to a person before it is waited for, such as that a stand wakes.
    fn notice(&self) -> Option<String>;

    /// Starts a program or a shell. May be dropped before it answers.
    fn run(&self, wish: Wish) -> Answer<'_, Program>;

    /// Starts what speaks SFTP (draft-ietf-secsh-filexfer-02) on its standard input and output.
    fn files(&self) -> Answer<'_, Program>;

    /// Connects to an address as the room sees it: `127.0.0.1` is its own.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Answer<'a, BoxDuplex>;
}

/// What a session asks to be run.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The words as they came, which a shell of the room reads; a shell of its own without.
    pub command: Option<String>,
    /// The terminal, if it wants one.
    pub terminal: Option<Terminal>,
    /// `LANG` and `LC_*`.
    pub environment: BTreeMap<String, String>,
}

/// A wanted terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// `TERM`.
    pub kind: String,
    /// Its size at the start.
    pub size: WindowSize,
}

/// A program that runs. Dropping it ends the program.
pub struct Program {
    /// Its input; dropping it is the end of file.
    pub stdin: BoxWrite,
    /// Its output, or the terminal's.
    pub stdout: BoxRead,
    /// Its errors; nothing with a terminal.
    pub stderr: Option<BoxRead>,
    /// Takes changes.
    pub tweaks: mpsc::Sender<Tweak>,
    /// How it ended; ready when all output is in the pipes.
    pub end: Pin<Box<dyn Future<Output = Result<End, Failure>> + Send>>,
}

/// A change of a program that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tweak {
    /// Its terminal has another size.
    Resize(WindowSize),
    /// It gets a signal, by its number.
    Signal(i32),
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// With the door, before its own end.
    CutOff,
}

/// What a visitor did.
#[derive(Debug, Clone)]
pub struct Deed {
    /// In words: `a shell`, `rsync`, `files`.
    pub what: String,
    /// How it ended; nothing where it could not begin or was left.
    pub end: Option<End>,
    /// How long it took, milliseconds.
    pub millis: u64,
}
