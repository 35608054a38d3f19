//! The secrets by which a build signs in where it fetches from. Their ids and their order are `BuildKit`'s (`source/git`, `source/http`).
//!
//! Not here: secrets of commands (`mounts`), logins of registries (`daas_image`).

use crate::fetch_error::FetchError;
use daas_model::base64;
use std::collections::BTreeMap;

/// What git signs in by, and whether it is a token and no whole header.
const KINDS: [(&str, bool); 2] = [("GIT_AUTH_HEADER", false), ("GIT_AUTH_TOKEN", true)];

/// Contents of secrets by their ids.
pub(crate) type Secrets = BTreeMap<String, Vec<u8>>;

/// Returns `Authorization` for files of `host`: `HTTP_AUTH_TOKEN_<host>`, else `HTTP_AUTH_HEADER_<host>`; nothing if neither was given.
pub(crate) fn to_host(secrets: &Secrets, host: &str) -> Option<String> {
    let token = text(secrets, &format!("HTTP_AUTH_TOKEN_{host}"));
    token.map(|text| format!("Bearer {text}")).or_else(|| {
        let header = text(secrets, &format!("HTTP_AUTH_HEADER_{host}"));
        header.map(str::to_owned)
    })
}

/// Refuses secrets for signing in that no header may hold, before any of them is sent.
///
/// # Errors
/// [`FetchError::Secret`].
pub(crate) fn check(secrets: &Secrets) -> Result<(), FetchError> {
    let ours = |id: &&String| id.starts_with("HTTP_AUTH_") || id.starts_with("GIT_AUTH_");
    match secrets
        .keys()
        .filter(ours)
        .find(|id| text(secrets, id).is_none())
    {
        Some(id) => Err(FetchError::Secret { id: id.clone() }),
        None => Ok(()),
    }
}

/// How git signs in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GitSignIn {
    /// What begins with this is signed in to, and nothing else.
    pub(crate) scope: String,
    /// The header, with its name.
    pub(crate) header: String,
}

/// Returns how git signs in to a repository: `GIT_AUTH_HEADER.<host>`, `GIT_AUTH_TOKEN.<host>`, or the two without a host; the host with its port, if it has one.
///
/// What names a host is for all of that host, its submodules included. What names none is for the repository alone, and only over TLS: whoever gives it does not
/// see to whom it goes.
pub(crate) fn to_repository(secrets: &Secrets, url: &str) -> Option<GitSignIn> {
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let host = rest.split('/').next().unwrap_or_default();
    let whole = format!("{scheme}://{host}/");
    for (kind, is_token) in KINDS {
        if let Some(text) = text(secrets, &format!("{kind}.{host}")) {
            return Some(GitSignIn::of(whole, text, is_token));
        }
    }
    if scheme != "https" {
        return None;
    }
    // As `BuildKit` and GitHub's own checkout have it: there one token is for all that it may read.
    let scope = match host {
        "github.com" | "www.github.com" => whole,
        _ => url.to_owned(),
    };
    KINDS.iter().find_map(|(id, is_token)| {
        let text = text(secrets, id)?;
        Some(GitSignIn::of(scope.clone(), text, *is_token))
    })
}

impl GitSignIn {
    fn of(scope: String, text: &str, is_token: bool) -> Self {
        let header = if is_token {
            let pair = format!("x-access-token:{text}");
            format!("Authorization: basic {}", base64::encode(pair.as_bytes()))
        } else {
            format!("Authorization: {text}")
        };
        Self { scope, header }
    }

    /// Returns git's settings as variables (git-config(1), `GIT_CONFIG_COUNT`): arguments are seen by everybody on the machine.
    ///
    /// Who signs in is not redirected: git would take the header along.
    pub(crate) fn environment(&self) -> [(String, String); 5] {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        [
            pair("GIT_CONFIG_COUNT", "2"),
            pair(
                "GIT_CONFIG_KEY_0",
                &format!("http.{}.extraHeader", self.scope),
            ),
            pair("GIT_CONFIG_VALUE_0", &self.header),
            pair(
                "GIT_CONFIG_KEY_1",
                &format!("http.{}.followRedirects", self.scope),
            ),
            pair("GIT_CONFIG_VALUE_1", "false"),
        ]
    }
}

/// Returns a secret as what a header may hold (RFC 9110, section 5.5); the end of its file's line is none of it.
fn text<'s>(secrets: &'s Secrets, id: &str) -> Option<&'s str> {
    std::str::from_utf8(secrets.get(id)?.trim_ascii())
        .ok()
        .filter(|text| !text.is_empty() && !text.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(list: &[(&str, &str)]) -> Secrets {
        list.iter()
            .map(|(id, text)| ((*id).to_owned(), text.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn a_host_has_secrets_of_its_own_before_those_of_all() {
        let all = secrets(&[
            ("GIT_AUTH_TOKEN", "t\n"),
            ("GIT_AUTH_HEADER.a.test:8443", "Bearer h"),
            ("GIT_AUTH_TOKEN.a.test:8443", "never"),
            ("GIT_AUTH_TOKEN.b.test", "b"),
        ]);
        let of = |url| {
            let found = to_repository(&all, url);
            found.map(|found| (found.scope, found.header))
        };
        let pair = |scope: &str, header: &str| Some((scope.to_owned(), header.to_owned()));
        assert_eq!(
            of("https://a.test:8443/x/y.git"),
            pair("https://a.test:8443/", "Authorization: Bearer h")
        );
        // base64 of `x-access-token:t`
        let general = "Authorization: basic eC1hY2Nlc3MtdG9rZW46dA==";
        assert_eq!(
            of("https://a.test/x.git"),
            pair("https://a.test/x.git", general)
        );
        assert_eq!(
            of("https://github.com/a/b.git"),
            pair("https://github.com/", general)
        );
        assert!(of("http://b.test/x.git").is_some());
        assert_eq!(of("http://a.test/x.git"), None);
        assert_eq!(of("ssh://b.test/x.git"), None);
    }

    #[test]
    fn a_token_of_a_host_is_sent_there_as_a_bearers() {
        let all = secrets(&[
            ("HTTP_AUTH_TOKEN_a.test", "t"),
            ("HTTP_AUTH_HEADER_a.test", "never"),
            ("HTTP_AUTH_HEADER_b.test", "Basic eA=="),
            ("HTTP_AUTH_HEADER_c.test", "two\nlines"),
        ]);
        assert_eq!(to_host(&all, "a.test").unwrap(), "Bearer t");
        assert_eq!(to_host(&all, "b.test").unwrap(), "Basic eA==");
        assert_eq!(to_host(&all, "x.a.test"), None);
        let refused = check(&all).unwrap_err();
        assert!(matches!(refused, FetchError::Secret { .. }), "{refused}");
    }
}
