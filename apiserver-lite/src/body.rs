//! The body of an answer.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::Stream;
use http_body::{Frame, SizeHint};

/// What an answer's body is made of.
pub enum Body {
    /// Chunks that are there already, of known size in all.
    Chunks(VecDeque<Bytes>),
    /// Chunks that are made while they are sent, of known size in all: a list.
    Pieces {
        /// What makes them.
        pieces: Box<dyn Iterator<Item = Bytes> + Send>,
        /// How many bytes are still to come.
        left: usize,
    },
    /// Chunks as they come: a watch.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self::Chunks(VecDeque::new())
    }

    /// Chunks as they come.
    pub fn stream(stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self::Stream(Box::pin(stream))
    }

    /// The bytes in hand, for a body that is no stream.
    pub fn len(&self) -> usize {
        match self {
            Self::Chunks(chunks) => chunks.iter().map(Bytes::len).sum(),
            Self::Pieces { left, .. } => *left,
            Self::Stream(_) => 0,
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        !matches!(self, Self::Stream(_)) && self.len() == 0
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Chunks(if bytes.is_empty() { VecDeque::new() } else { VecDeque::from([bytes]) })
    }
}

impl From<Vec<Bytes>> for Body {
    fn from(chunks: Vec<Bytes>) -> Self {
        Self::Chunks(chunks.into())
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Chunks(chunks) => Poll::Ready(chunks.pop_front().map(|chunk| Ok(Frame::data(chunk)))),
            Self::Pieces { pieces, left } => {
                let piece = pieces.next();
                *left = left.saturating_sub(piece.as_ref().map_or(0, Bytes::len));
                Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
            }
            Self::Stream(stream) => {
                stream.as_mut().poll_next(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Chunks(chunks) => chunks.is_empty(),
            Self::Pieces { left, .. } => *left == 0,
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Chunks(_) | Self::Pieces { .. } => SizeHint::with_exact(self.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
