//! Heads of HTTP/1 messages, read strictly and written anew (RFC 9110, RFC 9112).
//!
//! What two parties could read in two ways is refused: that is all there is to request smuggling.

use std::fmt;

/// The most fields of one head.
const MOST_FIELDS: usize = 128;

/// Why a head was refused; the status that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadHead {
    pub status: u16,
    pub why: &'static str,
}

impl fmt::Display for BadHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why)
    }
}

fn bad(why: &'static str) -> BadHead {
    BadHead { status: 400, why }
}

/// Where a request wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// A name or an address, an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
}

/// How much follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Length(u64),
    Chunked,
}

/// What a client asks of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// `CONNECT host:port`.
    Tunnel(Target),
    /// `GET http://host/path`.
    Forward {
        target: Target,
        method: String,
        /// The head for the origin: one request, and the connection ends.
        head: Vec<u8>,
        body: Body,
    },
}

/// Finds the end of a head in `bytes`: the length including the empty line.
pub(super) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// Reads a request's head, `bytes` up to and including its empty line.
pub(super) fn read_request(bytes: &[u8]) -> Result<Request, BadHead> {
    let (first, fields) = split(bytes)?;
    let mut words = first.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad("the request line is not `METHOD target HTTP/1.1`"));
    };
    if method.is_empty() || method.len() > 32 || !method.iter().all(|byte| is_token(*byte)) {
        return Err(bad("the method is no token"));
    }
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => {
            return Err(BadHead {
                status: 505,
                why: "the version is neither HTTP/1.1 nor HTTP/1.0",
            });
        }
    };
    let hosts = fields.iter().filter(|field| field.is(b"host")).count();
    if hosts > 1 || (hosts == 0 && !old) {
        return Err(bad("there is not exactly one Host"));
    }
    let body = framing(&fields, old)?;
    let target = std::str::from_utf8(target).map_err(|_| bad("the target is not ASCII"))?;
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) || target.contains('#') {
        return Err(bad("the target holds a character that must be encoded"));
    }
    let method = String::from_utf8_lossy(method).into_owned();
    if method == "CONNECT" {
        if body != Body::Length(0) {
            return Err(bad("CONNECT has a body"));
        }
        return Ok(Request::Tunnel(authority(target, None)?));
    }
    let Some(rest) = strip_scheme(target) else {
        return Err(bad(
            "this is a proxy: write `http://host/path`, and CONNECT for https",
        ));
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(at);
    let target = authority(host, Some(80))?;
    let path = match (path.chars().next(), method.as_str()) {
        (None, "OPTIONS") => "*".to_owned(),
        (None | Some('?'), _) => format!("/{path}"),
        _ => path.to_owned(),
    };
    let mut head = format!(
        "{method} {path} HTTP/1.{}\r\nHost: {host}\r\n",
        u8::from(!old)
    )
    .into_bytes();
    write_fields(&mut head, &fields, |field| {
        field.is(b"host") || field.is(b"content-length")
    });
    match body {
        Body::Chunked => head.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Body::Length(length) if fields.iter().any(|field| field.is(b"content-length")) => {
            head.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
        }
        Body::Length(_) => {}
    }
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    Ok(Request::Forward {
        target,
        method,
        head,
        body,
    })
}

/// What a proxy reads in the head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    /// The head for the client: the connection ends behind it.
    pub head: Vec<u8>,
    /// What follows; nothing where the origin's end of the connection tells.
    pub body: Option<Body>,
}

/// Reads the head of an answer, `bytes` up to and including its empty line, to a request that asked for a body or (`HEAD`) not.
pub(super) fn read_answer(bytes: &[u8], bodiless: bool) -> Result<Answer, BadHead> {
    let bad = |why| BadHead { status: 502, why };
    let (first, fields) = split(bytes).map_err(|wrong| bad(wrong.why))?;
    let status = first
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| first.strip_prefix(b"HTTP/1.0 "))
        .and_then(|rest| rest.first_chunk::<3>())
        .filter(|digits| digits.iter().all(u8::is_ascii_digit))
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok())
        .filter(|status| {
            (100..600).contains(status) && first.get(12).is_none_or(|byte| *byte == b' ')
        })
        .ok_or_else(|| bad("the answer does not begin with `HTTP/1.1 status`"))?;
    if status == 101 {
        return Err(bad(
            "the answer changes the protocol, which was not asked for",
        ));
    }
    let described = fields
        .iter()
        .any(|field| field.is(b"content-length") || field.is(b"transfer-encoding"));
    let body = framing(&fields, first.starts_with(b"HTTP/1.0")).map_err(|wrong| bad(wrong.why))?;
    let body = if bodiless || status < 200 || status == 204 || status == 304 {
        Some(Body::Length(0))
    } else {
        described.then_some(body)
    };
    let mut head = first.to_vec();
    head.extend_from_slice(b"\r\n");
    write_fields(&mut head, &fields, |_| false);
    if fields.iter().any(|field| field.is(b"transfer-encoding")) {
        head.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if status >= 200 {
        head.extend_from_slice(b"Connection: close\r\n");
    }
    head.extend_from_slice(b"\r\n");
    Ok(Answer { status, head, body })
}

/// One field; the value without the blanks around it.
struct Field<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

impl Field<'_> {
    fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Splits a head into its first line and its fields.
fn split(bytes: &[u8]) -> Result<(&[u8], Vec<Field<'_>>), BadHead> {
    let text = bytes
        .strip_suffix(b"\r\n\r\n")
        .ok_or_else(|| bad("the head does not end"))?;
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|window| window == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    if lines
        .iter()
        .any(|line| line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)))
    {
        return Err(bad("a line holds a bare CR, LF or NUL"));
    }
    let mut lines = lines.into_iter();
    let first = lines.next().unwrap_or_default();
    let mut fields = Vec::new();
    for line in lines {
        if fields.len() == MOST_FIELDS {
            return Err(BadHead {
                status: 431,
                why: "there are too many fields",
            });
        }
        let at = line
            .iter()
            .position(|byte| *byte == b':')
            .ok_or_else(|| bad("a field has no colon"))?;
        let (name, value) = (&line[..at], &line[at + 1..]);
        // This refuses folded lines and a blank before the colon as well: a blank is no token.
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(bad("the name of a field is no token"));
        }
        if value
            .iter()
            .any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f)
        {
            return Err(bad("the value of a field holds a control character"));
        }
        fields.push(Field {
            name,
            value: trim(value),
        });
    }
    Ok((first, fields))
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Decides how much follows a request; anything doubtful is refused (RFC 9112, section 6.3).
fn framing(fields: &[Field<'_>], old: bool) -> Result<Body, BadHead> {
    let mut encodings = fields.iter().filter(|field| field.is(b"transfer-encoding"));
    let mut lengths = fields.iter().filter(|field| field.is(b"content-length"));
    match (encodings.next(), lengths.next()) {
        (None, None) => Ok(Body::Length(0)),
        (None, Some(length)) => {
            if lengths.next().is_some() {
                return Err(bad("there are two lengths"));
            }
            let digits = length.value;
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err(bad("the length is no number"));
            }
            let length = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok());
            length
                .map(Body::Length)
                .ok_or_else(|| bad("the length is too large"))
        }
        (Some(_), Some(_)) => Err(bad(
            "there are both a Content-Length and a Transfer-Encoding",
        )),
        (Some(_), None) if old => Err(bad("HTTP/1.0 has no Transfer-Encoding")),
        (Some(encoding), None) => {
            if encodings.next().is_some() || !encoding.value.eq_ignore_ascii_case(b"chunked") {
                return Err(BadHead {
                    status: 501,
                    why: "the only Transfer-Encoding is `chunked`",
                });
            }
            Ok(Body::Chunked)
        }
    }
}

fn strip_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case("http://").then_some(rest)
}

/// Reads `host:port`; without a port only if there is a default.
fn authority(text: &str, default: Option<u16>) -> Result<Target, BadHead> {
    let nowhere = || bad("the target's host is neither a name nor an address");
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or_else(nowhere)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| nowhere())?;
        (
            host,
            if port.is_empty() {
                None
            } else {
                Some(port.strip_prefix(':').ok_or_else(nowhere)?)
            },
        )
    } else {
        let (host, port) = text
            .split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port)));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(is_name) {
            return Err(nowhere());
        }
        (host, port)
    };
    let port = match port {
        None => default,
        // `parse` would take a sign.
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok().filter(|port| *port != 0)
        }
        Some(_) => None,
    };
    let port = port.ok_or_else(|| bad("the target has no port from 1 to 65535"))?;
    Ok(Target {
        host: host.to_owned(),
        port,
    })
}

/// Writes the fields that belong to the whole way and not to one connection (RFC 9110, section 7.6.1).
fn write_fields(head: &mut Vec<u8>, fields: &[Field<'_>], leave_out: impl Fn(&Field<'_>) -> bool) {
    const OF_THE_CONNECTION: [&[u8]; 8] = [
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"proxy-authenticate",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    ];
    // `Connection` may name further ones, but not those that say where a message goes and how long it is.
    let named: Vec<&[u8]> = fields
        .iter()
        .filter(|field| field.is(b"connection"))
        .flat_map(|field| field.value.split(|byte| *byte == b','))
        .map(trim)
        .filter(|name| {
            !name.eq_ignore_ascii_case(b"content-length") && !name.eq_ignore_ascii_case(b"host")
        })
        .collect();
    for field in fields {
        let hop = OF_THE_CONNECTION.iter().any(|name| field.is(name))
            || named.iter().any(|name| field.is(name));
        if hop || leave_out(field) {
            continue;
        }
        head.extend_from_slice(field.name);
        head.extend_from_slice(b": ");
        head.extend_from_slice(field.value);
        head.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Request, BadHead> {
        read_request(text.as_bytes())
    }

    #[test]
    fn a_request_is_written_anew_for_its_origin() {
        let request = read(
            "POST http://Example.test:8080/a?b=c HTTP/1.1\r\nHost: evil\r\nUser-Agent:  curl\t\r\nProxy-Authorization: Basic x\r\n\
             Connection: X-Mine, close\r\nX-Mine: 1\r\nContent-Length: 5\r\nUpgrade: h2c\r\n\r\n",
        )
        .unwrap();
        let Request::Forward {
            target,
            method,
            head,
            body,
        } = request
        else {
            panic!("{request:?}")
        };
        assert_eq!(
            target,
            Target {
                host: "Example.test".into(),
                port: 8080
            }
        );
        assert_eq!((method.as_str(), body), ("POST", Body::Length(5)));
        assert_eq!(
            String::from_utf8(head).unwrap(),
            "POST /a?b=c HTTP/1.1\r\nHost: Example.test:8080\r\nUser-Agent: curl\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn targets_are_read_in_all_their_forms() {
        let first_line = |line: &str| match read(&format!("{line}\r\nHost: x\r\n\r\n")) {
            Ok(Request::Tunnel(target)) => format!("tunnel {} {}", target.host, target.port),
            Ok(Request::Forward { target, head, .. }) => {
                format!(
                    "{} {} {}",
                    target.host,
                    target.port,
                    String::from_utf8_lossy(&head).lines().next().unwrap()
                )
            }
            Err(bad) => format!("{} {}", bad.status, bad.why),
        };
        for (line, expected) in [
            ("CONNECT a.test:443 HTTP/1.1", "tunnel a.test 443"),
            (
                "CONNECT [2001:db8::1]:443 HTTP/1.1",
                "tunnel 2001:db8::1 443",
            ),
            ("GET http://a.test HTTP/1.1", "a.test 80 GET / HTTP/1.1"),
            ("GET HTTP://a.test?x HTTP/1.0", "a.test 80 GET /?x HTTP/1.0"),
            (
                "OPTIONS http://a.test HTTP/1.1",
                "a.test 80 OPTIONS * HTTP/1.1",
            ),
            ("GET http://[::1]:81/ HTTP/1.1", "::1 81 GET / HTTP/1.1"),
            (
                "CONNECT a.test HTTP/1.1",
                "400 the target has no port from 1 to 65535",
            ),
            (
                "CONNECT a.test:0 HTTP/1.1",
                "400 the target has no port from 1 to 65535",
            ),
            (
                "CONNECT a.test:+443 HTTP/1.1",
                "400 the target has no port from 1 to 65535",
            ),
            (
                "CONNECT a.test:443:1 HTTP/1.1",
                "400 the target has no port from 1 to 65535",
            ),
            (
                "CONNECT :443 HTTP/1.1",
                "400 the target's host is neither a name nor an address",
            ),
            (
                "CONNECT [::1:443 HTTP/1.1",
                "400 the target's host is neither a name nor an address",
            ),
            (
                "GET http://user@a.test/ HTTP/1.1",
                "400 the target's host is neither a name nor an address",
            ),
            (
                "GET http://a.test\\@b/ HTTP/1.1",
                "400 the target's host is neither a name nor an address",
            ),
            (
                "GET /path HTTP/1.1",
                "400 this is a proxy: write `http://host/path`, and CONNECT for https",
            ),
            (
                "GET https://a.test/ HTTP/1.1",
                "400 this is a proxy: write `http://host/path`, and CONNECT for https",
            ),
            (
                "GET http://a.test/a b HTTP/1.1",
                "400 the request line is not `METHOD target HTTP/1.1`",
            ),
            (
                "GET http://a.test/#x HTTP/1.1",
                "400 the target holds a character that must be encoded",
            ),
            (
                "GET http://a.test/ HTTP/2.0",
                "505 the version is neither HTTP/1.1 nor HTTP/1.0",
            ),
            ("G@T http://a.test/ HTTP/1.1", "400 the method is no token"),
        ] {
            assert_eq!(first_line(line), expected, "{line}");
        }
    }

    #[test]
    fn what_two_parties_could_read_in_two_ways_is_refused() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: -0",
            "Content-Length: 0x5",
            "Content-Length:",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: \x0bchunked",
            "Transfer-Encoding : chunked",
            "X: a\r\n folded",
            "X: a\rb",
            "X: a\nContent-Length: 5",
            "X: a\0",
            "NoColon",
            ": empty",
            "Host: second",
        ] {
            let text = format!("POST http://a.test/ HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
            assert!(read(&text).is_err(), "{fields:?}");
        }
        assert!(
            read("POST http://a.test/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").is_err()
        );
        assert!(read("GET http://a.test/ HTTP/1.1\r\n\r\n").is_err());
        assert!(
            read("CONNECT a.test:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n").is_err()
        );
        let many = format!(
            "GET http://a.test/ HTTP/1.1\r\nHost: x\r\n{}\r\n",
            "X: y\r\n".repeat(200)
        );
        assert_eq!(read(&many).unwrap_err().status, 431);
    }

    #[test]
    fn an_answer_is_closed_behind_and_its_length_is_known() {
        let read = |text: &str, bodiless| {
            let answer = read_answer(text.as_bytes(), bodiless);
            answer.map(|answer| {
                (
                    answer.status,
                    String::from_utf8(answer.head).unwrap(),
                    answer.body,
                )
            })
        };
        let chunked = "HTTP/1.1 200 OK\r\nKeep-Alive: 5\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n";
        let head =
            "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        assert_eq!(
            read(chunked, false),
            Ok((200, head.into(), Some(Body::Chunked)))
        );
        assert_eq!(read(chunked, true).unwrap().2, Some(Body::Length(0)));
        let interim = "HTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(
            read(interim, false),
            Ok((100, interim.into(), Some(Body::Length(0))))
        );
        for (text, bodiless, body) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
                false,
                Some(Body::Length(7)),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
                true,
                Some(Body::Length(0)),
            ),
            (
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
                false,
                Some(Body::Length(0)),
            ),
            ("HTTP/1.1 204\r\n\r\n", false, Some(Body::Length(0))),
            ("HTTP/1.1 200 OK\r\n\r\n", false, None),
            ("HTTP/1.0 200 OK\r\n\r\n", false, None),
        ] {
            assert_eq!(read(text, bodiless).unwrap().2, body, "{text:?}");
        }
        for text in [
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 +20 OK\r\n\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        ] {
            assert_eq!(read(text, false).unwrap_err().status, 502, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic_and_what_is_written_reads_the_same(
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            name in "[a-zA-Z!-~]{1,10}", value in "[ -~\t]{0,20}", path in "[!-~]{0,20}",
        ) {
            let mut bytes = noise;
            bytes.extend_from_slice(b"\r\n\r\n");
            let _ = (read_request(&bytes), read_answer(&bytes, false), head_end(&bytes));
            let text = format!("POST http://a.test/{path} HTTP/1.1\r\nHost: a.test\r\n{name}: {value}\r\n\r\n");
            if let Ok(Request::Forward { head, body, target, .. }) = read(&text) {
                // The origin reads one head, and the same length as we did.
                prop_assert_eq!(head_end(&head), Some(head.len()));
                let (first, fields) = split(&head).unwrap();
                let expected = format!("POST /{path} HTTP/1.1");
                prop_assert_eq!(first, expected.as_bytes());
                prop_assert_eq!(framing(&fields, false).unwrap(), body);
                prop_assert_eq!(fields.iter().filter(|f| f.is(b"host")).count(), 1);
                prop_assert_eq!(target.host, "a.test");
            }
        }
    }
}
