//! One request and its answer on a connection of its own.

use crate::address::Address;
use crate::connect_error::ConnectError;
use crate::tls::Tls;
use bytes::Bytes;
use daas_api::platform::Duplex;
use futures_util::future::{BoxFuture, poll_fn};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// What is sent.
pub(crate) type Outgoing = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// How long a connection over TCP may take to come up.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection that is driven by whoever polls it.
pub(crate) struct Line {
    connection: Option<BoxFuture<'static, hyper::Result<()>>>,
    /// Kept: the connection ends when it is dropped.
    _sender: SendRequest<Outgoing>,
}

impl Line {
    fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(context).is_ready()
        {
            // Its failure reaches the asker through the answer or the body.
            self.connection = None;
        }
    }
}

/// The body of an answer, together with the connection that it comes on.
pub(crate) struct Driven {
    line: Line,
    body: Incoming,
}

impl Body for Driven {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.line.drive(context);
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Connects, sends, and returns the answer as soon as its head is there.
pub(crate) async fn exchange(
    address: &Address,
    tls: Option<&Tls>,
    request: Request<Outgoing>,
) -> Result<Response<Driven>, ConnectError> {
    let broken = |source: hyper::Error| ConnectError::Broken {
        address: address.clone(),
        source: source.into(),
    };
    let stream = connect(address, tls)
        .await
        .map_err(|source| ConnectError::Unreachable {
            address: address.clone(),
            source,
        })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let mut connection: Option<BoxFuture<'static, hyper::Result<()>>> =
        Some(Box::pin(connection.with_upgrades()));
    let response = {
        let mut sending = pin!(sender.send_request(request));
        poll_fn(|context| {
            if let Some(running) = &mut connection
                && running.as_mut().poll(context).is_ready()
            {
                connection = None;
            }
            sending.as_mut().poll(context)
        })
        .await
        .map_err(broken)?
    };
    let line = Line {
        connection,
        _sender: sender,
    };
    Ok(response.map(|body| Driven { line, body }))
}

/// Returns the connection itself, after an answer 101.
pub(crate) async fn upgraded(
    address: &Address,
    response: Response<Driven>,
) -> Result<Pin<Box<dyn Duplex>>, ConnectError> {
    let (parts, driven) = response.into_parts();
    let mut line = driven.line;
    let upgrading = hyper::upgrade::on(Response::from_parts(parts, driven.body));
    let mut upgrading = pin!(upgrading);
    let io = poll_fn(|context| {
        line.drive(context);
        upgrading.as_mut().poll(context)
    })
    .await
    .map_err(|source| ConnectError::Broken {
        address: address.clone(),
        source: source.into(),
    })?;
    Ok(Box::pin(TokioIo::new(io)))
}

async fn connect(address: &Address, tls: Option<&Tls>) -> io::Result<Pin<Box<dyn Duplex>>> {
    match address {
        Address::Unix(path) => Ok(Box::pin(UnixStream::connect(path).await?)),
        Address::Tcp(host) => Ok(Box::pin(dial(host).await?)),
        Address::Tls(host) => {
            let usual;
            let tls = match tls {
                Some(tls) => tls,
                None => {
                    usual = Tls::read(None, None).map_err(io::Error::other)?;
                    &usual
                }
            };
            let name = host
                .rsplit_once(':')
                .map_or(host.as_str(), |(name, _)| name);
            let name = name
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            let name = ServerName::try_from(name).map_err(io::Error::other)?;
            let stream = dial(host).await?;
            let shaken = tokio::time::timeout(CONNECT, tls.connector.connect(name, stream));
            let stream = shaken
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok(Box::pin(stream))
        }
    }
}

async fn dial(host: &str) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(host))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    // A key press in an exec is one small packet: it must not wait for more.
    stream.set_nodelay(true)?;
    Ok(stream)
}
