//! The rooms of power: what an administrator may ask and do over HTTP, behind a token with `auth.admin_scope`.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::info;
use warp::http::header::HeaderMap;
use warp::http::{Method, StatusCode};

use crate::census::{self, Entry, Question};
use crate::config::Config;
use crate::dialogue::Context;
use crate::event::ProjectId;
use crate::protocol::Wire;
use crate::quota::Quota;
use crate::token::{Claims, TokenError};
use crate::upgrade;

/// Sessions in one answer, unless `limit` says otherwise.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;

/// Why a request is turned away; the text may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No such address.
    #[error("nothing lives at this address: see docs/protocol.md")]
    NoRoom,
    /// The address takes only this method.
    #[error("only {0} is served here")]
    Method(&'static str),
    /// Too many requests, whose tokens were not looked at.
    #[error("too many clients ask at once: come back later")]
    Pace,
    /// No token, or a bad one.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A good token of somebody else.
    #[error("the token does not have the scope of auth.admin_scope")]
    Scope,
    /// What is asked for can't be read.
    #[error("{0}")]
    Malformed(&'static str),
    /// It has gone, or never was.
    #[error("there is no session with this id")]
    NoSession,
}

impl Denied {
    /// The HTTP status and the word for programs.
    pub fn describe(self) -> (StatusCode, &'static str) {
        match self {
            Self::NoRoom => (StatusCode::NOT_FOUND, "not_found"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Pace => (StatusCode::SERVICE_UNAVAILABLE, "too_many_connects"),
            Self::Token(_) => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Scope => (StatusCode::FORBIDDEN, "forbidden"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::NoSession => (StatusCode::NOT_FOUND, "no_session"),
        }
    }
}

/// The rooms, where there are administrators.
pub struct Admin {
    context: Arc<Context>,
    /// Apart from the gate's: when all browsers come back at once, administrators want in.
    pace: Mutex<Quota>,
    open: bool,
}

/// What an address is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Room<'a> {
    Sessions,
    Session(&'a str),
    Subject(&'a str),
}

impl Admin {
    /// Over `context`'s sessions.
    pub fn new(config: &Config, context: &Arc<Context>) -> Self {
        let per_second = config.limits.connects_per_second;
        Self {
            context: Arc::clone(context),
            pace: Mutex::new(Quota::new(per_second, per_second.saturating_mul(2))),
            open: config.auth.admin_scope.is_some(),
        }
    }

    /// Answers a request for `path`, which follows `/admin/`. `None` = done, and nothing to say.
    pub async fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<Option<Value>, Denied> {
        let room = Some(path).filter(|_| self.open).and_then(Room::find).ok_or(Denied::NoRoom)?;
        if method != room.method() {
            return Err(Denied::Method(room.method()));
        }
        let claims = self.authenticate(headers).await?;
        match room {
            Room::Sessions => {
                let (page, total) = census::list(&self.context.hub, &question(query)?);
                Ok(Some(json!({ "sessions": page.iter().map(describe).collect::<Vec<_>>(), "total": total })))
            }
            Room::Session(id) => self.end(&claims, id).map(|()| None),
            Room::Subject(subject) => self.end_subject(&claims, subject).map(Some),
        }
    }

    /// The token of the header and no other: addresses end up in logs.
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Claims, Denied> {
        if !self.pace.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
            return Err(Denied::Pace);
        }
        let token = upgrade::bearer(headers).filter(|token| !token.is_empty()).ok_or(TokenError::Missing)?;
        let claims = self.context.keyring.verify(token).await?;
        if claims.admin { Ok(claims) } else { Err(Denied::Scope) }
    }

    fn end(&self, claims: &Claims, id: &str) -> Result<(), Denied> {
        if !is_number(id) {
            return Err(Denied::Malformed("the id of a session is a number"));
        }
        // A number beyond all that the hub gives out is nobody's.
        let id = id.parse().map_err(|_| Denied::NoSession)?;
        let subject = census::end(&self.context.hub, id).ok_or(Denied::NoSession)?;
        info!(administrator = &*claims.subject, session = id, subject = subject.as_deref(), "ended a session");
        Ok(())
    }

    fn end_subject(&self, claims: &Claims, subject: &str) -> Result<Value, Denied> {
        let subject = decode(subject).ok_or(Denied::Malformed("the subject must be UTF-8, percent-encoded"))?;
        let closed = census::end_subject(&self.context.hub, &subject);
        info!(administrator = &*claims.subject, subject, closed, "ended the sessions of a subject");
        Ok(json!({ "closed": closed }))
    }
}

impl<'a> Room<'a> {
    fn find(path: &'a str) -> Option<Self> {
        let one = |name: &&str| !name.is_empty() && !name.contains('/');
        match path.split_once('/') {
            None if path == "sessions" => Some(Self::Sessions),
            Some(("sessions", id)) => Some(id).filter(one).map(Self::Session),
            Some(("subjects", subject)) => Some(subject).filter(one).map(Self::Subject),
            _ => None,
        }
    }

    fn method(&self) -> &'static str {
        if *self == Self::Sessions { "GET" } else { "DELETE" }
    }
}

fn question(query: &str) -> Result<Question, Denied> {
    let mut question = Question { limit: PAGE, ..Question::default() };
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "subject" => question.subject = Some(value.into_owned()),
            "project" => question.project = Some(ProjectId::parse(&value).map_err(Denied::Malformed)?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| is_number(&value) && (1..=PAGE_MAX).contains(limit));
                question.limit = limit.ok_or(Denied::Malformed("limit is a number from 1 to 1000"))?;
            }
            "after" => {
                let after = value.parse().ok().filter(|_| is_number(&value));
                question.after = after.ok_or(Denied::Malformed("after is the id of a session"))?;
            }
            _ => {}
        }
    }
    Ok(question)
}

fn describe(entry: &Entry) -> Value {
    let figures = &entry.figures;
    let time = |at| humantime::format_rfc3339_millis(at).to_string();
    json!({
        "id": entry.id,
        "subject": entry.subject,
        "transport": match entry.wire {
            Wire::WebSocket => "websocket",
            Wire::EventStream => "event_stream",
        },
        "connected_at": time(figures.opened_at),
        "projects": entry.projects.iter().map(ProjectId::as_str).collect::<Vec<_>>(),
        "mailbox_frames": figures.waiting,
        "answers": figures.answers,
        "coarsened": figures.coarsened.map(|(step, at)| json!({ "step": step.as_str(), "at": time(at) })),
        "frames_sent": figures.frames_sent,
        "bytes_sent": figures.bytes_sent,
    })
}

/// Digits alone: `parse` takes a sign too.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Percent-decodes; `None` for what is no UTF-8, or has a `%` that stands for nothing.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            u8::try_from(digit()? * 16 + digit()?).ok()?
        } else {
            byte
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}
