//! Frames, apart from any IO: bytes in, bodies out.

use crate::protocol::MAX_FRAME;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

/// Bytes that are no frame.
#[derive(Debug)]
pub enum FrameError {
    /// The length field exceeds [`MAX_FRAME`].
    TooLong(usize),
    /// The body is not what was expected.
    Body(serde_json::Error),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(length) => {
                write!(f, "a frame of {length} bytes is longer than {MAX_FRAME}")
            }
            Self::Body(_) => f.write_str("cannot read a frame"),
        }
    }
}

impl std::error::Error for FrameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TooLong(_) => None,
            Self::Body(e) => Some(e),
        }
    }
}

/// Writes one frame.
///
/// # Errors
/// [`FrameError::TooLong`] if the body is; [`FrameError::Body`] if it cannot be written as JSON (a map key that is no text).
pub fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, body).map_err(FrameError::Body)?;
    let length = bytes.len() - 4;
    let head = u32::try_from(length)
        .ok()
        .filter(|_| length <= MAX_FRAME)
        .ok_or(FrameError::TooLong(length))?;
    if let Some(place) = bytes.get_mut(..4) {
        place.copy_from_slice(&head.to_le_bytes());
    }
    Ok(bytes)
}

/// Collects bytes until they are frames.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Where the first frame that was not taken yet begins.
    start: usize,
}

impl Decoder {
    /// Appends bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes one byte that belongs to no frame.
    pub(crate) fn take_byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.start).copied()?;
        self.start += 1;
        Some(byte)
    }

    /// Takes the next whole frame, if it is there.
    ///
    /// # Errors
    /// [`FrameError`]; after [`FrameError::TooLong`] the stream is lost and must be closed, after [`FrameError::Body`] the next frame may be taken.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let waiting = self.bytes.get(self.start..).unwrap_or_default();
        let Some((head, rest)) = waiting.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let parsed = serde_json::from_slice(body).map_err(FrameError::Body);
        self.start += 4 + length;
        if self.start > 1 << 16 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        parsed.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Asked, Request, Told};
    use proptest::prelude::*;

    #[test]
    fn a_frame_arrives_whole_whatever_the_pieces() {
        let asked = Asked {
            id: 7,
            request: Request::Hello { version: 1 },
        };
        let bytes = encode(&asked).unwrap();
        let twice = [bytes.clone(), bytes].concat();
        for piece in 1..twice.len() {
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for part in twice.chunks(piece) {
                decoder.push(part);
                while let Some(asked) = decoder.take::<Asked>().unwrap() {
                    got.push(asked);
                }
            }
            assert_eq!(got, vec![asked.clone(), asked.clone()]);
        }
    }

    #[test]
    fn a_length_beyond_reason_is_refused_at_once() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_le_bytes());
        assert!(matches!(
            decoder.take::<Asked>(),
            Err(FrameError::TooLong(_))
        ));
    }

    proptest! {
        #[test]
        fn garbage_never_makes_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            for _ in 0..200 {
                match decoder.take::<Asked>() {
                    Ok(None) | Err(FrameError::TooLong(_)) => break,
                    Ok(Some(_)) | Err(FrameError::Body(_)) => {}
                }
            }
        }

        #[test]
        fn json_that_is_no_request_is_a_body_error(text in "\\PC{0,80}") {
            let mut bytes = u32::try_from(text.len()).unwrap().to_le_bytes().to_vec();
            bytes.extend_from_slice(text.as_bytes());
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            prop_assert!(matches!(decoder.take::<Told>(), Err(FrameError::Body(_))));
            prop_assert!(matches!(decoder.take::<Told>(), Ok(None)));
        }
    }
}
