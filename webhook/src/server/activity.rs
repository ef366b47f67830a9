//! What runs on a connection, for how long nothing has, and a limit on the time that a request's head takes.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// How long the head of a request may take from its first byte on.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// What runs on a connection.
pub(super) struct Activity {
    /// Requests whose head has come, ever.
    begun: AtomicUsize,
    /// Those of them that are not answered yet.
    running: AtomicUsize,
    since: Mutex<Instant>,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let since = Mutex::new(Instant::now());
        Arc::new(Self { begun: AtomicUsize::new(0), running: AtomicUsize::new(0), since })
    }

    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    /// For how long nothing has run.
    pub(super) fn idle(&self) -> Duration {
        if self.running.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        self.since.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Waits until nothing has run for that long.
    pub(super) async fn idle_for(&self, long: Duration) {
        while let Some(left) = long.checked_sub(self.idle()).filter(|left| !left.is_zero()) {
            tokio::time::sleep(left).await;
        }
    }
}

/// A request that runs.
pub(super) struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream of HTTP/1.1 that fails when the head of a request takes too long. hyper's own limit begins when a
/// connection falls idle, which it may be for much longer.
///
/// A head that comes in one piece, as they do, costs no timer.
pub(super) struct Heads<S> {
    stream: S,
    activity: Arc<Activity>,
    /// The head that has begun and not ended, by the number of requests before it.
    begun: Option<usize>,
    limit: Option<Pin<Box<Sleep>>>,
}

impl<S> Heads<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity, begun: None, limit: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let count = self.activity.begun.load(Ordering::Relaxed);
        if self.begun.is_some_and(|begun| begun != count) {
            (self.begun, self.limit) = (None, None);
        }
        let between = self.begun.is_none() && self.activity.running.load(Ordering::Relaxed) == 0;
        if between && read.is_ready() && buffer.filled().len() > before {
            self.begun = Some(count);
        }
        if self.begun.is_none() || read.is_ready() {
            return read;
        }
        let limit = self.limit.get_or_insert_with(|| Box::pin(tokio::time::sleep(HEAD_TIME)));
        limit.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heads<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_and_a_wait_for_one_has_not() {
        let (mut client, server) = tokio::io::duplex(100);
        let activity = Activity::new();
        let mut heads = Heads::new(server, Arc::clone(&activity));
        let mut buffer = [0; 100];
        let within = |seconds| Duration::from_secs(seconds);

        let idle = tokio::time::timeout(within(60), heads.read(&mut buffer)).await;
        assert!(idle.is_err(), "an idle connection stays");
        client.write_all(b"POST").await.unwrap();
        assert_eq!(heads.read(&mut buffer).await.unwrap(), 4);
        let running = activity.begin();
        let body = tokio::time::timeout(within(60), heads.read(&mut buffer)).await;
        assert!(body.is_err(), "a body is none of its business");
        drop(running);
        let idle = tokio::time::timeout(within(60), heads.read(&mut buffer)).await;
        assert!(idle.is_err(), "nor is the wait for the next request");

        client.write_all(b"PO").await.unwrap();
        let begun = tokio::time::Instant::now();
        assert_eq!(heads.read(&mut buffer).await.unwrap(), 2);
        let slow = tokio::time::timeout(within(6), heads.read(&mut buffer)).await;
        assert!(slow.is_err());
        client.write_all(b"ST").await.unwrap();
        assert_eq!(heads.read(&mut buffer).await.unwrap(), 2);
        let error = heads.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(17), "{:?}", begun.elapsed());
    }
}
