//! Bytes on a keeper's socket, in pieces of any size, from either side.

#![no_main]

use daas_keeper::codec::{Decoder, FrameError};
use daas_keeper::protocol::{Asked, Told};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;

fn read<T: DeserializeOwned>(data: &[u8], piece: usize) -> usize {
    let mut decoder = Decoder::default();
    let mut frames = 0;
    for part in data.chunks(piece) {
        decoder.push(part);
        loop {
            match decoder.take::<T>() {
                Ok(Some(_)) | Err(FrameError::Body(_)) => frames += 1,
                Ok(None) => break,
                Err(FrameError::TooLong(_)) => return frames,
            }
        }
    }
    frames
}

fuzz_target!(|data: &[u8]| {
    let Some((piece, data)) = data.split_first() else { return };
    let piece = usize::from(*piece).max(1);
    // However the bytes arrive, the same frames come out.
    assert_eq!(read::<Asked>(data, piece), read::<Asked>(data, data.len().max(1)));
    assert_eq!(read::<Told>(data, piece), read::<Told>(data, data.len().max(1)));
});
