//! The hub by itself. Its sessions are event streams here, which are asked for their frames.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgherald::config::{Config, File, Limits};
use pgherald::cursor::Cursor;
use pgherald::doubts::Doubt;
use pgherald::event::{Invalidation, ProjectId, Scope};
use pgherald::history::Heard;
use pgherald::hub::{Full, Hub};
use pgherald::membership::Membership;
use pgherald::protocol::{Form, Reason, Subscribe, Wanted, Wire};
use pgherald::resource::ResourceNames;
use pgherald::writers::Writers;
use serde_json::{Value, json};

const FORM: Form = Form { format: pgherald::protocol::Format::CacheInvalidate, batch: false, wire: Wire::EventStream };

fn limits() -> Limits {
    Config::load(File::None, &BTreeMap::new()).unwrap().limits
}

fn hub() -> Arc<Hub> {
    Hub::new(&limits(), Duration::from_secs(10))
}

fn project(id: &str) -> ProjectId {
    ProjectId::parse(id).unwrap()
}

fn join(hub: &Arc<Hub>, subject: &str) -> Result<Membership, Full> {
    Membership::join(hub, (!subject.is_empty()).then(|| subject.into()).as_ref(), Wire::EventStream, false)
}

/// `project`, or a whole `subscribe` frame.
fn wanted(request: Value) -> Wanted {
    let request = if request.is_string() { json!({ "project_id": request }) } else { request };
    serde_json::from_value::<Subscribe>(request).unwrap().wanted(FORM).unwrap()
}

fn subscribe(session: &Membership, request: impl Into<Value>) -> Result<bool, Full> {
    session.subscribe(&wanted(request.into()), || true, |_| None)
}

/// A session of `subject` that is subscribed.
fn session(hub: &Arc<Hub>, subject: &str, request: impl Into<Value>) -> Membership {
    let session = join(hub, subject).unwrap();
    assert_eq!(subscribe(&session, request), Ok(true));
    session
}

fn heard(payload: &Value, transaction: Option<u64>) -> Heard {
    let change = Arc::new(Invalidation::parse(&payload.to_string(), &ResourceNames::default()).unwrap());
    let cursor = transaction.map(|transaction| Cursor { transaction, ordinal: 0, place: 0 });
    Heard { change, cursor, bytes: payload.to_string().len(), repeated: false }
}

fn tasks(project: &str, ids: &[&str]) -> Value {
    json!({ "table": "tasks", "action": "UPDATE", "project_id": project, "ids": ids })
}

fn publish(hub: &Hub, payload: &Value, transaction: impl Into<Option<u64>>) {
    hub.publish(&[heard(payload, transaction.into())], Instant::now());
}

/// What waits for a session, in short: `task 7/1`, `task 7/*`, `reconnect slow_consumer`, or the type.
fn told(session: &Membership) -> Vec<String> {
    frames(session).iter().map(short).collect()
}

fn short(frame: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("*").to_owned();
    match frame["type"].as_str().unwrap() {
        "cache_invalidate" => {
            format!("{} {}/{}", text(&frame["resource"]), text(&frame["project_id"]), text(&frame["data"]["id"]))
        }
        "reconnect" => format!("reconnect {}", text(&frame["data"]["reason"])),
        other => other.to_owned(),
    }
}

fn frames(session: &Membership) -> Vec<Value> {
    let bytes = session.outbox.take(usize::MAX);
    let lines = std::str::from_utf8(&bytes).unwrap().lines();
    lines.filter_map(|line| line.strip_prefix("data: ")).map(|json| serde_json::from_str(json).unwrap()).collect()
}

fn cursors(session: &Membership) -> Vec<String> {
    frames(session).iter().map(|frame| frame["cursor"].as_str().unwrap_or("none").to_owned()).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_change_is_put_into_the_outboxes_of_its_project_only() {
    let hub = hub();
    let (alice, bob) = (session(&hub, "alice", "7"), session(&hub, "bob", "8"));
    publish(&hub, &tasks("7", &["1"]), None);
    assert_eq!((told(&alice), told(&bob)), (vec!["task 7/1".into()], vec![]));
    publish(&hub, &tasks("*", &["1"]), None);
    assert_eq!((told(&alice), told(&bob)), (vec!["task 7/1".into()], vec!["task 8/1".into()]));
}

#[test]
fn unsubscribing_takes_back_what_waits() {
    let hub = hub();
    let alice = session(&hub, "alice", "7");
    publish(&hub, &tasks("7", &["1"]), None);
    assert!(alice.unsubscribe(&project("7")));
    publish(&hub, &tasks("7", &["1"]), None);
    assert_eq!(told(&alice), NOTHING);
    assert!(!alice.unsubscribe(&project("7")), "there is nothing left to leave");
}

#[test]
fn leaving_the_hub_happens_on_drop() {
    let hub = hub();
    let alice = session(&hub, "alice", "7");
    let outbox = Arc::clone(&alice.outbox);
    assert_eq!(hub.sessions(), 1);
    drop(alice);
    assert_eq!(hub.sessions(), 0);
    publish(&hub, &tasks("7", &["1"]), None);
    assert!(outbox.is_empty(), "a session that has left is told nothing");
    assert_eq!(Arc::strong_count(&outbox), 1, "the hub still holds it");
}

#[test]
fn every_bound_is_met_and_given_back() {
    let limits = Limits {
        sessions: 3,
        sessions_per_subject: 1,
        sessions_unauthenticated: 1,
        subscriptions_per_session: 1,
        ..limits()
    };
    let hub = Hub::new(&limits, Duration::ZERO);
    let nobody = join(&hub, "").unwrap();
    assert_eq!(join(&hub, "").unwrap_err(), Full::Sessions);
    nobody.identify(&"alice".into()).unwrap();
    assert_eq!(join(&hub, "alice").unwrap_err(), Full::Subject);
    let second = join(&hub, "").unwrap();
    let _third = join(&hub, "bob").unwrap();
    assert_eq!(join(&hub, "carol").unwrap_err(), Full::Sessions);
    assert_eq!(subscribe(&nobody, "7"), Ok(true));
    assert_eq!(subscribe(&nobody, "7"), Ok(true));
    assert_eq!(subscribe(&nobody, "8"), Err(Full::Subscriptions));
    drop(nobody);
    assert!(join(&hub, "alice").is_ok());
    drop(second);
    assert!(join(&hub, "").is_ok(), "who has left counts no more");
}

#[test]
fn a_reconnect_goes_to_those_who_subscribed_to_something() {
    let hub = hub();
    let (alice, nobody) = (session(&hub, "alice", "7"), join(&hub, "").unwrap());
    hub.reconnect_everyone(Reason::DatabaseReconnected);
    assert!(!alice.outbox.is_empty() && nobody.outbox.is_empty());
}

/// The `spread_ms` of what waits for these, a frame each.
fn spreads(sessions: &[&Membership]) -> Vec<u64> {
    let spread = |session: &&Membership| {
        let frames = frames(session);
        assert_eq!(frames.len(), 1, "{frames:?}");
        frames[0]["data"]["spread_ms"].as_u64().unwrap()
    };
    sessions.iter().map(spread).collect()
}

/// One that spreads from 2 s to 9 s, a second for each session.
fn slow_application(limits: Limits) -> Arc<Hub> {
    let limits = Limits { refetches_per_second: 1, reconnect_spread_max: Duration::from_secs(9), ..limits };
    Hub::new(&limits, Duration::ZERO)
}

#[test]
fn a_reconnect_is_spread_over_longer_the_more_are_told() {
    // Little time goes by between two calls, and whole seconds are told apart.
    let about = |spreads: Vec<u64>| spreads.iter().map(|ms| (ms + 500) / 1000).collect::<Vec<_>>();
    let hub = slow_application(limits());
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| session(&hub, name, "7"));
    hub.reconnect_everyone(Reason::DatabaseReconnected);
    assert_eq!(about(spreads(&[&alice, &bob, &carol])), [3, 3, 3]);
    // Those who come back are told one by one, and what was told before still counts.
    let gap = |name| session(&hub, name, json!({ "project_id": "7", "since": "unknown" }));
    let (dora, emil) = (gap("dora"), gap("emil"));
    assert_eq!(about(spreads(&[&dora, &emil])), [4, 5]);
    hub.reconnect_everyone(Reason::NotificationDropped);
    assert_eq!(about(spreads(&[&alice, &bob, &carol, &dora, &emil])), [9, 9, 9, 9, 9], "the longest");

    let hub = slow_application(Limits { mailbox_frames: 4, ..limits() });
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| session(&hub, name, "7"));
    hub.hold(&Scope::Project(project("7")));
    publish(&hub, &tasks("7", &["1"]), 1);
    hub.release(&doubt(&hub), &allow(&["alice", "bob", "carol"]));
    for session in [&alice, &bob, &carol] {
        assert_eq!(told(session), ["task 7/1"]);
    }
    hub.hold(&Scope::Project(project("7")));
    (2..=6).for_each(|number| publish(&hub, &tasks("7", &["1"]), number));
    hub.release(&doubt(&hub), &allow(&["alice", "bob", "carol"]));
    assert_eq!(about(spreads(&[&alice, &bob, &carol])), [3, 3, 3], "the members of the project");

    let hub = slow_application(Limits { mailbox_frames: 4, ..limits() });
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| session(&hub, name, "7"));
    for table in ["a", "b", "c", "d", "e"] {
        publish(&hub, &json!({ "table": table, "action": "UPDATE", "project_id": "7", "ids": ["1"] }), None);
    }
    let mut found = about(spreads(&[&alice, &bob, &carol]));
    found.sort_unstable();
    assert_eq!(found, [2, 2, 3], "slow readers, one after the other, whoever was first");
    // Rows that become their resource are no refetch of everything.
    (1..=9).for_each(|_| publish(&hub, &tasks("7", &["1"]), None));
    assert_eq!(told(&alice)[0], "task 7/*");
    hub.reconnect_everyone(Reason::DatabaseReconnected);
    assert_eq!(about(spreads(&[&bob]))[0], 6, "three slow readers, and all three now");
}

#[test]
fn nothing_follows_a_close_frame() {
    let hub = hub();
    let alice = session(&hub, "alice", "7");
    alice.outbox.close(pgherald::frame::close(1001, "going away"));
    publish(&hub, &tasks("7", &["1"]), None);
    hub.reconnect_everyone(Reason::DatabaseReconnected);
    assert_eq!(alice.outbox.frames(), 1, "only the close frame");
}

#[test]
fn a_subscription_hears_its_topics() {
    let hub = hub();
    let check = |topics: Value, payload: &Value, expected: &[&str]| {
        let alice = session(&hub, "alice", json!({ "project_id": "7", "topics": topics }));
        publish(&hub, payload, None);
        assert_eq!(told(&alice), expected, "{topics} of {payload}");
    };
    let (some, all) =
        (tasks("7", &["1", "2", "3"]), json!({ "table": "tasks", "action": "DELETE", "project_id": "7" }));
    check(json!(["task:*"]), &some, &["task 7/1", "task 7/2", "task 7/3"]);
    check(json!(["task:3", "task:1", "sprint:*"]), &some, &["task 7/1", "task 7/3"]);
    check(json!(["task:4", "sprint:*"]), &some, &NOTHING);
    check(json!(["sprint:*", "*"]), &some, &["task 7/1", "task 7/2", "task 7/3"]);
    check(json!(["task:4"]), &all, &["task 7/*"]);
    check(json!(["sprint:4"]), &all, &NOTHING);
}

#[test]
fn a_filter_leaves_out_only_what_surely_differs() {
    let hub = hub();
    let check = |filter: Value, row: Value, old: Value, expected: bool| {
        let alice = session(&hub, "alice", json!({ "project_id": "7", "filter": filter }));
        let mut payload = tasks("7", &["1"]);
        (payload["rows"], payload["old_rows"]) = (json!([row]), json!([old]));
        publish(&hub, &payload, None);
        assert_eq!(!told(&alice).is_empty(), expected, "{filter} of {payload}");
    };
    let nothing = Value::Null;
    for (filter, row, expected) in [
        (json!({ "parent_id": "9" }), json!({ "parent_id": 9 }), true),
        (json!({ "parent_id": 9 }), json!({ "parent_id": "9" }), true),
        (json!({ "parent_id": 9.0 }), json!({ "parent_id": 9 }), true),
        (json!({ "parent_id": "9" }), json!({ "parent_id": 8 }), false),
        (json!({ "parent_id": null }), json!({ "parent_id": null }), true),
        (json!({ "parent_id": null }), json!({ "parent_id": 8 }), false),
        (json!({ "parent_id": "null" }), json!({ "parent_id": null }), false),
        (json!({ "done": true }), json!({ "done": true }), true),
        (json!({ "done": true }), json!({ "done": false }), false),
        (json!({ "done": true, "parent_id": 9 }), json!({ "done": true, "parent_id": 8 }), false),
        // what did not travel, or can't be compared
        (json!({ "parent_id": "9" }), json!({}), true),
        (json!({ "parent_id": "9" }), json!({ "parent_id": [9] }), true),
        (json!({ "parent_id": "9" }), nothing.clone(), true),
    ] {
        check(filter, row, nothing.clone(), expected);
    }
    // a row that leaves is told
    check(json!({ "parent_id": 9 }), json!({ "parent_id": 8 }), json!({ "parent_id": 9 }), true);
    check(json!({ "parent_id": 9 }), json!({ "parent_id": 8 }), json!({ "parent_id": 7 }), false);
}

#[test]
fn each_subscription_is_told_in_its_form() {
    let hub = hub();
    let mut payload = tasks("7", &["1", "2", "3"]);
    payload["rows"] = json!([{ "id": 1, "etag": "a" }, null, { "etag": "c" }]);
    let check = |request: Value, expected: Value| {
        let mut whole = json!({ "project_id": "7" });
        whole.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
        let alice = session(&hub, "alice", whole);
        publish(&hub, &payload, 5);
        let mut found = frames(&alice);
        for frame in &mut found {
            let frame = frame.as_object_mut().unwrap();
            frame.remove("timestamp");
            frame.get_mut("data").map(|data| data.as_object_mut().unwrap().remove("timestamp"));
        }
        assert_eq!(Value::Array(found), expected, "{request}");
    };
    let data = |fields: Value| {
        let mut data = json!({ "resource": "task", "action": "UPDATE", "project_id": "7" });
        data.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        data
    };
    let invalidate = |cursor: &str, fields: Value| {
        json!({ "type": "cache_invalidate", "resource": "task", "action": "UPDATE", "project_id": "7", "cursor": cursor,
                "data": data(fields) })
    };
    check(
        json!({ "topics": ["task:1", "task:3"] }),
        json!([
            invalidate("5.0", json!({ "id": "1", "row": { "id": 1, "etag": "a" } })),
            invalidate("5.0.2", json!({ "id": "3", "row": { "etag": "c" } })),
        ]),
    );
    // who wants one of three has been told of all three
    let rows = json!([{ "id": 1, "etag": "a" }]);
    check(
        json!({ "topics": ["task:1"], "batch": true }),
        json!([invalidate("5.0.2", json!({ "ids": ["1"], "rows": rows }))]),
    );
    let change = |cursor: &str, field: &str, value: Value| {
        json!({ "type": "resource_change", "event": "updated", "resource_type": "task", "project_id": "7",
                "cursor": cursor, field: value })
    };
    let (one, two, three) =
        (json!({ "id": "1", "etag": "a" }), json!({ "id": "2" }), json!({ "id": "3", "etag": "c" }));
    check(
        json!({ "format": "resource_change", "topics": ["task:1", "task:2"] }),
        json!([change("5.0", "resource", one.clone()), change("5.0.1", "resource", two.clone())]),
    );
    check(
        json!({ "format": "resource_change", "batch": true }),
        json!([change("5.0.2", "resources", json!([one, two, three]))]),
    );
}

#[test]
fn another_subscription_to_the_same_project_replaces_the_first() {
    let hub = hub();
    let alice = session(&hub, "alice", json!({ "project_id": "7", "topics": ["sprint:*"] }));
    assert_eq!(subscribe(&alice, json!({ "project_id": "7", "topics": ["task:2"] })), Ok(true));
    publish(&hub, &tasks("7", &["1", "2"]), None);
    assert_eq!(told(&alice), ["task 7/2"]);
    assert_eq!(alice.projects(), [project("7")]);
}

#[test]
fn who_comes_back_hears_what_was_missed_once_and_in_order() {
    let hub = hub();
    let watcher = session(&hub, "bob", "7");
    publish(&hub, &tasks("7", &["1", "2", "3"]), 5);
    publish(&hub, &tasks("8", &["4"]), 4);
    publish(&hub, &tasks("7", &["5"]), 9);
    publish(&hub, &tasks("*", &["6"]), None);
    assert_eq!(cursors(&watcher), ["5.0", "5.0.1", "5.0.2", "9.0", "none"]);
    let check = |since: &str, expected: &[&str]| {
        let alice = session(&hub, "alice", json!({ "project_id": "7", "since": since }));
        assert_eq!(told(&alice), expected, "since {since}");
    };
    check("5.0", &["task 7/2", "task 7/3", "task 7/5", "task 7/6"]);
    check("5.0.1", &["task 7/3", "task 7/5", "task 7/6"]);
    check("5.0.2", &["task 7/5", "task 7/6"]);
    check("5.0.9", &["task 7/5", "task 7/6"]);
    check("4.0", &["task 7/5", "task 7/6"]);
    check("9.0", &["task 7/6"]);
    // Of what it asks for, it has heard all: then there is nothing to put into the mailbox.
    let first = json!({ "project_id": "7", "since": "5.0", "topics": ["task:1"] });
    assert!(session(&hub, "alice", first.clone()).outbox.is_empty());
    let mut batch = first;
    batch["batch"] = json!(true);
    assert!(session(&hub, "alice", batch).outbox.is_empty());
    for unknown in ["7.0", "5.1", "", "x", "05.0", "5.0.0", "5", "-1.0", "5.0.2.1"] {
        check(unknown, &["reconnect history_gap"]);
    }
    // Topics hold for what was missed, too.
    let alice = session(&hub, "alice", json!({ "project_id": "7", "since": "5.0", "topics": ["task:3", "task:6"] }));
    assert_eq!(told(&alice), ["task 7/3", "task 7/6"]);
}

#[test]
fn the_answer_stands_between_what_was_missed_and_what_comes() {
    let hub = hub();
    publish(&hub, &tasks("7", &["1", "2"]), 5);
    publish(&hub, &tasks("8", &["3", "4"]), 6);
    let alice = join(&hub, "alice").unwrap();
    let since = wanted(json!({ "project_id": "7", "since": "5.0" }));
    let answer = |cursor: Option<Cursor>| {
        Some(format!("data: {{\"type\":\"subscribed\",\"cursor\":\"{}\"}}\n\n", cursor.unwrap()).into())
    };
    assert_eq!(alice.subscribe(&since, || true, answer), Ok(true));
    publish(&hub, &tasks("7", &["5"]), 7);
    let frames = frames(&alice);
    assert_eq!(frames.iter().map(short).collect::<Vec<_>>(), ["task 7/2", "subscribed", "task 7/5"]);
    assert_eq!(frames[1]["cursor"], "6.0.1", "all of the newest, whosever it was");
}

#[test]
fn nobody_resumes_from_before_something_may_have_been_missed() {
    for reason in [Reason::DatabaseReconnected, Reason::NotificationDropped] {
        let hub = hub();
        publish(&hub, &tasks("7", &["1"]), 5);
        hub.reconnect_everyone(reason);
        let alice = session(&hub, "alice", json!({ "project_id": "7", "since": "5.0" }));
        assert_eq!(told(&alice), ["reconnect history_gap"]);
        publish(&hub, &tasks("7", &["1"]), 6);
        let alice = session(&hub, "alice", json!({ "project_id": "7", "since": "6.0" }));
        // A loss may have yet to be noticed by the daemon that this client comes from.
        let expected: &[&str] =
            if reason == Reason::NotificationDropped { &["reconnect history_gap"] } else { &NOTHING };
        assert_eq!(told(&alice), expected, "{reason:?}");
    }
    let hub = Hub::new(&limits(), Duration::from_millis(5));
    hub.reconnect_everyone(Reason::NotificationDropped);
    std::thread::sleep(Duration::from_millis(11));
    publish(&hub, &tasks("7", &["1"]), 6);
    assert_eq!(told(&session(&hub, "alice", json!({ "project_id": "7", "since": "6.0" }))), NOTHING);
}

#[test]
fn what_is_told_again_waits_for_the_members_to_be_judged() {
    let hub = hub();
    let alice = session(&hub, "alice", "7");
    let moved = json!({ "table": "members", "action": "UPDATE", "project_id": "7", "ids": null, "again": true });
    publish(&hub, &moved, 5);
    assert_eq!(told(&alice), ["member 7/*"]);
    let hold = |scope: &Scope, _: Option<&str>| hub.hold(scope);
    assert!(hub.repeat(&Writers::default(), false, hold));
    hub.fence(Writers::default());
    assert!(!hub.repeat(&Writers::default(), false, hold));
    assert_eq!(told(&alice), NOTHING);
    let doubt = hub.doubt(&project("7")).unwrap();
    hub.release(&doubt, &HashSet::from(["alice".into()]));
    assert_eq!(told(&alice), ["member 7/*"]);
}

#[test]
fn more_missed_than_a_mailbox_holds_is_told_coarser() {
    let hub = Hub::new(&Limits { mailbox_frames: 4, ..limits() }, Duration::ZERO);
    (1..=9).for_each(|number| publish(&hub, &tasks("7", &["1"]), number));
    let alice = session(&hub, "alice", json!({ "project_id": "7", "since": "1.0" }));
    assert_eq!(told(&alice)[0], "task 7/*");
    // One notification of more rows than a mailbox holds, from somewhere within it.
    publish(&hub, &tasks("7", &["1", "2", "3", "4", "5"]), 20);
    let alice = session(&hub, "alice", json!({ "project_id": "7", "since": "20.0.1" }));
    assert_eq!(cursors(&alice), ["20.0.4"]);
    assert_eq!(told(&session(&hub, "alice", json!({ "project_id": "7", "since": "20.0.4" }))), NOTHING);
}

fn doubt(hub: &Hub) -> Doubt {
    let doubts = hub.doubtful(false);
    assert_eq!(doubts.len(), 1);
    hub.doubt(&doubts[0]).unwrap()
}

fn allow(subjects: &[&str]) -> HashSet<Arc<str>> {
    subjects.iter().map(|subject| Arc::from(*subject)).collect()
}

#[test]
fn what_follows_a_change_of_membership_waits_for_the_answer() {
    let hub = hub();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| session(&hub, name, "7"));
    let other = session(&hub, "bob", "8");
    hub.hold(&Scope::Project(project("7")));
    publish(&hub, &tasks("7", &["1"]), 5);
    publish(&hub, &tasks("*", &["2"]), 6);
    assert_eq!((told(&alice), told(&bob)), (vec![], vec![]));
    assert_eq!(told(&other), ["task 8/2"]);
    let doubt = doubt(&hub);
    assert_eq!((doubt.project.as_str(), doubt.subjects.len()), ("7", 3));
    assert_eq!(hub.release(&doubt, &allow(&["alice", "carol"])), 1);
    publish(&hub, &tasks("7", &["3"]), 7);
    assert_eq!(told(&alice), ["task 7/1", "task 7/2", "task 7/3"]);
    assert_eq!(told(&carol), ["task 7/1", "task 7/2", "task 7/3"]);
    assert_eq!(told(&bob), ["revoked"]);
    assert_eq!(bob.projects(), []);
    assert!(hub.doubtful(false).is_empty());
}

#[test]
fn what_waits_for_a_revoked_session_is_taken_back() {
    let hub = hub();
    let bob = session(&hub, "bob", "7");
    publish(&hub, &tasks("7", &["1"]), 5);
    hub.hold(&Scope::EveryProject);
    assert_eq!(hub.release(&doubt(&hub), &allow(&[])), 1);
    assert_eq!(told(&bob), ["revoked"]);
    assert!(bob.outbox.evicted().is_none(), "it may subscribe to something else");
    // One that knows nothing but its address has nothing left to live for.
    let quiet = Membership::join(&hub, Some(&"dora".into()), Wire::EventStream, true).unwrap();
    assert_eq!(subscribe(&quiet, "7"), Ok(true));
    hub.hold(&Scope::EveryProject);
    assert_eq!(hub.release(&doubt(&hub), &allow(&[])), 1);
    assert_eq!(quiet.outbox.evicted(), Some(pgherald::close::Close::Forbidden));
}

#[test]
fn an_answer_that_a_second_change_has_overtaken_lets_go_what_was_heard_before_the_question() {
    let hub = hub();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| session(&hub, name, "7"));
    hub.hold(&Scope::Project(project("7")));
    publish(&hub, &tasks("7", &["1"]), 5);
    let old = doubt(&hub);
    hub.hold(&Scope::Project(project("7")));
    publish(&hub, &tasks("7", &["2"]), 6);
    let late = session(&hub, "late", "7");
    publish(&hub, &tasks("7", &["3"]), 7);
    assert_eq!(hub.release(&old, &allow(&["alice"])), 0, "bob may be a member again");
    assert_eq!([&alice, &bob, &carol, &late].map(told), [vec!["task 7/1".to_owned()], vec![], vec![], vec![]]);
    // Who was not told then is told to refetch, or that it is no member.
    assert_eq!(hub.release(&doubt(&hub), &allow(&["alice", "bob", "late"])), 1);
    assert_eq!(told(&alice), ["task 7/2", "task 7/3"]);
    assert_eq!(told(&bob), ["reconnect access_checked", "task 7/2", "task 7/3"]);
    assert_eq!(told(&carol), ["revoked"]);
    assert_eq!(told(&late), ["task 7/3"]);
    // Nothing of it is left.
    hub.hold(&Scope::Project(project("7")));
    assert_eq!(hub.release(&doubt(&hub), &allow(&["alice", "bob", "late"])), 0);
    assert_eq!([&alice, &bob, &late].map(told), [const { Vec::<String>::new() }; 3]);
    // The same for an answer to a question that only time has asked.
    let old = hub.doubt(&project("7")).unwrap();
    hub.hold(&Scope::EveryProject);
    assert_eq!(hub.release(&doubt(&hub), &allow(&["alice", "bob", "late"])), 0);
    assert_eq!(hub.release(&old, &allow(&[])), 0);
}

#[test]
fn a_project_whose_members_change_all_the_time_is_told_all_the_same() {
    let hub = Hub::new(&Limits { mailbox_frames: 4, ..limits() }, Duration::ZERO);
    let (alice, bob) = (session(&hub, "alice", "7"), session(&hub, "bob", "7"));
    hub.hold(&Scope::Project(project("7")));
    for number in 0..100 {
        let question = doubt(&hub);
        hub.hold(&Scope::Project(project("7")));
        publish(&hub, &tasks("7", &["1"]), number);
        assert_eq!(hub.release(&question, &allow(&["alice"])), 0);
        let expected = if number == 0 { &NOTHING[..] } else { &["task 7/1"] };
        assert_eq!(told(&alice), expected);
    }
    assert_eq!(told(&bob), NOTHING);
    assert_eq!(hub.release(&doubt(&hub), &allow(&["alice"])), 1);
    assert_eq!((told(&alice), told(&bob)), (vec!["task 7/1".into()], vec!["revoked".into()]));
}

#[test]
fn too_much_before_and_after_an_answer_that_was_overtaken_is_a_reconnect_each() {
    let hub = Hub::new(&Limits { mailbox_frames: 4, ..limits() }, Duration::ZERO);
    let alice = session(&hub, "alice", "7");
    let many = |from: u64| (from..from + 6).for_each(|number| publish(&hub, &tasks("7", &["1"]), number));
    hub.hold(&Scope::Project(project("7")));
    many(1);
    let old = doubt(&hub);
    hub.hold(&Scope::Project(project("7")));
    hub.release(&old, &allow(&["alice"]));
    assert_eq!(told(&alice), ["reconnect access_checked", "task 7/1"]);
    // Nobody was asked about these.
    let old = doubt(&hub);
    hub.hold(&Scope::Project(project("7")));
    many(10);
    hub.release(&old, &allow(&["alice"]));
    assert_eq!(told(&alice), NOTHING);
    hub.release(&doubt(&hub), &allow(&["alice"]));
    assert_eq!(told(&alice), ["reconnect access_checked", "task 7/1"]);
}

#[test]
fn who_was_not_asked_about_is_not_revoked() {
    let hub = hub();
    let _alice = session(&hub, "alice", "7");
    hub.hold(&Scope::Project(project("7")));
    let doubt = doubt(&hub);
    // Came with an answer of its own, after the question.
    publish(&hub, &tasks("7", &["1"]), 5);
    let late = session(&hub, "late", json!({ "project_id": "7", "since": "5.0" }));
    publish(&hub, &tasks("7", &["2"]), 6);
    assert_eq!(hub.release(&doubt, &allow(&["alice"])), 0);
    assert_eq!(told(&late), ["task 7/2"], "not what was published before it came");
}

#[test]
fn a_permission_older_than_the_last_change_of_membership_is_not_used() {
    let hub = hub();
    let alice = join(&hub, "alice").unwrap();
    assert_eq!(alice.subscribe(&wanted("7".into()), || false, |_| None), Ok(false));
    publish(&hub, &tasks("7", &["1"]), 5);
    assert_eq!(told(&alice), NOTHING);
}

#[test]
fn more_held_than_a_mailbox_holds_is_one_reconnect() {
    let hub = Hub::new(&Limits { mailbox_frames: 4, ..limits() }, Duration::ZERO);
    let alice = session(&hub, "alice", "7");
    hub.hold(&Scope::Project(project("7")));
    (1..=5).for_each(|number| publish(&hub, &tasks("7", &["1"]), number));
    assert_eq!(hub.release(&doubt(&hub), &allow(&["alice"])), 0);
    publish(&hub, &tasks("7", &["2"]), 6);
    assert_eq!(told(&alice), ["reconnect access_checked", "task 7/2"]);
}

#[test]
fn no_cursor_promises_what_is_held_back() {
    let hub = hub();
    let alice = session(&hub, "alice", "7");
    publish(&hub, &tasks("7", &["1"]), 5);
    let pong = |session: &Membership| {
        session.answer_with_cursor(|cursor| {
            format!("data: {{\"type\":\"pong\",\"cursor\":{:?}}}\n\n", cursor.map_or("none".into(), |c| c.to_string()))
                .into()
        });
        frames(session).pop().unwrap()["cursor"].clone()
    };
    assert_eq!(pong(&alice), "5.0");
    hub.hold(&Scope::Project(project("7")));
    publish(&hub, &tasks("7", &["2"]), 6);
    assert_eq!(pong(&alice), "none");
    hub.release(&doubt(&hub), &allow(&["alice"]));
    assert_eq!(pong(&alice), "6.0");
}

#[test]
fn what_is_held_is_bounded_over_all_projects() {
    let hub = hub();
    let names: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let sessions: Vec<Membership> = names.iter().map(|name| session(&hub, "alice", name.as_str())).collect();
    hub.hold(&Scope::EveryProject);
    for number in 0..200 {
        publish(&hub, &tasks("*", &["1"]), number);
    }
    for project in hub.doubtful(false) {
        hub.release(&hub.doubt(&project).unwrap(), &allow(&["alice"]));
    }
    let told: Vec<Vec<String>> = sessions.iter().map(told).collect();
    let whole = told.iter().filter(|told| told.len() == 200).count();
    let coarse = told.iter().filter(|told| told[0] == "reconnect access_checked").count();
    assert!(whole + coarse == 100 && coarse > 40, "{whole} were told all, {coarse} a reconnect");
    // All of it is given back.
    hub.hold(&Scope::EveryProject);
    (0..50).for_each(|number| publish(&hub, &tasks("*", &["1"]), number));
    for project in hub.doubtful(false) {
        hub.release(&hub.doubt(&project).unwrap(), &allow(&["alice"]));
    }
    assert!(sessions.iter().all(|session| frames(session).len() == 50));
}

#[tokio::test]
async fn a_sweep_wakes_the_sessions_whose_deadline_has_come() {
    let hub = hub();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| session(&hub, name, "7"));
    let woken =
        async |session: &Membership| tokio::time::timeout(Duration::ZERO, session.outbox.wake.notified()).await.is_ok();
    for session in [&alice, &bob, &carol] {
        woken(session).await;
    }
    let now = tokio::time::Instant::now();
    alice.outbox.alarm.set(now - Duration::from_millis(5));
    bob.outbox.alarm.set(now + Duration::from_secs(3600));
    assert_eq!(hub.sweep(), 1, "not bob, whose time has not come, nor carol, who waits for nothing");
    assert!(woken(&alice).await && !woken(&bob).await && !woken(&carol).await);
    drop(alice);
    assert_eq!(hub.sweep(), 0, "a session that has left is woken no more");
    carol.outbox.alarm.set(now);
    assert_eq!(hub.sweep(), 1);
}

#[test]
fn who_was_away_when_the_members_changed_is_not_told_what_it_missed() {
    let hub = hub();
    publish(&hub, &tasks("7", &["1"]), 5);
    hub.hold(&Scope::Project(project("7")));
    publish(&hub, &tasks("7", &["2"]), 6);
    let check = |since: &str, id: &str, expected: &[&str]| {
        let alice = session(&hub, "alice", json!({ "project_id": id, "since": since }));
        assert_eq!(told(&alice), expected, "project {id} since {since}");
    };
    // It may have been none of them in between.
    check("5.0", "7", &["reconnect history_gap"]);
    check("5.0", "8", &NOTHING);
    // It was told of the change itself, so it was asked about.
    publish(&hub, &tasks("7", &["3"]), 7);
    check("6.0", "7", &["task 7/3"]);
    hub.hold(&Scope::EveryProject);
    publish(&hub, &tasks("*", &["4"]), 8);
    check("7.0", "7", &["reconnect history_gap"]);
    check("7.0", "8", &["reconnect history_gap"]);
    check("8.0", "8", &NOTHING);
}

#[test]
fn no_cursor_promises_what_was_taken_back() {
    let hub = hub();
    let (bob, carol) = (session(&hub, "bob", "7"), session(&hub, "carol", "7"));
    publish(&hub, &tasks("7", &["1"]), 5);
    for session in [&bob, &carol] {
        session.answer_with_cursor(|cursor| {
            format!("data: {{\"type\":\"pong\",\"cursor\":\"{}\"}}\n\n", cursor.unwrap()).into()
        });
    }
    hub.hold(&Scope::EveryProject);
    assert_eq!(hub.release(&doubt(&hub), &allow(&["carol"])), 1);
    // Who reads no further than the pong would go on behind a change that it was never told of.
    assert_eq!(told(&bob), ["revoked", "pong"]);
    // The same where a new token says so.
    carol.revoke(&project("7"), "data: {\"type\":\"revoked\"}\n\n".into());
    assert_eq!(told(&carol), ["revoked", "pong"]);
    assert_eq!(carol.projects(), []);
}
