//! One authenticated WebSocket: a loop over everything that can happen to it or end it.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use metrics::counter;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::access::{Access, Unavailable};
use crate::config::Limits;
use crate::event::ProjectId;
use crate::hub::{Hub, Membership};
use crate::keyring::Keyring;
use crate::metrics as m;
use crate::outbox::{Need, Outbox};
use crate::protocol::{ClientFrame, Close, Refusal, ServerFrame, Subscribe};
use crate::quota::Quota;
use crate::token::{Claims, TokenError};
use crate::websocket::{self, Decoder, Message};

/// Answers that a client may leave unread before it is read no further.
const ANSWERS_UNREAD_MAX: usize = 32;
/// Bytes of one read. On the stack, so that an idle session owns no buffer.
const READ_BYTES: usize = 4096;
/// How long the closing handshake may take (RFC 6455, section 7.1.1).
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// What all sessions share.
pub struct Context {
    /// Where changes come from.
    pub hub: Arc<Hub>,
    /// Who may see what.
    pub access: Arc<Access>,
    /// Whose tokens are good.
    pub keyring: Arc<Keyring>,
    /// `[limits]`.
    pub limits: Limits,
    /// `auth.leeway` in seconds.
    pub leeway_seconds: u64,
    /// Cancelled when the daemon drains.
    pub drain: CancellationToken,
}

/// A session that was let in. Handed on in a box: each function that took it by value would keep room for it as
/// long as the session lives.
pub struct Arrival {
    /// Its place in the hub.
    pub membership: Membership,
    /// Whose it is; without claims the first frame must bring them.
    pub claims: Option<Claims>,
    /// The project of the URL, still to be subscribed to once there are claims.
    pub implied: Option<Box<Subscribe>>,
}

/// Why a session is over.
enum End {
    /// Say so and go.
    Close(Close, String),
    /// There is nobody to say it to.
    Gone(&'static str),
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Close(close, close.describe().1.to_owned())
    }
}

/// What came of a question to the keyring or to the database.
enum Outcome {
    Verified(Result<Claims, TokenError>),
    Judged(Subscribe, ProjectId, Result<bool, Unavailable>),
    Rejudged(Vec<(ProjectId, bool)>),
}

type Question = Pin<Box<dyn Future<Output = Outcome> + Send>>;

struct Session<'a> {
    context: &'a Arc<Context>,
    membership: Membership,
    claims: Option<Claims>,
    implied: Option<Box<Subscribe>>,
    decoder: Decoder,
    quota: Quota,
    /// One at a time: the client is read no further until it is answered, so answers keep their order.
    question: Option<Question>,
    opened: Instant,
    heard: Instant,
    pinged: bool,
    leave_at: Option<Instant>,
}

/// Runs a session until it ends. `early` is what the client sent right behind its request.
pub async fn run(arrival: Box<Arrival>, stream: TcpStream, early: Bytes, context: &Arc<Context>) {
    let Arrival { membership, claims, implied } = *arrival;
    let outbox = Arc::clone(&membership.outbox);
    let socket = outbox.attach(stream);
    let now = Instant::now();
    let mut session = Session {
        decoder: Decoder::new(context.limits.frame_bytes),
        quota: Quota::new(context.limits.requests_per_second, context.limits.requests_burst),
        context,
        membership,
        claims,
        implied,
        question: None,
        opened: now,
        heard: now,
        pinged: false,
        leave_at: None,
    };
    session.decoder.feed(&early);
    drop(early);
    let end = session.live(socket, &outbox).await;
    drop(session);
    match end {
        End::Close(close, reason) => {
            let (code, _, _) = close.describe();
            counter!(m::CLOSED, "code" => code.to_string()).increment(1);
            outbox.answer(websocket::frame_close(code, &reason));
            // Whoever does not take part in the farewell loses it, not us.
            let _ = timeout(FAREWELL_TIMEOUT, farewell(socket, &outbox)).await;
        }
        End::Gone(why) => {
            counter!(m::CLOSED, "code" => why).increment(1);
        }
    }
}

impl Session<'_> {
    async fn live(&mut self, socket: &TcpStream, outbox: &Outbox) -> End {
        loop {
            if let Err(end) = self.work() {
                return end;
            }
            let need = outbox.needs();
            let deadline = match self.deadline(need) {
                Ok(deadline) => deadline,
                Err(end) => return end,
            };
            let read = self.question.is_none() && outbox.answers() <= ANSWERS_UNREAD_MAX;
            tokio::select! {
                ready = socket.readable(), if read => {
                    if ready.is_err() || !self.read(socket) {
                        return End::Gone("disconnected");
                    }
                }
                ready = socket.writable(), if need != Need::Nothing => match ready {
                    Ok(()) => outbox.resume(),
                    Err(_) => return End::Gone("disconnected"),
                },
                () = outbox.wake.notified() => {}
                outcome = async { self.question.as_mut().expect("the branch is off without a question").await }, if self.question.is_some() => {
                    self.question = None;
                    if let Err(end) = self.settle(outcome) {
                        return end;
                    }
                }
                () = self.context.drain.cancelled(), if self.leave_at.is_none() => {
                    self.leave_at = Some(Instant::now() + self.context.limits.drain_spread.mul_f64(rand::random()));
                }
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// The next moment at which time alone changes something; an end if it has.
    fn deadline(&mut self, need: Need) -> Result<Instant, End> {
        let now = Instant::now();
        let limits = &self.context.limits;
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
                if self.claims.is_some() { Close::Unauthorized.into() } else { Close::AuthTimeout.into() },
            ),
            (Some(self.heard + limits.idle_timeout), End::Gone("idle_timeout")),
        ];
        let mut next = self.heard + limits.idle_timeout / 2;
        if next <= now {
            if !self.pinged {
                self.pinged = true;
                self.membership.outbox.answer(websocket::frame_ping(b""));
            }
            next = self.heard + limits.idle_timeout;
        }
        for (at, end) in ends {
            match at {
                Some(at) if at <= now => return Err(end),
                Some(at) => next = next.min(at),
                None => {}
            }
        }
        Ok(next)
    }

    /// When the token, or the patience for one, ends. Asked anew each time, so a clock that jumps is followed.
    fn expires_at(&self, now: Instant) -> Instant {
        let Some(claims) = &self.claims else { return self.opened + self.context.limits.auth_timeout };
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let until =
            Duration::from_secs(claims.expires_at.saturating_add(self.context.leeway_seconds)).saturating_sub(wall);
        now + until.min(Duration::from_secs(86_400))
    }

    /// Takes what the socket has. False = the client is gone.
    fn read(&mut self, socket: &TcpStream) -> bool {
        let mut buffer = [0; READ_BYTES];
        match socket.try_read(&mut buffer) {
            Ok(0) => false,
            Ok(bytes) => {
                self.heard = Instant::now();
                self.pinged = false;
                self.decoder.feed(&buffer[..bytes]);
                true
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// Handles the messages at hand, up to one that asks a question.
    fn work(&mut self) -> Result<(), End> {
        while self.question.is_none() && self.membership.outbox.answers() <= ANSWERS_UNREAD_MAX {
            if let (Some(claims), Some(implied)) = (&self.claims, self.implied.take_if(|_| self.claims.is_some())) {
                self.ask_access(claims.clone(), *implied);
                return Ok(());
            }
            let message = self.decoder.next().map_err(|error| {
                let close = Close::ALL.into_iter().find(|close| close.describe().0 == error.close_code());
                End::Close(close.unwrap_or(Close::ProtocolError), error.to_string())
            })?;
            let Some(message) = message else { return Ok(()) };
            if !self.quota.take(Instant::now()) {
                return Err(Close::TooMany.into());
            }
            match message {
                Message::Text(text) => self.hear(&text)?,
                Message::Binary => return Err(End::Close(Close::Malformed, "frames are JSON in text messages".into())),
                Message::Ping(payload) => self.membership.outbox.answer(websocket::frame_pong(&payload)),
                Message::Pong => {}
                Message::Close(_) => return Err(Close::Normal.into()),
            }
        }
        Ok(())
    }

    fn hear(&mut self, text: &str) -> Result<(), End> {
        let frame = match ClientFrame::parse(text) {
            Ok(frame) => frame,
            Err(refusal) if refusal.code == "malformed" && refusal.reference.is_none() => {
                return Err(End::Close(Close::Malformed, refusal.message));
            }
            Err(refusal) => return self.refuse(&refusal),
        };
        let Some(claims) = self.claims.clone() else {
            let ClientFrame::Auth { token } = frame else {
                return Err(End::Close(Close::Unauthorized, "authenticate first".into()));
            };
            return self.ask_keyring(token);
        };
        match frame {
            ClientFrame::Auth { token } => self.ask_keyring(token),
            ClientFrame::Subscribe(subscribe) => {
                self.ask_access(claims, subscribe);
                Ok(())
            }
            ClientFrame::Unsubscribe { reference, project_id } => {
                let known = ProjectId::parse(&project_id).is_ok_and(|project| self.membership.unsubscribe(&project));
                if !known {
                    return self.refuse(&Refusal::new(
                        "not_subscribed",
                        "there is no subscription to this project",
                        reference,
                    ));
                }
                self.answer(&ServerFrame::Unsubscribed { reference: reference.as_deref(), project_id: &project_id })
            }
            ClientFrame::Ping { reference } => self.answer(&ServerFrame::Pong { reference: reference.as_deref() }),
        }
    }

    fn ask_keyring(&mut self, token: String) -> Result<(), End> {
        let context = Arc::clone(self.context);
        self.question = Some(Box::pin(async move { Outcome::Verified(context.keyring.verify(&token).await) }));
        Ok(())
    }

    fn ask_access(&mut self, claims: Claims, subscribe: Subscribe) {
        let context = Arc::clone(self.context);
        let project = match subscribe.project() {
            Ok(project) => project,
            Err(refusal) => return self.membership.outbox.answer(ServerFrame::Error(&refusal).encode()),
        };
        self.question = Some(Box::pin(async move {
            let verdict = context.access.allowed(&claims, &project).await;
            Outcome::Judged(subscribe, project, verdict)
        }));
    }

    fn settle(&mut self, outcome: Outcome) -> Result<(), End> {
        match outcome {
            Outcome::Verified(Err(error)) => Err(End::Close(Close::Unauthorized, error.to_string())),
            Outcome::Verified(Ok(claims)) => self.authenticated(claims),
            Outcome::Judged(subscribe, project, verdict) => self.judged(&subscribe, &project, verdict),
            Outcome::Rejudged(verdicts) => {
                for (project, _) in verdicts.iter().filter(|(_, allowed)| !allowed) {
                    self.membership.unsubscribe(project);
                    self.answer(&ServerFrame::Revoked { project_id: project.as_str(), reason: "token_renewed" })?;
                }
                Ok(())
            }
        }
    }

    fn authenticated(&mut self, claims: Claims) -> Result<(), End> {
        if self.claims.as_ref().is_some_and(|known| known.subject != claims.subject) {
            counter!(m::AUTH_FAILURES, "reason" => TokenError::OtherSubject.as_str()).increment(1);
            return Err(End::Close(Close::Unauthorized, TokenError::OtherSubject.to_string()));
        }
        self.membership.identify(&claims.subject).map_err(|full| End::Close(Close::TooMany, full.to_string()))?;
        self.answer(&ServerFrame::Authenticated { subject: &claims.subject, expires_at: claims.expires_at })?;
        if self.claims.replace(claims.clone()).is_some() {
            // Renewed: the new claims decide anew, and who can't be judged now is not allowed now.
            let (context, projects) = (Arc::clone(self.context), self.membership.projects().to_vec());
            self.question = Some(Box::pin(async move {
                let mut verdicts = Vec::with_capacity(projects.len());
                for project in projects {
                    let allowed = context.access.allowed(&claims, &project).await.unwrap_or(false);
                    verdicts.push((project, allowed));
                }
                Outcome::Rejudged(verdicts)
            }));
        }
        Ok(())
    }

    fn judged(
        &mut self,
        subscribe: &Subscribe,
        project: &ProjectId,
        verdict: Result<bool, Unavailable>,
    ) -> Result<(), End> {
        let reference = subscribe.reference.clone();
        let refusal = match verdict {
            Ok(true) => match self.membership.subscribe(project) {
                Ok(()) => {
                    // Registered first, acknowledged second: a fetch begun after `subscribed` cannot miss a change.
                    if !subscribe.implied {
                        self.answer(&ServerFrame::Subscribed {
                            reference: reference.as_deref(),
                            project_id: project.as_str(),
                        })?;
                    }
                    if subscribe.since.is_some() {
                        self.membership.gap(project);
                    }
                    return Ok(());
                }
                Err(full) => Refusal::new("too_many_subscriptions", full.to_string(), reference),
            },
            Ok(false) if subscribe.implied => return Err(Close::Forbidden.into()),
            Ok(false) => Refusal::new("forbidden", "not a member of this project", reference),
            Err(Unavailable) if subscribe.implied => {
                return Err(End::Close(Close::Overloaded, Unavailable.to_string()));
            }
            Err(Unavailable) => Refusal::new("unavailable", Unavailable.to_string(), reference),
        };
        self.refuse(&refusal)
    }

    fn refuse(&self, refusal: &Refusal) -> Result<(), End> {
        self.answer(&ServerFrame::Error(refusal))
    }

    #[allow(clippy::unnecessary_wraps, reason = "lets every branch of a request end with its answer")]
    fn answer(&self, frame: &ServerFrame<'_>) -> Result<(), End> {
        self.membership.outbox.answer(frame.encode());
        Ok(())
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
