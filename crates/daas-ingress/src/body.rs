//! Bodies on their way: nothing is kept, everything is passed on as it comes.

use crate::access::Access;
use crate::activity::Guest;
use crate::backend::Lent;
use crate::compress::Squeeze;
use crate::visit::Busy;
use bytes::Bytes;
use daas_http::Upload;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pub(crate) type BodyError = Box<dyn Error + Send + Sync>;

/// A request's body on its way to a back end.
pub(crate) enum FrontBody {
    /// None.
    Empty,
    /// What the visitor sends.
    Visitor(Limited),
}

impl FrontBody {
    /// Takes a visitor's body, which may have `most` bytes.
    pub(crate) fn of(body: Option<Box<Upload>>, most: u64) -> Self {
        body.map_or(Self::Empty, |body| {
            Self::Visitor(Limited { body, room: most })
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

/// A visitor's body, with its limit.
pub(crate) struct Limited {
    body: Box<Upload>,
    room: u64,
}

impl Limited {
    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)?) else {
            return Poll::Ready(None);
        };
        let length = frame.data_ref().map_or(0, Bytes::len);
        match self.room.checked_sub(length as u64) {
            Some(room) => self.room = room,
            None => return Poll::Ready(Some(Err(TooLarge.into()))),
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

/// A body that is longer than its route allows.
#[derive(Debug, thiserror::Error)]
#[error("the body is larger than its route allows")]
pub(crate) struct TooLarge;

impl Body for FrontBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Visitor(limited) => limited.poll_next(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Visitor(limited) => limited.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Visitor(limited) => limited.body.size_hint(),
        }
    }
}

/// An answer's body on its way to the visitor.
pub(crate) struct Answer {
    what: What,
    pub(crate) end: End,
}

enum What {
    Page(Option<Bytes>),
    Back(Incoming),
    /// Made smaller; nothing when its end has been written.
    Smaller(Incoming, Option<Box<Squeeze>>),
}

/// What is to be done when an answer has been sent, or was given up.
#[derive(Default)]
pub(crate) struct End {
    pub(crate) lent: Option<Lent>,
    pub(crate) access: Option<Box<Access>>,
    pub(crate) busy: Option<Busy>,
    pub(crate) guest: Option<Guest>,
}

impl Answer {
    /// Makes an answer of our own.
    pub(crate) fn page(bytes: impl Into<Bytes>) -> Self {
        Self {
            what: What::Page(Some(bytes.into()).filter(|b: &Bytes| !b.is_empty())),
            end: End::default(),
        }
    }

    /// Passes a back end's answer on; the connection that it comes by goes back when it has come.
    pub(crate) fn back(body: Incoming, lent: Option<Lent>) -> Self {
        let lent = match lent {
            Some(lent) if body.is_end_stream() => {
                lent.give_back();
                None
            }
            other => other,
        };
        Self {
            what: What::Back(body),
            end: End {
                lent,
                ..End::default()
            },
        }
    }
}

impl Answer {
    /// Makes the body smaller on its way.
    pub(crate) fn squeezed(self) -> Self {
        let what = match self.what {
            What::Back(body) => What::Smaller(body, Some(Box::new(Squeeze::new()))),
            other => other,
        };
        Self {
            what,
            end: self.end,
        }
    }

    /// Returns the next piece of a body that is made smaller.
    fn poll_smaller(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let What::Smaller(body, squeeze) = &mut self.what else {
            return Poll::Ready(None);
        };
        loop {
            let Some(open) = squeeze else {
                return Poll::Ready(None);
            };
            let piece = match ready!(Pin::new(&mut *body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => continue,
                    Ok(data) => open.piece(&data),
                    // Trailers of a body that has another form now mean nothing.
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    self.end.lent = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => {
                    let last = open.end();
                    *squeeze = None;
                    if let Some(lent) = self.end.lent.take() {
                        lent.give_back();
                    }
                    last
                }
            };
            if let (Ok(piece), Some(access)) = (&piece, &mut self.end.access) {
                access.sent += piece.len() as u64;
            }
            return Poll::Ready(Some(piece.map(Frame::data).map_err(Into::into)));
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let body = match &mut this.what {
            What::Page(bytes) => {
                let bytes = bytes.take();
                if let (Some(bytes), Some(access)) = (&bytes, &mut this.end.access) {
                    access.sent += bytes.len() as u64;
                }
                return Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))));
            }
            What::Back(body) => body,
            What::Smaller(..) => return this.poll_smaller(context),
        };
        let frame = ready!(Pin::new(&mut *body).poll_frame(context));
        let ended = match &frame {
            None => true,
            Some(Ok(frame)) => {
                if let (Some(data), Some(access)) = (frame.data_ref(), &mut this.end.access) {
                    access.sent += data.len() as u64;
                }
                body.is_end_stream()
            }
            Some(Err(_)) => {
                if let Some(access) = &mut this.end.access {
                    access.broken = true;
                }
                // A connection that broke is nobody's any more.
                this.end.lent = None;
                false
            }
        };
        if ended && let Some(lent) = this.end.lent.take() {
            lent.give_back();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.what {
            What::Page(bytes) => bytes.is_none(),
            What::Back(body) => body.is_end_stream(),
            What::Smaller(_, squeeze) => squeeze.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.what {
            What::Smaller(..) => SizeHint::default(),
            What::Page(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            What::Back(body) => body.size_hint(),
        }
    }
}
