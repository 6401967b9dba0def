//! Which subscriptions the hub is not sure of any more, and the answers: nothing that a project is told after a change of
//! its members leaves the hub before somebody has asked who may still see it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};

use crate::event::{ProjectId, Scope};
use crate::hub::{Hub, now};
use crate::metrics as m;
use crate::protocol::{Reason, ServerFrame};
use crate::roster::{Member, Roster};

/// Who is to be judged again.
#[derive(Debug)]
pub struct Doubt {
    /// Where.
    pub project: ProjectId,
    /// Every subject that is subscribed, once.
    pub subjects: Vec<Arc<str>>,
    /// After which change of membership.
    pub round: u64,
    /// The number of the next change to be heard: what came before can be told to those who are still members.
    pub next: u64,
}

impl Hub {
    /// From now on changes of these projects wait until [`Hub::release`] says who may see them.
    pub fn hold(&self, scope: &Scope) {
        let mut roster = self.lock();
        roster.history.wall(scope);
        for project in roster.within(scope) {
            roster.hold(&project);
        }
        drop(roster);
        self.doubts.notify_one();
    }

    /// The projects that are held; with `all`, every project.
    pub fn doubtful(&self, all: bool) -> Vec<ProjectId> {
        let roster = self.lock();
        let chosen = roster.projects.iter().filter(|(_, known)| all || known.held.is_some());
        chosen.map(|(project, _)| project.clone()).collect()
    }

    /// What is to be asked about a project; take it right before asking. `None` = nobody is subscribed any more.
    pub fn doubt(&self, project: &ProjectId) -> Option<Doubt> {
        let roster = self.lock();
        let known = roster.projects.get(project)?;
        let sessions = known.members.keys().filter_map(|id| roster.sessions.get(id));
        let subjects: HashSet<Arc<str>> = sessions.filter_map(|session| session.subject.clone()).collect();
        let (subjects, next) = (subjects.into_iter().collect(), roster.history.next());
        Some(Doubt { project: project.clone(), subjects, round: known.round, next })
    }

    /// The answer to a doubt: revokes whoever was asked about and is not `allowed`, and lets go what was held. Where the
    /// membership may have changed again nobody is revoked, and only what was heard before the question is let go, so that
    /// a project that changes all the time is told all the same. Returns the sessions revoked.
    pub fn release(&self, doubt: &Doubt, allowed: &HashSet<Arc<str>>) -> usize {
        let asked: HashSet<&Arc<str>> = doubt.subjects.iter().collect();
        let (mut due, now) = (Vec::new(), now());
        let mut roster = self.lock();
        let Roster { sessions, projects, kept, .. } = &mut *roster;
        let Some(known) = projects.get_mut(&doubt.project) else { return 0 };
        let overtaken = known.round != doubt.round;
        let held =
            if overtaken { known.held.as_mut().map(|held| held.take_before(doubt.next)) } else { known.held.take() };
        if let Some(held) = &held {
            *kept -= held.len();
        } else if overtaken {
            // the answer to a newer question has let go all of it
            return 0;
        }
        let gone = |id: &u64| {
            let subject = sessions.get(id).and_then(|session| session.subject.as_ref());
            subject.is_some_and(|subject| asked.contains(subject) && !allowed.contains(subject))
        };
        let gone: HashSet<u64> = known.members.keys().copied().filter(gone).collect();
        if let (Some(held), Some(waiting)) = (&held, &mut known.held) {
            let missed = |id: &&u64| !held.is_empty() || held.coarse_before.is_some() || held.owed.contains(*id);
            waiting.owed.extend(gone.iter().filter(missed));
        }
        // Who was no member then may be one again, and the next answer tells.
        let revoked = if overtaken { &HashSet::new() } else { &gone };
        for id in revoked {
            if let (Some(member), Some(session)) = (known.members.remove(id), sessions.get_mut(id)) {
                session.projects.retain(|project| *project != doubt.project);
                let ends = session.quiet && session.projects.is_empty();
                let frame = ServerFrame::Revoked { project_id: doubt.project.as_str(), reason: "not_a_member" };
                member.outbox.revoke(&doubt.project, frame.encode(member.form.wire), ends);
                due.push(member.outbox);
            }
        }
        if let Some(held) = held {
            let members = || known.members.iter().filter(|(id, _)| !gone.contains(id));
            let joined = known.held.as_ref().map_or(&held.joined, |waiting| &waiting.joined);
            let coarse: Vec<&Member> = members()
                .filter(|(id, _)| held.coarse_before.is_some() || held.owed.contains(id))
                .map(|(_, member)| member)
                .collect();
            let spread = if coarse.is_empty() { Duration::ZERO } else { self.spread(coarse.len()) };
            for member in coarse {
                member.outbox.put_reconnect(Some(&doubt.project), Reason::AccessChecked, spread);
                due.push(Arc::clone(&member.outbox));
            }
            for (number, heard) in &held.changes {
                let late = |id: &u64| joined.get(id).is_some_and(|first| number < first);
                let members = members().filter(|(id, _)| !late(id)).map(|(_, member)| member);
                self.tell(heard, 0, &doubt.project, members, &now, &mut due);
            }
        }
        if let Some(waiting) = &mut known.held {
            waiting.joined.retain(|_, first| *first > doubt.next);
        }
        if known.members.is_empty() {
            projects.remove(&doubt.project);
        }
        drop(roster);
        due.iter().for_each(|outbox| outbox.flush());
        #[allow(clippy::cast_precision_loss, reason = "far fewer sessions than a float counts")]
        gauge!(m::SUBSCRIPTIONS).decrement(revoked.len() as f64);
        counter!(m::REVOKED).increment(revoked.len() as u64);
        revoked.len()
    }
}
