//! What a client must have been told, and what it must not: judges a log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::application::Change;
use super::client::Event;
use super::history::History;
use super::journal::{Journal, Place};

/// How much was judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// Frames of changes.
    pub frames: usize,
    /// Changes that had to be covered.
    pub changes: usize,
    /// Ids that had to be the next ones.
    pub exact: usize,
    /// Subscriptions that went on where they were, and how many of them were told to refetch.
    pub resumed: usize,
    pub gaps: usize,
    pub reconnects: usize,
    pub coarse: usize,
    pub revoked: usize,
    pub refused: usize,
}

impl Told {
    pub fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.changes += other.changes;
        self.exact += other.exact;
        self.resumed += other.resumed;
        self.gaps += other.gaps;
        self.reconnects += other.reconnects;
        self.coarse += other.coarse;
        self.revoked += other.revoked;
        self.refused += other.refused;
    }
}

/// One frame of a change.
struct Frame<'a> {
    project: usize,
    resource: &'a str,
    /// `None` = the whole resource.
    ids: Option<Vec<&'a str>>,
    cursor: Option<&'a str>,
}

/// What is known of a subscription while its log is read.
#[derive(Default)]
struct Subscription {
    topics: Vec<&'static str>,
    /// What it holds was fetched then; `None` = it holds nothing.
    since: Option<Instant>,
    /// It was told of all up to here; `None` = it can't be said.
    told: Option<Place>,
    /// When it was told of a whole resource, or of everything (`None`): what was committed before that may be left out.
    coarse: Vec<(Instant, Option<String>)>,
    /// Asked to go on, and not answered yet.
    resuming: bool,
    /// Acknowledged on this socket.
    acknowledged: bool,
    /// Neither revoked nor left, or asked for again since.
    open: bool,
}

/// Judges what a client of `subject` was told. An error says what is wrong.
pub fn judge(log: &[(Instant, Event)], subject: usize, journal: &Journal) -> Result<Told, String> {
    let mut told = Told::default();
    let mut subscriptions: BTreeMap<usize, Subscription> = BTreeMap::new();
    for (line, (at, event)) in log.iter().enumerate() {
        let fail = |what: String| Err(format!("line {line}: {what}"));
        match event {
            Event::Connected(_) => subscriptions.values_mut().for_each(|subscription| {
                (subscription.resuming, subscription.acknowledged, subscription.open) = (false, false, false);
            }),
            Event::Asked { request, since } => {
                let subscription = subscriptions.entry(request.project).or_default();
                (subscription.resuming, subscription.open) = (since.is_some(), true);
                if since.is_some() {
                    told.resumed += 1;
                    subscription.topics.clone_from(&request.topics);
                } else {
                    // Until it is answered it is told by the old request or by the new one.
                    (subscription.since, subscription.told) = (None, None);
                    subscription.coarse.clear();
                }
            }
            Event::Left { project } => {
                let subscription = subscriptions.entry(*project).or_default();
                (subscription.since, subscription.told, subscription.resuming) = (None, None, false);
                // What waits is taken back, so no cursor is good for it any more.
                subscription.acknowledged = false;
            }
            Event::Heard(frame) => {
                if let Err(what) = hear(frame, *at, log, subject, journal, &mut subscriptions, &mut told) {
                    return fail(format!("{what}: {frame}"));
                }
            }
        }
    }
    for (project, subscription) in &subscriptions {
        let Some(since) = subscription.since else { continue };
        for commit in journal.commits.iter().filter(|commit| commit.said >= since) {
            for change in commit.changes.iter().filter(|change| concerns(change, *project, &subscription.topics)) {
                told.changes += 1;
                if !log.iter().any(|(at, event)| *at >= commit.said && covers(event, *project, change)) {
                    let (resource, id) = (change.resource, change.id.as_deref().unwrap_or("*"));
                    return Err(format!(
                        "{resource} {project}/{id} of transaction {} was never told",
                        commit.transaction
                    ));
                }
            }
        }
    }
    Ok(told)
}

fn hear(
    heard: &Value,
    at: Instant,
    log: &[(Instant, Event)],
    subject: usize,
    journal: &Journal,
    subscriptions: &mut BTreeMap<usize, Subscription>,
    told: &mut Told,
) -> Result<(), String> {
    let project = heard["project_id"].as_str().map(|project| project.parse::<usize>().unwrap());
    let place = |cursor: &str| journal.place(cursor).ok_or("a cursor of nothing");
    let cursor = heard["cursor"].as_str();
    if let Some(frame) = Frame::read(heard) {
        told.frames += 1;
        let subscription = subscriptions.entry(frame.project).or_default();
        if !subscription.open {
            return Err("there is no subscription".into());
        }
        let known = frame.ids.iter().flatten().all(|id| journal.commits.iter().any(|commit| commit.names(&frame, id)));
        if !known {
            return Err("no such row of this project has ever changed".into());
        }
        may_see(&frame, at, subject, subscription, journal)?;
        return follow(&frame, at, subscription, journal, told);
    }
    match (heard["type"].as_str().unwrap(), project) {
        ("reconnect", project) => {
            told.reconnects += 1;
            told.gaps += usize::from(heard["data"]["reason"] == "history_gap");
            for (_, subscription) in
                subscriptions.iter_mut().filter(|(of, _)| project.is_none_or(|named| named == **of))
            {
                subscription.told = None;
                subscription.coarse.push((at, None));
            }
        }
        ("subscribed", Some(project)) => {
            let subscription = subscriptions.get_mut(&project).ok_or("nobody asked")?;
            let asked = heard["ref"].as_str().and_then(|line| log.get(line.parse::<usize>().ok()?));
            let Some((_, Event::Asked { request, since })) = asked else { return Err("no such question".into()) };
            (subscription.acknowledged, subscription.open) = (true, true);
            if since.is_some() {
                subscription.resuming = false;
                if let Some(cursor) = cursor {
                    subscription.promised(project, place(cursor)?, journal)?;
                }
            } else {
                subscription.topics.clone_from(&request.topics);
                subscription.since = Some(at);
                subscription.told = cursor.map(place).transpose()?;
            }
        }
        ("pong", _) => {
            for (project, subscription) in
                subscriptions.iter_mut().filter(|(_, known)| known.acknowledged && known.open)
            {
                if let Some(cursor) = cursor {
                    subscription.promised(*project, place(cursor)?, journal)?;
                }
            }
        }
        ("unsubscribed", Some(project)) => {
            let subscription = subscriptions.get_mut(&project).ok_or("nobody asked")?;
            *subscription = Subscription::default();
        }
        ("revoked", Some(project)) => {
            told.revoked += 1;
            *subscriptions.get_mut(&project).ok_or("there is no subscription")? = Subscription::default();
        }
        ("error", _) => {
            told.refused += 1;
            let asked = heard["ref"].as_str().and_then(|line| log.get(line.parse::<usize>().ok()?));
            let Some((_, Event::Asked { request, .. })) = asked else { return Ok(()) };
            if heard["code"] == "forbidden" || heard["code"] == "unavailable" {
                // An older subscription of this socket lives on.
                let subscription = subscriptions.entry(request.project).or_default();
                (subscription.since, subscription.told, subscription.resuming) = (None, None, false);
            } else {
                return Err("an error that nothing explains".into());
            }
        }
        _ => return Err("an unexpected frame".into()),
    }
    Ok(())
}

/// Whether its subject was a member when it was changed. A relay sends rows in the order in which they were written:
/// what was written before a member was removed, by a transaction of the same time, may come before the removal although
/// it was committed after it. So by relay, and there alone, who was a member when it was written may see it, too. Who has become one again since may be told of it in live:
/// nobody knows any more who was one in between. What was missed in the past is another matter.
fn may_see(
    frame: &Frame<'_>,
    at: Instant,
    subject: usize,
    subscription: &Subscription,
    journal: &Journal,
) -> Result<(), String> {
    let Some(place) = frame.cursor.map(|cursor| journal.place(cursor).ok_or("a cursor of nothing")).transpose()? else {
        return Ok(());
    };
    let transaction = journal.notifications[place.0].transaction;
    let Some((order, commit)) = journal.commit(transaction) else { return Err("nobody has committed it".into()) };
    let here = (frame.project, subject);
    let matching = commit.changes.iter().filter(|change| {
        let row = |ids: &Vec<&str>| change.id.as_ref().is_none_or(|id| ids.contains(&id.as_str()));
        concerns(change, frame.project, &[]) && change.resource == frame.resource && frame.ids.as_ref().is_none_or(row)
    });
    let relayed = journal.notifications[place.0].ordinal.is_some();
    let member = |change: &Change| change.members.contains(&here) || relayed && change.written.contains(&here);
    if matching.into_iter().any(member) {
        return Ok(());
    }
    let later = journal.commits[order..].iter().filter(|later| later.said <= at);
    let again = later.into_iter().any(|later| later.members.contains(&here));
    if again && !subscription.resuming {
        return Ok(());
    }
    Err(format!("subject {subject} was no member then{}", if again { ", and it is told as missed" } else { "" }))
}

/// Each id once and in order.
fn follow(
    frame: &Frame<'_>,
    at: Instant,
    subscription: &mut Subscription,
    journal: &Journal,
    told: &mut Told,
) -> Result<(), String> {
    let Some(cursor) = frame.cursor else {
        // What was put together has no cursor, and what was sent by hand without one stands anywhere.
        if frame.ids.is_none() {
            subscription.coarse.push((at, Some(frame.resource.to_owned())));
            told.coarse += 1;
        }
        return Ok(());
    };
    let last = journal.place(cursor).ok_or("a cursor of nothing")?;
    if subscription.told.is_some() {
        match (&frame.ids, &journal.notifications[last.0].ids) {
            (Some(ids), Some(all)) => {
                for id in ids {
                    let from = subscription.told.filter(|told| told.0 == last.0).map_or(0, |told| told.1 + 1);
                    let found = (from..all.len()).find(|place| all[*place] == **id);
                    let found = (last.0, found.ok_or("an id that is not there, or for a second time")?);
                    subscription.skip(frame.project, journal, |next| next >= found)?;
                    if subscription.next(frame.project, journal) != Some(found) {
                        return Err(format!("{found:?} comes again"));
                    }
                    subscription.told = Some(found);
                    told.exact += 1;
                }
            }
            // The whole resource, or more ids than any mailbox holds.
            (None, _) => subscription.skip(frame.project, journal, |next| next.0 >= last.0)?,
            (Some(_), None) => return Err("ids that nobody sent".into()),
        }
    }
    if frame.ids.is_none() && subscription.told.is_some_and(|told| told >= last) {
        return Err("it comes again".into());
    }
    subscription.told = Some(last);
    Ok(())
}

impl Subscription {
    fn next(&self, project: usize, journal: &Journal) -> Option<Place> {
        journal.next(project, &self.topics, self.told?)
    }

    /// Goes on until the next change is one of `enough`; what is left out must be part of something coarser.
    fn skip(&mut self, project: usize, journal: &Journal, enough: impl Fn(Place) -> bool) -> Result<(), String> {
        while let Some(next) = self.next(project, journal).filter(|next| !enough(*next)) {
            let notification = &journal.notifications[next.0];
            let said = journal.commit(notification.transaction).map(|(_, commit)| commit.said);
            let stands_for = |(at, resource): &(Instant, Option<String>)| {
                said.is_some_and(|said| said <= *at)
                    && resource.as_ref().is_none_or(|resource| *resource == notification.resource)
            };
            if !self.coarse.iter().any(stands_for) {
                return Err(format!(
                    "{} of transaction {} was not told before",
                    notification.resource, notification.transaction
                ));
            }
            self.told = Some(next);
        }
        Ok(())
    }

    /// A cursor says that all up to it was told.
    fn promised(&mut self, project: usize, place: Place, journal: &Journal) -> Result<(), String> {
        self.skip(project, journal, |next| next > place)?;
        self.told = self.told.max(Some(place));
        Ok(())
    }
}

impl super::application::Commit {
    /// Whether it has changed this row of the frame's project.
    fn names(&self, frame: &Frame<'_>, id: &str) -> bool {
        self.changes.iter().any(|change| {
            change.project.is_none_or(|project| project == frame.project)
                && change.resource == frame.resource
                && change.id.as_deref() == Some(id)
        })
    }
}

impl<'a> Frame<'a> {
    /// In either format.
    fn read(frame: &'a Value) -> Option<Self> {
        let project = || frame["project_id"].as_str().unwrap().parse().unwrap();
        let cursor = frame["cursor"].as_str();
        let list = |list: &'a Value| list.as_array().map(|ids| ids.iter().map(|id| id.as_str().unwrap()).collect());
        match frame["type"].as_str()? {
            "cache_invalidate" => {
                let data = &frame["data"];
                let ids = data["id"].as_str().map(|id| vec![id]).or_else(|| list(&data["ids"]));
                Some(Self { project: project(), resource: frame["resource"].as_str()?, ids, cursor })
            }
            "resource_change" => {
                let many = frame["resources"].as_array();
                let many = many.map(|rows| rows.iter().map(|row| row["id"].as_str().unwrap()).collect());
                let ids = frame["resource"]["id"].as_str().map(|id| vec![id]).or(many);
                Some(Self { project: project(), resource: frame["resource_type"].as_str()?, ids, cursor })
            }
            _ => None,
        }
    }
}

fn concerns(change: &Change, project: usize, topics: &[&str]) -> bool {
    let selected = |topic: &&str| {
        let (resource, row) = topic.split_once(':').unwrap();
        resource == change.resource && (row == "*" || change.id.as_ref().is_none_or(|id| id == row))
    };
    change.project.is_none_or(|of| of == project) && (topics.is_empty() || topics.iter().any(selected))
}

/// Whether a line tells of a change, however coarsely.
fn covers(event: &Event, project: usize, change: &Change) -> bool {
    let Event::Heard(heard) = event else { return false };
    if heard["type"] == "reconnect" {
        return heard["project_id"].as_str().is_none_or(|of| of == project.to_string());
    }
    Frame::read(heard).is_some_and(|frame| {
        let row = |ids: &Vec<&str>| change.id.as_ref().is_some_and(|id| ids.contains(&id.as_str()));
        frame.project == project && frame.resource == change.resource && frame.ids.as_ref().is_none_or(row)
    })
}

/// Whether the marker that was committed then has been told, or what stands for it.
pub fn covers_marker(log: &[(Instant, Event)], project: usize, said: Instant) -> bool {
    let change = Change {
        project: Some(project),
        resource: "marker",
        id: Some("1".into()),
        members: Arc::default(),
        written: Arc::default(),
    };
    log.iter().any(|(at, event)| *at >= said && covers(event, project, &change))
}

/// The log beside the commits, for whoever looks for the reason.
pub fn explain(log: &[(Instant, Event)], history: &History, journal: &Journal) -> String {
    let mut lines: Vec<(Instant, String)> = Vec::new();
    for (line, (at, event)) in log.iter().enumerate() {
        let text = match event {
            Event::Heard(frame) => short(frame),
            other => format!("{other:?}"),
        };
        lines.push((*at, format!("{line:5} {text}")));
    }
    for commit in &journal.commits {
        let changes: Vec<String> = commit
            .changes
            .iter()
            .map(|change| {
                let id = change.id.as_deref().unwrap_or("*");
                let id = if id.len() > 30 { &id[290..] } else { id };
                format!("{} {}/{id}", change.resource, change.project.map_or("*".into(), |project| project.to_string()))
            })
            .collect();
        lines.push((commit.said, format!("      commit {} says {}", commit.transaction, changes.join(", "))));
    }
    lines.sort_by_key(|(at, _)| *at);
    let first = lines[0].0;
    let lines: Vec<String> =
        lines.iter().map(|(at, line)| format!("{:8.1} {line}", (*at - first).as_secs_f64() * 1e3)).collect();
    format!(
        "mailbox_frames {}, history_events {}\n{}",
        history.mailbox_frames,
        history.history_events,
        lines.join("\n")
    )
}

fn short(frame: &Value) -> String {
    let mut text = frame.to_string();
    if let Some(read) = Frame::read(frame) {
        let short = |id: &&str| if id.len() > 30 { id[290..].to_owned() } else { (*id).to_owned() };
        let ids = read.ids.map_or("*".to_owned(), |ids| ids.iter().map(short).collect::<Vec<_>>().join(" "));
        text = format!("told {} {}/{ids} at {}", read.resource, read.project, read.cursor.unwrap_or("-"));
    }
    text
}
