//! Files of the web for `ADD`: fetched once, kept for the project, and asked for by their tag (`ETag`, RFC 9110) afterwards.
//!
//! A file is looked at again at every build unless `--checksum` says what it is: then nobody is asked.

use crate::builder::Builder;
use crate::caches::{Area, InUse, Wanted};
use crate::error::BuildError;
use crate::fetch_error::FetchError;
use crate::sign_in::{self, Secrets};
use crate::transfer::hex;
use bytes::Bytes;
use daas_engine::egress::Outside;
use daas_image::{Dial, Digest, WebAnswer};
use daas_model::ByteSize;
use daas_spec::dockerfile::Sharing;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// How many pieces may wait for the disk.
const AHEAD: usize = 16;

/// A file that is wanted.
pub(crate) struct Wish<'a> {
    pub(crate) project: &'a str,
    pub(crate) address: &'a str,
    pub(crate) checksum: Option<&'a Digest>,
    /// The most bytes.
    pub(crate) limit: ByteSize,
    /// The secrets of who asks, some of which may be for the file's host.
    pub(crate) secrets: &'a Secrets,
}

/// A file that is here.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// A folder that holds it and nothing else.
    pub(crate) folder: PathBuf,
    /// Its name there, and what its address calls it; nothing calls it `file`.
    pub(crate) name: Option<String>,
    pub(crate) digest: Digest,
    /// Seconds since 1970.
    pub(crate) modified: u64,
    /// Whether it was here before.
    pub(crate) cached: bool,
}

/// The name in the folder of a file that has none.
pub(crate) const NAMELESS: &str = "file";

/// What is known of a file that is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    etag: Option<String>,
    /// As the server wrote it.
    last_modified: Option<String>,
    name: Option<String>,
    digest: Digest,
}

impl Known {
    /// The time of the file: what the server says, or 1970 as with `BuildKit`.
    fn modified(&self) -> u64 {
        self.last_modified
            .as_deref()
            .and_then(|text| httpdate::parse_http_date(text).ok())
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_secs())
    }

    /// What the server is asked: whether there is another by now.
    fn question(&self) -> Vec<(&'static str, String)> {
        match (&self.etag, &self.last_modified) {
            (Some(etag), _) => vec![("if-none-match", etag.clone())],
            (None, Some(time)) => vec![("if-modified-since", time.clone())],
            (None, None) => Vec::new(),
        }
    }
}

/// Dials on behalf of builds.
pub(crate) struct Dialed(pub(crate) Outside);

impl Dial for Dialed {
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<TcpStream, Box<dyn std::error::Error + Send + Sync>>> {
        Box::pin(async move { Ok(self.0.connect(host, port).await?) })
    }

    fn judge(&self, address: IpAddr) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.judge(address)?)
    }
}

impl Builder {
    /// Fetches a file into the folder `place`, which is made; `progress` is told bytes that have come and, if it is known, how many will.
    pub(crate) async fn fetch(
        &self,
        wish: &Wish<'_>,
        place: PathBuf,
        progress: impl Fn(u64, u64),
    ) -> Result<Fetched, FetchError> {
        sign_in::check(wish.secrets)?;
        let wanted = Wanted {
            area: Area::Fetched,
            project: wish.project.to_owned(),
            id: wish.address.to_owned(),
            sharing: Sharing::Locked,
            mode: 0o700,
            uid: 0,
            gid: 0,
        };
        let kept = self.caches().take(&wanted, place.clone()).await?;
        let known = self.known(&kept.path).await?;
        if let Some(known) = known.as_ref().filter(|k| Some(&k.digest) == wish.checksum) {
            return self.hand_out(&kept, known, place, true);
        }
        let question = known.as_ref().map(Known::question).unwrap_or_default();
        let sign_in = |host: &str| sign_in::to_host(wish.secrets, host);
        let answer = self.web()?.get(wish.address, &question, &sign_in).await?;
        let (known, cached) = match known {
            Some(known) if answer.is_unchanged() => (known, true),
            _ => (self.keep(wish, answer, &kept.path, progress).await?, false),
        };
        if let Some(wanted) = wish.checksum.filter(|wanted| **wanted != known.digest) {
            return Err(FetchError::checksum(wish.address, wanted, &known.digest));
        }
        let fetched = self.hand_out(&kept, &known, place, cached);
        drop(kept);
        if !cached {
            let (builder, project) = (self.clone(), wish.project.to_owned());
            self.waiting("trim caches of builds", move || {
                builder.caches().trim(&project);
                Ok(())
            })
            .await?;
        }
        fetched
    }

    /// Runs a function that blocks on the blocking pool.
    pub(crate) async fn waiting<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
    ) -> Result<T, BuildError> {
        self.tasks()
            .run_blocking(what, work)
            .await
            .map_err(|_| BuildError::Cancelled)?
    }

    /// Returns what is kept, if it still is what it was when it came.
    async fn known(&self, folder: &Path) -> Result<Option<Known>, BuildError> {
        let folder = folder.to_owned();
        self.waiting("look at a fetched file", move || {
            let Some(known) = fs::read(folder.join("known.json"))
                .ok()
                .and_then(|text| serde_json::from_slice::<Known>(&text).ok())
            else {
                return Ok(None);
            };
            let digest = digest_of(&folder.join("body")).ok();
            Ok((digest.as_ref() == Some(&known.digest)).then_some(known))
        })
        .await
    }

    /// Takes a file as it comes in and keeps it.
    async fn keep(
        &self,
        wish: &Wish<'_>,
        mut answer: WebAnswer,
        folder: &Path,
        progress: impl Fn(u64, u64),
    ) -> Result<Known, FetchError> {
        let too_large = || FetchError::TooLarge {
            address: wish.address.to_owned(),
            limit: wish.limit,
        };
        let announced = answer
            .header("content-length")
            .and_then(|text| text.parse::<u64>().ok());
        if announced.is_some_and(|length| length > wish.limit.0) {
            return Err(too_large());
        }
        let mut known = Known {
            etag: answer.header("etag").map(str::to_owned),
            last_modified: answer.header("last-modified").map(str::to_owned),
            name: name_of(path_of(wish.address), answer.header("content-disposition")),
            digest: Digest::of(b""),
        };
        let (pieces, from) = mpsc::channel(AHEAD);
        let new = folder.join("new");
        let writing = {
            let new = new.clone();
            self.tasks().run_blocking("keep a fetched file", move || {
                write(&new, from).map_err(BuildError::io("write", &new))
            })
        };
        let mut length = 0_u64;
        let read = async {
            while let Some(piece) = answer.chunk().await? {
                length += piece.len() as u64;
                if length > wish.limit.0 {
                    return Err(too_large());
                }
                progress(length, announced.unwrap_or(0));
                if pieces.send(piece).await.is_err() {
                    // The disk is full: the writer says so.
                    break;
                }
            }
            Ok(())
        }
        .await;
        drop(pieces);
        let written = writing.await.map_err(|_| BuildError::Cancelled)?;
        read?;
        known.digest = written?;
        let (at, text) = (folder.to_owned(), serde_json::to_vec(&known));
        let modified = known.modified();
        self.waiting("keep a fetched file", move || {
            install(&at, &text.unwrap_or_default(), modified)
                .map_err(BuildError::io("keep a file in", &at))
        })
        .await?;
        Ok(known)
    }

    /// Links a kept file into a folder of the build: the cache may throw it away meanwhile.
    fn hand_out(
        &self,
        kept: &InUse,
        known: &Known,
        folder: PathBuf,
        cached: bool,
    ) -> Result<Fetched, FetchError> {
        let link = || -> io::Result<()> {
            fs::create_dir(&folder)?;
            let name = known.name.as_deref().unwrap_or(NAMELESS);
            fs::hard_link(kept.path.join("body"), folder.join(name))
        };
        link().map_err(BuildError::io("make the folder", &folder))?;
        Ok(Fetched {
            folder,
            name: known.name.clone(),
            digest: known.digest.clone(),
            modified: known.modified(),
            cached,
        })
    }
}

/// Writes what comes into a new file and returns its digest.
fn write(path: &Path, mut from: mpsc::Receiver<Bytes>) -> io::Result<Digest> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut sum = Sha256::new();
    while let Some(piece) = from.blocking_recv() {
        sum.update(&piece);
        file.write_all(&piece)?;
    }
    Ok(digest(sum))
}

/// Makes what has come the file that is kept. The old one may be in use: it is replaced and never written to.
fn install(folder: &Path, known: &[u8], modified: u64) -> io::Result<()> {
    let (new, list) = (folder.join("new"), folder.join("known.json"));
    File::open(&new)?.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(modified))?;
    match fs::remove_file(&list) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::rename(&new, folder.join("body"))?;
    fs::write(folder.join("known.new"), known)?;
    fs::rename(folder.join("known.new"), list)
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut sum = Sha256::new();
    let mut buf = vec![0; 256 << 10];
    loop {
        match file.read(&mut buf)? {
            0 => return Ok(digest(sum)),
            n => sum.update(&buf[..n]),
        }
    }
}

fn digest(sum: Sha256) -> Digest {
    Digest::parse(&format!("sha256:{}", hex(&sum.finalize())))
        .expect("64 hexadecimal digits are a digest")
}

/// The path of an address: what is behind the host, without the query.
fn path_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = rest.split('?').next().unwrap_or_default();
    rest.find('/').map_or("/", |at| &rest[at..])
}

/// What a file is called: by the last part of its address that is something, as with `BuildKit`, or by `Content-Disposition` (RFC 6266), as Docker did.
fn name_of(path: &str, disposition: Option<&str>) -> Option<String> {
    let last = path.trim_end_matches('/').rsplit('/').next();
    let last = last.unwrap_or_default();
    usable(&percent_decoded(last)).or_else(|| {
        let text = disposition?;
        let value = text.split(';').skip(1).find_map(|field| {
            let (key, value) = field.trim().split_once('=')?;
            key.trim()
                .eq_ignore_ascii_case("filename")
                .then_some(value.trim().trim_matches('"'))
        })?;
        usable(value.rsplit(['/', '\\']).next()?)
    })
}

/// A name that is one part of a path.
fn usable(name: &str) -> Option<String> {
    let bad = matches!(name, "" | "." | "..")
        || name.contains(['/', '\0'])
        || name.starts_with(".wh.")
        || name.len() > 255;
    (!bad).then(|| name.to_owned())
}

/// Puts the bytes of `%41` and the like in (RFC 3986, section 2.1).
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = bytes
            .get(at + 1..at + 3)
            .filter(|_| *byte == b'%')
            .and_then(|two| std::str::from_utf8(two).ok())
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match code {
            Some(code) => {
                out.push(code);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_as_its_address_says_or_else_as_its_server_says() {
        for (path, disposition, wanted) in [
            ("/a/b.tar.gz", None, Some("b.tar.gz")),
            (
                "/a/b%20c.txt",
                Some("attachment; filename=x"),
                Some("b c.txt"),
            ),
            ("/a//", Some("attachment; filename=x"), Some("a")),
            (
                "/",
                Some("attachment; filename=\"x y.zip\""),
                Some("x y.zip"),
            ),
            (
                "/",
                Some("attachment; filename=../../etc/passwd"),
                Some("passwd"),
            ),
            ("/a/%2e%2e", None, None),
            ("/a/..%2fb", None, None),
            ("/", Some("inline"), None),
            ("/x/.wh.a", None, None),
        ] {
            assert_eq!(name_of(path, disposition).as_deref(), wanted, "{path}");
        }
    }
}
