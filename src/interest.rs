//! What a subscription asks for within its project: topics, and a filter on included columns.

use std::sync::Arc;

use serde_json::Value;

use crate::event::{Invalidation, NAME_BYTES_MAX};
use crate::row::{Columns, Named, reads_as};

/// Topics of one subscription.
pub const TOPICS_MAX: usize = 100;
/// Columns of one filter.
pub const FILTER_COLUMNS_MAX: usize = 20;

/// A resource, or one row of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    resource: Arc<str>,
    /// `None` = every row.
    id: Option<Box<str>>,
}

/// Which changes of a project a subscription is told of. A hint may be wide: what can't be decided is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Any of these; none = all of the project.
    topics: Vec<Topic>,
    /// All of these columns have these values (as texts; `None` = null).
    filter: Vec<(Box<str>, Option<Box<str>>)>,
}

/// What of a change an interest selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// Nothing.
    Nothing,
    /// All of it.
    All,
    /// The ids at these places, in their order; some, not all.
    Some(Vec<usize>),
}

impl Interest {
    /// Checks the `topics` and the `filter` of a request. Errors with the code of protocol's `error` and a sentence that
    /// names what is wrong.
    pub fn parse(topics: &[String], filter: Option<&Value>) -> Result<Self, (&'static str, String)> {
        if topics.len() > TOPICS_MAX {
            return Err(("bad_topic", format!("more than {TOPICS_MAX} topics: subscribe to whole resources (task:*)")));
        }
        let mut interest = Self::default();
        let mut all = topics.is_empty();
        for text in topics {
            match Topic::parse(text) {
                Ok(Some(topic)) => interest.topics.push(topic),
                Ok(None) => all = true,
                Err(why) => {
                    let start: String = text.chars().take(40).collect();
                    return Err(("bad_topic", format!("topic {start:?} {why}: use *, task:* or task:42")));
                }
            }
        }
        if all {
            interest.topics.clear();
        }
        match filter {
            None | Some(Value::Null) => {}
            Some(Value::Object(columns)) if columns.len() <= FILTER_COLUMNS_MAX => {
                for (column, value) in columns {
                    let value = match value {
                        Value::Null => None,
                        Value::String(text) => Some(text.as_str().into()),
                        Value::Number(number) => Some(number.to_string().into()),
                        Value::Bool(truth) => Some(truth.to_string().into()),
                        Value::Array(_) | Value::Object(_) => {
                            let start: String = column.chars().take(40).collect();
                            let why = "is compared with a text, a number, a boolean or null only";
                            return Err(("bad_filter", format!("column {start:?} of the filter {why}")));
                        }
                    };
                    interest.filter.push((column.as_str().into(), value));
                }
            }
            Some(Value::Object(_)) => {
                return Err(("bad_filter", format!("the filter has more than {FILTER_COLUMNS_MAX} columns")));
            }
            Some(_) => return Err(("bad_filter", "the filter must be an object: {\"parent_id\": \"9\"}".into())),
        }
        Ok(interest)
    }

    /// Wants all of the project.
    pub fn is_all(&self) -> bool {
        self.topics.is_empty() && self.filter.is_empty()
    }

    /// Which rows of `change` it wants; `columns` are those of the same change. A change without ids may be about any
    /// row of its resource.
    pub fn select(&self, change: &Invalidation, columns: &Columns<'_>) -> Selected {
        if self.is_all() {
            return Selected::All;
        }
        if !self.topics.is_empty() && !self.topics.iter().any(|topic| topic.resource == change.resource) {
            return Selected::Nothing;
        }
        let Some(ids) = &change.ids else { return Selected::All };
        let wanted: Vec<usize> =
            (0..ids.len()).filter(|place| self.wants(change, &ids[*place], *place, columns)).collect();
        match wanted.len() {
            0 => Selected::Nothing,
            all if all == ids.len() => Selected::All,
            _ => Selected::Some(wanted),
        }
    }

    fn wants(&self, change: &Invalidation, id: &str, place: usize, columns: &Columns<'_>) -> bool {
        let topic =
            |topic: &Topic| topic.resource == change.resource && topic.id.as_deref().is_none_or(|known| known == id);
        // A column that did not travel says nothing.
        let fits = |row: &Named<'_>| {
            self.filter
                .iter()
                .all(|(column, wanted)| row.get(&**column).is_none_or(|value| reads_as(value, wanted.as_deref())))
        };
        // A row that leaves the filter's values is told, too: the client shows it still.
        let row = || match (columns.of(place), columns.before(place)) {
            (None, _) => true,
            (Some(row), before) => fits(row) || before.is_some_and(fits),
        };
        (self.topics.is_empty() || self.topics.iter().any(topic)) && (self.filter.is_empty() || row())
    }
}

impl Topic {
    /// `task:*`, `task:42`; `*` is `None`.
    fn parse(text: &str) -> Result<Option<Self>, &'static str> {
        if text == "*" {
            return Ok(None);
        }
        let (resource, id) = text.split_once(':').ok_or("names no rows")?;
        if resource.is_empty() || resource == "*" || id.is_empty() {
            return Err("names no resource or no row");
        }
        if resource.len() > NAME_BYTES_MAX || id.len() > 1000 || text.chars().any(char::is_control) {
            return Err("is too long, or has control characters");
        }
        Ok(Some(Self { resource: resource.into(), id: (id != "*").then(|| id.into()) }))
    }
}
