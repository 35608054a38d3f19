//! The memory of requests of one connection of HTTP/2, used again by the next ones.
//!
//! What a request holds while it waits takes kilobytes. Every stream is a task of its own, and to allocate its memory and copy the request into it
//! takes longer than all that is judged about it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio_util::sync::ReusableBoxFuture;

/// The most places that are kept; there are never more requests at once than the streams of a connection.
const MOST_KEPT: usize = 32;

type Place<T> = ReusableBoxFuture<'static, T>;

/// Places that nobody needs at the moment.
pub(crate) struct Shelf<T> {
    free: Arc<Mutex<Vec<Place<T>>>>,
}

impl<T: 'static> Shelf<T> {
    pub(crate) fn new() -> Self {
        Self {
            free: Arc::default(),
        }
    }

    /// Puts a future into a place, and gives the place back once the future is done. All futures of one shelf are of one type.
    pub(crate) fn place(&self, future: impl Future<Output = T> + Send + 'static) -> Placed<T> {
        let free = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let place = match free {
            Some(mut place) => {
                place.set(future);
                place
            }
            None => ReusableBoxFuture::new(future),
        };
        Placed {
            place: Some(place),
            free: self.free.clone(),
        }
    }
}

/// A future in its place.
pub(crate) struct Placed<T> {
    /// Nothing when it is done.
    place: Option<Place<T>>,
    free: Arc<Mutex<Vec<Place<T>>>>,
}

impl<T> fmt::Debug for Placed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placed").finish_non_exhaustive()
    }
}

impl<T> Future for Placed<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        let Some(place) = &mut this.place else {
            return Poll::Pending;
        };
        let done = ready!(place.poll(context));
        let mut free = this.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < MOST_KEPT {
            free.extend(this.place.take());
        }
        Poll::Ready(done)
    }
}
