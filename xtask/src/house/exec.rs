//! The frames of an exec connection: one byte of kind, four of length (big-endian), the payload.

use anyhow::{Context, Result, bail};
use std::io::Read;

/// What a program said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: Vec<u8>,
    /// Its standard error.
    pub err: Vec<u8>,
}

pub(super) fn read(from: &mut impl Read) -> Result<Ran> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        let mut head = [0; 5];
        from.read_exact(&mut head)
            .context("the connection ended before the program")?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut payload = vec![0; usize::try_from(length)?];
        from.read_exact(&mut payload).context("a frame broke off")?;
        match head[0] {
            2 => out.extend(payload),
            3 => err.extend(payload),
            5 => {
                let code = payload
                    .try_into()
                    .ok()
                    .map(i32::from_be_bytes)
                    .context("an exit code of other than four bytes")?;
                return Ok(Ran { code, out, err });
            }
            6 => bail!(
                "the program could not be run: {}",
                String::from_utf8_lossy(&payload)
            ),
            kind => bail!("frame of unknown kind {kind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_comes_together_until_the_exit_code() {
        let wire = b"\x02\0\0\0\x02hi\x03\0\0\0\x01!\x02\0\0\0\x01\n\x05\0\0\0\x04\0\0\0\x07";
        let ran = read(&mut wire.as_slice()).unwrap();
        assert_eq!(
            ran,
            Ran {
                code: 7,
                out: b"hi\n".to_vec(),
                err: b"!".to_vec()
            }
        );
        assert!(read(&mut wire[..9].as_ref()).is_err());
    }
}
