//! The wire protocol, whole: what clients may say and what they hear. `docs/protocol.md` is
//! its prose. The only file that turns frames into JSON and back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::event::{Action, Cursor, Invalidation, ProjectId, Row};
use crate::frame;

/// The WebSocket subprotocol; a client that offers it is answered with it.
pub const SUBPROTOCOL: &str = "pgherald.v1";

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
    /// What of it; `["*"]` = all, the only choice of this version.
    pub topics: Option<Vec<String>>,
    /// Not in this version.
    pub filter: Option<serde_json::Value>,
    /// The last cursor seen. This version keeps no history, so it answers with `reconnect`.
    pub since: Option<String>,
    /// Came with the URL, so a refusal ends the session.
    #[serde(skip)]
    pub implied: bool,
}

impl Subscribe {
    /// The project, if this version can serve the whole request.
    pub fn project(&self) -> Result<ProjectId, Refusal> {
        let refuse = |code, message: String| Err(Refusal::new(code, message, self.reference.clone()));
        if let Some(topic) = self.topics.iter().flatten().find(|topic| *topic != "*") {
            let topic: String = topic.chars().take(40).collect();
            return refuse("unsupported", format!("topic {topic:?} is not supported by this version: use [\"*\"]"));
        }
        if self.filter.is_some() {
            return refuse("unsupported", "filter is not supported by this version: leave it out".into());
        }
        ProjectId::parse(&self.project_id).or_else(|why| refuse("malformed", why.into()))
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
}

impl Reason {
    /// The word in frames and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DatabaseReconnected => "database_reconnected",
            Self::SlowConsumer => "slow_consumer",
            Self::HistoryGap => "history_gap",
            Self::NotificationDropped => "notification_dropped",
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
    },
    /// No.
    Error(&'a Refusal),
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
    pub fn reconnect(project: Option<&ProjectId>, reason: Reason, spread: Duration) -> Bytes {
        let data = ReconnectData { reason, spread_ms: u64::try_from(spread.as_millis()).unwrap_or(u64::MAX) };
        ServerFrame::Reconnect { project_id: project.map(ProjectId::as_str), data }.encode()
    }

    /// JSON in one WebSocket text frame, ready for any socket.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        append(self, &mut out);
        out.into()
    }
}

/// An invalidation as one project's sessions hear it: encoded once, shared by all of them.
#[derive(Clone, Debug)]
pub struct Event {
    /// Whose.
    pub project: ProjectId,
    /// What it is about; the key under which frames coarsen.
    pub resource: Arc<str>,
    /// One frame an id, or a single one for the whole resource, back to back.
    pub frames: Bytes,
    /// How many.
    pub count: u32,
}

#[derive(Serialize)]
struct CacheInvalidate<'a> {
    r#type: &'static str,
    resource: &'a str,
    action: &'static str,
    project_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    resource: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    action: &'static str,
    project_id: &'a str,
    timestamp: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<&'a Row>,
}

impl<'a> CacheInvalidate<'a> {
    /// Of the whole resource.
    fn new(resource: &'a str, action: Action, project: &'a ProjectId, timestamp: &'a str) -> Self {
        let (action, project_id) = (action.as_str(), project.as_str());
        let data = Data { resource, id: None, action, project_id, timestamp, row: None };
        Self { r#type: "cache_invalidate", resource, action, project_id, cursor: None, origin: None, data }
    }
}

impl Event {
    /// Encodes `change` for the sessions of `project`; `received_at` (RFC 3339) stands in for a missing timestamp.
    pub fn encode(change: &Invalidation, project: &ProjectId, cursor: Option<Cursor>, received_at: &str) -> Self {
        let cursor = cursor.map(|cursor| cursor.to_string());
        let timestamp = change.timestamp.as_deref().unwrap_or(received_at);
        let mut frame = CacheInvalidate::new(&change.resource, change.action, project, timestamp);
        (frame.cursor, frame.origin) = (cursor.as_deref(), change.origin.as_deref());
        let mut out = Vec::new();
        match &change.ids {
            None => append(&frame, &mut out),
            Some(ids) => ids.iter().enumerate().for_each(|(place, id)| {
                frame.data.id = Some(id);
                frame.data.row = change.rows.get(place).and_then(Option::as_ref);
                append(&frame, &mut out);
            }),
        }
        let count = change.ids.as_ref().map_or(1, |ids| u32::try_from(ids.len()).unwrap_or(u32::MAX));
        Self { project: project.clone(), resource: Arc::clone(&change.resource), frames: out.into(), count }
    }

    /// What this event becomes when there is no room for its rows: the whole resource, updated. It stands for the
    /// changes of several writers, so it has no origin.
    pub fn coarsened(project: &ProjectId, resource: &str, now: &str) -> Bytes {
        let mut out = Vec::new();
        append(&CacheInvalidate::new(resource, Action::Update, project, now), &mut out);
        out.into()
    }
}

fn append(frame: &impl Serialize, out: &mut Vec<u8>) {
    let json = serde_json::to_string(frame).expect("frames hold texts and numbers only, which always serialize");
    frame::text(&json, out);
}
