//! A server that misbehaves to order, and images made in memory.

use daas_image::tar::{Entry, EntryKind, Writer};
use daas_image::{Digest, Registries, RegistrySettings};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// What to answer. `cut` sends only so many bytes of the body and then closes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) cut: Option<usize>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.headers.push((key.into(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }
}

type Handler = Box<dyn FnMut(&Asked) -> Reply + Send>;

/// A server on a free port of this machine; ends when it is dropped.
pub(crate) struct Fake {
    pub(crate) host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
}

impl Fake {
    pub(crate) fn start(handler: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let handler: Arc<Mutex<Handler>> = Arc::new(Mutex::new(Box::new(handler)));
        let (log, end) = (Arc::clone(&asked), Arc::clone(&ended));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (log, handler) = (Arc::clone(&log), Arc::clone(&handler));
                std::thread::spawn(move || serve(&stream.unwrap(), &log, &handler));
            }
        });
        Self { host, asked, ended }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.host);
    }
}

/// Answers one request; whatever the other side does wrong ends it silently.
fn serve(stream: &TcpStream, log: &Mutex<Vec<Asked>>, handler: &Mutex<Handler>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((key, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(key.to_ascii_lowercase(), value.to_owned());
    }
    let len = headers
        .get("content-length")
        .and_then(|l| l.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    let asked = Asked {
        method,
        path,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    log.lock().unwrap().push(asked.clone());
    let reply = (handler.lock().unwrap())(&asked);
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    if !reply.headers.iter().any(|(k, _)| k == "Content-Length") {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    for (key, value) in &reply.headers {
        head += &format!("{key}: {value}\r\n");
    }
    let mut stream = stream;
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    if asked.method != "HEAD" {
        stream
            .write_all(&reply.body[..reply.cut.unwrap_or(reply.body.len()).min(reply.body.len())])
            .ok()?;
    }
    stream.flush().ok()
}

/// An image in memory.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) manifest: Vec<u8>,
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    pub(crate) layers: Vec<String>,
    pub(crate) config: String,
}

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An entry of an archive in short.
pub(crate) fn entry(kind: EntryKind, path: &str, size: u64) -> Entry {
    Entry {
        path: path.into(),
        link: Vec::new(),
        kind,
        mode: if kind == EntryKind::Directory {
            0o755
        } else {
            0o644
        },
        uid: 0,
        gid: 0,
        size,
        mtime: 1000,
        mtime_nanos: 0,
        device: (0, 0),
        xattrs: Vec::new(),
        pieces: None,
    }
}

pub(crate) fn link(kind: EntryKind, path: &str, target: &str) -> Entry {
    Entry {
        link: target.into(),
        ..entry(kind, path, 0)
    }
}

/// An archive of plain files; names that end in a slash are folders.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (name, content) in files {
        let kind = if name.ends_with('/') {
            EntryKind::Directory
        } else {
            EntryKind::File
        };
        writer
            .entry(&entry(kind, name, content.len() as u64), &mut &content[..])
            .unwrap();
    }
    writer.finish().unwrap()
}

pub(crate) fn archive_of(entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for entry in entries {
        writer.entry(entry, &mut std::io::repeat(b'x')).unwrap();
    }
    writer.finish().unwrap()
}

/// Makes an image of uncompressed layers.
pub(crate) fn image(layers: &[Vec<u8>]) -> Made {
    let mut blobs = BTreeMap::new();
    let mut put = |bytes: Vec<u8>| {
        let (digest, size) = (Digest::of(&bytes).to_string(), bytes.len());
        blobs.insert(digest.clone(), bytes);
        (digest, size)
    };
    let described: Vec<(String, usize)> = layers.iter().map(|l| put(l.clone())).collect();
    let ids: Vec<String> = described.iter().map(|(d, _)| format!("\"{d}\"")).collect();
    let (config, config_size) = put(format!(r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/x"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#, ids.join(",")).into_bytes());
    let list: Vec<String> = described.iter().map(|(d, n)| format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{d}","size":{n}}}"#)).collect();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{config_size}}},"layers":[{}]}}"#,
        list.join(",")
    );
    Made {
        manifest: manifest.into_bytes(),
        blobs,
        layers: described.into_iter().map(|(d, _)| d).collect(),
        config,
    }
}

impl Made {
    /// Answers as a well-behaved registry would.
    pub(crate) fn answer(&self, asked: &Asked) -> Reply {
        if asked.path.contains("/manifests/") {
            return Reply::new(200)
                .with("Content-Type", OCI_MANIFEST)
                .body(&self.manifest);
        }
        let Some(blob) = asked
            .path
            .split('?')
            .next()
            .and_then(|p| p.rsplit('/').next())
            .and_then(|d| self.blobs.get(d))
        else {
            return Reply::new(404);
        };
        let start = asked.headers.get("range").and_then(|r| {
            r.strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse::<usize>()
                .ok()
        });
        match start {
            Some(start) if start < blob.len() => Reply::new(206)
                .with(
                    "Content-Range",
                    &format!("bytes {start}-{}/{}", blob.len() - 1, blob.len()),
                )
                .body(&blob[start..]),
            Some(_) => Reply::new(416),
            None => Reply::new(200).body(blob),
        }
    }
}

pub(crate) fn registries() -> Registries {
    Registries::new(RegistrySettings::default()).unwrap()
}

/// Every file below `dir`, for the assertion that nothing is left.
pub(crate) fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// Opens a store whose last user may still be letting go of it in another thread.
pub(crate) fn reopen(dir: &std::path::Path) -> daas_image::Store {
    loop {
        match daas_image::Store::open(dir) {
            Err(daas_image::ImageError::StoreInUse { .. }) => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            opened => return opened.unwrap(),
        }
    }
}
