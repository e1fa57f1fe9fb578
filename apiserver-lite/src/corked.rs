//! A stream whose small writes wait for each other.
//!
//! HTTP/2 flushes after each frame, and a watch's event is a frame: a thousand watchers would be a thousand TLS
//! records and system calls an event. [`Corked`] takes flushes for hints; [`Serving`] writes what has come
//! together when the connection has done all that it can, so nothing ever waits for a time.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

// So much comes together at most: some TLS records.
const ROOM: usize = 64 << 10;
// A write of this size is not made cheaper by waiting.
const LARGE: usize = 16 << 10;

/// A stream with a cork in it. A clone is the same stream.
pub struct Corked<S>(Arc<Mutex<Cork<S>>>);

impl<S> Clone for Corked<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Cork<S> {
    stream: S,
    held: Vec<u8>,
    // How much of what is held was written.
    written: usize,
    // Whether the stream may have something that it was given and has not written.
    unflushed: bool,
    corked: bool,
}

impl<S: AsyncWrite + Unpin> Cork<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.held.get(self.written..).filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
            self.unflushed = true;
        }
        // A connection that is quiet holds nothing.
        (self.held, self.written) = (Vec::new(), 0);
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Corked<S> {
    /// A stream that is written when [`Serving`] says so.
    pub fn new(stream: S) -> Self {
        let cork = Cork { stream, held: Vec::new(), written: 0, unflushed: false, corked: true };
        Self(Arc::new(Mutex::new(cork)))
    }

    // From now on a flush is one: who has the stream next knows nothing of corks.
    fn uncork(&self) {
        self.0.lock().corked = false;
    }

    fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_drain(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut cork = self.0.lock();
        let cork = &mut *cork;
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        let large = length >= LARGE;
        if !cork.held.is_empty() && (large || cork.held.len() + length > ROOM) {
            ready!(cork.poll_drain(cx))?;
        }
        if large {
            cork.unflushed = true;
            return Pin::new(&mut cork.stream).poll_write_vectored(cx, bufs);
        }
        cork.held.reserve(length);
        for buf in bufs {
            cork.held.extend_from_slice(buf);
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut cork = self.0.lock();
        if cork.corked { Poll::Ready(Ok(())) } else { cork.poll_drain(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut cork = self.0.lock();
        ready!(cork.poll_drain(cx))?;
        Pin::new(&mut cork.stream).poll_shutdown(cx)
    }
}

/// A connection that is served over a corked stream.
pub struct Serving<C: Future, S> {
    connection: Pin<Box<C>>,
    stream: Corked<S>,
    yielded: bool,
    ended: Option<C::Output>,
}

impl<C: Future, S: AsyncWrite + Unpin> Serving<C, S> {
    /// Serves `connection`, which has `stream`.
    pub fn new(connection: C, stream: Corked<S>) -> Self {
        Self { connection: Box::pin(connection), stream, yielded: false, ended: None }
    }

    /// The connection itself.
    pub fn connection(&mut self) -> Pin<&mut C> {
        self.connection.as_mut()
    }
}

impl<C, S, E> Future for Serving<C, S>
where
    C: Future<Output = Result<(), E>>,
    C::Output: Unpin,
    S: AsyncWrite + Unpin,
    E: From<io::Error>,
{
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        if this.ended.is_none() {
            // Those who woke it go first, all of them: what they have to send goes out together.
            if !std::mem::replace(&mut this.yielded, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            this.yielded = false;
            if let Poll::Ready(ended) = this.connection.as_mut().poll(cx) {
                this.stream.uncork();
                this.ended = Some(ended);
            }
        }
        let drained = this.stream.poll_drain(cx);
        match (drained, this.ended.take()) {
            (Poll::Ready(Err(error)), None) => Poll::Ready(Err(error.into())),
            (Poll::Ready(_), Some(ended)) => Poll::Ready(ended),
            (Poll::Pending, ended) => {
                this.ended = ended;
                Poll::Pending
            }
            (Poll::Ready(Ok(())), None) => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    // Writes these sizes one by one, flushes each, and returns what the other side reads at a time.
    async fn written(sizes: &[usize], room: usize) -> Vec<usize> {
        let (ours, mut theirs) = tokio::io::duplex(room);
        let corked: Corked<DuplexStream> = Corked::new(ours);
        let (mut stream, sizes) = (corked.clone(), sizes.to_vec());
        let connection = async move {
            for size in sizes {
                stream.write_all(&vec![b'x'; size]).await?;
                stream.flush().await?;
            }
            Ok::<(), io::Error>(())
        };
        let reading = tokio::spawn(async move {
            let (mut read, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
            while let Ok(count @ 1..) = theirs.read(&mut buffer).await {
                read.push(count);
            }
            read
        });
        Serving::new(connection, corked).await.expect("it writes");
        reading.await.expect("it reads")
    }

    #[tokio::test]
    async fn small_writes_go_out_together() {
        assert_eq!(written(&[10; 100], 1 << 20).await, [1000]);
    }

    #[tokio::test]
    async fn nothing_is_lost_or_held_beyond_bounds() {
        for (sizes, room) in [(vec![1000; 1000], 5000), (vec![10, ROOM * 3, 10], 1 << 20), (vec![], 1)] {
            let expected: usize = sizes.iter().sum();
            let read = written(&sizes, room).await;
            assert_eq!(read.iter().sum::<usize>(), expected);
        }
    }
}
