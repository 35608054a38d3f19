//! What handlers read from a request; every refusal is a problem.

use crate::access::Identity;
use crate::render::Refused;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use daas_api::{Caller, Failure};
use daas_http::TooSlow;
use daas_model::{Kind, NameError};
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, Limited};
use hyper::header::{CONTENT_TYPE, IF_MATCH};
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;
use std::error::Error;

/// The most bytes of a JSON body: 30 files of 1 MiB, the most that one file of a project may have.
const MOST_JSON: usize = 32 << 20;

fn malformed(code: &'static str, message: impl Into<String>) -> Failure {
    Failure::new(code, Kind::Input, message).with_status(400)
}

/// One JSON value; an empty body is none.
pub(crate) struct Input<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Input<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        is_json(&request)?;
        let bytes = read(request.into_body()).await?;
        parse(&bytes).map(Self)
    }
}

/// One JSON value; an empty body is the default.
pub(crate) struct InputOrDefault<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for InputOrDefault<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let json = is_json(&request);
        let bytes = read(request.into_body()).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        json?;
        parse(&bytes).map(Self)
    }
}

/// A body must say that it is JSON: no form of a foreign page can say so without asking first (CSRF).
fn is_json(request: &Request) -> Result<(), Refused> {
    let media = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Failure::new(
        "body-not-json",
        Kind::Input,
        "cannot read the body: it does not say that it is JSON",
    )
    .hint("send `Content-Type: application/json`")
    .with_status(415)
    .into())
}

async fn read(body: Body) -> Result<bytes::Bytes, Refused> {
    match Limited::new(body, MOST_JSON).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(broken(error.as_ref()).into()),
    }
}

/// Tells why a body did not come.
fn broken(error: &(dyn Error + 'static)) -> Failure {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<TooSlow>() {
            return Failure::new(
                "body-too-slow",
                Kind::Input,
                "cannot read the body: it came too slowly",
            )
            .with_status(408);
        }
        if error.is::<http_body_util::LengthLimitError>() {
            return Failure::new(
                "body-too-long",
                Kind::Input,
                format!("cannot read the body: it is longer than {MOST_JSON} bytes"),
            )
            .with_status(413);
        }
        cause = error.source();
    }
    malformed("body-broken", "cannot read the body: the connection broke")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(bytes).map_err(|error| {
        let status = if error.is_data() { 422 } else { 400 };
        Failure::new(
            "body-invalid",
            Kind::Input,
            format!("cannot read the body: {error}"),
        )
        .with_status(status)
        .into()
    })
}

/// The bytes of an archive, as they come.
pub(crate) fn bytes_of(body: Body) -> daas_api::platform::ByteFlow {
    Box::pin(TryStreamExt::map_err(body.into_data_stream(), |error| {
        broken(&error)
    }))
}

/// The fields of the query.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        query.map(|query| Self(query.0)).map_err(|error| {
            let why = error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string);
            malformed("query-invalid", format!("cannot read the query: {why}")).into()
        })
    }
}

/// A part of the path that parses to a name.
pub(crate) trait Part: Sized {
    /// What the path calls it.
    const NAME: &'static str;
    /// Parses it.
    fn parse(text: &str) -> Result<Self, String>;
}

macro_rules! part {
    ($type:ty, $name:literal, $parse:expr) => {
        impl Part for $type {
            const NAME: &'static str = $name;
            fn parse(text: &str) -> Result<Self, String> {
                $parse(text).map_err(|error| error.to_string())
            }
        }
    };
}

part!(daas_model::StandName, "stand", Self::parse_name);
part!(daas_model::NodeName, "node", Self::parse_name);
part!(daas_model::ProjectName, "project", Self::parse_name);
part!(daas_model::ImageName, "image", daas_model::ImageName::parse);
part!(
    daas_api::OperationId,
    "operation",
    daas_api::OperationId::parse
);

/// The names of the model under one method name, so that the macro above reads the same for all.
trait ParseName: Sized {
    fn parse_name(text: &str) -> Result<Self, NameError>;
}

macro_rules! parse_name {
    ($($type:ty),*) => { $(impl ParseName for $type {
        fn parse_name(text: &str) -> Result<Self, NameError> {
            <$type>::parse(text)
        }
    })* };
}

parse_name!(
    daas_model::StandName,
    daas_model::NodeName,
    daas_model::ProjectName
);

/// One part of the path.
pub(crate) struct Named<T>(pub(crate) T);

impl<S: Send + Sync, T: Part> FromRequestParts<S> for Named<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|error| malformed("path-invalid", format!("cannot read the path: {error}")))?;
        let text = params
            .iter()
            .find_map(|(name, value)| (name == T::NAME).then_some(value))
            .unwrap_or_default();
        T::parse(text)
            .map(Self)
            .map_err(|why| malformed("path-invalid", format!("cannot read the path: {why}")).into())
    }
}

/// Who calls.
pub(crate) struct By(pub(crate) Caller);

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let Who(identity) = Who::from_request_parts(parts, state).await?;
        Ok(Self(identity.caller))
    }
}

/// Who calls, and what he may do: for requests of which a part asks for more than the route.
pub(crate) struct Who(pub(crate) Identity);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        // Routes admit before they read; a request without identity does not come this far.
        let identity = parts.extensions.get::<Identity>().cloned();
        let unknown = || Failure::new("caller-unknown", Kind::Bug, "cannot tell who calls");
        identity.map(Self).ok_or_else(|| unknown().into())
    }
}

/// The revision of `If-Match`, if one is asked for.
pub(crate) struct At(pub(crate) Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let Some(value) = parts.headers.get(IF_MATCH) else {
            return Ok(Self(None));
        };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let revision = text
            .strip_prefix('"')
            .and_then(|t| t.strip_suffix('"'))
            .and_then(|t| t.parse().ok());
        // What is no tag of ours matches nothing (RFC 9110, section 13.1.1).
        revision
            .map(|revision| Self(Some(revision)))
            .ok_or_else(|| {
                Failure::new(
                    "stand-changed",
                    Kind::Conflict,
                    "cannot change the stand: `If-Match` is no revision of it",
                )
                .with_status(412)
                .into()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn at(value: &str) -> Result<Option<u64>, u16> {
        let (mut parts, ()) = hyper::Request::builder()
            .header(IF_MATCH, value)
            .body(())
            .unwrap()
            .into_parts();
        At::from_request_parts(&mut parts, &())
            .await
            .map(|at| at.0)
            .map_err(|refused| refused.0.to_problem().status)
    }

    #[tokio::test]
    async fn if_match_is_one_strong_tag_or_a_star() {
        assert_eq!(
            (at("\"17\"").await, at("*").await),
            (Ok(Some(17)), Ok(None))
        );
        for strange in ["17", "W/\"17\"", "\"17\", \"18\"", "\"x\"", "\"-1\""] {
            assert_eq!(at(strange).await, Err(412), "{strange}");
        }
    }
}
