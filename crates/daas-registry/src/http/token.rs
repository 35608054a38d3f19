//! Changing a login into a token (Docker Registry v2 authentication: "Token Authentication Specification").

use super::answer::json;
use super::queries;
use crate::access::Asker;
use crate::error::RegistryError;
use crate::login::{Scope, TOKEN_MS, basic};
use crate::registry::Registry;
use axum::response::Response;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL};
use hyper::{HeaderMap, Method, StatusCode, Uri};

/// The most scopes of one token.
const MOST_SCOPES: usize = 64;

/// Answers a request for a token. Who shows no login gets one for what everybody may.
pub(super) fn answer(
    registry: &Registry,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, RegistryError> {
    // The OAuth2 form by POST is tried first by some clients; this answer makes them take the other.
    if *method != Method::GET {
        return Err(RegistryError::Unsupported);
    }
    let asker = match headers.get(AUTHORIZATION) {
        None => Asker::Anybody,
        Some(value) => {
            let login = value
                .to_str()
                .ok()
                .and_then(|text| text.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
                .and_then(|(_, value)| basic(value))
                .and_then(|(name, secret)| registry.inner.logins.check(&name, &secret));
            Asker::Login(login.ok_or(RegistryError::WrongLogin)?)
        }
    };
    let wanted: Vec<Scope> = queries(uri, "scope")
        .iter()
        .flat_map(|text| text.split(' '))
        .filter_map(Scope::parse)
        .take(MOST_SCOPES)
        .collect();
    let granted = registry.granted(&asker, wanted)?;
    let name = match &asker {
        Asker::Login(login) => Some(login.name.as_str()),
        Asker::Stand(_) | Asker::Anybody => None,
    };
    let token = registry.inner.logins.token(name, granted);
    let body =
        serde_json::json!({"token": token, "access_token": token, "expires_in": TOKEN_MS / 1000});
    let response = json(StatusCode::OK, body.to_string());
    Ok(super::answer::with(response, CACHE_CONTROL, "no-store"))
}
