//! The one form of a path that routes are matched with and that back ends get (threat S18).

use std::borrow::Cow;

/// A path that front and back could understand differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetFault {
    /// It does not begin with a slash.
    #[error("the path does not begin with `/`")]
    NoSlash,
    /// A percent sign without two hexadecimal digits.
    #[error("the path has a `%` without two hexadecimal digits")]
    BadPercent,
    /// `.` or `..` as a segment, written in whatever way.
    #[error("the path has a `.` or `..` segment")]
    Dots,
    /// A backslash, which some back ends take for a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// A control character or one outside of ASCII, plain or encoded as zero.
    #[error("the path has a character that must not be there")]
    Character,
}

/// Returns the canonical form of a path without query.
///
/// Encoded unreserved characters are decoded (RFC 3986 section 6.2.2.2), hexadecimal digits become upper case, repeated slashes one. What
/// cannot be made canonical without a guess is a fault. An encoded slash stays encoded: it is data (`/api/v4/projects/group%2Fproject`).
///
/// # Errors
/// [`TargetFault`] says what is ambiguous.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, TargetFault> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(TargetFault::NoSlash);
    }
    // The usual path has nothing to look at: one pass without a copy.
    let plain = bytes
        .iter()
        .all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_'));
    if plain && !path.contains("//") {
        return Ok(Cow::Borrowed(path));
    }
    let mut out = String::with_capacity(path.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let byte = decoded(bytes.get(at + 1), bytes.get(at + 2))?;
                match byte {
                    0..=0x1f | 0x7f => return Err(TargetFault::Character),
                    b'\\' => return Err(TargetFault::Backslash),
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                        out.push(char::from(byte));
                    }
                    _ => {
                        out.push('%');
                        out.push(char::from(bytes[at + 1].to_ascii_uppercase()));
                        out.push(char::from(bytes[at + 2].to_ascii_uppercase()));
                    }
                }
                at += 3;
                continue;
            }
            b'\\' => return Err(TargetFault::Backslash),
            0..=0x20 | 0x7f..=0xff | b'#' => return Err(TargetFault::Character),
            b'/' if out.ends_with('/') => {}
            other => out.push(char::from(other)),
        }
        at += 1;
    }
    // Behind an encoded slash some back ends see a segment too, and before `;` all of it (`/..;/`).
    let mut segments = out.split('/').flat_map(|part| part.split("%2F"));
    if segments.any(|segment| matches!(segment.split(';').next(), Some("." | ".."))) {
        return Err(TargetFault::Dots);
    }
    Ok(if out == path {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(out)
    })
}

fn decoded(high: Option<&u8>, low: Option<&u8>) -> Result<u8, TargetFault> {
    let digit = |b: Option<&u8>| {
        b.and_then(|b| char::from(*b).to_digit(16))
            .ok_or(TargetFault::BadPercent)
    };
    u8::try_from(digit(high)? * 16 + digit(low)?).map_err(|_| TargetFault::BadPercent)
}

/// Tells whether `path` (canonical) lies at or below `prefix` (canonical, without a last slash but for `/` itself).
#[must_use]
pub(crate) fn is_below(path: &str, prefix: &str) -> bool {
    prefix == "/"
        || path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_paths_get_equal_forms() {
        for (path, form) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("//a///b/", "/a/b/"),
            ("/%61dmin", "/admin"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%20b", "/a%20b"),
            ("/a.b/..c/d..", "/a.b/..c/d.."),
            ("/%7euser", "/~user"),
            ("/x;y=1", "/x;y=1"),
        ] {
            assert_eq!(canonical(path).as_deref(), Ok(form), "{path}");
            assert_eq!(
                canonical(form).as_deref(),
                Ok(form),
                "canonical twice: {form}"
            );
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for path in [
            "",
            "a",
            "/../a",
            "/a/..",
            "/a/.",
            "/./a",
            "/%2e%2e/a",
            "/.%2e/a",
            "/a%2f..%2fb",
            "/a%2F%2e%2E",
            "/..;/a",
            "/..;x=1/a",
            "/a\\b",
            "/a%5cb",
            "/%00",
            "/a%0d%0ab",
            "/%",
            "/%4",
            "/%zz",
            "/ä",
            "/a b",
            "/a#b",
            "/a\u{7f}",
        ] {
            assert!(canonical(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn prefixes_end_at_segments() {
        assert!(is_below("/api", "/api") && is_below("/api/x", "/api") && is_below("/x", "/"));
        assert!(!is_below("/apix", "/api") && !is_below("/ap", "/api"));
    }
}
