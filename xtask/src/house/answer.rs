//! Answers of HTTP/1.1 (RFC 9112), read from a connection that carries one.

use anyhow::{Context, Result, bail};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;

/// The head of an answer; reading gives its body, as it comes.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    body: Body,
    from: BufReader<UnixStream>,
}

#[derive(Debug)]
enum Body {
    Length(u64),
    /// What is left of the chunk that is being read; nothing before the first.
    Chunked(Option<u64>),
    ToTheEnd,
    Over,
}

impl Answer {
    pub(super) fn read_head(stream: UnixStream) -> Result<Self> {
        let mut from = BufReader::new(stream);
        let first = line(&mut from)?;
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .with_context(|| format!("strange answer: {first:?}"))?;
        let mut headers = Vec::new();
        loop {
            let field = line(&mut from)?;
            if field.is_empty() {
                break;
            }
            let Some((name, value)) = field.split_once(':') else {
                bail!("strange header field: {field:?}");
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Self {
            status,
            headers,
            body: Body::ToTheEnd,
            from,
        };
        if status == 101 {
            // The connection speaks another protocol now.
        } else if status == 204 || status == 304 {
            answer.body = Body::Over;
        } else if answer
            .header("transfer-encoding")
            .is_some_and(|value| value.contains("chunked"))
        {
            answer.body = Body::Chunked(None);
        } else if let Some(length) = answer.header("content-length") {
            answer.body = Body::Length(length.parse().context("strange content-length")?);
        }
        Ok(answer)
    }

    /// Returns the value of the first field of this name, given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the connection behind the head, for what comes after 101.
    pub(super) fn into_connection(self) -> BufReader<UnixStream> {
        self.from
    }
}

fn line(from: &mut impl BufRead) -> Result<String> {
    let mut text = String::new();
    if from
        .read_line(&mut text)
        .context("cannot read the answer")?
        == 0
    {
        bail!("the connection ended before the answer");
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.body {
                Body::Over => return Ok(0),
                Body::ToTheEnd => return self.from.read(buffer),
                Body::Length(left) => {
                    let read = (&mut self.from).take(left).read(buffer)?;
                    self.body = if read == 0 {
                        Body::Over
                    } else {
                        Body::Length(left - read as u64)
                    };
                    return Ok(read);
                }
                Body::Chunked(Some(left)) if left > 0 => {
                    let read = (&mut self.from).take(left).read(buffer)?;
                    if read == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.body = Body::Chunked(Some(left - read as u64));
                    return Ok(read);
                }
                Body::Chunked(before) => {
                    if before.is_some() {
                        // The line end behind the chunk.
                        line(&mut self.from).map_err(io::Error::other)?;
                    }
                    let size = line(&mut self.from).map_err(io::Error::other)?;
                    let size = size.split(';').next().unwrap_or_default();
                    let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
                    if size == 0 {
                        // Trailers, of which we know none.
                        while !line(&mut self.from).map_err(io::Error::other)?.is_empty() {}
                        self.body = Body::Over;
                    } else {
                        self.body = Body::Chunked(Some(size));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn body(wire: &str) -> (u16, String) {
        let (mut far, near) = UnixStream::pair().unwrap();
        far.write_all(wire.as_bytes()).unwrap();
        drop(far);
        let mut answer = Answer::read_head(near).unwrap();
        let mut text = String::new();
        answer.read_to_string(&mut text).unwrap();
        (answer.status, text)
    }

    #[test]
    fn a_body_ends_by_length_by_last_chunk_or_with_the_connection() {
        assert_eq!(
            body("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!!"),
            (200, "hi".into())
        );
        assert_eq!(
            body(
                "HTTP/1.1 202 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n"
            ),
            (202, "abcd".into())
        );
        assert_eq!(body("HTTP/1.1 500 x\r\n\r\nall"), (500, "all".into()));
        assert_eq!(body("HTTP/1.1 204 x\r\n\r\n"), (204, String::new()));
    }
}
