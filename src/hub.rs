//! The registry project -> sessions, and the fan-out of what the listener hears.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use tokio::sync::Notify;

use crate::alarms::Alarms;
use crate::config::Limits;
use crate::encoding::Encodings;
use crate::event::{Invalidation, ProjectId, Scope};
use crate::history::{Heard, History};
use crate::metrics as m;
use crate::outbox::Outbox;
use crate::protocol::{Reason, Wire};
use crate::repeats::Repeats;
use crate::roster::{Member, Roster, Session};
use crate::spread::Spread;
use crate::writers::Writers;

/// Changes held back at once, of all projects. More of a project become one `reconnect`.
const HELD_MAX: usize = 10_000;

/// Who is there. Only the listener publishes, so every session hears in commit order.
#[derive(Debug)]
pub struct Hub {
    roster: Mutex<Roster>,
    next_id: AtomicU64,
    alarms: Alarms<Outbox>,
    /// `[limits]`.
    pub limits: Limits,
    /// How long another daemon may take to notice a loss that this one has noticed.
    doubt: Duration,
    repeats: Mutex<Repeats>,
    spread: Mutex<Spread>,
    /// Rung when there is a project whose members must be judged again.
    pub doubts: Notify,
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
    /// An empty one with the bounds of `limits`. Any daemon of this database notices a loss within `heartbeat`.
    pub fn new(limits: &Limits, heartbeat: Duration) -> Arc<Self> {
        let history = History::new(limits.history_events, limits.history_bytes, limits.history_age);
        let (least, most) = (limits.reconnect_spread, limits.reconnect_spread_max);
        let spread = Spread::new(least, most, limits.refetches_per_second, Instant::now());
        Arc::new(Self {
            roster: Mutex::new(Roster::new(history)),
            next_id: AtomicU64::new(1),
            alarms: Alarms::default(),
            limits: limits.clone(),
            doubt: heartbeat * 2,
            repeats: Mutex::default(),
            spread: Mutex::new(spread),
            doubts: Notify::new(),
        })
    }

    /// Takes a session in; who holds the number it returns must call [`Hub::leave`]. Without a subject it counts
    /// against the unauthenticated ones.
    pub fn enter(&self, subject: Option<&Arc<str>>, wire: Wire, quiet: bool) -> Result<(u64, Arc<Outbox>), Full> {
        let mut roster = self.lock();
        if roster.sessions.len() >= self.limits.sessions {
            return Err(Full::Sessions);
        }
        match subject {
            Some(subject) => self.admit(&mut roster, subject)?,
            None => {
                if roster.sessions.len() - roster.identified >= self.limits.sessions_unauthenticated {
                    return Err(Full::Sessions);
                }
            }
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let outbox = self.alarms.add(|alarm| Outbox::new(self.limits.mailbox_frames, wire, alarm));
        let session = Session { outbox: Arc::clone(&outbox), subject: subject.cloned(), projects: Vec::new(), quiet };
        roster.sessions.insert(id, session);
        drop(roster);
        gauge!(m::SESSIONS).increment(1);
        Ok((id, outbox))
    }

    /// A session is over.
    pub fn leave(&self, id: u64) {
        let mut roster = self.lock();
        if let Some(session) = roster.sessions.get(&id) {
            self.alarms.remove(&session.outbox.alarm);
        }
        #[allow(clippy::cast_precision_loss, reason = "a session has few subscriptions")]
        let subscriptions = roster.leave(id) as f64;
        drop(roster);
        gauge!(m::SUBSCRIPTIONS).decrement(subscriptions);
        gauge!(m::SESSIONS).decrement(1);
    }

    /// Wakes the sessions whose next deadline has come; how many.
    pub fn sweep(&self) -> usize {
        self.alarms.sweep(tokio::time::Instant::now(), |outbox| outbox.wake.notify_one())
    }

    /// Tells each change to every session of its project: encoded once, then one write a session for all of `batch`,
    /// or for as much of it as fits into an empty mailbox: who reads in time is told in detail.
    pub fn publish(&self, mut batch: &[Heard], received: Instant) {
        batch.iter().for_each(|heard| lock(&self.repeats).note(&heard.change));
        let now = now();
        while !batch.is_empty() {
            let (fitting, rest) = batch.split_at(self.fitting(batch));
            self.publish_at_once(fitting, &now, received);
            batch = rest;
        }
    }

    /// How many changes of `batch` fit into an empty mailbox together, one at least.
    fn fitting(&self, batch: &[Heard]) -> usize {
        let mut room = self.limits.mailbox_frames;
        let fits = |heard: &&Heard| {
            let frames = heard.change.ids.as_ref().map_or(1, Vec::len);
            let left = room.checked_sub(if frames > self.limits.mailbox_frames { 1 } else { frames });
            room = left.unwrap_or(0);
            left.is_some()
        };
        batch.iter().take_while(fits).count().max(1)
    }

    fn publish_at_once(&self, batch: &[Heard], now: &str, received: Instant) {
        let mut due = Vec::new();
        let mut roster = self.lock();
        for heard in batch {
            let number = roster.history.push(heard.clone(), received);
            let within = roster.within(&heard.change.scope);
            let Roster { projects, kept, .. } = &mut *roster;
            for project in within {
                let Some(known) = projects.get_mut(&project) else { continue };
                match &mut known.held {
                    Some(held) => {
                        *kept -= held.len();
                        let room = held.len() < self.limits.mailbox_frames && *kept < HELD_MAX;
                        held.keep(number, heard, room);
                        *kept += held.len();
                    }
                    None => self.tell(heard, 0, &project, known.members.values(), now, &mut due),
                }
            }
        }
        drop(roster);
        due.iter().for_each(|outbox| outbox.flush());
        if !due.is_empty() {
            histogram!(m::DELIVERY_SECONDS).record(received.elapsed().as_secs_f64());
        }
    }

    /// Puts a change into the outboxes of these members, from the id at place `from` on.
    pub(crate) fn tell<'a>(
        &self,
        heard: &Heard,
        from: usize,
        project: &ProjectId,
        members: impl Iterator<Item = &'a Member>,
        now: &str,
        due: &mut Vec<Arc<Outbox>>,
    ) {
        let coarse = self.coarse(heard);
        let (told, from) = if let Some(coarse) = &coarse { (coarse, 0) } else { (heard, from) };
        let mut encodings = Encodings::new(&told.change, project, told.cursor, now);
        let mut count = 0;
        for member in members {
            count += 1;
            if member.tell(told, from, &mut encodings, now, || self.spread(1)) {
                due.push(Arc::clone(&member.outbox));
            }
        }
        if coarse.is_some() {
            counter!(m::COARSENINGS, "step" => "resource", "reason" => "many_ids").increment(count);
        }
    }

    /// More rows than any mailbox holds are their resource before they are encoded: for every project that would take
    /// seconds.
    fn coarse(&self, heard: &Heard) -> Option<Heard> {
        let too_many = heard.change.ids.as_ref().is_some_and(|ids| ids.len() > self.limits.mailbox_frames);
        too_many.then(|| {
            let Invalidation { resource, scope, action, timestamp, origin, .. } = &*heard.change;
            let change = Invalidation {
                action: *action,
                timestamp: timestamp.clone(),
                origin: origin.clone(),
                ..Invalidation::of_resource(Arc::clone(resource), scope.clone())
            };
            Heard { change: Arc::new(change), cursor: heard.end(), ..*heard }
        })
    }

    /// Tells again what is due as some are not `writing` any more, after a call of `doubt` for each scope and resource (none: all).
    /// True = hand [`Hub::fence`] who is writing. `follows_paths`: see [`Repeats::wants_fence`].
    pub fn repeat(&self, writing: &Writers, follows_paths: bool, doubt: impl Fn(&Scope, Option<&str>)) -> bool {
        let due = lock(&self.repeats).due(writing);
        let heard = |change| Heard { change: Arc::new(change), cursor: None, bytes: 0, repeated: true };
        match due.changes() {
            Some(changes) => {
                changes.iter().for_each(|change| doubt(&change.scope, Some(&change.resource)));
                self.publish(&changes.into_iter().map(heard).collect::<Vec<_>>(), Instant::now());
            }
            None => {
                self.reconnect_everyone(Reason::NotificationDropped);
                doubt(&Scope::EveryProject, None);
            }
        }
        lock(&self.repeats).wants_fence(follows_paths)
    }

    /// The listener's connection is another.
    pub fn unfence(&self) {
        lock(&self.repeats).unfence();
    }

    /// Changes were not heard: what [`Hub::repeat`] would have told of them is everything.
    pub fn lose(&self) {
        lock(&self.repeats).lose();
    }

    /// Who is writing, after [`Hub::repeat`] asked for it.
    pub fn fence(&self, writers: Writers) {
        lock(&self.repeats).fence(writers);
    }

    /// Tells every session with a subscription that all it holds may be stale. Nobody resumes from before this.
    pub fn reconnect_everyone(&self, reason: Reason) {
        let mut roster = self.lock();
        if reason == Reason::NotificationDropped {
            roster.history.doubt(Instant::now() + self.doubt);
        } else {
            roster.history.clear();
        }
        let subscribed = roster.sessions.values().filter(|session| !session.projects.is_empty());
        let outboxes: Vec<Arc<Outbox>> = subscribed.map(|session| Arc::clone(&session.outbox)).collect();
        drop(roster);
        let spread = self.spread(outboxes.len());
        outboxes.iter().for_each(|outbox| outbox.reconnect(None, reason, spread));
    }

    /// So many sessions are told to refetch now; over which time.
    pub(crate) fn spread(&self, sessions: usize) -> Duration {
        lock(&self.spread).tell(sessions, Instant::now())
    }

    /// Sessions now.
    pub fn sessions(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Counts a session of `subject` in.
    pub(crate) fn admit(&self, roster: &mut Roster, subject: &Arc<str>) -> Result<(), Full> {
        let count = roster.subjects.entry(Arc::clone(subject)).or_insert(0);
        if *count >= self.limits.sessions_per_subject {
            return Err(Full::Subject);
        }
        *count += 1;
        roster.identified += 1;
        Ok(())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Roster> {
        lock(&self.roster)
    }
}

/// RFC 3339.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_micros(std::time::SystemTime::now()).to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves what it guards whole: entries come and go one at a time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
