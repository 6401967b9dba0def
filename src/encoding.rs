//! Changes as their subscribers hear them: two formats, a frame a row or one for all, over WebSocket or as
//! server-sent events. Each form is encoded once and shared by all who want it.

use std::sync::Arc;

use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::cursor::Cursor;
use crate::event::{Action, Invalidation, ProjectId};
use crate::interest::Selected;
use crate::protocol::{Form, Format, append};
use crate::row::{Columns, Row};

/// What one subscriber hears of a change.
#[derive(Clone, Debug)]
pub struct Event {
    /// Whose.
    pub project: ProjectId,
    /// What it is about; the key under which frames coarsen.
    pub resource: Arc<str>,
    /// How it is written.
    pub form: Form,
    /// One frame an id, or a single one, back to back.
    pub frames: Bytes,
    /// How many.
    pub count: u32,
}

/// A change on its way to the sessions of one project.
pub struct Encodings<'a> {
    change: &'a Invalidation,
    project: &'a ProjectId,
    cursor: Option<Cursor>,
    timestamp: &'a str,
    /// The included columns, for filters.
    pub columns: Columns<'a>,
    /// Whole, by form.
    made: Vec<Made>,
}

struct Made {
    event: Event,
    /// Where each frame ends.
    ends: Vec<usize>,
}

impl<'a> Encodings<'a> {
    /// Encodes nothing yet. `received_at` (RFC 3339) stands in for a missing timestamp.
    pub fn new(change: &'a Invalidation, project: &'a ProjectId, cursor: Option<Cursor>, received_at: &'a str) -> Self {
        let timestamp = change.timestamp.as_deref().unwrap_or(received_at);
        let columns = Columns::new(&change.rows, &change.old_rows);
        Self { change, project, cursor, timestamp, columns, made: Vec::new() }
    }

    /// All of it, or what is selected of it; `None` where that is nothing.
    pub fn event(&mut self, form: Form, selected: &Selected) -> Option<Event> {
        let places = match selected {
            Selected::Nothing => return None,
            Selected::All => return Some(self.whole(form).event.clone()),
            Selected::Some(places) => places,
        };
        if form.batch {
            return Some(self.encode(form, places).event);
        }
        let whole = self.whole(form);
        let mut frames = Vec::new();
        for place in places {
            let begin = if *place == 0 { 0 } else { whole.ends[*place - 1] };
            frames.extend_from_slice(&whole.event.frames[begin..whole.ends[*place]]);
        }
        Some(Event { frames: frames.into(), count: count(places.len()), ..whole.event.clone() })
    }

    fn whole(&mut self, form: Form) -> &Made {
        let at = self.made.iter().position(|made| made.event.form == form).unwrap_or_else(|| {
            let all: Vec<usize> = (0..self.change.ids.as_ref().map_or(0, Vec::len)).collect();
            self.made.push(self.encode(form, &all));
            self.made.len() - 1
        });
        &self.made[at]
    }

    fn encode(&self, form: Form, places: &[usize]) -> Made {
        let (change, mut out, mut ends) = (self.change, Vec::new(), Vec::new());
        let mut frame = |covers: Covers<'_>, last: usize| {
            // A cursor says that everything up to it was told.
            let cursor = self.cursor.map(|cursor| cursor.at(last).to_string());
            let told =
                Told { change, project: self.project, cursor: cursor.as_deref(), timestamp: self.timestamp, covers };
            told.append(form, &mut out);
            ends.push(out.len());
        };
        let (rows, all) = (&change.rows, change.ids.as_ref().map_or(0, |ids| ids.len() - 1));
        let row = |place: usize| rows.get(place).and_then(Option::as_ref);
        match &change.ids {
            // Of many rows that were made one resource, it covers all.
            None => frame(Covers::Resource, self.cursor.map_or(0, |cursor| cursor.place as usize)),
            Some(ids) if form.batch => {
                let chosen = places.iter().map(|place| (ids[*place].as_str(), row(*place))).collect();
                frame(Covers::Rows(chosen), all);
            }
            Some(ids) => places.iter().for_each(|place| frame(Covers::Row(&ids[*place], row(*place)), *place)),
        }
        let (project, resource) = (self.project.clone(), Arc::clone(&change.resource));
        Made { event: Event { project, resource, form, frames: out.into(), count: count(ends.len()) }, ends }
    }
}

fn count(frames: usize) -> u32 {
    u32::try_from(frames).unwrap_or(u32::MAX)
}

/// What an event becomes when there is no room for its rows: the whole resource, updated. It stands for the changes of
/// several writers, so it has no origin; and for several places in the history, so it has no cursor.
pub fn coarsened(project: &ProjectId, resource: &Arc<str>, form: Form, now: &str) -> Bytes {
    let scope = crate::event::Scope::Project(project.clone());
    let change = Invalidation::of_resource(Arc::clone(resource), scope);
    let mut out = Vec::new();
    Told { change: &change, project, cursor: None, timestamp: now, covers: Covers::Resource }.append(form, &mut out);
    out.into()
}

/// What one frame names.
enum Covers<'a> {
    Resource,
    Row(&'a str, Option<&'a Row>),
    Rows(Vec<(&'a str, Option<&'a Row>)>),
}

struct Told<'a> {
    change: &'a Invalidation,
    project: &'a ProjectId,
    cursor: Option<&'a str>,
    timestamp: &'a str,
    covers: Covers<'a>,
}

impl Told<'_> {
    fn append(&self, form: Form, out: &mut Vec<u8>) {
        match form.format {
            Format::CacheInvalidate => append(&self.cache_invalidate(), self.cursor, form.wire, out),
            Format::ResourceChange => append(&self.resource_change(), self.cursor, form.wire, out),
        }
    }

    fn cache_invalidate(&self) -> CacheInvalidate<'_> {
        let (resource, action, project_id) =
            (&*self.change.resource, self.change.action.as_str(), self.project.as_str());
        let mut data = Data {
            resource,
            id: None,
            ids: None,
            action,
            project_id,
            timestamp: self.timestamp,
            row: None,
            rows: None,
        };
        match &self.covers {
            Covers::Resource => {}
            Covers::Row(id, row) => (data.id, data.row) = (Some(*id), *row),
            Covers::Rows(rows) => {
                data.ids = Some(rows.iter().map(|(id, _)| *id).collect());
                let any = rows.iter().any(|(_, row)| row.is_some());
                data.rows = any.then(|| rows.iter().map(|(_, row)| *row).collect());
            }
        }
        let (cursor, origin) = (self.cursor, self.change.origin.as_deref());
        CacheInvalidate { r#type: "cache_invalidate", resource, action, project_id, cursor, origin, data }
    }

    fn resource_change(&self) -> ResourceChange<'_> {
        let event = match self.change.action {
            Action::Insert => "created",
            Action::Update => "updated",
            Action::Delete => "deleted",
        };
        let (resource, resources) = match &self.covers {
            Covers::Resource => (Some(Resource(None, None)), None),
            Covers::Row(id, row) => (Some(Resource(Some(id), *row)), None),
            Covers::Rows(rows) => (None, Some(rows.iter().map(|(id, row)| Resource(Some(id), *row)).collect())),
        };
        ResourceChange {
            r#type: "resource_change",
            event,
            resource_type: &self.change.resource,
            resource,
            resources,
            project_id: self.project.as_str(),
            cursor: self.cursor,
            origin: self.change.origin.as_deref(),
            timestamp: self.timestamp,
        }
    }
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
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<Vec<&'a str>>,
    action: &'static str,
    project_id: &'a str,
    timestamp: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<&'a Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<Vec<Option<&'a Row>>>,
}

#[derive(Serialize)]
struct ResourceChange<'a> {
    r#type: &'static str,
    event: &'static str,
    resource_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<Resource<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Vec<Resource<'a>>>,
    project_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    timestamp: &'a str,
}

/// Its id (null = any) and included columns, side by side; a column named id is not the key's text, so it stays out.
struct Resource<'a>(Option<&'a str>, Option<&'a Row>);

impl Serialize for Resource<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.0)?;
        if let Some(row) = self.1 {
            for (name, value) in row.columns().iter().filter(|(name, _)| *name != "id") {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}
