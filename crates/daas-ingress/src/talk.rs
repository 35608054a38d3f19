//! What is spoken with a visitor until one of both ends it.

use crate::body::Answer;
use crate::gathering::Gathering;
use crate::proxy::Proxy;
use crate::shelf::Shelf;
use crate::visit::Visit;
use crate::wire::{Timers, Wire};
use bytes::BytesMut;
use daas_http::{Unwanted, discard, taker};
use daas_tasks::Shutdown;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// How long connections that ask nothing are kept at the end, for the request that may be on its way.
const LAST_CALL: Duration = Duration::from_millis(700);
/// The most bytes of a body that are read at once, and of a head with it.
const MOST_READ: usize = 256 * 1024;

/// One connection, and everything that is asked by it.
pub(crate) struct Talk<T> {
    /// What comes, and what of it has been read already.
    pub(crate) wire: (T, BytesMut),
    pub(crate) visit: Arc<Visit>,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) timers: Timers,
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Talk<T> {
    /// Speaks HTTP/1.1, or what an upgrade makes of it.
    ///
    /// # Errors
    /// What ended the connection before its time.
    pub(crate) async fn http1(self, shutdown: &Shutdown) -> hyper::Result<()> {
        let (proxy, visit) = (self.proxy, self.visit.clone());
        let (unwanted, bodies) = mpsc::unbounded_channel();
        let uploads = Arc::new(AtomicBool::new(false));
        let uploaded = uploads.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let taker = taker(&request, &unwanted);
            if taker.is_some() {
                uploaded.store(true, Ordering::Relaxed);
            }
            answer(proxy.clone(), visit.clone(), request, taker)
        });
        let (stream, front) = self.wire;
        let wire = Wire::http1(stream, front, self.visit.signals.clone(), self.timers);
        let mut builder = http1::Builder::new();
        // The clocks of the wire stand in for hyper's.
        builder
            .header_read_timeout(None)
            .half_close(false)
            .max_buf_size(MOST_READ);
        let connection = builder.serve_connection(wire, service).with_upgrades();
        let mut connection = pin!(connection);
        // The connection first: the others have nothing to do nearly always.
        let serving = async {
            tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                () = last_call(shutdown) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        let discarding = async {
            // Whatever drives the connection asks here, too: nobody has to be called for it.
            poll_fn(|_| match uploads.load(Ordering::Relaxed) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
            discard(bodies).await
        };
        tokio::select! {
            biased;
            ended = serving => ended,
            never = discarding => match never {},
        }
    }

    /// Speaks HTTP/2. Here a stream is given up without the connection: nothing has to be discarded.
    ///
    /// # Errors
    /// What ended the connection before its time.
    pub(crate) async fn http2(self, shutdown: &Shutdown) -> hyper::Result<()> {
        let (proxy, visit) = (self.proxy, self.visit.clone());
        let shelf = Shelf::new();
        let service = service_fn(move |request| {
            shelf.place(answer(proxy.clone(), visit.clone(), request, None))
        });
        let (stream, front) = self.wire;
        let (stream, settler) = Gathering::new(stream);
        let wire = Wire::http2(stream, front, self.visit.signals.clone(), self.timers);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(250)
            .max_header_list_size(64 * 1024)
            .initial_stream_window_size(512 * 1024)
            .initial_connection_window_size(2 * 1024 * 1024)
            .keep_alive_interval(Duration::from_secs(30));
        let mut connection = pin!(builder.serve_connection(wire, service));
        tokio::select! {
            biased;
            ended = settler.turn(connection.as_mut()) => ended,
            () = shutdown.asked() => {
                connection.as_mut().graceful_shutdown();
                settler.turn(connection).await
            }
        }
    }
}

/// Answers one request; it has always an answer.
async fn answer(
    proxy: Arc<Proxy>,
    visit: Arc<Visit>,
    request: Request<Incoming>,
    unwanted: Option<Unwanted>,
) -> Result<Response<Answer>, Infallible> {
    Ok(proxy.answer(visit, request, unwanted).await)
}

/// Returns some time after the shutdown was asked for: until then a connection that is kept open may bring its last request, which is
/// answered and told that it was the last.
async fn last_call(shutdown: &Shutdown) {
    shutdown.asked().await;
    tokio::time::sleep(LAST_CALL).await;
}
