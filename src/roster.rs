//! Who is there and what they hear: the hub's state, behind its lock.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem::{replace, take};
use std::sync::Arc;

use crate::encoding::Encodings;
use crate::event::{ProjectId, Scope};
use crate::history::{Heard, History};
use crate::interest::{Interest, Selected};
use crate::outbox::Outbox;
use crate::protocol::Form;

/// Sessions, by themselves and by project.
#[derive(Debug)]
pub struct Roster {
    /// By the number that the hub gave them; in order, so that they can be gone through in portions.
    pub sessions: BTreeMap<u64, Session>,
    /// Those with a subscriber.
    pub projects: HashMap<ProjectId, Project>,
    /// Sessions of each subject.
    pub subjects: HashMap<Arc<str>, usize>,
    /// Sessions with a subject.
    pub identified: usize,
    /// What was published.
    pub history: History,
    /// The newest [`Project::round`].
    pub rounds: u64,
    /// Changes in all of [`Project::held`].
    pub kept: usize,
}

/// A session as the hub knows it.
#[derive(Debug)]
pub struct Session {
    /// Where its frames go.
    pub outbox: Arc<Outbox>,
    /// Whose it is.
    pub subject: Option<Arc<str>>,
    /// What it is subscribed to.
    pub projects: Vec<ProjectId>,
    /// The address asked for its project, and it has said nothing since.
    pub quiet: bool,
}

/// A project that somebody is subscribed to.
#[derive(Debug)]
pub struct Project {
    /// By the session's number.
    pub members: HashMap<u64, Member>,
    /// Another one after each change of membership: an answer to an older question is not the last.
    pub round: u64,
    /// Changes wait here while it is asked who may still see them.
    pub held: Option<Held>,
}

/// One session's subscription to one project.
#[derive(Clone, Debug)]
pub struct Member {
    /// Where its frames go.
    pub outbox: Arc<Outbox>,
    /// What of the project; `None` = all.
    pub interest: Option<Arc<Interest>>,
    /// How it is told.
    pub form: Form,
}

/// What was published to a project since its membership changed.
#[derive(Debug, Default)]
pub struct Held {
    /// With their numbers in the history.
    pub changes: Vec<(u64, Heard)>,
    /// There were too many to keep: those before this number are one `reconnect`.
    pub coarse_before: Option<u64>,
    /// Who came meanwhile, and the number of the first change that they have not been told.
    pub joined: HashMap<u64, u64>,
    /// Who was not told what others were, and may be a member again: a `reconnect`, if so.
    pub owed: HashSet<u64>,
}

impl Roster {
    /// Nobody is there.
    pub fn new(history: History) -> Self {
        let (projects, subjects) = (HashMap::new(), HashMap::new());
        Self { sessions: BTreeMap::new(), projects, subjects, identified: 0, history, rounds: 0, kept: 0 }
    }

    /// The projects of a scope that somebody is subscribed to.
    pub fn within(&self, scope: &Scope) -> Vec<ProjectId> {
        match scope {
            Scope::Project(project) => {
                self.projects.get_key_value(project).map(|(id, _)| id.clone()).into_iter().collect()
            }
            Scope::EveryProject => self.projects.keys().cloned().collect(),
        }
    }

    /// The project, made where nobody was subscribed to it.
    pub fn project(&mut self, project: &ProjectId) -> &mut Project {
        let rounds = &mut self.rounds;
        self.projects.entry(project.clone()).or_insert_with(|| {
            *rounds += 1;
            Project { members: HashMap::new(), round: *rounds, held: None }
        })
    }

    /// Holds back what follows for this project, if somebody is subscribed to it.
    pub fn hold(&mut self, project: &ProjectId) {
        if let Some(known) = self.projects.get_mut(project) {
            self.rounds += 1;
            known.round = self.rounds;
            known.held.get_or_insert_default();
        }
    }

    /// Takes a subscription away; false = there was none.
    pub fn unsubscribe(&mut self, id: u64, project: &ProjectId) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let Some(place) = session.projects.iter().position(|known| known == project) else { return false };
        session.projects.swap_remove(place);
        session.projects.shrink_to_fit();
        self.forget(id, project);
        true
    }

    /// Takes a session away, with its subscriptions. Tells how many there were.
    pub fn leave(&mut self, id: u64) -> usize {
        let Some(session) = self.sessions.remove(&id) else { return 0 };
        session.projects.iter().for_each(|project| self.forget(id, project));
        if let Some(subject) = session.subject {
            self.identified -= 1;
            if let Entry::Occupied(mut count) = self.subjects.entry(subject) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        session.projects.len()
    }

    fn forget(&mut self, id: u64, project: &ProjectId) {
        if let Entry::Occupied(mut known) = self.projects.entry(project.clone()) {
            known.get_mut().members.remove(&id);
            if known.get().members.is_empty() {
                self.kept -= known.remove().held.map_or(0, |held| held.len());
            }
        }
    }
}

impl Held {
    /// Changes kept.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was heard before the change with this number, and who is owed a `reconnect`; what came later stays.
    pub fn take_before(&mut self, number: u64) -> Self {
        let later = self.changes.split_off(self.changes.partition_point(|(place, _)| *place < number));
        Self {
            changes: replace(&mut self.changes, later),
            coarse_before: self.coarse_before.take_if(|before| *before <= number),
            joined: HashMap::new(),
            owed: take(&mut self.owed),
        }
    }

    /// Keeps a change, or forgets all of them where there is no `room`.
    pub fn keep(&mut self, number: u64, heard: &Heard, room: bool) {
        if room {
            self.changes.push((number, heard.clone()));
        } else {
            self.changes = Vec::new();
            self.coarse_before = Some(number + 1);
        }
    }
}

impl Member {
    /// Puts what it wants of a change into its outbox, from the id at place `from` on; true = flush it.
    pub fn tell(
        &self,
        heard: &Heard,
        from: usize,
        encodings: &mut Encodings<'_>,
        now: &str,
        spread: impl FnOnce() -> std::time::Duration,
    ) -> bool {
        let change = &heard.change;
        let wanted = self.interest.as_ref().map_or(Selected::All, |wanted| wanted.select(change, &encodings.columns));
        let wanted = match (wanted, &change.ids) {
            (Selected::All, Some(ids)) if from > 0 => Selected::Some((from..ids.len()).collect()),
            (Selected::Some(places), _) if from > 0 => {
                Selected::Some(places.into_iter().filter(|place| *place >= from).collect())
            }
            (wanted, _) => wanted,
        };
        // Of what it wants it may have heard all.
        let wanted = if wanted == Selected::Some(Vec::new()) { Selected::Nothing } else { wanted };
        let event = encodings.event(self.form, &wanted);
        event.is_some_and(|event| self.outbox.put(&event, now, spread))
    }
}
