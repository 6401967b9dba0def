//! The included columns of changed rows, where they travelled.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

/// A JSON object, passed on as the database wrote it.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Row(Box<RawValue>);

/// The columns of a row by name.
pub type Named<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

impl Row {
    /// A list of objects and nulls. What is none is as good as left out.
    pub fn list(value: &RawValue) -> Vec<Option<Self>> {
        let rows: Vec<Option<&RawValue>> = serde_json::from_str(value.get()).unwrap_or_default();
        let object = |row: &RawValue| row.get().starts_with('{').then(|| Self(row.to_owned()));
        rows.into_iter().map(|row| row.and_then(object)).collect()
    }

    /// Its columns. Of two with one name, the last.
    pub fn columns(&self) -> Named<'_> {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for Row {}

/// The rows of a change, read once, when the first filter asks.
pub struct Columns<'a> {
    rows: &'a [Option<Row>],
    old_rows: &'a [Option<Row>],
    read: OnceCell<Vec<Option<Named<'a>>>>,
    old_read: OnceCell<Vec<Option<Named<'a>>>>,
}

impl<'a> Columns<'a> {
    /// Those of a change.
    pub fn new(rows: &'a [Option<Row>], old_rows: &'a [Option<Row>]) -> Self {
        Self { rows, old_rows, read: OnceCell::new(), old_read: OnceCell::new() }
    }

    /// Of the row at this place of its ids, after the change (before it, where it was deleted).
    pub fn of(&self, place: usize) -> Option<&Named<'a>> {
        self.read.get_or_init(|| read(self.rows)).get(place)?.as_ref()
    }

    /// Before the change, where that differs.
    pub fn before(&self, place: usize) -> Option<&Named<'a>> {
        self.old_read.get_or_init(|| read(self.old_rows)).get(place)?.as_ref()
    }
}

fn read(rows: &[Option<Row>]) -> Vec<Option<Named<'_>>> {
    rows.iter().map(|row| row.as_ref().map(Row::columns)).collect()
}

/// Whether a column's JSON reads as `wanted` (`None` = null): as a text, or as a number of the same value. What is no
/// scalar may be anything.
pub fn reads_as(column: &RawValue, wanted: Option<&str>) -> bool {
    let found = match column.get() {
        "null" => return wanted.is_none(),
        truth @ ("true" | "false") => Some(truth.to_owned()),
        _ => scalar(column),
    };
    let Some(found) = found else { return true };
    wanted.is_some_and(|wanted| found == wanted || same_number(&found, wanted))
}

/// Whole numbers are compared exactly, others nearly: a hint may be wide.
fn same_number(one: &str, other: &str) -> bool {
    let whole = |text: &str| text.parse::<i128>().ok();
    let float = |text: &str| text.parse::<f64>().ok();
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one == other,
        _ => float(one).is_some() && float(one) == float(other),
    }
}

/// The text of a JSON string, or of a number as it was written (a bigint beyond 2^53 keeps its digits).
pub fn scalar(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str(value.get()).ok(),
        b'-' | b'0'..=b'9' => Some(value.get().to_owned()),
        _ => None,
    }
}
