//! The wire protocol, whole: what clients may say and what they hear. `docs/protocol.md` is
//! its prose. The only file that turns frames into JSON and back.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cursor::Cursor;
use crate::event::ProjectId;
use crate::frame;
use crate::interest::Interest;

/// The WebSocket subprotocol; a client that offers it is answered with it.
pub const SUBPROTOCOL: &str = "pgherald.v1";

/// What is wrong with an unknown `format`.
pub const BAD_FORMAT: &str = "format is cache_invalidate or resource_change";

/// How frames travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// Text frames of RFC 6455.
    #[default]
    WebSocket,
    /// `text/event-stream`.
    EventStream,
}

/// How a change is put into words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `cache_invalidate` frames.
    #[default]
    CacheInvalidate,
    /// `resource_change` frames.
    ResourceChange,
}

impl Format {
    /// From the word in requests.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "cache_invalidate" => Some(Self::CacheInvalidate),
            "resource_change" => Some(Self::ResourceChange),
            _ => None,
        }
    }
}

/// What a subscription's changes look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// In which words.
    pub format: Format,
    /// All ids of a notification in one frame.
    pub batch: bool,
    /// Over what.
    pub wire: Wire,
}

/// What a client says. Unknown fields are ignored, so newer clients work with older daemons.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientFrame {
    /// Who I am; also in mid-life, to renew.
    Auth {
        /// The JWT.
        token: String,
    },
    /// Tell me of this project.
    Subscribe(Subscribe),
    /// No more of this project.
    Unsubscribe {
        /// Comes back in `unsubscribed`.
        #[serde(rename = "ref")]
        reference: Option<String>,
        /// Which.
        project_id: String,
    },
    /// Are you there?
    Ping {
        /// Comes back in `pong`.
        #[serde(rename = "ref")]
        reference: Option<String>,
    },
}

/// The `subscribe` frame.
#[derive(Debug, Default, Deserialize)]
pub struct Subscribe {
    /// Comes back in `subscribed` or `error`.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// Which project.
    pub project_id: String,
    /// What of it; none, or one of them `*` = all.
    pub topics: Option<Vec<String>>,
    /// Values of included columns.
    pub filter: Option<serde_json::Value>,
    /// `cache_invalidate` (default) or `resource_change`.
    pub format: Option<String>,
    /// All ids of a notification in one frame.
    pub batch: Option<bool>,
    /// The last cursor seen.
    pub since: Option<String>,
    /// Came with the URL, so a refusal ends the session.
    #[serde(skip)]
    pub implied: bool,
}

/// A request for a subscription that is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which project.
    pub project: ProjectId,
    /// What of it.
    pub interest: Interest,
    /// How it is told.
    pub form: Form,
    /// From where on. A text that is no cursor is one that no history knows.
    pub since: Option<Result<Cursor, ()>>,
}

impl Subscribe {
    /// Checks the request; what it does not say is as in `default`.
    pub fn wanted(&self, default: Form) -> Result<Wanted, Refusal> {
        let refuse = |code, message: String| Refusal::new(code, message, self.reference.clone());
        let project = ProjectId::parse(&self.project_id).map_err(|why| refuse("malformed", why.into()))?;
        let topics = self.topics.as_deref().unwrap_or_default();
        let interest = Interest::parse(topics, self.filter.as_ref()).map_err(|(code, why)| refuse(code, why))?;
        let format = match &self.format {
            None => default.format,
            Some(word) => Format::parse(word).ok_or_else(|| refuse("bad_format", BAD_FORMAT.into()))?,
        };
        let form = Form { format, batch: self.batch.unwrap_or(default.batch), ..default };
        let since = self.since.as_ref().map(|text| Cursor::parse(text).ok_or(()));
        Ok(Wanted { project, interest, form, since })
    }
}

impl ClientFrame {
    /// Parses one text message. The error says what is wrong without repeating the message.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(rename = "type", borrow)]
            kind: Option<std::borrow::Cow<'a, str>>,
            #[serde(rename = "ref")]
            reference: Option<String>,
        }
        // serde reads a struct from an array too.
        let object = Some(text).filter(|text| text.trim_start().starts_with('{'));
        let head: Head<'_> = object.and_then(|text| serde_json::from_str(text).ok()).ok_or_else(|| {
            Refusal::new("malformed", "a frame is a JSON object with a \"type\" and, if any, a text \"ref\"", None)
        })?;
        let known = matches!(head.kind.as_deref(), Some("auth" | "subscribe" | "unsubscribe" | "ping"));
        if !known {
            let message = "unknown frame type: use auth, subscribe, unsubscribe or ping";
            return Err(Refusal::new("unknown_type", message, head.reference));
        }
        serde_json::from_str(text).map_err(|_| {
            Refusal::new("malformed", "a field of this frame is missing or has the wrong type", head.reference)
        })
    }
}

/// An `error` frame: the request failed, the session lives on.
#[derive(Debug, Serialize)]
pub struct Refusal {
    /// The request's `ref`.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// A word for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Refusal {
    /// An `error` with these words.
    pub fn new(code: &'static str, message: impl Into<String>, reference: Option<String>) -> Self {
        Self { reference, code, message: message.into() }
    }
}

/// Why clients must refetch all they hold of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The listener was away from the database.
    DatabaseReconnected,
    /// This session read too slowly to be told in detail.
    SlowConsumer,
    /// The cursor to resume from is not in the history.
    HistoryGap,
    /// A trigger could not send its notification.
    NotificationDropped,
    /// Too much changed while the database was asked who may still see it.
    AccessChecked,
}

impl Reason {
    /// The word in frames and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DatabaseReconnected => "database_reconnected",
            Self::SlowConsumer => "slow_consumer",
            Self::HistoryGap => "history_gap",
            Self::NotificationDropped => "notification_dropped",
            Self::AccessChecked => "access_checked",
        }
    }
}

/// The frames that answer or inform one session.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame<'a> {
    /// The token is good.
    Authenticated {
        /// `sub`.
        subject: &'a str,
        /// `exp`, seconds since 1970.
        expires_at: u64,
    },
    /// From now on every change of the project reaches the session.
    Subscribed {
        /// Of the request.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        /// Which project.
        project_id: &'a str,
        /// From where on, for `since`.
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    },
    /// No more of it.
    Unsubscribed {
        /// Of the request.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        /// Which project.
        project_id: &'a str,
    },
    /// The subject may see the project no more.
    Revoked {
        /// Which project.
        project_id: &'a str,
        /// A word for programs.
        reason: &'static str,
    },
    /// Yes, I am there.
    Pong {
        /// Of the request.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a str>,
        /// Everything up to here was told before this frame.
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    },
    /// No.
    Error(&'a Refusal),
    /// The stream is over; a WebSocket has its close frame instead.
    Close {
        /// As of a close frame.
        code: u16,
        /// For people.
        reason: &'a str,
    },
    /// Anything held of the project, or of all projects without one, may be stale.
    Reconnect {
        /// Absent = all projects of the session.
        #[serde(skip_serializing_if = "Option::is_none")]
        project_id: Option<&'a str>,
        /// Why, and over which time to spread the refetches.
        data: ReconnectData,
    },
}

/// The `data` of `reconnect`.
#[derive(Debug, Serialize)]
pub struct ReconnectData {
    /// Why.
    pub reason: Reason,
    /// Refetch after a random part of this, in milliseconds.
    pub spread_ms: u64,
}

impl ServerFrame<'_> {
    /// The `reconnect` frame, of one project or of all.
    pub fn reconnect(project: Option<&ProjectId>, reason: Reason, spread: Duration, wire: Wire) -> Bytes {
        let data = ReconnectData { reason, spread_ms: u64::try_from(spread.as_millis()).unwrap_or(u64::MAX) };
        ServerFrame::Reconnect { project_id: project.map(ProjectId::as_str), data }.encode(wire)
    }

    /// JSON, ready for any socket. The cursor of `subscribed` is where a browser comes back to.
    pub fn encode(&self, wire: Wire) -> Bytes {
        let cursor = if let Self::Subscribed { cursor, .. } = self { cursor.as_deref() } else { None };
        let mut out = Vec::new();
        append(self, cursor, wire, &mut out);
        out.into()
    }
}

/// Appends one frame. As a server-sent event its `id` is the cursor, which browsers send back as `Last-Event-ID`.
pub fn append(frame: &impl Serialize, cursor: Option<&str>, wire: Wire, out: &mut Vec<u8>) {
    let json = serde_json::to_string(frame).expect("frames hold texts and numbers only, which always serialize");
    match wire {
        Wire::WebSocket => frame::text(&json, out),
        Wire::EventStream => {
            if let Some(cursor) = cursor {
                out.extend_from_slice(b"id: ");
                out.extend_from_slice(cursor.as_bytes());
                out.push(b'\n');
            }
            out.extend_from_slice(b"data: ");
            // Line breaks in JSON are blanks between its parts: a json column keeps those of its writer.
            out.extend(json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
            out.extend_from_slice(b"\n\n");
        }
    }
}
