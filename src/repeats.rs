//! Changes that are told again whenever transactions of their time have ended. A row that moves takes along what
//! reaches its project through it; a writer who looked the project up before the move was committed, and commits
//! after it, tells the project that the row has left.

use std::collections::BTreeSet;
use std::mem::take;
use std::sync::Arc;

use crate::event::{Invalidation, Scope};
use crate::writers::Writers;

/// Projects and resources to be told again; beyond that, everyone is told everything.
const KEPT_MAX: usize = 1000;
/// Fences; beyond that, what belongs to the oldest is told when anybody of the next has ended.
const FENCES_MAX: usize = 16;

/// What waits to be told again. Pure; the hub notes and tells, the heartbeat asks the database.
#[derive(Debug, Default)]
pub struct Repeats {
    /// Noted since the last fence was asked for.
    noted: Kept,
    /// Nobody knows what was to be noted.
    lost: bool,
    /// A fence was asked for.
    open: Option<Kept>,
    /// The older first, at most [`FENCES_MAX`].
    fenced: Vec<Fenced>,
}

#[derive(Debug)]
struct Fenced {
    /// Those of the fence who have not ended.
    writers: Writers,
    /// Since the fence was taken. Who ended between the change and the fence is not known.
    told: bool,
    kept: Kept,
}

/// Each resource and scope once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    changes: BTreeSet<(Scope, Arc<str>)>,
    /// More than can be kept.
    too_many: bool,
}

impl Repeats {
    /// Keeps a change, if it is one to be told again.
    pub fn note(&mut self, change: &Invalidation) {
        if change.again {
            self.noted.put((change.scope.clone(), Arc::clone(&change.resource)));
        }
    }

    /// Changes were not heard, and any of them may have been one to be told again.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// What is to be told, as some have ended who are not `writing` any more.
    pub fn due(&mut self, writing: &Writers) -> Kept {
        let mut due = Kept::default();
        for fenced in &mut self.fenced {
            if fenced.writers.forget_ended(writing) || !fenced.told {
                fenced.told = true;
                due.absorb(fenced.kept.clone());
            }
        }
        self.fenced.retain(|fenced| !fenced.writers.is_empty());
        self.fenced.dedup_by(|newer, older| {
            let same = newer.writers == older.writers;
            if same {
                older.kept.absorb(take(&mut newer.kept));
            }
            same
        });
        due
    }

    /// Whether a look at who is writing should be taken from now on and handed to [`Repeats::fence`]. What is noted in the
    /// meantime waits for the next one. Unless a table `follows_paths` to its project, nothing that was lost matters.
    pub fn wants_fence(&mut self, follows_paths: bool) -> bool {
        if self.open.is_none() {
            if take(&mut self.lost) && follows_paths {
                self.noted = Kept::everything();
            }
            self.open = Some(take(&mut self.noted)).filter(|kept| *kept != Kept::default());
        }
        self.open.is_some()
    }

    /// The connection is another: maybe to a server that counts its transactions anew. A later fence is always safe.
    pub fn unfence(&mut self) {
        for fenced in self.fenced.drain(..) {
            self.open.get_or_insert_default().absorb(fenced.kept);
        }
    }

    /// Notes who is writing.
    pub fn fence(&mut self, writers: Writers) {
        self.fenced.extend(self.open.take().map(|kept| Fenced { writers, told: false, kept }));
        if self.fenced.len() > FENCES_MAX {
            // whoever is left of it is among those of the next
            let oldest = self.fenced.remove(0).kept;
            self.fenced[0].kept.absorb(oldest);
        }
    }
}

impl Kept {
    fn everything() -> Self {
        Self { changes: BTreeSet::new(), too_many: true }
    }

    fn put(&mut self, change: (Scope, Arc<str>)) {
        if !self.too_many {
            self.changes.insert(change);
            if self.changes.len() > KEPT_MAX {
                *self = Self::everything();
            }
        }
    }

    fn absorb(&mut self, other: Self) {
        if other.too_many {
            *self = other;
        } else {
            other.changes.into_iter().for_each(|change| self.put(change));
        }
    }

    /// The changes as whole resources; `None` = everything of everyone.
    pub fn changes(self) -> Option<Vec<Invalidation>> {
        let change = |(scope, resource)| Invalidation::of_resource(resource, scope);
        (!self.too_many).then(|| self.changes.into_iter().map(change).collect())
    }
}
