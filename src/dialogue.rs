//! What a client and its session say to each other: authentication, subscriptions, pings.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use metrics::counter;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, Unavailable, Verdict};
use crate::close::Close;
use crate::config::Limits;
use crate::event::ProjectId;
use crate::frame;
use crate::hub::Hub;
use crate::keyring::Keyring;
use crate::membership::Membership;
use crate::metrics as m;
use crate::protocol::{ClientFrame, Form, Refusal, ServerFrame, Subscribe, Wanted, Wire};
use crate::quota::Quota;
use crate::token::{Claims, TokenError};
use crate::websocket::{Decoder, Message};

/// Answers that a client may leave unread before it is read no further.
const ANSWERS_UNREAD_MAX: usize = 32;
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
    /// How changes are told where a subscription does not say.
    pub form: Form,
    /// The project of the URL, still to be subscribed to once there are claims.
    pub implied: Option<Box<Subscribe>>,
}

/// Why a session is over.
pub enum End {
    /// Say so and go.
    Close(Close, Cow<'static, str>),
    /// There is nobody to say it to.
    Gone(&'static str),
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Close(close, close.describe().1.into())
    }
}

/// What came of a question to the keyring or to the database.
enum Outcome {
    Verified(Result<Claims, TokenError>),
    Judged(Subscribe, Box<Wanted>, Result<Verdict, Unavailable>),
    Rejudged(Vec<(ProjectId, bool)>),
}

type Question = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One client's side of the conversation.
pub struct Dialogue<'a> {
    context: &'a Arc<Context>,
    membership: Membership,
    claims: Option<Claims>,
    form: Form,
    implied: Option<Box<Subscribe>>,
    decoder: Decoder,
    quota: Quota,
    /// The client has said something.
    spoken: bool,
    /// One at a time: the client is read no further until it is answered, so answers keep their order.
    question: Option<Question>,
}

impl<'a> Dialogue<'a> {
    /// Begins where the gate left off.
    pub fn new(arrival: Arrival, context: &'a Arc<Context>) -> Self {
        let Arrival { membership, claims, form, implied } = arrival;
        let decoder = Decoder::new(context.limits.frame_bytes);
        let quota = Quota::new(context.limits.requests_per_second, context.limits.requests_burst);
        Self { context, membership, claims, form, implied, decoder, quota, spoken: false, question: None }
    }

    /// Takes what the socket has.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.decoder.feed(bytes);
    }

    /// Whether the client may be read: nothing is asked on its behalf, and it reads its answers.
    pub fn listens(&self) -> bool {
        self.question.is_none() && self.membership.outbox.answers() <= ANSWERS_UNREAD_MAX
    }

    /// Whether a question is open.
    pub fn asks(&self) -> bool {
        self.question.is_some()
    }

    /// Waits for the open question and draws the consequence; for ever, where none is open.
    pub async fn answered(&mut self) -> Result<(), End> {
        let Some(question) = &mut self.question else { return std::future::pending().await };
        let outcome = question.await;
        self.question = None;
        self.settle(outcome)
    }

    /// When its token ends, in seconds since 1970.
    pub fn expires_at(&self) -> Option<u64> {
        self.claims.as_ref().map(|claims| claims.expires_at)
    }

    /// Asks the client whether it is there.
    pub fn ping(&self) {
        self.membership.outbox.answer(frame::ping(b""));
    }

    /// Handles the messages at hand, up to one that asks a question.
    pub fn work(&mut self) -> Result<(), End> {
        while self.listens() {
            if let (Some(claims), Some(implied)) = (&self.claims, self.implied.take_if(|_| self.claims.is_some())) {
                self.ask_access(claims.clone(), *implied);
                return Ok(());
            }
            let message = self.decoder.next().map_err(|error| {
                let close = Close::ALL.into_iter().find(|close| close.describe().0 == error.close_code());
                End::Close(close.unwrap_or(Close::ProtocolError), error.to_string().into())
            })?;
            let Some(message) = message else { return Ok(()) };
            if !self.quota.take(Instant::now()) {
                return Err(Close::TooMany.into());
            }
            match message {
                Message::Text(text) => {
                    if !std::mem::replace(&mut self.spoken, true) {
                        self.membership.spoke();
                    }
                    self.hear(&text)?;
                }
                Message::Binary => return Err(End::Close(Close::Malformed, "frames are JSON in text messages".into())),
                Message::Ping(payload) => self.membership.outbox.answer(frame::pong(&payload)),
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
                return Err(End::Close(Close::Malformed, refusal.message.into()));
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
            ClientFrame::Ping { reference } => {
                self.membership.answer_with_cursor(|cursor| {
                    let cursor = cursor.map(|cursor| cursor.to_string());
                    ServerFrame::Pong { reference: reference.as_deref(), cursor }.encode(Wire::WebSocket)
                });
                Ok(())
            }
        }
    }

    fn ask_keyring(&mut self, token: String) -> Result<(), End> {
        let context = Arc::clone(self.context);
        self.question = Some(Box::pin(async move { Outcome::Verified(context.keyring.verify(&token).await) }));
        Ok(())
    }

    fn ask_access(&mut self, claims: Claims, subscribe: Subscribe) {
        let context = Arc::clone(self.context);
        let wanted = match subscribe.wanted(self.form) {
            Ok(wanted) => Box::new(wanted),
            Err(refusal) => return self.membership.outbox.answer(ServerFrame::Error(&refusal).encode(Wire::WebSocket)),
        };
        self.question = Some(Box::pin(async move {
            let verdict = context.access.allowed(&claims, &wanted.project).await;
            Outcome::Judged(subscribe, wanted, verdict)
        }));
    }

    fn settle(&mut self, outcome: Outcome) -> Result<(), End> {
        match outcome {
            Outcome::Verified(Err(error)) => Err(End::Close(Close::Unauthorized, error.to_string().into())),
            Outcome::Verified(Ok(claims)) => self.authenticated(claims),
            Outcome::Judged(subscribe, wanted, verdict) => self.judged(subscribe, &wanted, verdict),
            Outcome::Rejudged(verdicts) => {
                for (project, _) in verdicts.iter().filter(|(_, allowed)| !allowed) {
                    let frame = ServerFrame::Revoked { project_id: project.as_str(), reason: "token_renewed" };
                    self.membership.revoke(project, frame.encode(Wire::WebSocket));
                }
                Ok(())
            }
        }
    }

    fn authenticated(&mut self, claims: Claims) -> Result<(), End> {
        if self.claims.as_ref().is_some_and(|known| known.subject != claims.subject) {
            counter!(m::AUTH_FAILURES, "reason" => TokenError::OtherSubject.as_str()).increment(1);
            return Err(End::Close(Close::Unauthorized, TokenError::OtherSubject.to_string().into()));
        }
        self.membership
            .identify(&claims.subject)
            .map_err(|full| End::Close(Close::TooMany, full.to_string().into()))?;
        self.answer(&ServerFrame::Authenticated { subject: &claims.subject, expires_at: claims.expires_at })?;
        if self.claims.replace(claims.clone()).is_some() {
            // Renewed: the new claims decide anew, and who can't be judged now is not allowed now.
            let (context, projects) = (Arc::clone(self.context), self.membership.projects());
            self.question = Some(Box::pin(async move {
                let mut verdicts = Vec::with_capacity(projects.len());
                for project in projects {
                    let verdict = context.access.allowed(&claims, &project).await;
                    let allowed = verdict.is_ok_and(|verdict| verdict.allowed);
                    verdicts.push((project, allowed));
                }
                Outcome::Rejudged(verdicts)
            }));
        }
        Ok(())
    }

    fn judged(
        &mut self,
        subscribe: Subscribe,
        wanted: &Wanted,
        verdict: Result<Verdict, Unavailable>,
    ) -> Result<(), End> {
        let reference = subscribe.reference.clone();
        let refusal = match verdict {
            Ok(Verdict { allowed: true, generation }) => match self.membership.subscribe(
                wanted,
                || self.context.access.generation(&wanted.project) == generation,
                |cursor| {
                    // Registered first, acknowledged second: a fetch begun after `subscribed` cannot miss a change.
                    let (reference, project_id) = (subscribe.reference.as_deref(), wanted.project.as_str());
                    let cursor = cursor.map(|cursor| cursor.to_string());
                    Some(ServerFrame::Subscribed { reference, project_id, cursor }.encode(Wire::WebSocket))
                },
            ) {
                Ok(true) => return Ok(()),
                // The members have changed since the question was asked.
                Ok(false) => {
                    if let Some(claims) = self.claims.clone() {
                        self.ask_access(claims, subscribe);
                    }
                    return Ok(());
                }
                Err(full) => Refusal::new("too_many_subscriptions", full.to_string(), reference),
            },
            Ok(_) if subscribe.implied => return Err(Close::Forbidden.into()),
            Ok(_) => Refusal::new("forbidden", "not a member of this project", reference),
            Err(Unavailable) if subscribe.implied => {
                return Err(End::Close(Close::Overloaded, Unavailable.to_string().into()));
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
        self.membership.outbox.answer(frame.encode(Wire::WebSocket));
        Ok(())
    }
}
