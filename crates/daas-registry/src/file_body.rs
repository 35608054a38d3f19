//! A file on its way out, in large pieces, the next one read while the last is sent.

use bytes::Bytes;
use daas_tasks::{Handle, Supervisor};
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// How much is read at once.
const PIECE: u64 = 512 << 10;

/// Returns `length` bytes of `file` from `from` on as a body.
pub(crate) fn body(tasks: &Supervisor, file: File, from: u64, length: u64) -> axum::body::Body {
    let file = Arc::new(file);
    let reader = Reader {
        next: read(tasks, &file, from, length),
        tasks: tasks.clone(),
        file,
        at: from,
        end: from + length,
    };
    let stream = futures_util::stream::try_unfold(reader, |mut reader| async move {
        let Some(handle) = reader.next.take() else {
            return Ok(None);
        };
        let bytes = handle
            .await
            .map_err(|_| io::Error::other("the reading of a blob ended"))??;
        reader.at += bytes.len() as u64;
        reader.next = read(
            &reader.tasks,
            &reader.file,
            reader.at,
            reader.end - reader.at,
        );
        Ok::<_, io::Error>(Some((Frame::data(bytes), reader)))
    });
    axum::body::Body::new(StreamBody::new(stream))
}

struct Reader {
    next: Option<Handle<io::Result<Bytes>>>,
    tasks: Supervisor,
    file: Arc<File>,
    at: u64,
    end: u64,
}

fn read(
    tasks: &Supervisor,
    file: &Arc<File>,
    at: u64,
    left: u64,
) -> Option<Handle<io::Result<Bytes>>> {
    let size = usize::try_from(left.min(PIECE)).unwrap_or(0);
    if size == 0 {
        return None;
    }
    let file = file.clone();
    Some(tasks.run_blocking("read a blob", move || {
        let mut buffer = vec![0; size];
        // A file that became shorter ends the connection, so that nobody takes the part for the whole.
        file.read_exact_at(&mut buffer, at)?;
        Ok(Bytes::from(buffer))
    }))
}
