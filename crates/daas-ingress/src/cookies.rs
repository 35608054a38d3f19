//! The cookies of a request, as nodes get them.

use hyper::header::{COOKIE, HeaderMap, HeaderValue};

/// Makes one `Cookie` of several: HTTP/2 may split them, and whoever speaks HTTP/1.1 takes one only (RFC 9113 section 8.2.3).
pub(crate) fn join(headers: &mut HeaderMap) {
    let all = headers.get_all(COOKIE);
    if all.iter().nth(1).is_none() {
        return;
    }
    let all: Vec<&[u8]> = all.iter().map(HeaderValue::as_bytes).collect();
    if let Ok(one) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(COOKIE, one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_cookies_become_one() {
        let mut headers = HeaderMap::new();
        join(&mut headers);
        assert!(headers.is_empty());
        for (cookie, all) in [
            ("session=abc", "session=abc"),
            ("theme=dark", "session=abc; theme=dark"),
            ("a=b; c=d", "session=abc; theme=dark; a=b; c=d"),
        ] {
            headers.append(COOKIE, HeaderValue::from_static(cookie));
            join(&mut headers);
            let found: Vec<_> = headers.get_all(COOKIE).iter().collect();
            assert_eq!(found, [all]);
        }
    }
}
