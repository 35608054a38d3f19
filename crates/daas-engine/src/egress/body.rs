//! Bodies on their way: exactly as long as their head said, chunks written anew.

use super::head::Body;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest line that tells the size of a chunk, extensions included; they are not passed on.
const CHUNK_LINE: usize = 1024;
/// The most bytes of trailer fields; they are not passed on.
const TRAILERS: usize = 8 * 1024;
const BUFFER: usize = 16 * 1024;

/// Bytes of one side: first those that were read together with the head.
pub(super) struct Ahead<R> {
    pub first: Vec<u8>,
    pub at: usize,
    pub rest: R,
}

impl<R: AsyncRead + Unpin> Ahead<R> {
    /// Reads something, nothing only at the end.
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let first = self.first.get(self.at..).unwrap_or_default();
        if first.is_empty() {
            return self.rest.read(buffer).await;
        }
        let length = first.len().min(buffer.len());
        buffer[..length].copy_from_slice(&first[..length]);
        self.at += length;
        Ok(length)
    }

    /// Reads one byte. Fine for lines: what comes often enough to matter is in `first` or in the kernel's buffer already.
    async fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        if self.read(&mut byte).await? == 0 {
            return Err(cut());
        }
        Ok(byte[0])
    }

    /// Reads a line that ends with CR LF, and returns it without.
    async fn line(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            match self.byte().await? {
                b'\r' => {
                    return if self.byte().await? == b'\n' {
                        Ok(line)
                    } else {
                        Err(malformed())
                    };
                }
                b'\n' | 0 => return Err(malformed()),
                byte => line.push(byte),
            }
            if line.len() > most {
                return Err(malformed());
            }
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the stream ended within a body",
    )
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the chunks of a body are malformed",
    )
}

/// Copies everything up to the end of the stream. `count` hears of each piece.
pub(super) async fn copy_all<R, W>(
    from: &mut Ahead<R>,
    to: &mut W,
    mut count: impl FnMut(u64),
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER];
    loop {
        let got = from.read(&mut buffer).await?;
        if got == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..got]).await?;
        count(got as u64);
    }
}

/// Copies one body and not a byte more. `count` hears of each piece.
pub(super) async fn copy<R, W>(
    from: &mut Ahead<R>,
    to: &mut W,
    body: Body,
    mut count: impl FnMut(u64),
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match body {
        Body::Length(length) => exactly(from, to, length, &mut count).await,
        Body::Chunked => loop {
            let line = from.line(CHUNK_LINE).await?;
            let size = chunk_size(&line)?;
            to.write_all(format!("{size:x}\r\n").as_bytes()).await?;
            if size == 0 {
                let mut trailers = 0;
                loop {
                    let line = from.line(TRAILERS).await?;
                    trailers += line.len();
                    if line.is_empty() {
                        return to.write_all(b"\r\n").await;
                    }
                    if trailers > TRAILERS {
                        return Err(malformed());
                    }
                }
            }
            exactly(from, to, size, &mut count).await?;
            if !from.line(0).await?.is_empty() {
                return Err(malformed());
            }
            to.write_all(b"\r\n").await?;
        },
    }
}

/// Reads the size in front of a chunk: at most 15 digits, so that no reader's number overflows.
fn chunk_size(line: &[u8]) -> io::Result<u64> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(malformed());
    }
    let digits = std::str::from_utf8(digits).map_err(|_| malformed())?;
    u64::from_str_radix(digits, 16).map_err(|_| malformed())
}

async fn exactly<R, W>(
    from: &mut Ahead<R>,
    to: &mut W,
    length: u64,
    count: &mut impl FnMut(u64),
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER.min(usize::try_from(length).unwrap_or(BUFFER))];
    let mut left = length;
    while left > 0 {
        let most = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = from.read(&mut buffer[..most]).await?;
        if got == 0 {
            return Err(cut());
        }
        to.write_all(&buffer[..got]).await?;
        left -= got as u64;
        count(got as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn carried(
        first: &str,
        rest: &str,
        body: Body,
    ) -> Result<(String, String), io::ErrorKind> {
        let mut ahead = Ahead {
            first: first.into(),
            at: 0,
            rest: rest.as_bytes(),
        };
        let mut out = Vec::new();
        copy(&mut ahead, &mut out, body, |_| ())
            .await
            .map_err(|error| error.kind())?;
        let mut left = ahead.first[ahead.at..].to_vec();
        left.extend_from_slice(ahead.rest);
        Ok((
            String::from_utf8(out).unwrap(),
            String::from_utf8(left).unwrap(),
        ))
    }

    #[tokio::test]
    async fn a_body_is_as_long_as_its_head_said_and_the_rest_stays() {
        let got = carried("ab", "cdeGET /admin", Body::Length(5))
            .await
            .unwrap();
        assert_eq!(got, ("abcde".into(), "GET /admin".into()));
        assert_eq!(
            carried("", "ab", Body::Length(3)).await,
            Err(io::ErrorKind::UnexpectedEof)
        );
        let got = carried(
            "3;x=\"y\"\r\nab",
            "c\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET /",
            Body::Chunked,
        )
        .await
        .unwrap();
        assert_eq!(
            got,
            (
                "3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n".into(),
                "GET /".into()
            )
        );
    }

    #[tokio::test]
    async fn malformed_chunks_are_refused() {
        for text in [
            "3\nabc\r\n0\r\n\r\n",
            "3 \r\nabc\r\n0\r\n\r\n",
            "0x3\r\nabc\r\n0\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            "\r\nabc",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\r\nabc0\r\n\r\n",
            "ffffffffffffffff\r\nabc",
            "3\r\nabc\r\n0\r\nx\n\r\n",
            "1\rX\r\na\r\n0\r\n\r\n",
        ] {
            assert_eq!(
                carried(text, "", Body::Chunked).await,
                Err(io::ErrorKind::InvalidData),
                "{text:?}"
            );
        }
        assert_eq!(
            carried("5\r\nab", "", Body::Chunked).await,
            Err(io::ErrorKind::UnexpectedEof)
        );
        assert_eq!(
            carried(&"1".repeat(2000), "", Body::Chunked).await,
            Err(io::ErrorKind::InvalidData)
        );
        assert_eq!(
            carried(
                &format!("0\r\n{}", "X: y\r\n".repeat(3000)),
                "",
                Body::Chunked
            )
            .await,
            Err(io::ErrorKind::InvalidData)
        );
    }
}
