//! The one place where a failure becomes an answer.

use crate::request_id::RequestId;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use daas_api::Failure;
use daas_model::Kind;
use hyper::StatusCode;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

/// A failure on its way out of a handler.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Failure);

impl<E> From<E> for Refused
where
    Failure: From<E>,
{
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// The failure that a response stands for, until it is rendered.
#[derive(Debug, Clone)]
struct Pending(Failure);

impl IntoResponse for Refused {
    /// Makes an empty response that carries the failure; [`finish`] writes it down.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(self.0.to_problem().status)
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.extensions_mut().insert(Pending(self.0));
        response
    }
}

/// Gives the answer its id, writes down its failure, and tells the log.
pub(crate) fn finish(mut response: Response, id: RequestId, what: &str) -> Response {
    let text = id.to_string();
    if let Some(Pending(failure)) = response.extensions_mut().remove::<Pending>() {
        match failure.kind() {
            Kind::Bug => tracing::error!(request = text, what, code = failure.code(), "{failure}"),
            Kind::Outside => {
                tracing::warn!(request = text, what, code = failure.code(), "{failure}");
            }
            _ => tracing::debug!(request = text, what, code = failure.code(), "{failure}"),
        }
        let mut problem = failure.to_problem();
        problem.request_id = Some(text.clone());
        let retry_after_s = problem.retry_after_ms.map(|ms| ms.div_ceil(1000));
        let status = response.status();
        *response.body_mut() = Body::from(serde_json::to_vec(&problem).unwrap_or_default());
        let headers = response.headers_mut();
        // What the empty body announced.
        headers.remove(CONTENT_LENGTH);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}
