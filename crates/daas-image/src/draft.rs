use crate::apply::{Applier, Lower, Stop};
use crate::digest::{Algorithm, Hasher};
use crate::manifest::layer_type;
use crate::store::{BlobWriter, Lease, Temp};
use crate::tar::{Entry, Reader, Writer};
use crate::{Applied, Compression, Digest, ImageError, Layer, LayerError, Store, confined};
use daas_model::ByteSize;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// How much of the archive goes from the writer to the unpacker at once, and how many such pieces may wait.
const PIECE: usize = 256 << 10;
const AHEAD: usize = 8;
/// Half the time of gzip's level 6 for a few percent more bytes: a build waits for it, a push only sends it.
const LEVEL: u32 = 4;

/// A layer as images are put together from: in the store, packed and unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// The digest of the archive as it is stored and sent.
    pub blob: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
}

/// A layer in the making: what is written is packed and unpacked at the same time, so that it is read only once.
///
/// Dropped without [`LayerDraft::finish`] it leaves nothing.
pub struct LayerDraft {
    store: Store,
    writer: Writer<Tee>,
    temp: Temp,
    unpacked: Receiver<Result<Applied, LayerError>>,
}

/// The archive's bytes on their three ways: digested, packed, unpacked.
struct Tee {
    diff: Hasher,
    gzip: GzEncoder<BlobWriter>,
    piece: Vec<u8>,
    unpacker: SyncSender<Vec<u8>>,
}

impl Tee {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.diff.update(&piece);
        // The unpacker has given up and tells why at the end.
        if self.unpacker.send(piece).is_err() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gzip.write_all(bytes)?;
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The pieces that the writer sends, as the unpacker reads them.
struct Pieces {
    from: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.from.recv() {
                Ok(piece) => (self.piece, self.at) = (piece, 0),
                Err(_) => return Ok(0),
            }
        }
        let n = buf.len().min(self.piece.len() - self.at);
        buf[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

impl Store {
    /// Begins a layer that stands alone: every folder on the way to an entry must be an entry too. Blocks like all of its life.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn draft_layer(&self) -> Result<LayerDraft, ImageError> {
        let temp = Temp::new(self.temp_path());
        let root = temp.path().join("fs");
        for (path, mode) in [(temp.path(), 0o700), (root.as_path(), 0o755)] {
            std::fs::DirBuilder::new()
                .mode(mode)
                .create(path)
                .map_err(ImageError::io("make the folder", path))?;
        }
        std::fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(ImageError::io("change the mode of", &root))?;
        let fd = confined::open_root(&root).map_err(ImageError::io("open", &root))?;
        let (unpacker, from) = sync_channel(AHEAD);
        let (done, unpacked) = sync_channel(1);
        let budget = self.budget().clone();
        self.supervisor()
            .run_blocking("unpack a layer in the making", move || {
                let pieces = Pieces {
                    from,
                    piece: Vec::new(),
                    at: 0,
                };
                let mut reader = Reader::new(pieces, budget.clone());
                let cancelled = AtomicBool::new(false);
                // The archive is our own, so no ratio bounds it; bytes and entries do.
                let compressed = Arc::new(AtomicU64::new(u64::MAX / budget.ratio.max(1)));
                let result = Applier::new(fd, Lower::Unknown, &budget, compressed, &cancelled)
                    .run(&mut reader)
                    .and_then(|applied| {
                        reader.drain()?;
                        Ok(applied)
                    });
                let result = result.map_err(|stop| match stop {
                    Stop::Failed(error) => error,
                    Stop::NeedsLower => LayerError::Impossible {
                        path: ".".into(),
                        why: "a folder on the way to an entry is missing",
                    },
                });
                // Nobody waits for it any more.
                let _ = done.send(result);
            });
        Ok(LayerDraft {
            store: self.clone(),
            writer: Writer::new(Tee {
                diff: Hasher::new(Algorithm::Sha256),
                gzip: GzEncoder::new(
                    self.blob_writer(Algorithm::Sha256)?,
                    flate2::Compression::new(LEVEL),
                ),
                piece: Vec::with_capacity(PIECE),
                unpacker,
            }),
            temp,
            unpacked,
        })
    }
}

impl LayerDraft {
    /// Adds one entry with its content, of which exactly `entry.size` bytes are read.
    ///
    /// # Errors
    /// What reading or writing says; a broken pipe if unpacking failed, which [`LayerDraft::finish`] explains.
    pub fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        self.writer.entry(entry, content)
    }

    /// Returns why unpacking failed, after an entry that could not be written; the failure of the entry itself otherwise.
    #[must_use]
    pub fn explain(self, error: io::Error) -> ImageError {
        drop(self.writer);
        match self.unpacked.recv() {
            Ok(Err(source)) if error.kind() == io::ErrorKind::BrokenPipe => ImageError::Layer {
                layer: Digest::of(b""),
                source,
            },
            _ => ImageError::io("write a layer below", self.store.dir())(error),
        }
    }

    /// Ends the layer and puts it into the store. It is durable only after [`Store::settle`]; `lease` keeps it from being collected.
    ///
    /// # Errors
    /// [`ImageError::Layer`] if it cannot be unpacked, [`ImageError::Io`].
    pub fn finish(self, lease: &mut Lease) -> Result<(Packed, Layer), ImageError> {
        let Self {
            store,
            writer,
            temp,
            unpacked,
        } = self;
        let failed = |e| ImageError::io("write a layer below", store.dir())(e);
        let packed = writer.finish().and_then(|mut tee| {
            tee.send()?;
            let Tee {
                diff,
                gzip,
                unpacker,
                ..
            } = tee;
            drop(unpacker);
            Ok((diff.finish(), gzip.finish()?))
        });
        let applied = match unpacked.recv() {
            Ok(Ok(applied)) => applied,
            Ok(Err(source)) => {
                return Err(ImageError::Layer {
                    layer: Digest::of(b""),
                    source,
                });
            }
            Err(_) => {
                return Err(ImageError::Broken {
                    what: "unpacking a layer",
                });
            }
        };
        let (diff_id, blob) = packed.map_err(failed)?;
        let size = blob.size();
        lease.add(diff_id.hex());
        let blob = blob.commit_unsynced(lease)?;
        let layer = store.keep_layer(temp, &diff_id, &applied)?;
        let packed = Packed {
            blob,
            size,
            media_type: layer_type(Compression::Gzip),
            diff_id,
        };
        Ok((packed, layer))
    }
}

impl Store {
    /// Moves an unpacked tree to its place, unless the same is there.
    fn keep_layer(
        &self,
        temp: Temp,
        diff_id: &Digest,
        applied: &Applied,
    ) -> Result<Layer, ImageError> {
        let turn = self.turn(diff_id.hex());
        let _turn = turn.blocking_lock();
        let place = self.dir().join("layers").join(diff_id.hex());
        if !place.join("layer.json").exists() {
            let text = serde_json::to_vec_pretty(applied).map_err(|_| ImageError::Broken {
                what: "describing a layer",
            })?;
            write_new(&temp.path().join("layer.json"), &text)?;
            self.pledge(&format!("layer-{}", diff_id.hex()))?;
            temp.keep_unsynced_as(&place)?;
        }
        Ok(Layer {
            diff_id: diff_id.clone(),
            path: place.join("fs"),
            size: ByteSize(applied.bytes),
            opaque: applied.root_opaque,
            notes: applied.notes.clone(),
        })
    }
}

/// Writes a file that only root reads.
pub(crate) fn write_new(path: &Path, text: &[u8]) -> Result<(), ImageError> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text))
        .map_err(ImageError::io("write", path))
}
