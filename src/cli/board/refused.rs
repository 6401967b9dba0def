//! Why the board's API turns a request away, and how an answer looks.

use serde_json::{Value, json};
use tracing::warn;
use warp::Reply;
use warp::http::header::{CACHE_CONTROL, CONNECTION, WWW_AUTHENTICATE};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use crate::database::DatabaseError;
use crate::token::TokenError;

/// The largest body that is read. What is larger is refused unread, and the connection with it.
pub const BODY_BYTES_MAX: u64 = 1 << 20;
/// Why a request is turned away; the text may be shown.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Malformed(String),
    #[error("a body needs a Content-Length of {BODY_BYTES_MAX} at most")]
    Unread,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("nobody is called that here: alice, bob and carol are")]
    Stranger,
    #[error("not a member of this project")]
    Forbidden,
    #[error("{0}")]
    NotFound(&'static str),
    #[error("nothing lives at this address: see examples/board/README.md")]
    Address,
    #[error("the database does not answer as it should: come back later")]
    Unavailable,
}

impl From<DatabaseError> for Refused {
    fn from(error: DatabaseError) -> Self {
        warn!(%error, "the board's database");
        Self::Unavailable
    }
}

impl Refused {
    fn describe(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::Unread => (StatusCode::PAYLOAD_TOO_LARGE, "malformed"),
            Self::Token(_) | Self::Stranger => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Self::NotFound(_) | Self::Address => (StatusCode::NOT_FOUND, "not_found"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }

    /// `{"error":"code","message":"..."}`
    pub fn reply(&self) -> Response {
        let (status, code) = self.describe();
        let mut reply = reply(status, &json!({ "error": code, "message": self.to_string() }));
        if status == StatusCode::UNAUTHORIZED {
            reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self, Self::Unread) {
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

/// A JSON answer, which nobody may cache.
pub fn reply(status: StatusCode, body: &Value) -> Response {
    let mut reply = warp::reply::with_status(warp::reply::json(body), status).into_response();
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
