//! The bytes of a body for multer, one piece at a time: after each it is told to come again, so that it can't read a whole upload into
//! memory before it looks at it. Counts what it was fed and what came out of it: what lies between is its buffer and the parts' headers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use salvo::http::ReqBody;

/// Of buffer, boundaries and headers of all parts.
const HELD_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes that went in and did not come out as content.
#[derive(Debug, Clone, Default)]
pub(super) struct Held(Arc<AtomicU64>);

impl Held {
    pub(super) fn taken(&self, bytes: usize) {
        // Content comes out only after it went in.
        self.0.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    fn fed(&self, bytes: usize) -> u64 {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64
    }
}

/// Why a body can't be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("the body is too large")]
    TooLarge,
    #[error("the headers are too large")]
    HeadersTooLarge,
    #[error("the body ended early")]
    Ended,
}

pub(super) struct Paced<'r> {
    body: &'r mut ReqBody,
    held: Held,
    left_bytes: u64,
    /// The next poll waits.
    full: bool,
}

impl<'r> Paced<'r> {
    pub(super) fn new(body: &'r mut ReqBody, held: Held, bytes_max: u64) -> Self {
        Self { body, held, left_bytes: bytes_max, full: false }
    }
}

impl Stream for Paced<'_> {
    type Item = Result<Bytes, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.full) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let piece = match Pin::new(&mut *self.body).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(Broken::Ended))),
                Poll::Ready(Some(Ok(frame))) => frame.into_data(),
            };
            // Trailers say nothing here.
            let Ok(piece) = piece else { continue };
            let Some(left_bytes) = self.left_bytes.checked_sub(piece.len() as u64) else {
                return Poll::Ready(Some(Err(Broken::TooLarge)));
            };
            self.left_bytes = left_bytes;
            if self.held.fed(piece.len()) > HELD_BYTES_MAX + piece.len() as u64 {
                return Poll::Ready(Some(Err(Broken::HeadersTooLarge)));
            }
            self.full = true;
            return Poll::Ready(Some(Ok(piece)));
        }
    }
}
