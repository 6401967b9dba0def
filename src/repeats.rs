//! Changes that are told again when every transaction of their time has ended. A row that moves takes along what
//! reaches its project through it; a writer who looked the project up before the move was committed, and commits
//! after it, tells the project that the row has left.

use std::collections::BTreeSet;
use std::mem::take;
use std::sync::Arc;

use crate::event::{Invalidation, Scope};

/// Projects and resources to be told again; beyond that, everyone is told everything.
const KEPT_MAX: usize = 1000;

/// What waits to be told again. Pure; the hub notes and tells, the heartbeat asks the database.
#[derive(Debug, Default)]
pub struct Repeats {
    /// Noted since the last fence was asked for.
    noted: Kept,
    /// Nobody knows what was to be noted.
    lost: bool,
    fenced: Option<Fenced>,
}

#[derive(Debug)]
struct Fenced {
    /// Due when no transaction up to this id is running. Still to be taken at first, and where the connection broke.
    transaction: Option<u64>,
    kept: Kept,
}

/// Each resource and scope once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kept {
    changes: BTreeSet<(Scope, Arc<str>)>,
    /// More than can be kept.
    too_many: bool,
}

impl Repeats {
    /// Keeps a change, if it is one to be told again.
    pub fn note(&mut self, change: &Invalidation) {
        if change.again && !self.noted.too_many {
            self.noted.changes.insert((change.scope.clone(), Arc::clone(&change.resource)));
            if self.noted.changes.len() > KEPT_MAX {
                self.noted = Kept { changes: BTreeSet::new(), too_many: true };
            }
        }
    }

    /// Changes were not heard, and any of them may have been one to be told again.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// What is to be told now that `oldest_running` is the oldest transaction.
    pub fn due(&mut self, oldest_running: u64) -> Kept {
        let passed = |fenced: &mut Fenced| fenced.transaction.is_some_and(|fence| oldest_running > fence);
        self.fenced.take_if(passed).map_or_else(Kept::default, |fenced| fenced.kept)
    }

    /// Whether a transaction id should be taken from now on and handed to [`Repeats::fence`]. What is noted in the
    /// meantime waits for the next one. Unless a table `follows_paths` to its project, nothing that was lost matters.
    pub fn wants_fence(&mut self, follows_paths: bool) -> bool {
        if self.fenced.is_none() && take(&mut self.lost) && follows_paths {
            self.noted = Kept { changes: BTreeSet::new(), too_many: true };
        }
        if self.fenced.is_none() && self.noted != Kept::default() {
            self.fenced = Some(Fenced { transaction: None, kept: take(&mut self.noted) });
        }
        self.fenced.as_ref().is_some_and(|fenced| fenced.transaction.is_none())
    }

    /// The connection is another: maybe to a server that counts its transactions anew. A later fence is always safe.
    pub fn unfence(&mut self) {
        if let Some(fenced) = &mut self.fenced {
            fenced.transaction = None;
        }
    }

    /// Notes the transaction id.
    pub fn fence(&mut self, transaction: u64) {
        if let Some(fenced) = &mut self.fenced {
            fenced.transaction.get_or_insert(transaction);
        }
    }
}

impl Kept {
    /// The changes as whole resources; `None` = everything of everyone.
    pub fn changes(self) -> Option<Vec<Invalidation>> {
        let change = |(scope, resource)| Invalidation::of_resource(resource, scope);
        (!self.too_many).then(|| self.changes.into_iter().map(change).collect())
    }
}
