//! What travels on the connection of an `exec`: one byte of kind, four bytes of length (big-endian), the payload.

use crate::exec::WindowSize;
use crate::problem::Problem;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The most bytes of one payload: a longer one is refused before memory is taken for it.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// One message on the connection of an `exec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// For standard input.
    Stdin(Bytes),
    /// Standard input has ended.
    StdinEnd,
    /// From standard output or the terminal.
    Stdout(Bytes),
    /// From standard error.
    Stderr(Bytes),
    /// The terminal has another size.
    Resize(WindowSize),
    /// The program ended with this code; the last frame.
    Exit(i32),
    /// The program could not be run to its end; the last frame.
    Failed(Box<Problem>),
}

/// What can be wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed or ended inside of a frame.
    #[error("cannot read a frame")]
    Io(#[from] std::io::Error),
    /// The payload is longer than allowed.
    #[error("cannot read a frame of {0} bytes: the most is {MAX_PAYLOAD}")]
    TooLong(usize),
    /// The kind is unknown or the payload does not fit it.
    #[error("cannot read a frame: kind {0} is unknown or its payload does not fit")]
    Strange(u8),
}

/// Reads one frame; nothing at the end of the connection. Not safe to drop in the middle.
///
/// # Errors
/// [`FrameError`] if the connection fails or says something strange.
pub async fn read_frame<R: AsyncRead + Unpin>(from: &mut R) -> Result<Option<Frame>, FrameError> {
    let mut head = [0u8; 5];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let kind = head[0];
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > MAX_PAYLOAD {
        return Err(FrameError::TooLong(length));
    }
    let mut payload = vec![0u8; length];
    from.read_exact(&mut payload).await?;
    decode(kind, payload)
        .ok_or(FrameError::Strange(kind))
        .map(Some)
}

/// Writes one frame and flushes. A payload over [`MAX_PAYLOAD`] is written as several frames of its kind.
///
/// # Errors
/// The connection's own.
pub async fn write_frame<W: AsyncWrite + Unpin>(to: &mut W, frame: &Frame) -> std::io::Result<()> {
    let (kind, payload) = encode(frame);
    let parts: Vec<&[u8]> = if payload.is_empty() {
        vec![&[]]
    } else {
        payload.chunks(MAX_PAYLOAD).collect()
    };
    for part in parts {
        // One write for head and payload: a packet each would double what travels for a key press.
        let mut whole = Vec::with_capacity(5 + part.len());
        whole.push(kind);
        whole.extend_from_slice(&u32::try_from(part.len()).unwrap_or(0).to_be_bytes());
        whole.extend_from_slice(part);
        to.write_all(&whole).await?;
    }
    to.flush().await
}

fn encode(frame: &Frame) -> (u8, Bytes) {
    match frame {
        Frame::Stdin(bytes) => (0, bytes.clone()),
        Frame::StdinEnd => (1, Bytes::new()),
        Frame::Stdout(bytes) => (2, bytes.clone()),
        Frame::Stderr(bytes) => (3, bytes.clone()),
        Frame::Resize(size) => {
            let [a, b] = size.rows.to_be_bytes();
            let [c, d] = size.columns.to_be_bytes();
            (4, Bytes::copy_from_slice(&[a, b, c, d]))
        }
        Frame::Exit(code) => (5, Bytes::copy_from_slice(&code.to_be_bytes())),
        Frame::Failed(problem) => {
            let mut problem = problem.clone();
            let mut json = serde_json::to_vec(&problem).unwrap_or_default();
            if json.len() > MAX_PAYLOAD {
                // A frame cannot be parted by meaning: what is long goes, code and title stay.
                problem.diagnostics.clear();
                problem.causes.clear();
                problem
                    .title
                    .truncate(problem.title.floor_char_boundary(1024));
                json = serde_json::to_vec(&problem).unwrap_or_default();
            }
            (6, Bytes::from(json))
        }
    }
}

fn decode(kind: u8, payload: Vec<u8>) -> Option<Frame> {
    match kind {
        0 => Some(Frame::Stdin(payload.into())),
        1 => payload.is_empty().then_some(Frame::StdinEnd),
        2 => Some(Frame::Stdout(payload.into())),
        3 => Some(Frame::Stderr(payload.into())),
        4 => match payload[..] {
            [a, b, c, d] => Some(Frame::Resize(WindowSize {
                rows: u16::from_be_bytes([a, b]),
                columns: u16::from_be_bytes([c, d]),
            })),
            _ => None,
        },
        5 => payload
            .try_into()
            .ok()
            .map(|code| Frame::Exit(i32::from_be_bytes(code))),
        6 => serde_json::from_slice(&payload).ok().map(Frame::Failed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use proptest::prelude::*;

    fn written(frame: &Frame) -> Vec<u8> {
        let mut wire = Vec::new();
        futures_util::FutureExt::now_or_never(write_frame(&mut wire, frame))
            .unwrap()
            .unwrap();
        wire
    }

    fn read(mut wire: &[u8]) -> Result<Option<Frame>, FrameError> {
        futures_util::FutureExt::now_or_never(read_frame(&mut wire)).unwrap()
    }

    #[test]
    fn every_frame_is_read_as_it_was_written() {
        let problem = Failure::new(
            "node-stopped",
            daas_model::Kind::Conflict,
            "cannot run in `web`",
        )
        .to_problem();
        for frame in [
            Frame::Stdin(Bytes::from_static(b"ls\n")),
            Frame::StdinEnd,
            Frame::Stdout(Bytes::from_static(b"\0\xff")),
            Frame::Stderr(Bytes::new()),
            Frame::Resize(WindowSize {
                rows: 24,
                columns: 80,
            }),
            Frame::Exit(-1),
            Frame::Failed(Box::new(problem)),
        ] {
            assert_eq!(read(&written(&frame)).unwrap(), Some(frame));
        }
        assert_eq!(read(&[]).unwrap(), None);
    }

    #[test]
    fn a_long_payload_travels_in_several_frames() {
        let wire = written(&Frame::Stdout(vec![7; MAX_PAYLOAD + 1].into()));
        assert_eq!(wire.len(), MAX_PAYLOAD + 1 + 2 * 5);
        let Some(Frame::Stdout(first)) = read(&wire).unwrap() else {
            panic!("no output")
        };
        assert_eq!(first.len(), MAX_PAYLOAD);
    }

    #[test]
    fn a_claimed_length_takes_no_memory() {
        assert!(matches!(
            read(&[2, 0xff, 0xff, 0xff, 0xff]),
            Err(FrameError::TooLong(4_294_967_295))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(wire: Vec<u8>) {
            let _ = read(&wire);
        }
    }
}
