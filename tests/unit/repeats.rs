//! What moved takes its rows along, and is told again when the writers of that time have ended.

use pgherald::event::{Invalidation, Scope};
use pgherald::repeats::{Kept, Repeats};
use pgherald::resource::ResourceNames;

fn moved(table: &str, project: &str, again: bool) -> Invalidation {
    let payload =
        format!(r#"{{"table":"{table}","action":"UPDATE","project_id":"{project}","ids":["1"],"again":{again}}}"#);
    Invalidation::parse(&payload, &ResourceNames::default()).unwrap()
}

fn short(kept: Kept) -> Vec<String> {
    let short = |change: &Invalidation| {
        assert!(change.ids.is_none() && change.transaction.is_none() && !change.again, "{change:?}");
        match &change.scope {
            Scope::Project(project) => format!("{} {project}", change.resource),
            Scope::EveryProject => format!("{} *", change.resource),
        }
    };
    kept.changes().map_or_else(|| vec!["everything".into()], |changes| changes.iter().map(short).collect())
}

#[test]
fn a_change_is_told_again_once_when_its_fence_is_passed() {
    let mut repeats = Repeats::default();
    repeats.note(&moved("comments", "7", false));
    assert!(!repeats.wants_fence(false), "only what asks for it");
    repeats.note(&moved("comments", "7", true));
    repeats.note(&moved("comments", "7", true));
    repeats.note(&moved("notes", "*", true));
    assert!(repeats.wants_fence(false));
    repeats.fence(110);
    assert_eq!(short(repeats.due(110)), [""; 0], "transaction 110 may be one that looked before");
    assert_eq!(short(repeats.due(111)), ["comment 7", "note *"]);
    assert_eq!(short(repeats.due(200)), [""; 0]);
    assert!(!repeats.wants_fence(false));
}

#[test]
fn what_is_heard_while_the_fence_is_taken_waits_for_the_next() {
    let mut repeats = Repeats::default();
    repeats.note(&moved("comments", "7", true));
    assert!(repeats.wants_fence(false));
    repeats.note(&moved("comments", "8", true));
    repeats.fence(110);
    assert!(!repeats.wants_fence(false), "one fence at a time");
    assert_eq!(short(repeats.due(111)), ["comment 7"]);
    assert!(repeats.wants_fence(false));
    repeats.fence(120);
    assert_eq!(short(repeats.due(121)), ["comment 8"]);
}

#[test]
fn a_fence_that_could_not_be_taken_is_asked_for_again() {
    let mut repeats = Repeats::default();
    repeats.note(&moved("comments", "7", true));
    assert!(repeats.wants_fence(false));
    assert_eq!(short(repeats.due(u64::MAX)), [""; 0], "the connection broke before there was one");
    assert!(repeats.wants_fence(false));
    repeats.fence(110);
    assert_eq!(short(repeats.due(111)), ["comment 7"]);
}

#[test]
fn more_than_can_be_kept_becomes_everything() {
    let mut repeats = Repeats::default();
    (0..2000).for_each(|project| repeats.note(&moved("comments", &project.to_string(), true)));
    assert!(repeats.wants_fence(false));
    repeats.fence(1);
    assert_eq!(short(repeats.due(2)), ["everything"]);
}

#[test]
fn what_was_lost_is_everything_where_a_path_is_followed() {
    let mut repeats = Repeats::default();
    repeats.lose();
    assert!(!repeats.wants_fence(false), "no row takes others along");
    assert!(!repeats.wants_fence(true), "what was lost before there was a path did not matter");
    repeats.lose();
    assert!(repeats.wants_fence(true));
    repeats.fence(110);
    repeats.lose();
    assert!(!repeats.wants_fence(true), "one fence at a time");
    assert_eq!(short(repeats.due(110)), [""; 0]);
    assert_eq!(short(repeats.due(111)), ["everything"]);
    assert!(repeats.wants_fence(true), "what was lost since waits for another");
    repeats.fence(120);
    assert_eq!(short(repeats.due(121)), ["everything"]);
    assert!(!repeats.wants_fence(true));
}

#[test]
fn a_fence_of_another_connection_is_taken_again() {
    let mut repeats = Repeats::default();
    repeats.note(&moved("comments", "7", true));
    assert!(repeats.wants_fence(false));
    repeats.fence(1_000_000);
    repeats.unfence();
    assert_eq!(short(repeats.due(u64::MAX)), [""; 0]);
    assert!(repeats.wants_fence(false));
    repeats.fence(110);
    assert_eq!(short(repeats.due(111)), ["comment 7"]);
}
