//! The hub by itself: outboxes without a socket keep what they are given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use pgherald::config::{Config, File, Limits};
use pgherald::event::{Invalidation, ProjectId};
use pgherald::hub::{Full, Heard, Hub};
use pgherald::resource::ResourceNames;

fn limits() -> Limits {
    Config::load(File::None, &BTreeMap::new()).unwrap().limits
}

fn project(id: &str) -> ProjectId {
    ProjectId::parse(id).unwrap()
}

fn publish(hub: &Hub, project: &str) {
    let payload = format!(r#"{{"resource":"task","id":"1","action":"UPDATE","project_id":"{project}"}}"#);
    let change = Invalidation::parse(&payload, &ResourceNames::default()).unwrap();
    hub.publish(&[Heard { change, cursor: None }], Instant::now());
}

#[test]
fn a_change_is_put_into_the_outboxes_of_its_project_only() {
    let hub = Hub::new(&limits());
    let (mut alice, mut bob) = (hub.join(None).unwrap(), hub.join(None).unwrap());
    alice.subscribe(&project("7")).unwrap();
    bob.subscribe(&project("8")).unwrap();
    publish(&hub, "7");
    assert!(!alice.outbox.is_empty() && bob.outbox.is_empty());
    publish(&hub, "*");
    assert!(!bob.outbox.is_empty());
}

#[test]
fn unsubscribing_takes_back_what_waits() {
    let hub = Hub::new(&limits());
    let mut alice = hub.join(None).unwrap();
    alice.subscribe(&project("7")).unwrap();
    publish(&hub, "7");
    assert!(alice.unsubscribe(&project("7")));
    assert!(alice.outbox.is_empty(), "a revoked subject gets nothing more");
    publish(&hub, "7");
    assert!(alice.outbox.is_empty());
    assert!(!alice.unsubscribe(&project("7")), "there is nothing left to leave");
}

#[test]
fn leaving_the_hub_happens_on_drop() {
    let hub = Hub::new(&limits());
    let subject: Arc<str> = "alice".into();
    let mut alice = hub.join(Some(&subject)).unwrap();
    alice.subscribe(&project("7")).unwrap();
    let outbox = Arc::clone(&alice.outbox);
    assert_eq!(hub.sessions(), 1);
    drop(alice);
    assert_eq!(hub.sessions(), 0);
    publish(&hub, "7");
    assert!(outbox.is_empty(), "a session that has left is told nothing");
    assert_eq!(Arc::strong_count(&outbox), 1, "the hub still holds it");
}

#[test]
fn every_bound_is_met_and_given_back() {
    let hub = Hub::new(&Limits {
        sessions: 3,
        sessions_per_subject: 1,
        sessions_unauthenticated: 1,
        subscriptions_per_session: 1,
        ..limits()
    });
    let subject = |name: &str| -> Arc<str> { name.into() };
    let mut nobody = hub.join(None).unwrap();
    assert_eq!(hub.join(None).unwrap_err(), Full::Sessions);
    nobody.identify(&subject("alice")).unwrap();
    assert_eq!(hub.join(Some(&subject("alice"))).unwrap_err(), Full::Subject);
    let second = hub.join(None).unwrap();
    let _third = hub.join(Some(&subject("bob"))).unwrap();
    assert_eq!(hub.join(Some(&subject("carol"))).unwrap_err(), Full::Sessions);
    nobody.subscribe(&project("7")).unwrap();
    nobody.subscribe(&project("7")).unwrap();
    assert_eq!(nobody.subscribe(&project("8")).unwrap_err(), Full::Subscriptions);
    drop(nobody);
    assert!(hub.join(Some(&subject("alice"))).is_ok());
    drop(second);
    assert!(hub.join(None).is_ok(), "who has left counts no more");
}

#[test]
fn a_reconnect_goes_to_those_who_subscribed_to_something() {
    let hub = Hub::new(&limits());
    let (mut alice, nobody) = (hub.join(None).unwrap(), hub.join(None).unwrap());
    alice.subscribe(&project("7")).unwrap();
    hub.reconnect_everyone(pgherald::protocol::Reason::DatabaseReconnected);
    assert!(!alice.outbox.is_empty() && nobody.outbox.is_empty());
}

#[test]
fn nothing_follows_a_close_frame() {
    let hub = Hub::new(&limits());
    let mut alice = hub.join(None).unwrap();
    alice.subscribe(&project("7")).unwrap();
    alice.outbox.close(pgherald::frame::close(1001, "going away"));
    publish(&hub, "7");
    hub.reconnect_everyone(pgherald::protocol::Reason::DatabaseReconnected);
    alice.gap(&project("7"));
    assert_eq!(alice.outbox.frames(), 1, "only the close frame");
}
