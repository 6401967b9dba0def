//! The newest changes, so that a client that was away hears what it missed and no more. Bounded by number, bytes and
//! age: what has gone is a gap, and a gap is told.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cursor::Cursor;
use crate::event::{Invalidation, ProjectId, Scope};

/// What an entry costs beside its payload.
const ENTRY_BYTES: usize = 300;

/// A change and the place it came from.
#[derive(Clone, Debug)]
pub struct Heard {
    /// What changed.
    pub change: Arc<Invalidation>,
    /// Where the payload named its transaction.
    pub cursor: Option<Cursor>,
    /// Bytes of its payload.
    pub bytes: usize,
    /// Told once more by this daemon at a moment of its own: whoever comes from another daemon may not have heard it.
    pub repeated: bool,
}

impl Heard {
    /// The cursor of someone who has heard all of it.
    pub fn end(&self) -> Option<Cursor> {
        self.cursor.map(|cursor| cursor.at(self.change.ids.as_ref().map_or(0, |ids| ids.len() - 1)))
    }
}

/// A bounded ring of changes in the order in which they were published.
#[derive(Debug)]
pub struct History {
    entries: VecDeque<(Instant, Heard)>,
    /// How many have ever gone; the number of the first entry.
    gone: u64,
    /// Transaction and ordinal -> the number of the entry. Of two, the older: who comes back hears more, not less.
    places: HashMap<(u64, u64), u64>,
    /// Where members may have changed: the number of the change that says so. Who was away then may have missed what was
    /// not for them.
    walls: VecDeque<(u64, Scope)>,
    bytes: usize,
    /// The newest cursor and the number of its entry.
    newest: Option<(Cursor, u64)>,
    /// Nobody who has heard a change of before then can be sure of having been told of a loss.
    doubted_until: Option<Instant>,
    events_max: usize,
    bytes_max: usize,
    age_max: Duration,
}

impl History {
    /// An empty one with these bounds.
    pub fn new(events_max: usize, bytes_max: usize, age_max: Duration) -> Self {
        let (entries, places, walls) = (VecDeque::new(), HashMap::new(), VecDeque::new());
        let (bytes, newest, doubted_until) = (0, None, None);
        Self { entries, gone: 0, places, walls, bytes, newest, doubted_until, events_max, bytes_max, age_max }
    }

    /// Takes a change in. Returns its number; numbers only grow.
    pub fn push(&mut self, heard: Heard, now: Instant) -> u64 {
        let number = self.next();
        if let Some(cursor) = heard.cursor {
            self.places.entry((cursor.transaction, cursor.ordinal)).or_insert(number);
        }
        self.newest = heard.end().map(|end| (end, number)).or(self.newest);
        self.bytes += heard.bytes + ENTRY_BYTES;
        self.entries.push_back((now, heard));
        self.expire(now);
        number
    }

    /// The number of the next change.
    pub fn next(&self) -> u64 {
        self.gone + self.entries.len() as u64
    }

    /// The next change says that the members of these projects may have changed.
    pub fn wall(&mut self, scope: &Scope) {
        let next = self.next();
        match self.walls.back_mut() {
            // the newest is all that counts
            Some((number, last)) if last == scope => *number = next,
            _ => self.walls.push_back((next, scope.clone())),
        }
    }

    /// Whether the members of `project` may have changed since someone heard everything up to `cursor`.
    pub fn is_walled(&self, cursor: Cursor, project: &ProjectId) -> bool {
        let found = self.places.get(&(cursor.transaction, cursor.ordinal));
        let between =
            |(number, scope): &(u64, Scope)| scope.concerns(project) && found.is_some_and(|found| number > found);
        self.walls.iter().any(between)
    }

    /// Forgets all: something may have been missed.
    pub fn clear(&mut self) {
        self.gone = self.next();
        self.entries = VecDeque::new();
        self.places = HashMap::new();
        self.walls = VecDeque::new();
        self.bytes = 0;
    }

    /// Forgets all, and finds nobody who has got no further than then: a loss was told here, and another daemon, whose
    /// clients may come, has yet to notice it.
    pub fn doubt(&mut self, until: Instant) {
        self.clear();
        self.doubted_until = Some(until);
    }

    /// The cursor of someone who has heard all there is.
    pub fn newest(&self) -> Option<Cursor> {
        self.newest.filter(|(_, number)| *number >= self.gone).map(|(cursor, _)| cursor)
    }

    /// What someone has missed of `project` who has heard everything up to `cursor`, and from which of its ids on;
    /// `None` = unknown.
    pub fn since(&mut self, cursor: Cursor, now: Instant, project: &ProjectId) -> Option<Vec<(Heard, usize)>> {
        self.expire(now);
        let found = *self.places.get(&(cursor.transaction, cursor.ordinal))?;
        let (heard_at, _) = self.entries.get(usize::try_from(found - self.gone).ok()?)?;
        if self.doubted_until.is_some_and(|until| *heard_at < until) {
            return None;
        }
        let numbered = (self.gone..).zip(&self.entries);
        let missed = numbered.filter(|(_, (_, heard))| heard.change.scope.concerns(project)).filter_map(
            |(number, (_, heard))| {
                let ids = heard.change.ids.as_ref().map_or(1, Vec::len);
                let from = match number.cmp(&found) {
                    std::cmp::Ordering::Less if heard.repeated => 0,
                    std::cmp::Ordering::Less => return None,
                    std::cmp::Ordering::Equal => (cursor.place as usize).saturating_add(1),
                    std::cmp::Ordering::Greater => 0,
                };
                (from < ids).then(|| (heard.clone(), from))
            },
        );
        Some(missed.collect())
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, _)) = self.entries.front() {
            let over = self.entries.len() > self.events_max || self.bytes > self.bytes_max;
            if !over && now.saturating_duration_since(*at) <= self.age_max {
                return;
            }
            let Some((_, heard)) = self.entries.pop_front() else { return };
            self.bytes -= heard.bytes + ENTRY_BYTES;
            if let Some(Cursor { transaction, ordinal, .. }) = heard.cursor
                && self.places.get(&(transaction, ordinal)) == Some(&self.gone)
            {
                self.places.remove(&(transaction, ordinal));
            }
            self.gone += 1;
            // Whoever is found has heard the first entry at least.
            while self.walls.front().is_some_and(|(number, _)| *number <= self.gone) {
                self.walls.pop_front();
            }
        }
    }
}
