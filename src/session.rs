//! One authenticated WebSocket: a loop over everything that can happen to it or end it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use metrics::counter;
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::close::Close;
use crate::config::{FAREWELL_TIMEOUT, Limits};
use crate::dialogue::{Arrival, Context, Dialogue, End};
use crate::expiry::Expiry;
use crate::frame;
use crate::metrics as m;
use crate::outbox::{Need, Outbox};

/// Bytes of one read. On the stack, so that an idle session owns no buffer.
const READ_BYTES: usize = 4096;
/// Never jumps, and goes on while the machine is suspended.
#[cfg(target_os = "linux")]
const STEADY: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const STEADY: ClockId = ClockId::Monotonic;

struct Session<'a> {
    dialogue: Dialogue<'a>,
    limits: &'a Limits,
    leeway_seconds: u64,
    expiry: Expiry,
    opened: Instant,
    heard: Instant,
    pinged: bool,
    leave_at: Option<Instant>,
}

/// Runs a session until it ends. `early` is what the client sent right behind its request.
pub async fn run(arrival: Box<Arrival>, stream: TcpStream, early: Bytes, context: &Arc<Context>) {
    let outbox = Arc::clone(&arrival.membership.outbox);
    let socket = outbox.attach(stream);
    let now = Instant::now();
    let mut session = Session {
        dialogue: Dialogue::new(*arrival, context),
        limits: &context.limits,
        leeway_seconds: context.leeway_seconds,
        expiry: Expiry::default(),
        opened: now,
        heard: now,
        pinged: false,
        leave_at: None,
    };
    session.dialogue.feed(&early);
    drop(early);
    let end = session.live(socket, &outbox, &context.drain).await;
    drop(session);
    part(end, socket, &outbox, frame::close).await;
}

impl Session<'_> {
    async fn live(&mut self, socket: &TcpStream, outbox: &Outbox, drain: &CancellationToken) -> End {
        loop {
            if let Some(close) = outbox.evicted() {
                return close.into();
            }
            if let Err(end) = self.dialogue.work() {
                return end;
            }
            let need = outbox.needs();
            let deadline = match self.deadline(need) {
                Ok(deadline) => deadline,
                Err(end) => return end,
            };
            outbox.alarm.set(deadline);
            tokio::select! {
                ready = socket.readable(), if self.dialogue.listens() => {
                    if ready.is_err() || !self.read(socket) {
                        return End::Gone("disconnected");
                    }
                }
                ready = socket.writable(), if need != Need::Nothing => match ready {
                    Ok(()) => outbox.resume(),
                    Err(_) => return End::Gone("disconnected"),
                },
                () = outbox.wake.notified() => {}
                settled = self.dialogue.answered(), if self.dialogue.asks() => {
                    if let Err(end) = settled {
                        return end;
                    }
                }
                () = drain.cancelled(), if self.leave_at.is_none() => {
                    self.leave_at = Some(Instant::now() + self.limits.drain_spread.mul_f64(rand::random()));
                }
            }
        }
    }

    /// The next moment at which time alone changes something; an end if it has.
    fn deadline(&mut self, need: Need) -> Result<Instant, End> {
        let now = Instant::now();
        let limits = self.limits;
        let stalled_at = match need {
            Need::Nothing => None,
            Need::Writable(since) => Some(since + limits.send_timeout),
            Need::End => return Err(End::Gone("disconnected")),
        };
        let ends = [
            (stalled_at, End::Gone("send_timeout")),
            (self.leave_at, Close::GoingAway.into()),
            (
                Some(self.expires_at(now)),
                if self.dialogue.expires_at().is_some() {
                    Close::Unauthorized.into()
                } else {
                    Close::AuthTimeout.into()
                },
            ),
            (Some(self.heard + limits.idle_timeout), End::Gone("idle_timeout")),
        ];
        let mut next = self.heard + limits.idle_timeout / 2;
        if next <= now {
            if !self.pinged {
                self.pinged = true;
                self.dialogue.ping();
            }
            next = self.heard + limits.idle_timeout;
        }
        earliest(next, ends, now)
    }

    /// When the token, or the patience for one, ends. Asked anew each time: tokio's clock stands still while the machine
    /// is suspended, the token's does not.
    fn expires_at(&mut self, now: Instant) -> Instant {
        let Some(expires_at) = self.dialogue.expires_at() else { return self.opened + self.limits.auth_timeout };
        now + left(&mut self.expiry, expires_at.saturating_add(self.leeway_seconds))
    }

    /// Takes what the socket has. False = the client is gone.
    fn read(&mut self, socket: &TcpStream) -> bool {
        let mut buffer = [0; READ_BYTES];
        match socket.try_read(&mut buffer) {
            Ok(0) => false,
            Ok(bytes) => {
                self.heard = Instant::now();
                self.pinged = false;
                self.dialogue.feed(&buffer[..bytes]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}

/// The first of these moments, or the end whose moment has come.
pub(crate) fn earliest<const N: usize>(
    next: Instant,
    ends: [(Option<Instant>, End); N],
    now: Instant,
) -> Result<Instant, End> {
    let mut first = next;
    for (at, end) in ends {
        match at {
            Some(at) if at <= now => return Err(end),
            Some(at) => first = first.min(at),
            None => {}
        }
    }
    Ok(first)
}

/// How long a token that ends at `ends_at` is still good; a day, where it is longer.
pub(crate) fn left(expiry: &mut Expiry, ends_at: u64) -> Duration {
    let wall = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let steady = Duration::try_from(clock_gettime(STEADY)).unwrap_or_default();
    expiry.left(ends_at, steady, wall).min(Duration::from_secs(86_400))
}

/// Counts the end, and says goodbye with `close` where there is somebody to say it to.
pub(crate) async fn part(end: End, socket: &TcpStream, outbox: &Outbox, close: impl FnOnce(u16, &str) -> Bytes) {
    match end {
        End::Close(why, reason) => {
            let (code, _, _) = why.describe();
            counter!(m::CLOSED, "code" => code.to_string()).increment(1);
            outbox.close(close(code, &reason));
            // Whoever does not take part in the farewell loses it, not us.
            let _ = timeout(FAREWELL_TIMEOUT, farewell(socket, outbox)).await;
        }
        End::Gone(why) => counter!(m::CLOSED, "code" => why).increment(1),
    }
}

/// Sends what is left, says that no more comes, and reads until the client has closed: closing with unread
/// input would reset the connection and could take the close frame with it.
async fn farewell(socket: &TcpStream, outbox: &Outbox) {
    while !outbox.is_empty() {
        if outbox.needs() == Need::End || socket.writable().await.is_err() {
            return;
        }
        outbox.resume();
    }
    let _ = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Write);
    while socket.readable().await.is_ok() && swallow(socket) {}
}

/// Reads into nowhere. Not in the loop above: a buffer that lives across an await is part of every session.
fn swallow(socket: &TcpStream) -> bool {
    match socket.try_read(&mut [0; READ_BYTES]) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
