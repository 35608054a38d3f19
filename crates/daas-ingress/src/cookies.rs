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

/// Takes off a cookie that is ours and for nobody behind us; a header without others goes with it.
pub(crate) fn forget(headers: &mut HeaderMap, name: &str) {
    let is_named = |value: &HeaderValue| pairs(value).any(|pair| is_of(pair, name));
    if !headers.get_all(COOKIE).iter().any(is_named) {
        return;
    }
    let rest: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .flat_map(pairs)
        .filter(|pair| !pair.is_empty() && !is_of(pair, name))
        .collect();
    match HeaderValue::from_bytes(&rest.join(&b"; "[..])) {
        Ok(rest) if !rest.is_empty() => drop(headers.insert(COOKIE, rest)),
        _ => drop(headers.remove(COOKIE)),
    }
}

fn pairs(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
}

fn is_of(pair: &[u8], name: &str) -> bool {
    pair.strip_prefix(name.as_bytes())
        .is_some_and(|rest| rest.starts_with(b"="))
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

    #[test]
    fn a_cookie_of_ours_goes_and_others_stay() {
        for (cookie, rest) in [
            ("daas_key=1", None),
            ("a=b; daas_key=1;c=d; daas_key=2", Some("a=b; c=d")),
            ("a=b;c=daas_key=1", Some("a=b;c=daas_key=1")),
            ("daas_keys=1", Some("daas_keys=1")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_static(cookie));
            forget(&mut headers, "daas_key");
            let left = headers.get(COOKIE).map(|value| value.to_str().unwrap());
            assert_eq!(left, rest, "{cookie}");
        }
    }
}
