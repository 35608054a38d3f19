use crate::Patience;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::EXPECT;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long somebody who is answered already may go on sending what nobody wants.
const LINGER: Duration = Duration::from_secs(5);

/// Takes bodies that are dropped before their end.
pub type Unwanted = mpsc::UnboundedSender<Incoming>;

/// Reads what nobody wants, so that whoever sends it comes to read his answer: a connection that is closed while somebody writes tells him of that and
/// often of nothing else (RFC 9112 section 9.6). To be run beside the connection; each body has 5 s.
pub async fn discard(mut bodies: mpsc::UnboundedReceiver<Incoming>) -> Infallible {
    while let Some(mut body) = bodies.recv().await {
        let reading = async { while let Some(Ok(_)) = body.frame().await {} };
        // Who sends on and on is cut off after all.
        let _ = tokio::time::timeout(LINGER, reading).await;
    }
    std::future::pending().await
}

/// Returns who takes the rest of a request's body; nobody where there is none.
///
/// Who asks first (`Expect: 100-continue`) sends nothing that he is not asked for (RFC 9110 section 10.1.1).
#[must_use]
pub fn taker(request: &Request<Incoming>, unwanted: &Unwanted) -> Option<Unwanted> {
    let sends = !request.body().is_end_stream() && !request.headers().contains_key(EXPECT);
    sends.then(|| unwanted.clone())
}

/// The body of a request. It fails when it comes too slowly; dropped before its end, the rest goes to whoever takes what is unwanted.
pub struct Upload {
    /// Nothing when it has failed.
    body: Option<Incoming>,
    patience: Patience,
    unwanted: Option<Unwanted>,
}

/// A body that came too slowly.
#[derive(Debug)]
pub struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body came too slowly")
    }
}

impl Error for TooSlow {}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").finish_non_exhaustive()
    }
}

impl Upload {
    /// Takes a body.
    #[must_use]
    pub fn new(body: Incoming, patience: Patience, unwanted: Option<Unwanted>) -> Self {
        Self {
            body: Some(body),
            patience,
            unwanted,
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        if let Some((body, unwanted)) = rest.zip(self.unwanted.take()) {
            // Nobody takes it where the connection has ended.
            let _ = unwanted.send(body);
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let error: Self::Error = match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                this.patience.came(frame.data_ref().map_or(0, Bytes::len));
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => error.into(),
            Poll::Pending => {
                ready!(this.patience.poll_end(context));
                TooSlow.into()
            }
        };
        this.body = None;
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
