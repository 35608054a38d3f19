//! Answers made smaller on their way, piece by piece.

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderMap, HeaderValue, VARY,
};
use std::io::{self, Write};

/// Smaller answers are not worth it: one packet holds them anyway.
const LEAST: u64 = 1024;

/// Tells whether a visitor takes gzip (RFC 9110 section 12.5.3).
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let all = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|v| v.to_str().ok());
    all.flat_map(|v| v.split(',')).any(|part| {
        let mut words = part.split(';').map(str::trim);
        let named = words
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        named && !words.any(|word| word.trim_start_matches("q=").parse() == Ok(0.0_f32))
    })
}

/// Tells whether an answer becomes smaller by it.
pub(crate) fn is_worth(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let texts = kind.starts_with("text/") && kind != "text/event-stream";
    let others = [
        "application/json",
        "application/javascript",
        "application/xml",
        "application/wasm",
        "image/svg+xml",
    ]
    .contains(&kind)
        || kind.ends_with("+json")
        || kind.ends_with("+xml");
    let long = headers
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok())
        .is_none_or(|n| n >= LEAST);
    let untouched = headers
        .get(CACHE_CONTROL)
        .is_none_or(|v| !v.as_bytes().windows(12).any(|w| w == b"no-transform"));
    (texts || others)
        && long
        && untouched
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
}

/// Says in the head that another visitor may get another form of this answer, for caches on the way (RFC 9110 section 12.5.5).
pub(crate) fn vary(headers: &mut HeaderMap) {
    let is_said = |value: &HeaderValue| {
        let mut names = value.as_bytes().split(|byte| *byte == b',');
        names.any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding")
        })
    };
    if !headers.get_all(VARY).iter().any(is_said) {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Says in the head what happens to the body.
pub(crate) fn announce(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    // Other bytes: the same thing only in meaning (RFC 9110 section 8.8.1).
    if let Some(tag) = headers
        .get(ETAG)
        .and_then(|v| v.to_str().ok())
        .filter(|tag| !tag.starts_with("W/"))
        && let Ok(weak) = HeaderValue::try_from(format!("W/{tag}"))
    {
        headers.insert(ETAG, weak);
    }
}

/// A stream that is being made smaller. It holds back nothing between two pieces.
#[derive(Debug)]
pub(crate) struct Squeeze(GzEncoder<Vec<u8>>);

impl Squeeze {
    pub(crate) fn new() -> Self {
        // Level 1: most of the gain for a fraction of the time, which all share here.
        Self(GzEncoder::new(Vec::new(), Compression::fast()))
    }

    pub(crate) fn piece(&mut self, bytes: &[u8]) -> io::Result<Bytes> {
        self.0.write_all(bytes)?;
        self.0.flush()?;
        Ok(std::mem::take(self.0.get_mut()).into())
    }

    pub(crate) fn end(&mut self) -> io::Result<Bytes> {
        self.0.try_finish()?;
        Ok(std::mem::take(self.0.get_mut()).into())
    }
}
