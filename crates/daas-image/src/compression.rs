use crate::layer_error::LayerError;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a content is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952; several members in a row are one content.
    Gzip,
    /// RFC 8878; several frames in a row are one content.
    Zstd,
}

/// Largest zstd window in powers of two: 64 MiB of memory. `zstd --ultra -22` alone asks for more.
const MAX_WINDOW: u32 = 26;

impl Compression {
    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Tells the compression by the first bytes of the content.
    #[must_use]
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// The uncompressed bytes of a file, with a count of the compressed ones behind them.
pub struct Plain<R: Read> {
    inner: Inner<R>,
    compressed: Arc<AtomicU64>,
    compression: Compression,
}

enum Inner<R: Read> {
    None(BufReader<Counted<R>>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<BufReader<Counted<R>>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Counted<R>>>>),
}

impl<R: Read> Plain<R> {
    /// Looks at the first bytes of `input` and decompresses what follows.
    ///
    /// # Errors
    /// [`LayerError::Read`] if `input` fails; [`LayerError::Compression`] if `wanted` is given and is not what the bytes are.
    pub fn new(input: R, wanted: Option<Compression>) -> Result<Self, LayerError> {
        let compressed = Arc::new(AtomicU64::new(0));
        let mut input = BufReader::with_capacity(
            128 << 10,
            Counted {
                inner: input,
                count: Arc::clone(&compressed),
            },
        );
        let compression = Compression::detect(input.fill_buf().map_err(LayerError::Read)?);
        if let Some(wanted) = wanted.filter(|w| *w != compression) {
            return Err(LayerError::Compression {
                wanted: wanted.name(),
                got: compression.name(),
            });
        }
        let inner = match compression {
            Compression::None => Inner::None(input),
            Compression::Gzip => Inner::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(input))),
            Compression::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(input).map_err(LayerError::Read)?;
                decoder
                    .window_log_max(MAX_WINDOW)
                    .map_err(LayerError::Read)?;
                Inner::Zstd(Box::new(decoder))
            }
        };
        Ok(Self {
            inner,
            compressed,
            compression,
        })
    }

    /// Returns how the input is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Returns the count of compressed bytes that were read, shared with this reader.
    pub(crate) fn compressed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.compressed)
    }
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::None(reader) => reader.read(buf),
            Inner::Gzip(reader) => reader.read(buf),
            Inner::Zstd(reader) => reader.read(buf),
        }
    }
}

struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}
