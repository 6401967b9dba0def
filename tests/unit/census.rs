//! What an administrator sees of the sessions, and whom they end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pgherald::census::{self, Question};
use pgherald::close::Close;
use pgherald::config::{Config, File, Limits};
use pgherald::event::{Invalidation, ProjectId};
use pgherald::history::Heard;
use pgherald::hub::Hub;
use pgherald::mailbox::Coarsening;
use pgherald::membership::Membership;
use pgherald::protocol::{Form, Subscribe, Wire};
use pgherald::resource::ResourceNames;
use serde_json::json;

fn hub(limits: impl FnOnce(&mut Limits)) -> Arc<Hub> {
    let mut config = Config::load(File::None, &BTreeMap::new()).unwrap();
    limits(&mut config.limits);
    Hub::new(&config.limits, Duration::from_secs(10))
}

/// A session of `subject` (nobody's, where it is empty) that is subscribed to these.
fn session(hub: &Arc<Hub>, subject: &str, projects: &[&str]) -> Membership {
    let subject = (!subject.is_empty()).then(|| Arc::from(subject));
    let session = Membership::join(hub, subject.as_ref(), Wire::EventStream, false).unwrap();
    for project in projects {
        let request: Subscribe = serde_json::from_value(json!({ "project_id": project })).unwrap();
        let form = Form { wire: Wire::EventStream, ..Form::default() };
        assert_eq!(session.subscribe(&request.wanted(form).unwrap(), || true, |_| None), Ok(true));
    }
    session
}

fn project(id: &str) -> ProjectId {
    ProjectId::parse(id).unwrap()
}

fn publish(hub: &Hub, table: &str, ids: &[u32]) {
    let payload = json!({ "table": table, "action": "UPDATE", "project_id": "7", "ids": ids }).to_string();
    let change = Arc::new(Invalidation::parse(&payload, &ResourceNames::default()).unwrap());
    hub.publish(&[Heard { change, cursor: None, bytes: payload.len(), repeated: false }], Instant::now());
}

#[test]
fn a_question_picks_sessions_by_subject_project_and_page() {
    let hub = hub(|limits| limits.sessions_unauthenticated = 9);
    let _sessions = [
        session(&hub, "alice", &["8", "7"]),
        session(&hub, "", &[]),
        session(&hub, "bob", &["7"]),
        session(&hub, "alice", &[]),
        session(&hub, "alicent", &["77"]),
    ];
    let check =
        |subject: Option<&str>, within: Option<&str>, after: u64, limit: usize, expected: &[u64], all: usize| {
            let subject = subject.map(str::to_owned);
            let question = Question { subject, project: within.map(project), after, limit };
            let (page, total) = census::list(&hub, &question);
            assert_eq!(
                (page.iter().map(|entry| entry.id).collect::<Vec<_>>(), total),
                (expected.to_vec(), all),
                "{question:?}"
            );
        };
    check(None, None, 0, 100, &[1, 2, 3, 4, 5], 5);
    check(None, None, 0, 2, &[1, 2], 5);
    check(None, None, 2, 2, &[3, 4], 5);
    check(None, None, 4, 2, &[5], 5);
    check(None, None, 5, 2, &[], 5);
    check(None, None, u64::MAX, 2, &[], 5);
    check(Some("alice"), None, 0, 100, &[1, 4], 2);
    check(Some("alice"), None, 1, 100, &[4], 2);
    check(Some("nobody"), None, 0, 100, &[], 0);
    check(Some(""), None, 0, 100, &[], 0);
    check(None, Some("7"), 0, 100, &[1, 3], 2);
    check(None, Some("9"), 0, 100, &[], 0);
    check(Some("alice"), Some("7"), 0, 100, &[1], 1);
    let (page, _) = census::list(&hub, &Question { limit: 9, ..Question::default() });
    assert_eq!(page[0].projects, [project("7"), project("8")]);
    assert_eq!((page[0].subject.as_deref(), page[1].subject.as_deref()), (Some("alice"), None));
}

#[test]
fn more_sessions_than_one_portion_are_all_seen_and_ended() {
    let hub = hub(|limits| limits.sessions_per_subject = 9_000);
    let sessions: Vec<_> = (0..3_000).map(|n| session(&hub, if n % 3 == 0 { "alice" } else { "bob" }, &[])).collect();
    let (page, total) = census::list(&hub, &Question { limit: 1000, after: 1990, ..Question::default() });
    assert_eq!((page[0].id, page[999].id, total), (1991, 2990, 3000));
    assert_eq!(census::end_subject(&hub, "alice"), 1000);
    for (n, session) in sessions.iter().enumerate() {
        assert_eq!(session.outbox.evicted(), (n % 3 == 0).then_some(Close::Ended), "session {n}");
    }
    assert_eq!(census::end_subject(&hub, "nobody"), 0);
}

#[test]
fn a_session_is_ended_by_its_number() {
    let hub = hub(|_| {});
    let (alice, nobody) = (session(&hub, "alice", &["7"]), session(&hub, "", &[]));
    assert_eq!(census::end(&hub, 2), Some(None));
    assert_eq!((alice.outbox.evicted(), nobody.outbox.evicted()), (None, Some(Close::Ended)));
    assert_eq!(census::end(&hub, 1), Some(Some("alice".into())));
    for unknown in [0, 3, u64::MAX] {
        assert_eq!(census::end(&hub, unknown), None);
    }
    assert_eq!(Close::Ended.describe(), (4403, "ended by an administrator", Close::Forbidden.describe().2));
    drop(alice);
    assert_eq!(census::end(&hub, 1), None, "it has gone by itself");
}

#[test]
fn the_figures_of_a_session_tell_what_waits_left_and_was_coarsened() {
    let hub = hub(|limits| limits.mailbox_frames = 4);
    let alice = session(&hub, "alice", &["7"]);
    let figures = alice.outbox.figures();
    assert!(figures.opened_at.elapsed().unwrap() < Duration::from_secs(60));
    assert_eq!((figures.waiting, figures.answers, figures.coarsened, figures.frames_sent), (0, 0, None, 0));
    publish(&hub, "tasks", &[1, 2, 3]);
    alice.outbox.answer("data: {}\n\n".into());
    let figures = alice.outbox.figures();
    assert_eq!((figures.waiting, figures.answers, figures.bytes_sent), (3, 1, 0));
    let taken = alice.outbox.take(usize::MAX);
    let figures = alice.outbox.figures();
    assert_eq!((figures.waiting, figures.frames_sent, figures.bytes_sent), (0, 4, taken.len() as u64));
    let before = SystemTime::now() - Duration::from_millis(1);
    for (tables, step) in [(1, Coarsening::Resource), (5, Coarsening::Project)] {
        for n in 0..tables * 2 {
            publish(&hub, &format!("t{}s", n % tables), &[1, 2, 3]);
        }
        let (found, at) = alice.outbox.figures().coarsened.unwrap();
        assert_eq!(found, step);
        assert!(at >= before && at <= SystemTime::now());
        alice.outbox.take(usize::MAX);
    }
}
