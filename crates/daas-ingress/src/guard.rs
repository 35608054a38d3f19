//! Who may pass: addresses, rates, links, passwords.

use crate::body::Answer;
use crate::cookies;
use crate::page::Page;
use crate::rules::{Rules, sum};
use crate::visit::Visit;
use daas_model::base64;
use hyper::header::{
    AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, LOCATION, SET_COOKIE, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use std::net::IpAddr;
use std::time::Instant;

/// The parameter of a link, and the cookie that stands for it.
pub(crate) const KEY: &str = "daas_key";

/// What a guard says.
pub(crate) enum Said {
    Pass,
    /// The visitor gets this instead.
    Answer(Box<Response<Answer>>),
    /// The same for one whose password or link is wrong.
    Failed(Box<Response<Answer>>),
}

/// Asks every guard of a route but the one that is a service. `target` is path and query as they came.
pub(crate) fn ask(
    rules: &Rules,
    visit: &Visit,
    ip: IpAddr,
    headers: &HeaderMap,
    path: &str,
    query: Option<&str>,
) -> Said {
    if !rules.allow.is_empty() && !rules.allow.iter().any(|net| net.contains(ip)) {
        let page = Page::new(
            StatusCode::FORBIDDEN,
            "client-not-allowed",
            "403: this is not for your address",
        );
        return Said::Answer(Box::new(page.render(headers)));
    }
    if let Some(limiter) = &rules.limiter
        && let Err(after) = limiter.take(ip, Instant::now())
    {
        let mut page = Page::new(
            StatusCode::TOO_MANY_REQUESTS,
            "client-too-fast",
            "429: too many requests",
        );
        page.again = Some(
            u32::try_from(after.as_secs())
                .unwrap_or(u32::MAX)
                .saturating_add(1),
        );
        return Said::Answer(Box::new(page.render(headers)));
    }
    if let Some(answer) = link(rules, visit, headers, path, query) {
        let wrong = answer.status() == StatusCode::FORBIDDEN
            && query.is_some_and(|query| query.contains(KEY));
        let answer = Box::new(answer);
        return if wrong {
            Said::Failed(answer)
        } else {
            Said::Answer(answer)
        };
    }
    if !rules.basic_auth.is_empty() {
        let given = headers.get(AUTHORIZATION).and_then(credentials);
        let known = given
            .as_ref()
            .is_some_and(|given| rules.basic_auth.contains(&sum(given)));
        if !known {
            let page = Page::new(
                StatusCode::UNAUTHORIZED,
                "client-unknown",
                "401: name and password, please",
            );
            let mut answer = page.render(headers);
            answer.headers_mut().insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"stand\", charset=\"UTF-8\""),
            );
            let answer = Box::new(answer);
            // A browser comes without any first: that is no failure.
            return if given.is_some() {
                Said::Failed(answer)
            } else {
                Said::Answer(answer)
            };
        }
    }
    Said::Pass
}

/// Takes off what was for the guards of a route and is for nobody behind them.
pub(crate) fn forget(rules: &Rules, headers: &mut HeaderMap) {
    if !rules.basic_auth.is_empty() {
        headers.remove(AUTHORIZATION);
    }
    // The cookie of a link is sent to the whole host, other routes too.
    cookies::forget(headers, KEY);
}

/// Returns what whoever has not opened the link gets, or whoever opens it just now.
fn link(
    rules: &Rules,
    visit: &Visit,
    headers: &HeaderMap,
    path: &str,
    query: Option<&str>,
) -> Option<Response<Answer>> {
    let link = rules.link.as_ref()?;
    let given = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix(KEY)?.strip_prefix('='));
    if given.is_some_and(|given| sum(given.as_bytes()) == link.secret) {
        let rest: Vec<&str> = query
            .into_iter()
            .flat_map(|q| q.split('&'))
            .filter(|pair| !pair.starts_with("daas_key="))
            .collect();
        let to = if rest.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{}", rest.join("&"))
        };
        let secure = if visit.tls { "; Secure" } else { "" };
        let cookie = format!(
            "{KEY}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000{secure}",
            link.cookie
        );
        let mut answer = Response::new(Answer::page(""));
        *answer.status_mut() = StatusCode::SEE_OTHER;
        // The secret leaves the address bar, and no other site hears of it.
        answer
            .headers_mut()
            .insert("referrer-policy", HeaderValue::from_static("no-referrer"));
        if let (Ok(to), Ok(cookie)) = (HeaderValue::try_from(to), HeaderValue::try_from(cookie)) {
            answer.headers_mut().insert(LOCATION, to);
            answer.headers_mut().insert(SET_COOKIE, cookie);
            return Some(answer);
        }
    }
    if cookie(headers, KEY)
        .is_some_and(|value| sum(value.as_bytes()) == sum(link.cookie.as_bytes()))
    {
        return None;
    }
    let page = Page::new(
        StatusCode::FORBIDDEN,
        "client-without-link",
        "403: this opens by a link only",
    );
    Some(page.render(headers))
}

/// Returns the value of a cookie.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Returns `name:password` of an `Authorization` header (RFC 7617 section 2).
fn credentials(header: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, text) = header.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("basic")
        .then(|| base64::decode_any_padding(text.trim()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_they_are_written() {
        // RFC 7617 section 2.
        let header = HeaderValue::from_static("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(credentials(&header).unwrap(), b"Aladdin:open sesame");
        for text in ["", "a", "ab", "abc", "\u{fc}ber:\0\u{ff}"] {
            let coded = base64::encode(text.as_bytes());
            for coded in [coded.as_str(), coded.trim_end_matches('=')] {
                let header = HeaderValue::from_str(&format!("basic {coded}")).unwrap();
                assert_eq!(credentials(&header).unwrap(), text.as_bytes());
            }
        }
        let header = HeaderValue::from_static("Basic a b");
        assert_eq!(credentials(&header), None);
    }
}
