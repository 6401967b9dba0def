//! A session's bounded inbox. Full means coarser: it never grows, never blocks, never loses a hint.

use std::collections::{HashSet, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::encoding::{self, Event};
use crate::event::ProjectId;
use crate::protocol::{Form, Reason, ServerFrame, Wire};

/// How much precision was given up to stay within the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coarsening {
    /// Rows became their resource.
    Resource = 1,
    /// All of a project became one `reconnect`.
    Project,
    /// All of every project became one `reconnect`.
    Everything,
}

impl Coarsening {
    /// From the least to the most.
    pub const ALL: [Self; 3] = [Self::Resource, Self::Project, Self::Everything];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Project => "project",
            Self::Everything => "everything",
        }
    }
}

#[derive(Debug)]
enum Item {
    Rows(Event),
    Resource { project: ProjectId, resource: Arc<str>, form: Form, frame: Bytes },
    Reconnect { project: Option<ProjectId>, frame: Bytes },
    Answer(Bytes),
}

impl Item {
    fn bytes(&self) -> &Bytes {
        match self {
            Self::Rows(event) => &event.frames,
            Self::Resource { frame, .. } | Self::Reconnect { frame, .. } | Self::Answer(frame) => frame,
        }
    }

    fn frames(&self) -> usize {
        if let Self::Rows(event) = self { event.count as usize } else { 1 }
    }

    fn is_answer(&self) -> bool {
        matches!(self, Self::Answer(_))
    }

    /// The project and resource that a change is about, and how it is told.
    fn subject(&self) -> Option<(&ProjectId, &Arc<str>, Form)> {
        match self {
            Self::Rows(event) => Some((&event.project, &event.resource, event.form)),
            Self::Resource { project, resource, form, .. } => Some((project, resource, *form)),
            Self::Reconnect { .. } | Self::Answer(_) => None,
        }
    }
}

/// What becomes coarser stands at the place of the first of what it stands for: a client that has read a frame with a
/// cursor, and resumes from there, was told of everything before it.
///
/// First in, first out, at most `frames_max` frames of changes (and the run of frames being sent).
/// Answers to the client's own requests are not counted here: the session stops reading while many are waiting.
#[derive(Debug)]
pub struct Mailbox {
    items: VecDeque<Item>,
    frames: usize,
    answers: usize,
    frames_max: usize,
    wire: Wire,
    /// Bytes of the first item that are on their way; such an item can't be changed any more.
    sent: usize,
}

impl Mailbox {
    /// An empty one; it allocates nothing until something is put in.
    pub fn new(frames_max: usize, wire: Wire) -> Self {
        Self { items: VecDeque::new(), frames: 0, answers: 0, frames_max, wire, sent: 0 }
    }

    /// Nothing to send.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Frames waiting.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Answers waiting.
    pub fn answers(&self) -> usize {
        self.answers
    }

    /// Puts a change in, and coarsens if there is no room. `now` (RFC 3339) stamps what is coarsened,
    /// `spread` is asked once where it becomes a `reconnect`.
    pub fn put(&mut self, event: &Event, now: &str, spread: impl FnOnce() -> Duration) -> Option<Coarsening> {
        if event.count == 0 {
            return None;
        }
        self.push(Item::Rows(event.clone()));
        if self.fits() {
            return None;
        }
        self.coarsen_to_resources(now);
        if self.fits() {
            return Some(Coarsening::Resource);
        }
        let spread = spread();
        self.coarsen_to_projects(spread);
        if self.fits() {
            return Some(Coarsening::Project);
        }
        self.reconnect(None, Reason::SlowConsumer, spread);
        Some(Coarsening::Everything)
    }

    /// Puts a `reconnect` in; it replaces what is waiting of that project (of all projects without one).
    pub fn reconnect(&mut self, project: Option<&ProjectId>, reason: Reason, spread: Duration) {
        let place = self.remove(project);
        let frame = ServerFrame::reconnect(project, reason, spread, self.wire);
        self.items.insert(place, Item::Reconnect { project: project.cloned(), frame });
        self.recount();
        if project.is_some() && !self.fits() {
            self.coarsen_to_projects(spread);
            if !self.fits() {
                self.reconnect(None, Reason::SlowConsumer, spread);
            }
        }
    }

    /// Puts an answer in, or a control frame.
    pub fn answer(&mut self, frame: Bytes) {
        self.push(Item::Answer(frame));
    }

    /// Puts `frame` in the place of all that waits of a project: no cursor behind it may promise that this was told.
    pub fn revoke(&mut self, project: &ProjectId, frame: Bytes) {
        let place = self.remove(Some(project));
        self.items.insert(place, Item::Answer(frame));
        self.recount();
    }

    /// Takes out all that waits of a project (of all projects without one); what is on its way stays. Tells where the
    /// first of it was; the end, where there was none.
    pub fn remove(&mut self, project: Option<&ProjectId>) -> usize {
        let (mut place, mut first) = (0, None);
        let pinned = self.pinned();
        self.items.retain(|item| {
            let about = match item {
                Item::Rows(event) => Some(&event.project),
                Item::Resource { project, .. } | Item::Reconnect { project: Some(project), .. } => Some(project),
                Item::Reconnect { project: None, .. } | Item::Answer(_) => None,
            };
            let reconnects_all = matches!(item, Item::Reconnect { project: None, .. });
            let meant = match project {
                Some(_) => about == project,
                None => about.is_some() || reconnects_all,
            };
            let goes = place >= pinned && meant;
            if goes {
                first.get_or_insert(place);
            }
            place += 1;
            !goes
        });
        self.recount();
        first.unwrap_or(self.items.len())
    }

    /// What to write next, for one vectored write; at most `slices.len()` pieces. Tells how many are filled.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, item) in slices.iter_mut().zip(&self.items) {
            let skip = if filled == 0 { self.sent } else { 0 };
            *slice = IoSlice::new(&item.bytes()[skip..]);
            filled += 1;
        }
        filled
    }

    /// `written` bytes have left.
    pub fn advance(&mut self, written: usize) {
        self.sent += written;
        while let Some(first) = self.items.front() {
            if self.sent < first.bytes().len() {
                return;
            }
            self.sent -= first.bytes().len();
            self.frames -= first.frames();
            self.answers -= usize::from(first.is_answer());
            self.items.pop_front();
        }
        // Ten thousand idle sessions keep no buffer.
        self.items = VecDeque::new();
    }

    fn push(&mut self, item: Item) {
        self.frames += item.frames();
        self.answers += usize::from(item.is_answer());
        self.items.push_back(item);
    }

    /// The run on its way has left the inbox in all but memory, so it does not count.
    fn fits(&self) -> bool {
        let on_its_way = self.items.iter().take(self.pinned()).filter(|item| !item.is_answer());
        self.frames - self.answers - on_its_way.map(Item::frames).sum::<usize>() <= self.frames_max
    }

    fn pinned(&self) -> usize {
        usize::from(self.sent > 0)
    }

    fn recount(&mut self) {
        self.frames = self.items.iter().map(Item::frames).sum();
        self.answers = self.items.iter().filter(|item| item.is_answer()).count();
    }

    /// One frame a resource, at the place of its first change.
    fn coarsen_to_resources(&mut self, now: &str) {
        let mut seen = HashSet::new();
        self.rewrite(|item| {
            let Some((project, resource, form)) = item.subject() else { return Some(item) };
            if !seen.insert((project.clone(), Arc::clone(resource))) {
                return None;
            }
            let frame = encoding::coarsened(project, resource, form, now);
            Some(Item::Resource { project: project.clone(), resource: Arc::clone(resource), form, frame })
        });
    }

    /// One `reconnect` a project, at the place of its first change.
    fn coarsen_to_projects(&mut self, spread: Duration) {
        let (mut seen, wire) = (HashSet::new(), self.wire);
        self.rewrite(|item| {
            let project = match &item {
                Item::Answer(_) | Item::Reconnect { project: None, .. } => return Some(item),
                Item::Rows(event) => &event.project,
                Item::Resource { project, .. } | Item::Reconnect { project: Some(project), .. } => project,
            };
            let project = seen.insert(project.clone()).then(|| project.clone())?;
            let frame = ServerFrame::reconnect(Some(&project), Reason::SlowConsumer, spread, wire);
            Some(Item::Reconnect { project: Some(project), frame })
        });
    }

    /// Offers every item that is not on its way yet to `keep`, the oldest first.
    fn rewrite(&mut self, keep: impl FnMut(Item) -> Option<Item>) {
        let waiting = self.items.split_off(self.pinned());
        self.items.extend(waiting.into_iter().filter_map(keep));
        self.recount();
    }
}
