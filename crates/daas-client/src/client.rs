use crate::address::Address;
use crate::connect_error::ConnectError;
use crate::exchange::{Driven, Outgoing, exchange, upgraded};
use crate::sse;
use crate::tls::Tls;
use bytes::Bytes;
use daas_api::endpoint::{EVENT_STREAM, Endpoint, TAR, encode_part};
use daas_api::platform::{BoxDuplex, ByteFlow, Flow};
use daas_api::{Failure, Problem};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, Empty, Full, Limited, StreamBody};
use hyper::body::Frame;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, IF_MATCH,
    RETRY_AFTER, UPGRADE,
};
use hyper::http::request::Builder;
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::time::Duration;

/// The most bytes of one answer that is no stream: 500 stands of 60 nodes are about 10 MB.
const MOST_ANSWER: usize = 64 << 20;

/// Speaks to one daemon. Cheap to clone; each call is a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    address: Address,
    token: Option<String>,
    tls: Option<Tls>,
}

/// What a call sends besides its path.
pub(crate) struct Call<'a> {
    pub(crate) endpoint: &'static Endpoint,
    pub(crate) parts: &'a [&'a str],
    pub(crate) query: String,
    pub(crate) headers: Vec<(HeaderName, String)>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(endpoint: &'static Endpoint, parts: &'a [&'a str]) -> Self {
        Self {
            endpoint,
            parts,
            query: String::new(),
            headers: Vec::new(),
        }
    }

    /// Adds the fields of `query` that are set.
    pub(crate) fn query(mut self, query: &impl Serialize) -> Self {
        self.query = query_text(query);
        self
    }

    /// Adds `If-Match`, if a revision is expected.
    pub(crate) fn at(mut self, revision: Option<u64>) -> Self {
        if let Some(revision) = revision {
            self.headers.push((IF_MATCH, format!("\"{revision}\"")));
        }
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Writes scalars as `name=value&...`.
fn query_text(query: &impl Serialize) -> String {
    let mut text = String::new();
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(query) else {
        return text;
    };
    for (name, value) in fields {
        let value = match value {
            serde_json::Value::Null | serde_json::Value::Bool(false) => continue,
            serde_json::Value::String(value) => value,
            other => other.to_string(),
        };
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(&name);
        text.push('=');
        encode_part(&value, &mut text);
    }
    text
}

fn full(bytes: Vec<u8>) -> Outgoing {
    Full::new(Bytes::from(bytes))
        .map_err(|never| match never {})
        .boxed_unsync()
}

impl Client {
    /// Speaks to the daemon at `address`; over TCP with a token.
    #[must_use]
    pub fn new(address: Address, token: Option<String>) -> Self {
        Self {
            address,
            token,
            tls: None,
        }
    }

    /// Says whom to trust and what to show over TLS; needed for [`Address::Tls`].
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Returns where the daemon answers.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    // === the three ways to call ===

    /// Sends no body, gets one JSON value.
    pub(crate) async fn get<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Failure> {
        self.json(
            self.send(
                call,
                None,
                Empty::new().map_err(|never| match never {}).boxed_unsync(),
            )
            .await?,
        )
        .await
    }

    /// Sends no body, gets none.
    pub(crate) async fn nothing(&self, call: Call<'_>) -> Result<(), Failure> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let response = self.send(call, None, body).await?;
        self.bytes(response).await.map(drop)
    }

    /// Sends one JSON value, gets one.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        body: &(impl Serialize + Sync),
    ) -> Result<T, Failure> {
        let body = self.to_json(body)?;
        self.json(
            self.send(call, Some("application/json"), full(body))
                .await?,
        )
        .await
    }

    /// Sends no body, gets values one after the other.
    pub(crate) async fn flow<T: DeserializeOwned + Send + 'static>(
        &self,
        call: Call<'_>,
    ) -> Result<Flow<T>, Failure> {
        let call = call.header(ACCEPT, EVENT_STREAM);
        let response = self
            .send(
                call,
                None,
                Empty::new().map_err(|never| match never {}).boxed_unsync(),
            )
            .await?;
        let address = self.address.clone();
        let pieces = self.pieces(response);
        Ok(messages(pieces, address).boxed())
    }

    /// Sends bytes, gets the answer's body as it is.
    pub(crate) async fn upload(
        &self,
        call: Call<'_>,
        archive: ByteFlow,
    ) -> Result<Vec<u8>, Failure> {
        self.upload_as(call, TAR, archive).await
    }

    /// Sends bytes as they come under a media type of their own, gets bytes.
    pub(crate) async fn upload_as(
        &self,
        call: Call<'_>,
        media: &'static str,
        archive: ByteFlow,
    ) -> Result<Vec<u8>, Failure> {
        let body = StreamBody::new(archive.map_ok(Frame::data).map_err(Failure::into_error));
        let response = self
            .send(call, Some(media), BodyExt::boxed_unsync(body))
            .await?;
        self.bytes(response).await
    }

    /// Sends no body, gets bytes as they come.
    pub(crate) async fn download(&self, call: Call<'_>) -> Result<ByteFlow, Failure> {
        let response = self
            .send(
                call,
                None,
                Empty::new().map_err(|never| match never {}).boxed_unsync(),
            )
            .await?;
        Ok(self.pieces(response).boxed())
    }

    /// Turns the connection into `protocol`.
    pub(crate) async fn upgrade(
        &self,
        call: Call<'_>,
        protocol: &'static str,
        body: Option<Vec<u8>>,
    ) -> Result<BoxDuplex, Failure> {
        let call = call.header(CONNECTION, "upgrade").header(UPGRADE, protocol);
        let (media, body) = match body {
            Some(body) => (Some("application/json"), full(body)),
            None => (
                None,
                Empty::new().map_err(|never| match never {}).boxed_unsync(),
            ),
        };
        let response = self.send(call, media, body).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self
                .strange(format!(
                    "it answered {} and kept its protocol",
                    response.status()
                ))
                .into());
        }
        Ok(upgraded(&self.address, response).await?)
    }

    pub(crate) fn to_json(&self, value: &impl Serialize) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec(value).map_err(|error| {
            self.strange(format!("the request has no JSON form: {error}"))
                .into()
        })
    }

    // === below them ===

    async fn send(
        &self,
        call: Call<'_>,
        media: Option<&'static str>,
        body: Outgoing,
    ) -> Result<Response<Driven>, Failure> {
        let path = call.endpoint.path_with(call.parts) + &call.query;
        let host = match &self.address {
            Address::Unix(_) => "daas",
            Address::Tcp(host) | Address::Tls(host) => host,
        };
        let mut request: Builder = Request::builder()
            .method(call.endpoint.method.as_str())
            .uri(path)
            .header(HOST, host);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        if let Some(media) = media {
            request = request.header(CONTENT_TYPE, media);
        }
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                Failure::new(
                    "token-invalid",
                    daas_model::Kind::Input,
                    "cannot use the token: it holds characters that no token has",
                )
            })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request
            .body(body)
            .map_err(|error| self.strange(format!("the request cannot be written: {error}")))?;
        let response = exchange(&self.address, self.tls.as_ref(), request).await?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            Ok(response)
        } else {
            Err(self.refusal(response).await)
        }
    }

    /// Reads the problem of an answer that is no success.
    async fn refusal(&self, response: Response<Driven>) -> Failure {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let bytes = match self.bytes(response).await {
            Ok(bytes) => bytes,
            Err(failure) => return failure,
        };
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => problem.into(),
            // Something between us and the daemon answered: a proxy, or no daemon of ours.
            Err(_) => Failure::new(
                "daemon-strange",
                daas_api::kind_of_status(status.as_u16(), retry_after),
                format!(
                    "cannot understand the daemon at `{}`: it answered {status}",
                    self.address
                ),
            ),
        }
    }

    async fn json<T: DeserializeOwned>(&self, response: Response<Driven>) -> Result<T, Failure> {
        let bytes = self.bytes(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            self.strange(format!("its answer is not of the wanted form: {error}"))
                .into()
        })
    }

    async fn bytes(&self, response: Response<Driven>) -> Result<Vec<u8>, Failure> {
        let collected = Limited::new(response.into_body(), MOST_ANSWER)
            .collect()
            .await;
        collected
            .map(|body| body.to_bytes().to_vec())
            .map_err(|source| {
                ConnectError::Broken {
                    address: self.address.clone(),
                    source,
                }
                .into()
            })
    }

    fn pieces(
        &self,
        response: Response<Driven>,
    ) -> impl Stream<Item = Result<Bytes, Failure>> + Send + Unpin + use<> {
        let address = self.address.clone();
        response
            .into_body()
            .into_data_stream()
            .map_err(move |error| {
                let source: Box<dyn Error + Send + Sync> = error.into();
                ConnectError::Broken {
                    address: address.clone(),
                    source,
                }
                .into()
            })
    }

    fn strange(&self, why: String) -> ConnectError {
        ConnectError::Strange {
            address: self.address.clone(),
            why,
        }
    }
}

/// Turns pieces of a stream of events into values; an event named `problem` is the failure that ends them.
fn messages<T: DeserializeOwned>(
    pieces: impl Stream<Item = Result<Bytes, Failure>> + Unpin,
    address: Address,
) -> impl Stream<Item = Result<T, Failure>> {
    stream::try_unfold(
        (pieces, sse::Reader::default(), address),
        |(mut pieces, mut reader, address)| async move {
            loop {
                let strange = |why: String| ConnectError::Strange {
                    address: address.clone(),
                    why,
                };
                if let Some(message) = reader.pop() {
                    if message.event == "problem" {
                        let problem: Problem = serde_json::from_str(&message.data)
                            .map_err(|error| strange(format!("its problem is none: {error}")))?;
                        return Err(problem.into());
                    }
                    let value = serde_json::from_str(&message.data).map_err(|error| {
                        strange(format!("an event is not of the wanted form: {error}"))
                    })?;
                    return Ok(Some((value, (pieces, reader, address))));
                }
                match pieces.try_next().await? {
                    None => return Ok(None),
                    Some(piece) => reader
                        .push(&piece)
                        .ok_or_else(|| strange("an event has no end".into()))?,
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use daas_api::{EventQuery, LogQuery};

    #[test]
    fn only_what_is_set_stands_in_the_query() {
        assert_eq!(query_text(&EventQuery::default()), "");
        let query = LogQuery {
            node: "web,db".into(),
            follow: true,
            tail: Some(5),
            since_ms: None,
        };
        assert_eq!(query_text(&query), "?follow=true&node=web%2Cdb&tail=5");
    }
}
