//! A file on its way out, in large pieces. What is in the kernel's memory is read at once; only what must come from the disk is
//! read off the runtime's threads.

use bytes::Bytes;
use daas_tasks::Supervisor;
use http_body_util::StreamBody;
use hyper::body::Frame;
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use crate::registry::locked;

/// How much is read at once: the copy to the socket finds it in the processor's cache.
const PIECE: usize = 256 << 10;
/// How many buffers wait for their next use: 16 MiB, enough for 32 readers at once.
const KEPT: usize = 64;

/// Buffers that were used before: fresh memory of this size costs as much as the reading itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A part of a file in a buffer that goes back when nobody needs it.
struct Piece {
    buffer: Vec<u8>,
    length: usize,
    buffers: Buffers,
}

impl Buffers {
    fn take(&self) -> Vec<u8> {
        let used = locked(&self.free).pop();
        used.unwrap_or_else(|| vec![0; PIECE])
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut free = locked(&self.free);
        if free.len() < KEPT {
            free.push(buffer);
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.buffers.give(std::mem::take(&mut self.buffer));
    }
}

/// Returns `length` bytes of `file` from `from` on as a body.
pub(crate) fn body(
    tasks: &Supervisor,
    buffers: &Buffers,
    file: File,
    from: u64,
    length: u64,
) -> axum::body::Body {
    let reader = Reader {
        tasks: tasks.clone(),
        buffers: buffers.clone(),
        file: Arc::new(file),
        at: from,
        end: from + length,
    };
    let stream = futures_util::stream::try_unfold(reader, |mut reader| async move {
        if reader.at == reader.end {
            return Ok(None);
        }
        let bytes = reader.next().await?;
        Ok::<_, io::Error>(Some((Frame::data(bytes), reader)))
    });
    axum::body::Body::new(StreamBody::new(stream))
}

struct Reader {
    tasks: Supervisor,
    buffers: Buffers,
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Reader {
    async fn next(&mut self) -> io::Result<Bytes> {
        let left = usize::try_from(self.end - self.at).unwrap_or(PIECE);
        let wanted = left.min(PIECE);
        let mut buffer = self.buffers.take();
        let now = rustix::io::preadv2(
            &self.file,
            &mut [IoSliceMut::new(&mut buffer[..wanted])],
            self.at,
            ReadWriteFlags::NOWAIT,
        );
        let length = match now {
            Ok(length) if length > 0 => length,
            // Not in memory, at the end, or on a file system that cannot tell: as any file.
            Ok(_) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => {
                buffer = self.wait(buffer, wanted).await?;
                wanted
            }
            Err(error) => return Err(error.into()),
        };
        self.at += length as u64;
        Ok(Bytes::from_owner(Piece {
            buffer,
            length,
            buffers: self.buffers.clone(),
        }))
    }

    /// Reads from the disk, off the runtime's threads.
    async fn wait(&self, mut buffer: Vec<u8>, wanted: usize) -> io::Result<Vec<u8>> {
        let (file, at) = (self.file.clone(), self.at);
        let read = move || {
            // A file that became shorter ends the connection, so that nobody takes the part for the whole.
            file.read_exact_at(&mut buffer[..wanted], at)?;
            Ok(buffer)
        };
        self.tasks
            .run_blocking("read a blob", read)
            .await
            .map_err(|_| io::Error::other("the reading of a blob ended"))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_part_of_a_file_comes_whole_and_its_buffers_are_used_again() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        io::Write::write_all(&mut file, &content).unwrap();
        let (tasks, buffers) = (Supervisor::new(), Buffers::default());
        for (from, length) in [(0, 800_000), (5, 300_000), (799_999, 1), (10, 0)] {
            let body = body(&tasks, &buffers, file.try_clone().unwrap(), from, length);
            let got = body.collect().await.unwrap().to_bytes();
            let from = usize::try_from(from).unwrap();
            assert!(got == content[from..from + usize::try_from(length).unwrap()]);
        }
        assert!((1..=4).contains(&locked(&buffers.free).len()));
        let short = body(&tasks, &buffers, file, 700_000, 200_000);
        assert!(
            short.collect().await.is_err(),
            "what is not there is not made up"
        );
    }
}
