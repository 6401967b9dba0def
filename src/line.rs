//! A connection that HTTP is spoken on, until somebody takes its socket out of hyper.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

/// The socket as hyper has it.
pub struct Line {
    io: Option<TokioIo<TcpStream>>,
    handle: Handle,
}

/// What a request knows of its connection.
#[derive(Clone, Default)]
pub struct Handle(Arc<Shared>);

#[derive(Default)]
struct Shared {
    taker: Mutex<Option<oneshot::Sender<TcpStream>>>,
    taken: Notify,
    /// The socket did not take all of the answer before.
    unsent: AtomicBool,
}

impl Line {
    /// A new connection, and its handle for the requests that come through it.
    pub fn new(stream: TcpStream) -> (Self, Handle) {
        let handle = Handle::default();
        (Self { io: Some(TokioIo::new(stream)), handle: handle.clone() }, handle)
    }

    /// The socket alone.
    pub fn into_socket(mut self) -> Option<TcpStream> {
        Some(self.io.take()?.into_inner())
    }

    fn io(&mut self) -> io::Result<Pin<&mut TokioIo<TcpStream>>> {
        self.io.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.handle.0.unsent.store(result.is_pending(), Ordering::Relaxed);
        result
    }
}

impl Handle {
    /// The socket, once hyper has let go of it; what is said on it from then on is the taker's business, the answer
    /// to the request included. `None` = the client has not read the answer before this one.
    pub fn take(&self) -> Option<oneshot::Receiver<TcpStream>> {
        if self.0.unsent.load(Ordering::Relaxed) {
            return None;
        }
        let (taker, socket) = oneshot::channel();
        *self.0.taker.lock().unwrap_or_else(PoisonError::into_inner) = Some(taker);
        self.0.taken.notify_one();
        Some(socket)
    }

    /// Resolves when somebody wants the socket: drop hyper's side.
    pub async fn taken(&self) {
        self.0.taken.notified().await;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let taker = self.handle.0.taker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(io), Some(taker)) = (self.io.take(), taker) {
            let _ = taker.send(io.into_inner());
        }
    }
}

impl Read for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_read(cx, buffer)
    }
}

impl Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = self.io()?.poll_write(cx, bytes);
        self.wrote(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = self.io()?.poll_write_vectored(cx, slices);
        self.wrote(result)
    }
}

/// The same socket, registered anew: hyper's finished task, 1.7 KB, would be held by the waker of the registration.
pub fn renewed(socket: TcpStream) -> Option<TcpStream> {
    TcpStream::from_std(socket.into_std().ok()?).ok()
}
