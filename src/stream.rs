//! One event stream (server-sent events): an HTTP answer without an end, written as a session's frames are. hyper
//! reads the request and lets go of the socket, so a stream costs what a WebSocket costs, and nothing is buffered
//! between the mailbox and the kernel. The answer ends with the connection (RFC 9112, section 6.3), so that it needs
//! no chunks.

use std::io::{ErrorKind, Write as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use warp::http::HeaderValue;

use crate::close::Close;
use crate::config::Limits;
use crate::cursor::Cursor;
use crate::dialogue::{Context, End};
use crate::event::ProjectId;
use crate::expiry::Expiry;
use crate::line;
use crate::membership::Membership;
use crate::outbox::{Need, Outbox};
use crate::protocol::{ServerFrame, Wire};
use crate::session::{earliest, left, part};

/// How long a browser waits before it comes back.
const RETRY: Duration = Duration::from_secs(3);
/// The longest silence: proxies give up after a minute (nginx's `proxy_read_timeout`), some after half of it.
const SILENCE_MAX: Duration = Duration::from_secs(25);
/// Bytes of one read: there is nothing to be read but the end.
const READ_BYTES: usize = 512;

/// A stream that was let in; its outbox begins with [`head`].
pub struct Opening {
    /// Its place in the hub.
    pub membership: Membership,
    /// `exp` of its token.
    pub expires_at: u64,
}

struct Stream<'a> {
    membership: Membership,
    limits: &'a Limits,
    /// The leeway included.
    ends_at: u64,
    expiry: Expiry,
    beat_at: Instant,
    leave_at: Option<Instant>,
    /// Bytes that the client has sent since its request.
    heard: usize,
}

/// The head of the answer, and how long to wait before coming back. Every header is there so that no proxy or browser
/// keeps or changes what follows.
pub fn head(allow_origin: Option<&HeaderValue>) -> Bytes {
    let mut out = Vec::with_capacity(400);
    let date = httpdate::fmt_http_date(SystemTime::now());
    let _ = write!(
        out,
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store, no-transform\r\n\
         x-accel-buffering: no\r\nconnection: close\r\ndate: {date}\r\n"
    );
    if let Some(origin) = allow_origin {
        out.extend_from_slice(b"access-control-allow-origin: ");
        out.extend_from_slice(origin.as_bytes());
        out.extend_from_slice(b"\r\nvary: origin\r\n");
    }
    let _ = write!(out, "\r\n: pgherald\nretry: {}\n\n", RETRY.as_millis());
    out.into()
}

/// The first event, once the session is in the hub: from its `id` on nothing will be missed.
pub fn subscribed(project: &ProjectId, cursor: Option<Cursor>) -> Bytes {
    let cursor = cursor.map(|cursor| cursor.to_string());
    // Browsers come back by themselves: without a place to come back to they must hear that they may have missed something.
    let nowhere: &[u8] = if cursor.is_none() { b"id: 0.0\n" } else { b"" };
    let frame = ServerFrame::Subscribed { reference: None, project_id: project.as_str(), cursor };
    [nowhere, &frame.encode(Wire::EventStream)].concat().into()
}

/// No event: it holds the connection open. An `id` without data moves the place to come back to.
fn heartbeat(cursor: Option<Cursor>) -> Bytes {
    cursor.map_or(Bytes::from_static(b":\n\n"), |cursor| format!("id: {cursor}\n\n").into())
}

/// Runs a stream until it ends, on the socket that hyper lets go of.
pub async fn run(opening: Box<Opening>, socket: oneshot::Receiver<TcpStream>, context: &Arc<Context>) {
    let Some(socket) = socket.await.ok().and_then(line::renewed) else { return };
    // A client that is gone without a word acknowledges no heartbeat.
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(context.limits.idle_timeout));
    let Opening { membership, expires_at } = *opening;
    let outbox = Arc::clone(&membership.outbox);
    let socket = outbox.attach(socket);
    let mut stream = Stream {
        membership,
        limits: &context.limits,
        ends_at: expires_at.saturating_add(context.leeway_seconds),
        expiry: Expiry::default(),
        beat_at: Instant::now() + silence(&context.limits),
        leave_at: None,
        heard: 0,
    };
    let end = stream.live(socket, &outbox, &context.drain).await;
    drop(stream);
    let close = |code, reason: &str| ServerFrame::Close { code, reason }.encode(Wire::EventStream);
    part(end, socket, &outbox, close).await;
}

fn silence(limits: &Limits) -> Duration {
    (limits.idle_timeout / 2).min(SILENCE_MAX)
}

impl Stream<'_> {
    async fn live(&mut self, socket: &TcpStream, outbox: &Outbox, drain: &CancellationToken) -> End {
        loop {
            if let Some(close) = outbox.evicted() {
                return close.into();
            }
            let need = outbox.needs();
            match self.deadline(need, outbox) {
                Ok(deadline) => outbox.alarm.set(deadline),
                Err(end) => return end,
            }
            tokio::select! {
                ready = socket.readable() => {
                    if let Err(end) = ready.map_err(|_| End::Gone("disconnected")).and_then(|()| self.read(socket)) {
                        return end;
                    }
                }
                ready = socket.writable(), if need != Need::Nothing => match ready {
                    Ok(()) => outbox.resume(),
                    Err(_) => return End::Gone("disconnected"),
                },
                () = outbox.wake.notified() => {}
                () = drain.cancelled(), if self.leave_at.is_none() => {
                    self.leave_at = Some(Instant::now() + self.limits.drain_spread.mul_f64(rand::random()));
                }
            }
        }
    }

    /// The next moment at which time alone changes something; an end if it has.
    fn deadline(&mut self, need: Need, outbox: &Outbox) -> Result<Instant, End> {
        let now = Instant::now();
        let stalled_at = match need {
            Need::Nothing => None,
            Need::Writable(since) => Some(since + self.limits.send_timeout),
            Need::End => return Err(End::Gone("disconnected")),
        };
        if self.beat_at <= now {
            self.beat_at = now + silence(self.limits);
            if outbox.is_empty() {
                self.membership.answer_with_cursor(heartbeat);
            }
        }
        let expires_at = now + left(&mut self.expiry, self.ends_at);
        let ends = [
            (stalled_at, End::Gone("send_timeout")),
            (self.leave_at, Close::GoingAway.into()),
            (Some(expires_at), Close::Unauthorized.into()),
        ];
        earliest(self.beat_at, ends, now)
    }

    /// Looks whether the client is still there. What it says is thrown away.
    fn read(&mut self, socket: &TcpStream) -> Result<(), End> {
        match socket.try_read(&mut [0; READ_BYTES]) {
            Ok(0) => Err(End::Gone("disconnected")),
            Ok(bytes) => {
                self.heard += bytes;
                if self.heard > self.limits.frame_bytes { Err(Close::TooLarge.into()) } else { Ok(()) }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(_) => Err(End::Gone("disconnected")),
        }
    }
}
