//! A session's place in the hub. Dropping it leaves, however the session ended.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use metrics::{counter, gauge};

use crate::cursor::Cursor;
use crate::event::ProjectId;
use crate::hub::{self, Full, Hub};
use crate::metrics as m;
use crate::outbox::Outbox;
use crate::protocol::{Reason, Wanted, Wire};
use crate::roster::Member;

/// Held by the session.
#[derive(Debug)]
pub struct Membership {
    hub: Arc<Hub>,
    id: u64,
    /// Where the hub puts this session's frames.
    pub outbox: Arc<Outbox>,
}

impl Membership {
    /// Takes a session in. `quiet` = its address names a project, so it hears no answers until it speaks.
    pub fn join(hub: &Arc<Hub>, subject: Option<&Arc<str>>, wire: Wire, quiet: bool) -> Result<Self, Full> {
        let (id, outbox) = hub.enter(subject, wire, quiet)?;
        Ok(Self { hub: Arc::clone(hub), id, outbox })
    }

    /// Gives an unauthenticated session its subject.
    pub fn identify(&self, subject: &Arc<str>) -> Result<(), Full> {
        let mut roster = self.hub.lock();
        if roster.sessions.get(&self.id).is_some_and(|session| session.subject.is_none()) {
            self.hub.admit(&mut roster, subject)?;
            if let Some(session) = roster.sessions.get_mut(&self.id) {
                session.subject = Some(Arc::clone(subject));
            }
        }
        Ok(())
    }

    /// The client has said something: it knows more than the frames of its address.
    pub fn spoke(&self) {
        if let Some(session) = self.hub.lock().sessions.get_mut(&self.id) {
            session.quiet = false;
        }
    }

    /// What was missed is put into the outbox, then the `answer` with the newest cursor, and from then on every change:
    /// nothing comes between, so nothing is missed and nothing comes twice. Another subscription to the same project
    /// is replaced. False = not done, because `fresh` says that the permission is older than a change of membership.
    pub fn subscribe(
        &self,
        wanted: &Wanted,
        fresh: impl FnOnce() -> bool,
        answer: impl FnOnce(Option<Cursor>) -> Option<Bytes>,
    ) -> Result<bool, Full> {
        let (project, limits) = (&wanted.project, &self.hub.limits);
        let mut roster = self.hub.lock();
        if !fresh() {
            return Ok(false);
        }
        let next = roster.history.next();
        let Some(session) = roster.sessions.get_mut(&self.id) else { return Ok(true) };
        let again = session.projects.contains(project);
        if !again {
            if session.projects.len() >= limits.subscriptions_per_session {
                return Err(Full::Subscriptions);
            }
            session.projects.reserve_exact(1);
            session.projects.push(project.clone());
            gauge!(m::SUBSCRIPTIONS).increment(1);
        }
        let interest = (!wanted.interest.is_all()).then(|| Arc::new(wanted.interest.clone()));
        let member = Member { outbox: Arc::clone(&self.outbox), interest, form: wanted.form };
        let known = roster.project(project);
        known.members.insert(self.id, member.clone());
        // Who was here before is told what is held when it is released, and not by a cursor that it has all of it.
        let waits = known.held.is_some() && again && wanted.since.is_none();
        if let (Some(held), false) = (&mut known.held, waits) {
            held.joined.insert(self.id, next);
        }
        if let Some(since) = wanted.since {
            // Nobody knows any more whether this subject was a member all the time.
            let since = since.ok().filter(|cursor| !roster.history.is_walled(*cursor, project));
            let missed = since.and_then(|cursor| roster.history.since(cursor, Instant::now(), project));
            let result = if missed.is_some() { "found" } else { "gap" };
            counter!(m::RESUMES, "result" => result).increment(1);
            match missed {
                Some(missed) => {
                    let (now, mut due) = (hub::now(), Vec::new());
                    for (heard, from) in &missed {
                        self.hub.tell(heard, *from, project, std::iter::once(&member), &now, &mut due);
                        if self.outbox.frames() > limits.mailbox_frames / 2 {
                            self.outbox.flush();
                        }
                    }
                }
                None => self.outbox.put_reconnect(Some(project), Reason::HistoryGap, self.hub.spread(1)),
            }
        }
        if let Some(frame) = answer(if waits { None } else { roster.history.newest() }) {
            self.outbox.put_answer(frame);
        }
        drop(roster);
        self.outbox.flush();
        Ok(true)
    }

    /// No more of `project`, not even what waits. Tells whether there was a subscription.
    pub fn unsubscribe(&self, project: &ProjectId) -> bool {
        let mut roster = self.hub.lock();
        let was = roster.unsubscribe(self.id, project);
        if was {
            self.outbox.remove(project);
            gauge!(m::SUBSCRIPTIONS).decrement(1);
        }
        was
    }

    /// No more of `project`: `frame` says so, in the place of what waits.
    pub fn revoke(&self, project: &ProjectId, frame: Bytes) {
        let mut roster = self.hub.lock();
        if roster.unsubscribe(self.id, project) {
            gauge!(m::SUBSCRIPTIONS).decrement(1);
        }
        self.outbox.revoke(project, frame, false);
        drop(roster);
        self.outbox.flush();
    }

    /// Answers with the cursor of all that this session was told; without one while some of it is held back.
    pub fn answer_with_cursor(&self, answer: impl FnOnce(Option<Cursor>) -> Bytes) {
        let roster = self.hub.lock();
        let mine = roster.sessions.get(&self.id).into_iter().flat_map(|session| &session.projects);
        let held = mine.filter_map(|project| roster.projects.get(project)).any(|known| known.held.is_some());
        self.outbox.put_answer(answer(if held { None } else { roster.history.newest() }));
        drop(roster);
        self.outbox.flush();
    }

    /// The projects subscribed to.
    pub fn projects(&self) -> Vec<ProjectId> {
        self.hub.lock().sessions.get(&self.id).map(|session| session.projects.clone()).unwrap_or_default()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.hub.leave(self.id);
    }
}
