//! The registry project -> sessions, and the fan-out of what the listener hears.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};

use crate::config::Limits;
use crate::event::{Cursor, Invalidation, ProjectId, Scope};
use crate::metrics as m;
use crate::outbox::Outbox;
use crate::protocol::{Event, Reason};
use crate::repeats::Repeats;

type Members = HashMap<u64, Arc<Outbox>>;

/// Who is there. Only the listener publishes, so every session hears in commit order.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    next_id: AtomicU64,
    sessions_max: usize,
    per_subject_max: usize,
    unauthenticated_max: usize,
    subscriptions_max: usize,
    mailbox_frames: usize,
    spread: Duration,
    repeats: Mutex<Repeats>,
}

#[derive(Debug, Default)]
struct State {
    everyone: Members,
    projects: HashMap<ProjectId, Members>,
    subjects: HashMap<Arc<str>, usize>,
    identified: usize,
}

/// A change and the place it came from.
#[derive(Debug)]
pub struct Heard {
    /// What changed.
    pub change: Invalidation,
    /// Where the payload named its transaction.
    pub cursor: Option<Cursor>,
}

/// A bound that was met; the text may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// `limits.sessions`, or that of unauthenticated ones.
    #[error("this daemon has no room for more sessions: come back later")]
    Sessions,
    /// `limits.sessions_per_subject`.
    #[error("this subject has too many sessions: close one")]
    Subject,
    /// `limits.subscriptions_per_session`.
    #[error("this session has too many subscriptions: unsubscribe from one")]
    Subscriptions,
}

impl Hub {
    /// An empty one with the bounds of `limits`.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            next_id: AtomicU64::new(1),
            sessions_max: limits.sessions,
            per_subject_max: limits.sessions_per_subject,
            unauthenticated_max: limits.sessions_unauthenticated,
            subscriptions_max: limits.subscriptions_per_session,
            mailbox_frames: limits.mailbox_frames,
            spread: limits.reconnect_spread,
            repeats: Mutex::default(),
        })
    }

    /// Takes a session in, with its outbox, until the membership is dropped. Without a subject it counts
    /// against the unauthenticated ones.
    pub fn join(self: &Arc<Self>, subject: Option<&Arc<str>>) -> Result<Membership, Full> {
        let mut state = self.lock();
        if state.everyone.len() >= self.sessions_max {
            return Err(Full::Sessions);
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        match subject {
            Some(subject) => self.admit(&mut state, subject)?,
            None => {
                if state.everyone.len() - state.identified >= self.unauthenticated_max {
                    return Err(Full::Sessions);
                }
            }
        }
        let outbox = Arc::new(Outbox::new(self.mailbox_frames));
        state.everyone.insert(id, Arc::clone(&outbox));
        drop(state);
        gauge!(m::SESSIONS).increment(1);
        Ok(Membership { hub: Arc::clone(self), id, subject: subject.cloned(), outbox, projects: Vec::new() })
    }

    /// Tells each change to every session of its project: encoded once, then one write a session for all of `batch`,
    /// or for as much of it as fits into an empty mailbox: who reads in time is told in detail.
    pub fn publish(&self, mut batch: &[Heard], received: Instant) {
        batch.iter().for_each(|heard| lock(&self.repeats).note(&heard.change));
        let now = humantime::format_rfc3339_micros(std::time::SystemTime::now()).to_string();
        while !batch.is_empty() {
            let (fitting, rest) = batch.split_at(self.fitting(batch));
            self.publish_at_once(fitting, &now, received);
            batch = rest;
        }
    }

    /// How many changes of `batch` fit into an empty mailbox together, one at least.
    fn fitting(&self, batch: &[Heard]) -> usize {
        let mut room = self.mailbox_frames;
        let fits = |heard: &&Heard| {
            let frames = heard.change.ids.as_ref().map_or(1, Vec::len);
            let left = room.checked_sub(if frames > self.mailbox_frames { 1 } else { frames });
            room = left.unwrap_or(0);
            left.is_some()
        };
        batch.iter().take_while(fits).count().max(1)
    }

    fn publish_at_once(&self, batch: &[Heard], now: &str, received: Instant) {
        let mut due = Vec::new();
        let state = self.lock();
        for heard in batch {
            match &heard.change.scope {
                Scope::Project(project) => {
                    if let Some(members) = state.projects.get(project) {
                        self.tell(heard, project, members, now, &mut due);
                    }
                }
                Scope::EveryProject => {
                    state
                        .projects
                        .iter()
                        .for_each(|(project, members)| self.tell(heard, project, members, now, &mut due));
                }
            }
        }
        drop(state);
        due.iter().for_each(|outbox| outbox.flush());
        if !due.is_empty() {
            histogram!(m::DELIVERY_SECONDS).record(received.elapsed().as_secs_f64());
        }
    }

    fn tell(&self, heard: &Heard, project: &ProjectId, members: &Members, now: &str, due: &mut Vec<Arc<Outbox>>) {
        let change = self.coarse(&heard.change).map_or(Cow::Borrowed(&heard.change), Cow::Owned);
        if change.ids != heard.change.ids {
            let coarsened = counter!(m::COARSENINGS, "step" => "resource", "reason" => "many_ids");
            coarsened.increment(members.len() as u64);
        }
        let event = Event::encode(&change, project, heard.cursor, now);
        due.extend(members.values().filter(|outbox| outbox.put(&event, now, self.spread)).cloned());
    }

    /// More rows than any mailbox holds are their resource before they are encoded: for every project that would take
    /// seconds.
    fn coarse(&self, change: &Invalidation) -> Option<Invalidation> {
        let too_many = change.ids.as_ref().is_some_and(|ids| ids.len() > self.mailbox_frames);
        let Invalidation { resource, scope, action, timestamp, transaction, origin, .. } = change;
        too_many.then(|| Invalidation {
            resource: Arc::clone(resource),
            scope: scope.clone(),
            action: *action,
            ids: None,
            rows: Vec::new(),
            timestamp: timestamp.clone(),
            transaction: *transaction,
            origin: origin.clone(),
            again: false,
        })
    }

    /// Tells again what is due now that `oldest_running` is the oldest transaction. True = hand [`Hub::fence`] a
    /// transaction id.
    pub fn repeat(&self, oldest_running: u64) -> bool {
        let due = lock(&self.repeats).due(oldest_running);
        match due.changes() {
            Some(changes) => {
                let batch: Vec<Heard> = changes.into_iter().map(|change| Heard { change, cursor: None }).collect();
                self.publish(&batch, Instant::now());
            }
            None => self.reconnect_everyone(Reason::NotificationDropped),
        }
        lock(&self.repeats).wants_fence()
    }

    /// The transaction id that [`Hub::repeat`] asked for.
    pub fn fence(&self, transaction: u64) {
        lock(&self.repeats).fence(transaction);
    }

    /// Tells every session with a subscription that all it holds may be stale.
    pub fn reconnect_everyone(&self, reason: Reason) {
        let subscribed = |state: &State| -> Members {
            state.projects.values().flatten().map(|(id, outbox)| (*id, Arc::clone(outbox))).collect()
        };
        let members = subscribed(&self.lock());
        members.values().for_each(|outbox| outbox.reconnect(None, reason, self.spread));
    }

    /// Sessions now.
    pub fn sessions(&self) -> usize {
        self.lock().everyone.len()
    }

    fn admit(&self, state: &mut State, subject: &Arc<str>) -> Result<(), Full> {
        let count = state.subjects.entry(Arc::clone(subject)).or_insert(0);
        if *count >= self.per_subject_max {
            return Err(Full::Subject);
        }
        *count += 1;
        state.identified += 1;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves what it guards whole: entries come and go one at a time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session's place in the hub. Dropping it leaves, however the session ended.
#[derive(Debug)]
pub struct Membership {
    hub: Arc<Hub>,
    id: u64,
    subject: Option<Arc<str>>,
    projects: Vec<ProjectId>,
    /// Where the hub puts this session's frames.
    pub outbox: Arc<Outbox>,
}

impl Membership {
    /// Gives an unauthenticated session its subject.
    pub fn identify(&mut self, subject: &Arc<str>) -> Result<(), Full> {
        if self.subject.is_none() {
            self.hub.admit(&mut self.hub.lock(), subject)?;
            self.subject = Some(Arc::clone(subject));
        }
        Ok(())
    }

    /// From now on every change of `project` is put into the outbox. Twice is once.
    pub fn subscribe(&mut self, project: &ProjectId) -> Result<(), Full> {
        if self.projects.contains(project) {
            return Ok(());
        }
        if self.projects.len() >= self.hub.subscriptions_max {
            return Err(Full::Subscriptions);
        }
        self.projects.push(project.clone());
        self.hub.lock().projects.entry(project.clone()).or_default().insert(self.id, Arc::clone(&self.outbox));
        gauge!(m::SUBSCRIPTIONS).increment(1);
        Ok(())
    }

    /// No more of `project`, not even what waits. Tells whether there was a subscription.
    pub fn unsubscribe(&mut self, project: &ProjectId) -> bool {
        let Some(place) = self.projects.iter().position(|known| known == project) else { return false };
        self.projects.swap_remove(place);
        self.leave(project);
        self.outbox.remove(project);
        true
    }

    /// The projects subscribed to.
    pub fn projects(&self) -> &[ProjectId] {
        &self.projects
    }

    /// What a client is told when the daemon can't say what it missed of `project`.
    pub fn gap(&self, project: &ProjectId) {
        self.outbox.reconnect(Some(project), Reason::HistoryGap, self.hub.spread);
    }

    fn leave(&self, project: &ProjectId) {
        let mut state = self.hub.lock();
        if let Entry::Occupied(mut members) = state.projects.entry(project.clone()) {
            members.get_mut().remove(&self.id);
            if members.get().is_empty() {
                members.remove();
            }
        }
        drop(state);
        gauge!(m::SUBSCRIPTIONS).decrement(1);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.projects.iter().for_each(|project| self.leave(project));
        let mut state = self.hub.lock();
        state.everyone.remove(&self.id);
        if let Some(subject) = self.subject.take() {
            state.identified -= 1;
            if let Entry::Occupied(mut count) = state.subjects.entry(subject) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        drop(state);
        gauge!(m::SESSIONS).decrement(1);
    }
}
