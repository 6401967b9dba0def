//! Who is there, asked by an administrator, and the power to end it.

use std::sync::Arc;

use crate::close::Close;
use crate::event::ProjectId;
use crate::hub::Hub;
use crate::outbox::{Figures, Outbox};
use crate::protocol::Wire;
use crate::roster::Session;

/// Sessions that are looked at before the hub's lock is given back: some tens of microseconds.
const PORTION: usize = 1000;

/// Which sessions are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Only this subject's.
    pub subject: Option<String>,
    /// Only those subscribed to it.
    pub project: Option<ProjectId>,
    /// Only those with a higher number, which goes for the page and not for the total.
    pub after: u64,
    /// At most so many.
    pub limit: usize,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: u64,
    /// Whose it is; none before it has authenticated.
    pub subject: Option<Arc<str>>,
    /// What it is subscribed to, sorted.
    pub projects: Vec<ProjectId>,
    /// Over what.
    pub wire: Wire,
    /// The rest.
    pub figures: Figures,
}

/// The sessions that are meant, by number, and how many there are in all. Sessions come and go while they are counted.
pub fn list(hub: &Hub, question: &Question) -> (Vec<Entry>, usize) {
    let (mut page, mut total) = (Vec::new(), 0);
    walk(hub, |id, session| {
        if question.means(session) {
            total += 1;
            if id > question.after && page.len() < question.limit {
                page.push((id, session.subject.clone(), session.projects.clone(), Arc::clone(&session.outbox)));
            }
        }
    });
    let entry = |(id, subject, mut projects, outbox): (u64, Option<Arc<str>>, Vec<ProjectId>, Arc<Outbox>)| {
        projects.sort_unstable();
        Entry { id, subject, projects, wire: outbox.wire, figures: outbox.figures() }
    };
    (page.into_iter().map(entry).collect(), total)
}

/// Ends a session; whose it was, or `None` where there is no such session.
pub fn end(hub: &Hub, id: u64) -> Option<Option<Arc<str>>> {
    let roster = hub.lock();
    let session = roster.sessions.get(&id)?;
    let (outbox, subject) = (Arc::clone(&session.outbox), session.subject.clone());
    drop(roster);
    outbox.evict(Close::Ended);
    Some(subject)
}

/// Ends all sessions of a subject that are there now; how many.
pub fn end_subject(hub: &Hub, subject: &str) -> usize {
    let mut ended = 0;
    walk(hub, |_, session| {
        if session.subject.as_deref() == Some(subject) {
            session.outbox.evict(Close::Ended);
            ended += 1;
        }
    });
    ended
}

impl Question {
    fn means(&self, session: &Session) -> bool {
        let whose = self.subject.as_deref();
        let where_to = self.project.as_ref();
        whose.is_none_or(|subject| session.subject.as_deref() == Some(subject))
            && where_to.is_none_or(|project| session.projects.contains(project))
    }
}

/// Looks at every session, and lets the listener in between.
fn walk(hub: &Hub, mut look: impl FnMut(u64, &Session)) {
    let mut next = 0;
    loop {
        let (roster, mut left) = (hub.lock(), PORTION);
        for (id, session) in roster.sessions.range(next..).take(PORTION) {
            look(*id, session);
            (next, left) = (id + 1, left - 1);
        }
        if left > 0 {
            return;
        }
    }
}
