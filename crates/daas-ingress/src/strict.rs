//! Reads along with HTTP/1 and finds what two readers could understand differently (threat S17).
//!
//! It follows the bytes of a connection request by request and names the first byte at which a request stops having one meaning:
//! two lengths, a length beside chunks, bare CR or LF, folded lines, chunks in HTTP/1.0, wrong chunk sizes (RFC 9112 sections 2.2, 5, 6, 7).
//!
//! Not here: what a request wants (`proxy`), how slow it may be (`wire`).

/// The most bytes of a line of trailers or of a chunk's extensions.
const MOST_LINE: usize = 4096;
/// The most bytes of a head.
const MOST_HEAD: usize = 64 * 1024;

/// Why a request has more than one meaning, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) &'static str);

/// Where in the stream the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before a request; so many empty lines have come.
    Start,
    StartLf,
    Method,
    Target,
    Version,
    LineLf,
    /// At the first byte of a header line.
    HeaderStart,
    Name,
    Value,
    HeadLf,
    /// In a body whose length is known.
    Body(u64),
    ChunkSize,
    ChunkExtension,
    ChunkSizeLf,
    Chunk(u64),
    ChunkCr,
    ChunkLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
}

/// A header that the framing hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weighty {
    None,
    Length,
    Encoding,
    Host,
    Connection,
    Upgrade,
    Expect,
}

/// A reader that is strict. It keeps no bytes but those of the word that it is in.
#[derive(Debug)]
pub(crate) struct Strict {
    at: At,
    /// The word that is being read: method, version, name of a header, or a weighty value.
    word: Vec<u8>,
    target_first: u8,
    target_length: usize,
    weighty: Weighty,
    head: usize,
    old: bool,
    length: Option<u64>,
    chunked: bool,
    hosts: u8,
    /// Whether the request asks for another protocol: what follows waits until that is settled.
    pub(crate) upgrade: bool,
    options: bool,
    connect: bool,
    size: u64,
    digits: u8,
}

fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    ) || byte.is_ascii_alphanumeric()
}

impl Strict {
    pub(crate) fn new() -> Self {
        Self {
            at: At::Start,
            word: Vec::with_capacity(64),
            target_first: 0,
            target_length: 0,
            weighty: Weighty::None,
            head: 0,
            old: false,
            length: None,
            chunked: false,
            hosts: 0,
            upgrade: false,
            options: false,
            connect: false,
            size: 0,
            digits: 0,
        }
    }

    /// Tells whether no request has begun and none is unfinished.
    pub(crate) fn is_between(&self) -> bool {
        matches!(self.at, At::Start | At::StartLf)
    }

    /// Tells whether a head has begun and not ended.
    pub(crate) fn is_in_head(&self) -> bool {
        !self.is_between()
            && !matches!(
                self.at,
                At::Body(_)
                    | At::Chunk(_)
                    | At::ChunkSize
                    | At::ChunkExtension
                    | At::ChunkSizeLf
                    | At::ChunkCr
                    | At::ChunkLf
                    | At::TrailerStart
                    | At::Trailer
                    | At::TrailerLf
                    | At::LastLf
            )
    }

    /// Reads on. Returns how many bytes were read before the fault, with the fault, if there is one; a head that asks for another
    /// protocol ends the reading early, with the number of bytes that were read.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<usize, (usize, Violation)> {
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.at {
                At::Body(left) | At::Chunk(left) => {
                    let there = (bytes.len() - at) as u64;
                    let step = there.min(*left);
                    *left -= step;
                    let ended = *left == 0;
                    at += usize::try_from(step).unwrap_or(bytes.len() - at);
                    if ended {
                        self.at = if matches!(self.at, At::Body(_)) {
                            At::Start
                        } else {
                            At::ChunkCr
                        };
                    }
                    continue;
                }
                At::Value if self.weighty == Weighty::None => {
                    // The common bytes of values, many at once.
                    let run = bytes[at..]
                        .iter()
                        .take_while(|b| **b >= 0x20 && **b != 0x7f)
                        .count();
                    self.head += run;
                    at += run;
                    if at == bytes.len() {
                        break;
                    }
                }
                _ => {}
            }
            let byte = bytes[at];
            self.step(byte).map_err(|violation| (at, violation))?;
            at += 1;
            if self.upgrade && matches!(self.at, At::Start) {
                return Ok(at);
            }
        }
        if self.head > MOST_HEAD {
            return Err((at.saturating_sub(1), Violation("its head is too long")));
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<(), Violation> {
        self.head += 1;
        match self.at {
            At::Start => return self.start(byte),
            At::StartLf => {
                self.expect(byte, b'\n', "a bare CR stands before the request")?;
                self.at = At::Start;
            }
            At::Method => match byte {
                b' ' => {
                    self.options = self.word == b"OPTIONS";
                    self.connect = self.word == b"CONNECT";
                    (self.target_first, self.target_length) = (0, 0);
                    self.at = At::Target;
                    self.word.clear();
                }
                _ if is_token(byte) && self.word.len() < 32 => self.word.push(byte),
                _ => return Err(Violation("its method is no word")),
            },
            At::Target => return self.target(byte),
            At::Version => match byte {
                b'\r' => {
                    self.old = match self.word.as_slice() {
                        b"HTTP/1.1" => false,
                        b"HTTP/1.0" => true,
                        _ => return Err(Violation("its version is not HTTP/1.1 or HTTP/1.0")),
                    };
                    self.at = At::LineLf;
                }
                _ if self.word.len() < 8 => self.word.push(byte),
                _ => return Err(Violation("its version is not HTTP/1.1 or HTTP/1.0")),
            },
            At::LineLf => {
                self.expect(byte, b'\n', "a line ends with a bare CR")?;
                self.at = At::HeaderStart;
            }
            At::HeaderStart => match byte {
                b'\r' => self.at = At::HeadLf,
                b' ' | b'\t' => return Err(Violation("a header line is folded")),
                _ => {
                    self.word.clear();
                    self.at = At::Name;
                    return self.name(byte);
                }
            },
            At::Name => return self.name(byte),
            At::Value => return self.value(byte),
            At::HeadLf => {
                self.expect(byte, b'\n', "the head ends with a bare CR")?;
                return self.end_of_head();
            }
            At::Body(_) | At::Chunk(_) => {}
            At::ChunkSize | At::ChunkExtension | At::ChunkSizeLf | At::ChunkCr | At::ChunkLf => {
                return self.chunk(byte);
            }
            At::TrailerStart | At::Trailer | At::TrailerLf | At::LastLf => {
                return self.trailer(byte);
            }
        }
        Ok(())
    }

    fn expect(&self, byte: u8, wanted: u8, why: &'static str) -> Result<(), Violation> {
        if byte == wanted {
            Ok(())
        } else {
            Err(Violation(why))
        }
    }

    fn start(&mut self, byte: u8) -> Result<(), Violation> {
        match byte {
            // One empty line may stand before a request (RFC 9112 section 2.2), more are an attack on patience.
            b'\r' if self.head <= 4 => self.at = At::StartLf,
            _ if is_token(byte) => {
                self.head = 1;
                self.word.clear();
                self.word.push(byte);
                self.length = None;
                self.chunked = false;
                self.hosts = 0;
                self.upgrade = false;
                self.at = At::Method;
            }
            _ => return Err(Violation("its method is no word")),
        }
        Ok(())
    }

    fn target(&mut self, byte: u8) -> Result<(), Violation> {
        match byte {
            b' ' if self.target_length > 0 => {
                let alone = self.target_length == 1;
                let fits = match self.target_first {
                    b'/' => true,
                    b'*' => alone && self.options,
                    b'h' | b'H' => true,
                    _ => self.connect,
                };
                if !fits {
                    return Err(Violation("its target is neither a path nor a URL"));
                }
                self.word.clear();
                self.at = At::Version;
            }
            0x21..=0x7e if byte != b'#' && byte != b'\\' => {
                if self.target_length == 0 {
                    self.target_first = byte;
                }
                self.target_length += 1;
            }
            _ => {
                return Err(Violation(
                    "its target has a character that must not be there",
                ));
            }
        }
        Ok(())
    }

    fn name(&mut self, byte: u8) -> Result<(), Violation> {
        match byte {
            b':' if !self.word.is_empty() => {
                self.word.make_ascii_lowercase();
                self.weighty = match self.word.as_slice() {
                    b"content-length" => Weighty::Length,
                    b"transfer-encoding" => Weighty::Encoding,
                    b"host" => Weighty::Host,
                    b"connection" => Weighty::Connection,
                    b"upgrade" => Weighty::Upgrade,
                    b"expect" => Weighty::Expect,
                    // What some back ends read as the name with a dash.
                    b"content_length" | b"transfer_encoding" => {
                        return Err(Violation("a header's name looks like that of a length"));
                    }
                    _ => Weighty::None,
                };
                self.word.clear();
                self.at = At::Value;
            }
            _ if is_token(byte) && self.word.len() < 256 => self.word.push(byte),
            b' ' | b'\t' => return Err(Violation("there is a space in a header's name")),
            _ => return Err(Violation("a header's name is no word")),
        }
        Ok(())
    }

    fn value(&mut self, byte: u8) -> Result<(), Violation> {
        match byte {
            b'\r' => {
                self.at = At::LineLf;
                self.weigh()
            }
            b'\t' | 0x20..=0x7e | 0x80..=0xff => {
                if self.weighty != Weighty::None {
                    if self.word.len() >= 1024 {
                        return Err(Violation("a header that the framing hangs on is too long"));
                    }
                    self.word.push(byte);
                }
                Ok(())
            }
            b'\n' => Err(Violation("a line ends with a bare LF")),
            _ => Err(Violation("a header's value has a control character")),
        }
    }

    /// Looks at the value of a header that the framing hangs on.
    fn weigh(&mut self) -> Result<(), Violation> {
        let value = self.word.trim_ascii();
        match self.weighty {
            Weighty::None => {}
            Weighty::Length => {
                if self.length.is_some() {
                    return Err(Violation("it has two lengths"));
                }
                if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
                    return Err(Violation("its length is no number"));
                }
                self.length = Some(value.iter().fold(0, |n, b| n * 10 + u64::from(b - b'0')));
            }
            Weighty::Encoding => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Violation(
                        "its transfer encoding is not `chunked` and only that",
                    ));
                }
                self.chunked = true;
            }
            Weighty::Host => {
                self.hosts += 1;
                if self.hosts > 1 {
                    return Err(Violation("it has two Host headers"));
                }
            }
            Weighty::Connection => {}
            Weighty::Upgrade => self.upgrade = true,
            Weighty::Expect => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Violation("it expects something unknown"));
                }
            }
        }
        self.weighty = Weighty::None;
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<(), Violation> {
        if self.chunked && self.length.is_some() {
            return Err(Violation("it has a length and is chunked"));
        }
        if self.chunked && self.old {
            return Err(Violation("it is chunked, which HTTP/1.0 does not know"));
        }
        if self.hosts == 0 && !self.old {
            return Err(Violation("it has no Host header"));
        }
        self.at = if self.chunked {
            self.begin_chunk()
        } else {
            match self.length {
                None | Some(0) => At::Start,
                Some(length) => At::Body(length),
            }
        };
        // A request with a body does not change the protocol here: its body comes first.
        self.upgrade &= matches!(self.at, At::Start) && !self.old;
        self.head = 0;
        Ok(())
    }

    fn begin_chunk(&mut self) -> At {
        (self.size, self.digits) = (0, 0);
        At::ChunkSize
    }

    fn chunk(&mut self, byte: u8) -> Result<(), Violation> {
        match self.at {
            At::ChunkSize => match byte {
                b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' if self.digits < 15 => {
                    let digit = char::from(byte).to_digit(16).unwrap_or(0);
                    self.size = self.size * 16 + u64::from(digit);
                    self.digits += 1;
                }
                b';' if self.digits > 0 => {
                    self.word.clear();
                    self.at = At::ChunkExtension;
                }
                b'\r' if self.digits > 0 => self.at = At::ChunkSizeLf,
                _ => return Err(Violation("the size of a chunk is no number")),
            },
            At::ChunkExtension => match byte {
                b'\r' => self.at = At::ChunkSizeLf,
                0x20..=0x7e | b'\t' | 0x80..=0xff if self.word.len() < MOST_LINE => {
                    self.word.push(byte);
                }
                _ => {
                    return Err(Violation(
                        "a chunk's extension has a control character or is too long",
                    ));
                }
            },
            At::ChunkSizeLf => {
                self.expect(byte, b'\n', "the size of a chunk ends with a bare CR")?;
                self.at = if self.size == 0 {
                    At::TrailerStart
                } else {
                    At::Chunk(self.size)
                };
            }
            At::ChunkCr => {
                self.expect(byte, b'\r', "a chunk is longer than its size")?;
                self.at = At::ChunkLf;
            }
            _ => {
                self.expect(byte, b'\n', "a chunk ends with a bare CR")?;
                self.at = self.begin_chunk();
            }
        }
        Ok(())
    }

    fn trailer(&mut self, byte: u8) -> Result<(), Violation> {
        match self.at {
            At::TrailerStart => match byte {
                b'\r' => self.at = At::LastLf,
                _ if is_token(byte) => {
                    self.word.clear();
                    self.at = At::Trailer;
                }
                _ => return Err(Violation("a trailer's name is no word")),
            },
            At::Trailer => match byte {
                b'\r' => self.at = At::TrailerLf,
                0x20..=0x7e | b'\t' | 0x80..=0xff if self.word.len() < MOST_LINE => {
                    self.word.push(byte);
                }
                _ => {
                    return Err(Violation(
                        "a trailer has a control character or is too long",
                    ));
                }
            },
            At::TrailerLf => {
                self.expect(byte, b'\n', "a trailer ends with a bare CR")?;
                self.at = At::TrailerStart;
            }
            _ => {
                self.expect(byte, b'\n', "the body ends with a bare CR")?;
                self.at = At::Start;
                self.head = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<bool, &'static str> {
        let whole = {
            let mut strict = Strict::new();
            strict
                .feed(text.as_bytes())
                .map(|_| strict.is_between())
                .map_err(|(_, v)| v.0)
        };
        let mut strict = Strict::new();
        let mut bytewise = Ok(true);
        for byte in text.as_bytes() {
            if let Err((_, violation)) = strict.feed(&[*byte]) {
                bytewise = Err(violation.0);
                break;
            }
        }
        let bytewise = bytewise.map(|_| strict.is_between());
        assert_eq!(whole, bytewise, "in one piece and byte by byte: {text:?}");
        whole
    }

    #[test]
    fn whole_requests_are_read_to_their_ends() {
        for text in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\nA: b\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n",
        ] {
            assert_eq!(read(text), Ok(true), "{text:?}");
        }
        assert_eq!(
            read("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabc"),
            Ok(false)
        );
    }

    #[test]
    fn nothing_is_read_behind_a_request_for_another_protocol() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nGET /x HTTP/1.1\r\n";
        let mut strict = Strict::new();
        let read = strict.feed(text).unwrap();
        assert_eq!(&text[read..], b"GET /x HTTP/1.1\r\n");
        assert!(strict.upgrade);
    }
}
