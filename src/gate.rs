//! Who gets in: everything that is decided before the 101.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use warp::http::header::{HeaderMap, HeaderName, ORIGIN};
use warp::http::{HeaderValue, StatusCode};

use crate::access::{Unavailable, Verdict};
use crate::address::Address;
use crate::config::Config;
use crate::cursor::Cursor;
use crate::database::Database;
use crate::dialogue::{Arrival, Context};
use crate::event::ProjectId;
use crate::hub::Full;
use crate::membership::Membership;
use crate::protocol::{Wanted, Wire};
use crate::quota::Quota;
use crate::stream::{self, Opening};
use crate::token::{Claims, TokenError};
use crate::upgrade::{Handshake, HandshakeError, bearer, origin};

/// How long a probe's look at the pool is good: probes are open to all and must not load the database.
const POOL_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The last `id` that a browser heard on the stream that broke.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A request turned away; the text may be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is its own message")]
pub enum Refused {
    #[error("too many clients connect at once: come back later")]
    TooManyConnects,
    #[error("{0}")]
    Malformed(String),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("this origin is not allowed: add it to http.allowed_origins")]
    Origin,
    #[error("not a member of this project")]
    Forbidden,
    #[error("membership can't be checked now: come back later")]
    Unavailable,
    #[error("this daemon is going away: connect again")]
    Draining,
    #[error(transparent)]
    Full(#[from] Full),
}

impl Refused {
    /// The HTTP status and the word for programs.
    pub fn describe(&self) -> (StatusCode, &'static str) {
        match self {
            Self::TooManyConnects => (StatusCode::SERVICE_UNAVAILABLE, "too_many_connects"),
            Self::Malformed(_) | Self::Handshake(HandshakeError::Key) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::Handshake(_) => (StatusCode::UPGRADE_REQUIRED, "upgrade_required"),
            Self::Token(_) => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Origin => (StatusCode::FORBIDDEN, "origin_not_allowed"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
            Self::Full(Full::Subject) => (StatusCode::TOO_MANY_REQUESTS, "too_many_sessions"),
            Self::Full(_) => (StatusCode::SERVICE_UNAVAILABLE, "full"),
        }
    }
}

/// The gate's rules and what it asks.
pub struct Gate {
    context: Arc<Context>,
    database: Arc<Database>,
    listener_up: watch::Receiver<bool>,
    allowed_origins: Vec<String>,
    query_token: bool,
    connects: std::sync::Mutex<Quota>,
    pool_look: Mutex<Option<(Instant, bool)>>,
}

impl Gate {
    /// A gate for `context`'s sessions.
    pub fn new(
        config: &Config,
        context: &Arc<Context>,
        database: &Arc<Database>,
        listener_up: watch::Receiver<bool>,
    ) -> Self {
        let per_second = config.limits.connects_per_second;
        Self {
            context: Arc::clone(context),
            database: Arc::clone(database),
            listener_up,
            allowed_origins: config.http.allowed_origins.clone(),
            query_token: config.auth.query_token,
            connects: std::sync::Mutex::new(Quota::new(per_second, per_second.saturating_mul(2))),
            pool_look: Mutex::default(),
        }
    }

    /// Judges a request for a session. A token is not needed yet: it may come with the first frame. The session
    /// is in the hub before the client hears 101, so it misses nothing from then on.
    pub async fn admit(&self, headers: &HeaderMap, query: &str) -> Result<(Handshake, Box<Arrival>), Refused> {
        self.check_pace()?;
        let handshake = Handshake::read(headers)?;
        if self.context.drain.is_cancelled() {
            return Err(Refused::Draining);
        }
        self.check_origin(handshake.origin.as_deref())?;
        let mut query = Address::parse(query);
        let access_token = query.access_token.take();
        let form = query.form(Wire::WebSocket).map_err(Refused::Malformed)?;
        let subscribe = query.subscribe(form).map_err(Refused::Malformed)?;
        let claims = self.authenticate(handshake.token.as_deref(), access_token.as_deref()).await?;
        let mut generation = None;
        if let (Some(claims), Some((_, wanted))) = (&claims, &subscribe) {
            generation = Some(self.authorize(claims, &wanted.project).await?);
        }
        if self.context.drain.is_cancelled() {
            return Err(Refused::Draining);
        }
        let subject = claims.as_ref().map(|claims| &claims.subject);
        let membership = Membership::join(&self.context.hub, subject, Wire::WebSocket, subscribe.is_some())?;
        if let (Some(claims), Some((_, wanted)), Some(generation)) = (&claims, &subscribe, generation) {
            self.subscribe(&membership, claims, wanted, generation, |_| None).await?;
        }
        let implied = subscribe.filter(|_| claims.is_none()).map(|(subscribe, _)| Box::new(subscribe));
        Ok((handshake, Box::new(Arrival { membership, claims, form, implied })))
    }

    /// Judges a request for an event stream. No frame can bring a token later, so it must be here.
    pub async fn admit_stream(&self, headers: &HeaderMap, query: &str) -> Result<Box<Opening>, Refused> {
        self.check_pace()?;
        if self.context.drain.is_cancelled() {
            return Err(Refused::Draining);
        }
        self.check_origin(origin(headers).as_deref())?;
        let mut query = Address::parse(query);
        let access_token = query.access_token.take();
        // Browsers send it when they come back, with the address of the first time.
        let last_seen = headers.get(LAST_EVENT_ID).filter(|cursor| !cursor.is_empty());
        query.since = last_seen.map(|cursor| String::from_utf8_lossy(cursor.as_bytes()).into()).or(query.since);
        let form = query.form(Wire::EventStream).map_err(Refused::Malformed)?;
        let subscribe = query.subscribe(form).map_err(Refused::Malformed)?;
        let (_, wanted) = subscribe.ok_or_else(|| Refused::Malformed("name a project: ?project_id=7".into()))?;
        let claims = self.authenticate(bearer(headers), access_token.as_deref()).await?.ok_or(TokenError::Missing)?;
        let generation = self.authorize(&claims, &wanted.project).await?;
        if self.context.drain.is_cancelled() {
            return Err(Refused::Draining);
        }
        let membership = Membership::join(&self.context.hub, Some(&claims.subject), Wire::EventStream, true)?;
        membership.outbox.answer(stream::head(self.allow_origin(headers).as_ref()));
        let answer = |cursor| Some(stream::subscribed(&wanted.project, cursor));
        self.subscribe(&membership, &claims, &wanted, generation, answer).await?;
        Ok(Box::new(Opening { membership, expires_at: claims.expires_at }))
    }

    /// What `Access-Control-Allow-Origin` answers to a page of another origin; `None` = nothing.
    pub fn allow_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        if self.allowed_origins.is_empty() {
            return Some(HeaderValue::from_static("*"));
        }
        self.check_origin(Some(&String::from_utf8_lossy(origin.as_bytes()))).is_ok().then(|| origin.clone())
    }

    /// Why the daemon is not ready; empty = ready.
    pub async fn unready(&self) -> Vec<&'static str> {
        let mut reasons = Vec::new();
        if self.context.drain.is_cancelled() {
            reasons.push("draining");
        }
        if !*self.listener_up.borrow() {
            reasons.push("listener_down");
        }
        if !self.pool_answers().await {
            reasons.push("database_unreachable");
        }
        reasons
    }

    async fn pool_answers(&self) -> bool {
        let mut look = self.pool_look.lock().await;
        match *look {
            Some((at, answers)) if at.elapsed() < POOL_LOOK_INTERVAL => answers,
            _ => {
                let answers = self.database.answers().await;
                *look = Some((Instant::now(), answers));
                answers
            }
        }
    }

    /// Before anything that costs: when a thousand browsers come back at once, each is a signature and a query.
    fn check_pace(&self) -> Result<(), Refused> {
        let mut connects = self.connects.lock().unwrap_or_else(PoisonError::into_inner);
        if connects.take(Instant::now()) { Ok(()) } else { Err(Refused::TooManyConnects) }
    }

    fn check_origin(&self, origin: Option<&str>) -> Result<(), Refused> {
        let allowed = |origin: &str| self.allowed_origins.iter().any(|known| known.eq_ignore_ascii_case(origin));
        match origin {
            Some(origin) if !self.allowed_origins.is_empty() && !allowed(origin) => Err(Refused::Origin),
            _ => Ok(()),
        }
    }

    async fn authenticate(&self, token: Option<&str>, in_query: Option<&str>) -> Result<Option<Claims>, Refused> {
        let token = match (token, in_query) {
            (_, Some(_)) if !self.query_token => return Err(TokenError::InQuery.into()),
            (Some(token), _) | (None, Some(token)) => token,
            (None, None) => return Ok(None),
        };
        Ok(Some(self.context.keyring.verify(token).await?))
    }

    /// Subscribes with an answer of this generation, and asks again where the members have changed since.
    async fn subscribe(
        &self,
        membership: &Membership,
        claims: &Claims,
        wanted: &Wanted,
        mut generation: u64,
        answer: impl Fn(Option<Cursor>) -> Option<Bytes>,
    ) -> Result<(), Refused> {
        let access = &self.context.access;
        while !membership.subscribe(wanted, || access.generation(&wanted.project) == generation, &answer)? {
            generation = self.authorize(claims, &wanted.project).await?;
        }
        Ok(())
    }

    /// The generation of the answer.
    async fn authorize(&self, claims: &Claims, project: &ProjectId) -> Result<u64, Refused> {
        match self.context.access.allowed(claims, project).await {
            Ok(Verdict { allowed: true, generation }) => Ok(generation),
            Ok(_) => Err(Refused::Forbidden),
            Err(Unavailable) => Err(Refused::Unavailable),
        }
    }
}
