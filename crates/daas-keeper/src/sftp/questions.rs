//! Questions and their answers, one at a time.

use super::attributes::{self, Wanted};
use super::listing;
use super::words::{Code, Fault, MOST_DATA, MOST_PACKET, Reader, Writer};
use rustix::fs::{Mode, OFlags, RenameFlags};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, ReadDir};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

/// The most open files and folders of one stream.
const MOST_HANDLES: usize = 256;
/// A list of names is sent when it has so many bytes.
const ENOUGH: usize = 32 << 10;
/// The longest `/etc/passwd` that is read.
const MOST_PASSWD: u64 = 1 << 20;

/// Kinds of answers (draft, section 3).
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAMES: u8 = 104;
const ATTRIBUTES: u8 = 105;
const EXTENDED_ANSWER: u8 = 201;

enum Open {
    File(File),
    Folder {
        path: PathBuf,
        /// `.` and `..` come first.
        dots: Vec<OsString>,
        rest: ReadDir,
    },
}

/// What one stream holds.
#[derive(Default)]
pub(super) struct Desk {
    open: BTreeMap<u32, Open>,
    next: u32,
    moved: u64,
}

type Answered = Result<Vec<u8>, Fault>;

impl Desk {
    /// Returns how many bytes of files went by.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Answers one packet.
    ///
    /// # Errors
    /// A packet without an id, which cannot be answered.
    pub(super) fn answer(&mut self, packet: &[u8]) -> io::Result<Vec<u8>> {
        let mut from = Reader::new(packet);
        let (kind, id) = (from.byte()?, from.number()?);
        Ok(self
            .do_it(kind, id, &mut from)
            .unwrap_or_else(|fault| status(id, fault.code, &fault.text)))
    }

    fn do_it(&mut self, kind: u8, id: u32, from: &mut Reader<'_>) -> Answered {
        let done = |()| status(id, Code::Ok, "done");
        match kind {
            3 => self.open(id, from),
            4 => {
                let at = number(from)?;
                let gone = self.open.remove(&at).ok_or_else(no_handle)?;
                drop(gone);
                Ok(done(()))
            }
            5 => self.read(id, from),
            6 => self.write(from).map(done),
            7 => told(id, &fs::symlink_metadata(from.path()?)?),
            8 => told(id, &self.meta(from)?),
            9 => {
                let path = from.path()?;
                Wanted::read(from)?.apply(&path).map(done)
            }
            10 => {
                let at = number(from)?;
                let wanted = Wanted::read(from)?;
                match self.get(at)? {
                    Open::File(file) => wanted.apply_to(file).map(done),
                    Open::Folder { path, .. } => wanted.apply(path).map(done),
                }
            }
            11 => self.open_folder(id, from),
            12 => self.list(id, from),
            13 => Ok(done(fs::remove_file(from.path()?)?)),
            14 => {
                let path = from.path()?;
                let mode = Wanted::read(from)?.mode.unwrap_or(0o777);
                Ok(done(fs::DirBuilder::new().mode(mode).create(path)?))
            }
            15 => Ok(done(fs::remove_dir(from.path()?)?)),
            16 => Ok(one_name(id, real(&from.path()?)?.as_os_str().as_bytes())),
            17 => told(id, &fs::metadata(from.path()?)?),
            18 => {
                let (old, new) = (from.path()?, from.path()?);
                let here = rustix::fs::CWD;
                rustix::fs::renameat_with(here, old, here, new, RenameFlags::NOREPLACE)?;
                Ok(done(()))
            }
            19 => {
                let target = fs::read_link(from.path()?)?;
                Ok(one_name(id, target.as_os_str().as_bytes()))
            }
            // OpenSSH has target and link the other way round than the draft, and everybody follows it (its PROTOCOL, section 4.1).
            20 => {
                let (target, link) = (from.path()?, from.path()?);
                Ok(done(std::os::unix::fs::symlink(target, link)?))
            }
            200 => self.extended(id, from),
            _ => Err(Fault::new(Code::Unsupported, "no such operation")),
        }
    }

    fn get(&self, at: u32) -> Result<&Open, Fault> {
        self.open.get(&at).ok_or_else(no_handle)
    }

    fn file(&self, at: u32) -> Result<&File, Fault> {
        match self.get(at)? {
            Open::File(file) => Ok(file),
            Open::Folder { .. } => Err(no_handle()),
        }
    }

    fn keep(&mut self, id: u32, open: Open) -> Answered {
        if self.open.len() >= MOST_HANDLES {
            return Err(Fault::new(Code::Failure, "too many open files"));
        }
        let at = self.next;
        // After 2^32 opens numbers begin anew; one that is still open is not given twice.
        self.next = self.next.wrapping_add(1);
        if self.open.contains_key(&at) {
            return Err(Fault::new(Code::Failure, "too many open files"));
        }
        self.open.insert(at, open);
        let mut answer = Writer::answer(HANDLE, id);
        answer.text(&at.to_be_bytes());
        Ok(answer.finish())
    }

    fn open(&mut self, id: u32, from: &mut Reader<'_>) -> Answered {
        let (path, wish) = (from.path()?, from.number()?);
        let mode = Wanted::read(from)?.mode.unwrap_or(0o666);
        // A FIFO or a device must not hold us up.
        let mut flags = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        flags |= match wish & 3 {
            1 => OFlags::RDONLY,
            2 => OFlags::WRONLY,
            3 => OFlags::RDWR,
            _ => return Err(Fault::new(Code::BadMessage, "neither read nor write")),
        };
        for (bit, flag) in [
            (4, OFlags::APPEND),
            (8, OFlags::CREATE),
            (16, OFlags::TRUNC),
            (32, OFlags::EXCL),
        ] {
            if wish & bit != 0 {
                flags |= flag;
            }
        }
        let file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(mode))?);
        if file.metadata()?.is_dir() {
            return Err(Fault::new(Code::Failure, "it is a folder"));
        }
        self.keep(id, Open::File(file))
    }

    fn read(&mut self, id: u32, from: &mut Reader<'_>) -> Answered {
        let (at, offset, most) = (number(from)?, from.long()?, from.number()?);
        let file = self.file(at)?;
        let mut answer = Writer::answer(DATA, id);
        let most = most.min(MOST_DATA) as usize;
        let got = answer.filled(most, |room| file.read_at(room, offset))?;
        if got == 0 && most > 0 {
            return Err(Fault::new(Code::Eof, "the end"));
        }
        self.moved += got as u64;
        Ok(answer.finish())
    }

    fn write(&mut self, from: &mut Reader<'_>) -> Result<(), Fault> {
        let (at, offset, data) = (number(from)?, from.long()?, from.text()?);
        self.file(at)?.write_all_at(data, offset)?;
        self.moved += data.len() as u64;
        Ok(())
    }

    fn meta(&self, from: &mut Reader<'_>) -> Result<Metadata, Fault> {
        Ok(match self.get(number(from)?)? {
            Open::File(file) => file.metadata()?,
            Open::Folder { path, .. } => fs::metadata(path)?,
        })
    }

    fn open_folder(&mut self, id: u32, from: &mut Reader<'_>) -> Answered {
        let path = from.path()?;
        let rest = fs::read_dir(&path)?;
        let dots = vec!["..".into(), ".".into()];
        self.keep(id, Open::Folder { path, dots, rest })
    }

    fn list(&mut self, id: u32, from: &mut Reader<'_>) -> Answered {
        let Some(Open::Folder { path, dots, rest }) = self.open.get_mut(&number(from)?) else {
            return Err(no_handle());
        };
        let mut names = Writer::answer(NAMES, id);
        let mut count = 0_u32;
        let mut body = Writer::new(0);
        while body.len() < ENOUGH {
            let next = match dots.pop() {
                Some(dot) => Some(Ok(dot)),
                None => rest.next().map(|entry| entry.map(|e| e.file_name())),
            };
            let Some(name) = next else { break };
            let name = name?;
            // Gone since it was listed.
            let Ok(meta) = fs::symlink_metadata(path.join(&name)) else {
                continue;
            };
            let mut line = listing::line(&meta).into_bytes();
            line.extend_from_slice(name.as_bytes());
            body.text(name.as_bytes());
            body.text(&line);
            attributes::write(&meta, &mut body);
            count += 1;
        }
        if count == 0 {
            return Err(Fault::new(Code::Eof, "the end"));
        }
        names.number(count);
        let mut packet = names.finish();
        packet.extend_from_slice(&body.finish()[5..]);
        let length = u32::try_from(packet.len() - 4).unwrap_or(0);
        packet[..4].copy_from_slice(&length.to_be_bytes());
        Ok(packet)
    }

    fn extended(&mut self, id: u32, from: &mut Reader<'_>) -> Answered {
        let done = || status(id, Code::Ok, "done");
        match from.text()? {
            b"posix-rename@openssh.com" => {
                let (old, new) = (from.path()?, from.path()?);
                fs::rename(old, new)?;
                Ok(done())
            }
            b"hardlink@openssh.com" => {
                let (old, new) = (from.path()?, from.path()?);
                fs::hard_link(old, new)?;
                Ok(done())
            }
            b"fsync@openssh.com" => {
                self.file(number(from)?)?.sync_all()?;
                Ok(done())
            }
            b"statvfs@openssh.com" => {
                let stat = rustix::fs::statvfs(from.path()?)?;
                let mut answer = Writer::answer(EXTENDED_ANSWER, id);
                for value in [
                    stat.f_bsize,
                    stat.f_frsize,
                    stat.f_blocks,
                    stat.f_bfree,
                    stat.f_bavail,
                    stat.f_files,
                    stat.f_ffree,
                    stat.f_favail,
                    stat.f_fsid,
                    // Read-only and no set-user-id: bits 1 and 2 there as here.
                    stat.f_flag.bits() & 3,
                    stat.f_namemax,
                ] {
                    answer.long(value);
                }
                Ok(answer.finish())
            }
            b"limits@openssh.com" => {
                let mut answer = Writer::answer(EXTENDED_ANSWER, id);
                answer.long(MOST_PACKET as u64);
                answer.long(MOST_DATA.into());
                answer.long(MOST_DATA.into());
                answer.long(MOST_HANDLES as u64);
                Ok(answer.finish())
            }
            b"expand-path@openssh.com" => {
                let path = expand(&from.path()?)?;
                Ok(one_name(id, real(&path)?.as_os_str().as_bytes()))
            }
            _ => Err(Fault::new(Code::Unsupported, "no such extension")),
        }
    }
}

/// Reads a handle.
fn number(from: &mut Reader<'_>) -> Result<u32, Fault> {
    let text = from.text()?;
    text.try_into()
        .map(u32::from_be_bytes)
        .map_err(|_| no_handle())
}

fn no_handle() -> Fault {
    Fault::new(Code::Failure, "no such handle")
}

fn status(id: u32, code: Code, text: &str) -> Vec<u8> {
    let mut answer = Writer::answer(STATUS, id);
    answer.number(code as u32);
    answer.text(text.as_bytes());
    answer.text(b"");
    answer.finish()
}

fn told(id: u32, meta: &Metadata) -> Answered {
    let mut answer = Writer::answer(ATTRIBUTES, id);
    attributes::write(meta, &mut answer);
    Ok(answer.finish())
}

fn one_name(id: u32, name: &[u8]) -> Vec<u8> {
    let mut answer = Writer::answer(NAMES, id);
    answer.number(1);
    answer.text(name);
    answer.text(name);
    // No attributes.
    answer.number(0);
    answer.finish()
}

/// Returns a path without links and dots; what is not there yet, below what is.
fn real(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or(error)?;
            let parent = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                Some(_) | None => Path::new("."),
            };
            Ok(fs::canonicalize(parent)?.join(name))
        }
        done => done,
    }
}

/// Replaces `~` before a path by the folder of the user who serves.
fn expand(path: &Path) -> Result<PathBuf, Fault> {
    let Ok(below) = path.strip_prefix("~") else {
        return match path.as_os_str().as_bytes() {
            [b'~', ..] => Err(Fault::new(
                Code::NoSuchFile,
                "only one's own folder is known",
            )),
            _ => Ok(path.to_owned()),
        };
    };
    Ok(home().unwrap_or_else(|| PathBuf::from("/")).join(below))
}

fn home() -> Option<PathBuf> {
    let me = rustix::process::geteuid().as_raw().to_string();
    let file = File::open("/etc/passwd").ok()?;
    let text = io::read_to_string(io::Read::take(file, MOST_PASSWD)).ok()?;
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines
        .find(|fields| fields.get(2) == Some(&me.as_str()))
        .and_then(|fields| fields.get(5).map(PathBuf::from))
}
