//! Answers in the forms of the specification.

use super::Challenge;
use crate::error::RegistryError;
use axum::body::Body;
use axum::response::Response;
use daas_model::{Explain, Kind};
use hyper::StatusCode;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RANGE, RETRY_AFTER,
    WWW_AUTHENTICATE,
};

/// The digest of what is sent (OCI Distribution Specification 1.1, "Pulling manifests").
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Says that the subject of a manifest was understood.
pub(super) const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// Says which filters were applied.
pub(super) const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
/// The version of the protocol, by which old clients know a registry.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, text: String) -> Response {
    let mut response = empty(status);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.body_mut() = Body::from(text);
    response
}

/// Adds a header; a value that no header can have is left out.
pub(super) fn with(mut response: Response, name: HeaderName, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// An answer that says where an upload goes on, and how far it is.
pub(super) fn progress(status: StatusCode, location: &str, size: u64) -> Response {
    let range = format!("0-{}", size.saturating_sub(1));
    let response = with(empty(status), LOCATION, location);
    let response = with(response, RANGE, &range);
    if status == StatusCode::NO_CONTENT {
        response
    } else {
        with(response, CONTENT_LENGTH, "0")
    }
}

/// An answer that says why not, in the form of the specification, "Error Codes".
pub(super) fn refusal(error: &RegistryError, challenge: Option<&Challenge>) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // What goes on inside (paths, records) is for the log, not for the network.
    let message = if status.is_server_error() && !matches!(error, RegistryError::Damaged { .. }) {
        match status.as_u16() {
            507 => "the disk of the registry is full".to_owned(),
            502 => "the outside registry cannot be reached".to_owned(),
            _ => "the registry failed; its log says why".to_owned(),
        }
    } else {
        daas_model::render_chain(error)
    };
    let body = serde_json::json!({"errors": [{"code": error.oci_code(), "message": message, "detail": error.code()}]});
    let mut response = json(status, body.to_string());
    if let (RegistryError::LoginWanted | RegistryError::WrongLogin, Some(challenge)) =
        (error, challenge)
        && let Some(host) = &challenge.host
    {
        let scheme = if challenge.tls { "https" } else { "http" };
        let mut value = format!("Bearer realm=\"{scheme}://{host}/token\",service=\"{host}\"");
        if let Some(scope) = &challenge.scope {
            value.push_str(&format!(",scope=\"{scope}\""));
        }
        response = with(response, WWW_AUTHENTICATE, &value);
    }
    if let Kind::Busy { retry_after } = error.kind() {
        response = with(response, RETRY_AFTER, &retry_after.as_secs().to_string());
    }
    response
}
