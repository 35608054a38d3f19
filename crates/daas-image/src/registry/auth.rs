//! What a registry asks for when it refuses (RFC 9110 section 11, RFC 6750, and Docker's token specification).

use super::Http;
use super::settings::Credential;
use super::url::{Url, is_local};
use daas_model::base64;
use hyper::header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};

/// The kind of proof that a registry wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// Reads the challenges of an answer; a token is preferred, as it reveals less.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let all: Vec<Self> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|v| Self::parse(v.to_str().ok()?))
            .collect();
        all.iter()
            .find(|c| matches!(c, Self::Bearer { .. }))
            .or_else(|| all.first())
            .cloned()
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut fields = parameters(rest);
        let mut take = |key: &str| {
            fields
                .iter()
                .position(|(k, _)| k == key)
                .map(|at| fields.swap_remove(at).1)
        };
        Some(Self::Bearer {
            realm: take("realm")?,
            service: take("service"),
            scope: take("scope"),
        })
    }
}

/// `key="value", key=value`: a quoted value may hold commas and escaped quotes.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    while let Some((key, after)) = rest.split_once('=') {
        let mut value = String::new();
        let mut end = after.len();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut escaped = false;
            for (at, c) in quoted.char_indices() {
                match c {
                    _ if escaped => {
                        value.push(c);
                        escaped = false;
                    }
                    '\\' => escaped = true,
                    '"' => {
                        end = at + 2;
                        break;
                    }
                    c => value.push(c),
                }
            }
        } else {
            end = after.find(',').unwrap_or(after.len());
            value = after[..end].trim().to_owned();
        }
        found.push((key.trim().to_ascii_lowercase(), value));
        rest = after
            .get(end..)
            .unwrap_or_default()
            .trim_start_matches([' ', ',']);
    }
    found
}

/// Whether the token server at `realm` belongs to the registry at `registry`, so that it may see the registry's credentials.
///
/// The same host does, and one that shares the registry's domain (`auth.docker.io` for `registry-1.docker.io`). Under suffixes
/// like `co.uk` three labels must be shared. A literal address shares nothing but itself.
pub(super) fn is_same_house(registry: &Url, realm: &Url) -> bool {
    if !realm.tls && registry.tls {
        return false;
    }
    if registry.host == realm.host || (registry.is_local() && realm.is_local()) {
        return true;
    }
    if [registry, realm]
        .iter()
        .any(|u| u.host.parse::<std::net::IpAddr>().is_ok())
    {
        return false;
    }
    let shared: Vec<&str> = registry
        .host
        .rsplit('.')
        .zip(realm.host.rsplit('.'))
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a)
        .collect();
    let needed = match shared.as_slice() {
        [top, second, ..] if top.len() == 2 && second.len() <= 3 => 3,
        _ => 2,
    };
    shared.len() >= needed
}

/// Asks the token server for a bearer token; nothing if it gives none.
pub(super) async fn fetch_token(
    http: &Http,
    registry: &Url,
    challenge: &Challenge,
    credential: Option<&Credential>,
    repository: &str,
) -> Result<Option<String>, super::Failure> {
    let Challenge::Bearer {
        realm,
        service,
        scope,
    } = challenge
    else {
        return Ok(None);
    };
    let Some(mut url) = Url::parse(realm) else {
        return Ok(None);
    };
    // A far registry that sends us to our own services, or out of TLS, is not followed even without a secret.
    if (registry.tls && !url.tls) || (url.is_inward() && !is_local(&registry.host)) {
        return Ok(None);
    }
    let credential = credential.filter(|_| is_same_house(registry, &url));
    let default_scope = format!("repository:{repository}:pull");
    let scope = scope.as_deref().unwrap_or(&default_scope);
    let mut fields = vec![("scope", scope.to_owned())];
    fields.extend(service.iter().map(|s| ("service", s.clone())));
    let mut headers = HeaderMap::new();
    let mut form = None;
    match credential {
        Some(Credential::Basic { user, password }) => {
            fields.push(("account", user.clone()));
            let value = basic(user, password)
                .ok_or(super::Failure::Answer("credentials that fit no header"))?;
            headers.insert(AUTHORIZATION, value);
        }
        Some(Credential::Identity(token)) => {
            fields.extend([
                ("grant_type", "refresh_token".to_owned()),
                ("refresh_token", token.clone()),
                ("client_id", "daas".to_owned()),
            ]);
            form = Some(query(&fields));
        }
        Some(Credential::Bearer(_)) | None => {}
    }
    if form.is_none() {
        let separator = if url.path.contains('?') { '&' } else { '?' };
        url.path = format!("{}{separator}{}", url.path, query(&fields));
    }
    let answer = http.exchange(&url, headers, form).await?;
    if !answer.status().is_success() {
        let status = answer.status();
        return if status.is_server_error() || status.as_u16() == 429 {
            Err(super::Failure::Status(
                status.as_u16(),
                answer.retry_after(),
            ))
        } else {
            Ok(None)
        };
    }
    #[derive(serde::Deserialize)]
    struct Tokens {
        token: Option<String>,
        access_token: Option<String>,
    }
    let bytes = answer.collect(MAX_TOKEN).await?;
    let tokens: Tokens = serde_json::from_slice(&bytes)
        .map_err(|_| super::Failure::Answer("a token server's answer that is no JSON"))?;
    Ok(tokens
        .token
        .or(tokens.access_token)
        .filter(|t| !t.is_empty()))
}

/// Largest answer of a token server in bytes; real ones stay below 10 KiB.
const MAX_TOKEN: u64 = 256 << 10;

/// Returns the header value of a name and password, marked as secret; nothing if they fit in none.
pub(super) fn basic(user: &str, password: &str) -> Option<hyper::header::HeaderValue> {
    secret(&format!(
        "Basic {}",
        base64::encode(format!("{user}:{password}").as_bytes())
    ))
}

/// Returns a header value that is never shown.
pub(super) fn secret(text: &str) -> Option<hyper::header::HeaderValue> {
    let mut value = hyper::header::HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Writes fields as a query (URL Standard, "application/x-www-form-urlencoded").
fn query(fields: &[(&str, String)]) -> String {
    fields
        .iter()
        .map(|(key, value)| format!("{key}={}", encode(value)))
        .collect::<Vec<_>>()
        .join("&")
}

fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut coded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            coded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(coded, "%{byte:02X}");
        }
        coded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                service: service.map(str::to_owned),
                scope: scope.map(str::to_owned),
            })
        };
        let text = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull,push""#;
        assert_eq!(
            Challenge::parse(text),
            bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:library/nginx:pull,push")
            )
        );
        assert_eq!(
            Challenge::parse(r#"bearer Realm="https://a/t?x=\"1\"" , service=plain"#),
            bearer("https://a/t?x=\"1\"", Some("plain"), None)
        );
        assert_eq!(
            Challenge::parse("Basic realm=\"x\""),
            Some(Challenge::Basic)
        );
        assert_eq!(Challenge::parse("Negotiate"), None);
        assert_eq!(Challenge::parse("Bearer service=\"x\""), None);
        for odd in [
            "Bearer =",
            "Bearer realm=\"",
            "Bearer realm=\"\\",
            "Bearer ,,,=,=",
            "Bearer é=\"é\",realm=é",
        ] {
            let _ = Challenge::parse(odd);
        }
    }

    #[test]
    fn a_token_server_of_another_house_never_sees_the_credentials() {
        let same =
            |a: &str, b: &str| is_same_house(&Url::parse(a).unwrap(), &Url::parse(b).unwrap());
        assert!(same(
            "https://registry-1.docker.io/",
            "https://auth.docker.io/token"
        ));
        assert!(same(
            "https://registry.shop.example.co.uk/",
            "https://git.shop.example.co.uk/jwt"
        ));
        assert!(same("http://127.0.0.1:5000/", "http://127.0.0.1:5001/"));
        assert!(same("https://r.test:5000/", "https://r.test/"));
        assert!(!same(
            "https://registry-1.docker.io/",
            "https://evil.io/token"
        ));
        assert!(!same(
            "https://registry-1.docker.io/",
            "http://auth.docker.io/token"
        ));
        assert!(!same("https://shop.co.uk/", "https://evil.co.uk/"));
        assert!(!same("https://10.0.0.1/", "https://10.0.0.2/"));
        assert!(!same(
            "https://docker.io.evil.test/",
            "https://auth.docker.io/"
        ));
    }
}
