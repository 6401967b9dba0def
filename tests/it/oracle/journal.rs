//! What was committed, in commit order: what the writers say; and what PostgreSQL delivered, in the order in which every
//! daemon hears it.

use std::collections::HashMap;

use pgherald::event::{Invalidation, Scope};
use pgherald::resource::ResourceNames;

use super::application::{Application, Commit};

/// A notification of the database and the id of it.
pub type Place = (usize, usize);

/// A payload with a cursor.
pub struct Notification {
    pub transaction: u64,
    /// Where it came by way of a relay.
    pub ordinal: Option<u64>,
    pub resource: String,
    /// `None` = of every project.
    pub project: Option<usize>,
    /// `None` = the whole resource.
    pub ids: Option<Vec<String>>,
}

pub struct Journal {
    pub commits: Vec<Commit>,
    pub notifications: Vec<Notification>,
    cursors: HashMap<(u64, u64), usize>,
    by_transaction: HashMap<u64, usize>,
}

impl Journal {
    /// Once all has been delivered.
    pub async fn new(application: &Application) -> Self {
        let commits = application.commits.clone();
        let payloads = application.delivered().await;
        let notifications: Vec<_> = payloads.iter().filter_map(|payload| read(payload)).collect();
        let (mut cursors, mut counts) = (HashMap::new(), HashMap::new());
        for (place, notification) in notifications.iter().enumerate() {
            let ordinal = notification.ordinal.unwrap_or_else(|| {
                let count = counts.entry(notification.transaction).or_insert(0);
                *count += 1;
                *count - 1
            });
            let known = cursors.insert((notification.transaction, ordinal), place);
            assert_eq!(known, None, "delivered twice: {}.{ordinal}", notification.transaction);
        }
        let by_transaction = commits.iter().enumerate().map(|(place, commit)| (commit.transaction, place)).collect();
        Self { commits, notifications, cursors, by_transaction }
    }

    /// Where a cursor stands; `None` = nothing has it.
    pub fn place(&self, cursor: &str) -> Option<Place> {
        let mut parts = cursor.split('.').map(|part| part.parse().ok());
        let (transaction, ordinal) = (parts.next()??, parts.next()??);
        let place = parts.next().unwrap_or(Some(0))?;
        let at = *self.cursors.get(&(transaction, ordinal))?;
        Some((at, usize::try_from(place).ok()?))
    }

    /// The first place behind this one that a subscription to these topics is told of.
    pub fn next(&self, project: usize, topics: &[&str], behind: Place) -> Option<Place> {
        let selected = |notification: &Notification, id: Option<&String>| {
            topics.is_empty()
                || topics.iter().any(|topic| {
                    let (resource, row) = topic.split_once(':').unwrap();
                    resource == notification.resource && (row == "*" || id.is_none_or(|id| id == row))
                })
        };
        (behind.0..self.notifications.len()).find_map(|at| {
            let notification = &self.notifications[at];
            if notification.project.is_some_and(|named| named != project) {
                return None;
            }
            let from = if at == behind.0 { behind.1 + 1 } else { 0 };
            let mut ids = 0..notification.ids.as_ref().map_or(1, Vec::len);
            let wanted = |place: &usize| selected(notification, notification.ids.as_ref().map(|ids| &ids[*place]));
            ids.find(|place| *place >= from && wanted(place)).map(|place| (at, place))
        })
    }

    /// The commit of a transaction, as its writer knows it.
    pub fn commit(&self, transaction: u64) -> Option<(usize, &Commit)> {
        self.by_transaction.get(&transaction).map(|place| (*place, &self.commits[*place]))
    }
}

fn read(payload: &str) -> Option<Notification> {
    let change = Invalidation::parse(
        payload,
        &ResourceNames::new([("project_members".into(), "project_members".into())].into()),
    )
    .unwrap();
    let project = match &change.scope {
        Scope::Project(project) => Some(project.as_str().parse().unwrap()),
        Scope::EveryProject => None,
    };
    let (transaction, resource) = (change.transaction?, change.resource.to_string());
    Some(Notification { transaction, ordinal: change.ordinal, resource, project, ids: change.ids })
}
