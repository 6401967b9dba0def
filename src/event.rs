//! What changed: the one word that travels from Postgres to the sockets.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::resource::ResourceNames;
use crate::row::{Row, scalar};

/// Longest accepted project id and resource name, in bytes. A notification is under 8000 bytes anyway;
/// this keeps hub keys and metrics small whatever a hostile payload holds.
pub const NAME_BYTES_MAX: usize = 200;

/// Longest accepted origin, in bytes: a hundred characters, as the triggers cut it.
pub const ORIGIN_BYTES_MAX: usize = 400;

/// The scope that sessions subscribe to. Not empty, at most [`NAME_BYTES_MAX`] bytes, no control
/// characters, never `*`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectId(Arc<str>);

impl ProjectId {
    /// Checks `text` once, at the door. Errors with a sentence that may be shown to a client.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "" => Err("project_id is empty"),
            "*" => Err("project_id must name one project, not *"),
            _ if text.len() > NAME_BYTES_MAX => Err("project_id is longer than 200 bytes"),
            _ if text.chars().any(char::is_control) => Err("project_id has control characters"),
            _ => Ok(Self(text.into())),
        }
    }

    /// The id as it stands in payloads and frames.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whom a change concerns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The sessions of one project.
    Project(ProjectId),
    /// The sessions of every project: TRUNCATE, tables shared by all, rows without a project.
    EveryProject,
}

impl Scope {
    /// Whether the sessions of `project` are among them.
    pub fn concerns(&self, project: &ProjectId) -> bool {
        match self {
            Self::Project(of) => of == project,
            Self::EveryProject => true,
        }
    }
}

/// What was done to the rows; TRUNCATE travels as `Delete` without ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// Rows came.
    Insert,
    /// Rows changed, or moved between projects.
    Update,
    /// Rows went.
    Delete,
}

impl Action {
    /// The SQL keyword, as payloads and frames spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// One change event, parsed from a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalidation {
    /// The resource's name, already normalized.
    pub resource: Arc<str>,
    /// Who is told.
    pub scope: Scope,
    /// What was done.
    pub action: Action,
    /// The rows; `None` = the whole resource.
    pub ids: Option<Vec<String>>,
    /// The included columns of each of the `ids`, in their order, where they travelled: leaving them out is always
    /// allowed. Empty, or as long as `ids`.
    pub rows: Vec<Option<Row>>,
    /// The same before the change, where they differ.
    pub old_rows: Vec<Option<Row>>,
    /// As the payload gave it (RFC 3339 by convention); `None` = stamp it at receipt.
    pub timestamp: Option<String>,
    /// The writing transaction, where the payload names it.
    pub transaction: Option<u64>,
    /// Its id in the queue of the relay, where it came through that.
    pub ordinal: Option<u64>,
    /// What the writer called itself (`set local pgherald.origin`), so that a frontend can skip its own echo.
    pub origin: Option<String>,
    /// To be told again as the transactions of its time end (`repeats`).
    pub again: bool,
}

/// Why a payload could not be read. The text never repeats more than a field name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    /// Not a JSON object with the fields of `docs/protocol.md`, in their types.
    #[error("not a payload: {0}")]
    Json(String),
    /// Neither `resource` nor `table`, or one that is empty or too long.
    #[error("no usable resource or table name")]
    Resource,
    /// No `project_id`, or one that [`ProjectId::parse`] refuses.
    #[error("no usable project_id: {0}")]
    Project(&'static str),
    /// An id that is neither a string nor a number.
    #[error("an id is neither a string nor a number")]
    Id,
}

#[derive(Deserialize)]
struct Payload<'a> {
    resource: Option<String>,
    table: Option<String>,
    action: Action,
    // Twice an option: absent is malformed, null is "a row of no project".
    #[serde(default, borrow, deserialize_with = "present")]
    project_id: Option<Option<&'a RawValue>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    ids: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    rows: Option<&'a RawValue>,
    #[serde(borrow)]
    old_rows: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    cursor: Option<&'a RawValue>,
    #[serde(borrow)]
    ordinal: Option<&'a RawValue>,
    #[serde(borrow)]
    origin: Option<&'a RawValue>,
    #[serde(borrow)]
    again: Option<&'a RawValue>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<&'de RawValue>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl Invalidation {
    /// The whole of a resource, updated, by nobody in particular.
    pub fn of_resource(resource: Arc<str>, scope: Scope) -> Self {
        let (rows, old_rows) = (Vec::new(), Vec::new());
        let (timestamp, transaction, ordinal, origin) = (None, None, None, None);
        Self {
            resource,
            scope,
            action: Action::Update,
            ids: None,
            rows,
            old_rows,
            timestamp,
            transaction,
            ordinal,
            origin,
            again: false,
        }
    }

    /// Reads a notification's payload, in both spellings: what our triggers send and what teams send by hand
    /// (`docs/protocol.md`). Any role may NOTIFY, so nothing in it is trusted: unknown fields are ignored, a
    /// missing id or an empty list means the whole resource, a null project means every project.
    pub fn parse(payload: &str, names: &ResourceNames) -> Result<Self, Malformed> {
        // serde reads a struct from an array too.
        if !payload.trim_start().starts_with('{') {
            return Err(Malformed::Json("no object".into()));
        }
        let raw: Payload<'_> = serde_json::from_str(payload).map_err(|error| Malformed::Json(place(&error)))?;
        let resource = match (&raw.resource, &raw.table) {
            (Some(label), _) if usable(label) => label.as_str().into(),
            (None, Some(table)) if usable(table) => names.of_table(table),
            _ => return Err(Malformed::Resource),
        };
        let project = match raw.project_id {
            None => return Err(Malformed::Project("it is missing")),
            Some(None) => None,
            Some(Some(value)) => Some(scalar(value).ok_or(Malformed::Project("neither a string nor a number"))?),
        };
        let mut ids = match (raw.ids, raw.id) {
            (Some(ids), _) => ids.into_iter().map(scalar).collect::<Option<Vec<_>>>().ok_or(Malformed::Id)?,
            (None, Some(id)) => vec![scalar(id).ok_or(Malformed::Id)?],
            (None, None) => Vec::new(),
        };
        let rows = raw.rows.map(Row::list).unwrap_or_default();
        let old_rows = raw.old_rows.map(Row::list).unwrap_or_default();
        let scope = match project.as_deref() {
            Some("*") => Scope::EveryProject,
            Some(project) => Scope::Project(ProjectId::parse(project).map_err(Malformed::Project)?),
            None => {
                // A row of no project is nobody's own: all are told, none learns which row.
                ids.clear();
                Scope::EveryProject
            }
        };
        let whole = |rows: Vec<Option<Row>>| if rows.len() == ids.len() { rows } else { Vec::new() };
        let (rows, old_rows) = (whole(rows), whole(old_rows));
        Ok(Self {
            resource,
            scope,
            action: raw.action,
            ids: (!ids.is_empty()).then_some(ids),
            rows,
            old_rows,
            timestamp: raw.timestamp.and_then(scalar).filter(|text| usable(text)),
            origin: raw.origin.and_then(scalar).filter(|text| !text.is_empty() && text.len() <= ORIGIN_BYTES_MAX),
            transaction: raw.cursor.and_then(scalar).and_then(|text| text.split('.').next()?.parse().ok()),
            ordinal: raw.ordinal.and_then(|value| value.get().parse().ok()),
            again: raw.again.is_some_and(|value| value.get() == "true"),
        })
    }
}

fn usable(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

/// serde's message quotes values; only the position is safe to log.
fn place(error: &serde_json::Error) -> String {
    format!("{:?} error at column {}", error.classify(), error.column()).to_lowercase()
}
