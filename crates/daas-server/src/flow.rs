//! Values that come one after the other, as server-sent events, as lines, or as bytes.

use crate::render::Refused;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use daas_api::endpoint::{EVENT_STREAM, NDJSON, RAW};
use daas_api::platform::{ByteFlow, Flow};
use daas_api::{Failure, LogChunk};
use daas_tasks::Shutdown;
use futures_util::{Stream, StreamExt, stream};
use hyper::HeaderMap;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use std::convert::Infallible;
use std::time::Duration;

/// How often a line says that it is alive: under the 30 s and more after which gateways give a silent one up.
const ALIVE: Duration = Duration::from_secs(15);

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Server-sent events (WHATWG HTML, section 9.2).
    Events,
    /// One JSON value per line.
    Lines,
    /// Only the bytes.
    Raw,
}

impl Form {
    /// Returns what the `Accept` header asks for; events where it says nothing of ours.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accepts = |media: &str| {
            headers
                .get_all(ACCEPT)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|text| text.split(','))
                .any(|one| one.split(';').next().unwrap_or_default().trim() == media)
        };
        if accepts(NDJSON) {
            Self::Lines
        } else if accepts(RAW) {
            Self::Raw
        } else {
            Self::Events
        }
    }
}

/// Writes values; the flow ends at the shutdown. `id` gives each value its place for `Last-Event-ID`.
pub(crate) fn answer<T: Serialize + Send + 'static>(
    flow: Flow<T>,
    form: Form,
    shutdown: Shutdown,
    id: fn(&T) -> Option<u64>,
) -> Response {
    let lines = form == Form::Lines;
    let written = flow.map(move |item| if lines { line(item) } else { event(item, id) });
    let media = if lines { NDJSON } else { EVENT_STREAM };
    let alive = if lines { "" } else { ": alive\n\n" };
    body(written, media, shutdown, alive)
}

/// Writes the bytes of logs as they are. A failure in the middle breaks the connection: nothing else can tell it.
pub(crate) fn raw_logs(flow: Flow<LogChunk>, shutdown: Shutdown) -> Response {
    bytes(
        flow.map(|item| item.map(|chunk| Bytes::from(chunk.bytes.0)))
            .boxed(),
        RAW,
        Some(shutdown),
    )
}

/// Writes bytes as they come. A failure in the middle breaks the connection: nothing else can tell it.
pub(crate) fn bytes(flow: ByteFlow, media: &'static str, shutdown: Option<Shutdown>) -> Response {
    let flow = flow.map(|item| {
        item.map_err(|failure| {
            tracing::warn!(code = failure.code(), "a flow of bytes broke: {failure}");
            failure.into_error()
        })
    });
    let body = match shutdown {
        Some(shutdown) => {
            Body::from_stream(flow.take_until(Box::pin(async move { shutdown.asked().await })))
        }
        None => Body::from_stream(flow),
    };
    response(body, media)
}

fn body(
    written: impl Stream<Item = Bytes> + Send + 'static,
    media: &'static str,
    shutdown: Shutdown,
    alive: &'static str,
) -> Response {
    let ticking = stream::unfold(
        (Box::pin(written), alive),
        |(mut written, alive)| async move {
            if alive.is_empty() {
                return written
                    .next()
                    .await
                    .map(|piece| (Ok::<_, Infallible>(piece), (written, alive)));
            }
            match tokio::time::timeout(ALIVE, written.next()).await {
                Ok(piece) => piece.map(|piece| (Ok(piece), (written, alive))),
                Err(_) => Some((Ok(Bytes::from_static(alive.as_bytes())), (written, alive))),
            }
        },
    );
    let until = ticking.take_until(Box::pin(async move { shutdown.asked().await }));
    response(Body::from_stream(until), media)
}

fn response(body: Body, media: &'static str) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(value: &impl Serialize) -> String {
    // Our types have a JSON form; should one not, its reader is told that nothing came.
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

fn line<T: Serialize>(item: Result<T, Failure>) -> Bytes {
    let mut text = match item {
        Ok(value) => json(&value),
        Err(failure) => format!("{{\"problem\":{}}}", json(&failure.to_problem())),
    };
    text.push('\n');
    text.into()
}

fn event<T: Serialize>(item: Result<T, Failure>, id: fn(&T) -> Option<u64>) -> Bytes {
    // JSON has no raw line feed in it: one `data:` line holds all.
    match item {
        Ok(value) => match id(&value) {
            Some(id) => format!("id: {id}\ndata: {}\n\n", json(&value)).into(),
            None => format!("data: {}\n\n", json(&value)).into(),
        },
        Err(failure) => format!("event: problem\ndata: {}\n\n", json(&failure.to_problem())).into(),
    }
}

/// Returns the first value of a flow; a flow without one is a bug of the platform.
pub(crate) async fn first<T>(mut flow: Flow<T>) -> Result<T, Refused> {
    match flow.next().await {
        Some(item) => item.map_err(Refused),
        None => Err(Refused(Failure::new(
            "flow-empty",
            daas_model::Kind::Bug,
            "cannot answer: the platform said nothing",
        ))),
    }
}
