//! What moved takes its rows along, and is told again when the writers of that time have ended.

use pgherald::event::{Invalidation, Scope};
use pgherald::repeats::{Kept, Repeats};
use pgherald::resource::ResourceNames;

use crate::writers::writers;

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
fn a_change_is_told_again_after_the_fence_and_whenever_somebody_of_it_has_ended() {
    let mut repeats = Repeats::default();
    repeats.note(&moved("comments", "7", false));
    assert!(!repeats.wants_fence(false), "only what asks for it");
    repeats.note(&moved("comments", "7", true));
    repeats.note(&moved("comments", "7", true));
    repeats.note(&moved("notes", "*", true));
    assert!(repeats.wants_fence(false));
    repeats.fence(writers(&[7, 109, 110]));
    let both = ["comment 7", "note *"];
    assert_eq!(short(repeats.due(&writers(&[7, 109, 110]))), both, "another may have ended before the fence");
    assert_eq!(
        short(repeats.due(&writers(&[7, 109, 110, 111]))),
        [""; 0],
        "whoever is left may be one that looked before"
    );
    assert_eq!(short(repeats.due(&writers(&[7, 112]))), both);
    assert_eq!(short(repeats.due(&writers(&[7, 113]))), [""; 0]);
    assert_eq!(short(repeats.due(&writers(&[]))), both);
    assert_eq!(short(repeats.due(&writers(&[]))), [""; 0]);
    assert!(!repeats.wants_fence(false));
}

#[test]
fn where_nobody_writes_a_change_is_told_again_once() {
    let mut repeats = Repeats::default();
    repeats.note(&moved("comments", "7", true));
    assert!(repeats.wants_fence(false));
    repeats.fence(writers(&[]));
    assert_eq!(short(repeats.due(&writers(&[111]))), ["comment 7"]);
    assert_eq!(short(repeats.due(&writers(&[]))), [""; 0]);
}

#[test]
fn what_is_heard_while_the_fence_is_taken_waits_for_the_next() {
    let mut repeats = Repeats::default();
    repeats.note(&moved("comments", "7", true));
    assert!(repeats.wants_fence(false));
    repeats.note(&moved("comments", "8", true));
    repeats.fence(writers(&[110]));
    assert_eq!(short(repeats.due(&writers(&[]))), ["comment 7"]);
    assert!(repeats.wants_fence(false));
    repeats.fence(writers(&[120]));
    assert_eq!(short(repeats.due(&writers(&[]))), ["comment 8"]);
}

#[test]
fn a_transaction_that_lasts_does_not_keep_later_changes_from_anybody() {
    let mut repeats = Repeats::default();
    for (project, writer) in [("7", 110), ("8", 120), ("9", 130)] {
        repeats.note(&moved("comments", project, true));
        assert!(repeats.wants_fence(false));
        repeats.fence(writers(&[5, writer]));
        let told = format!("comment {project}");
        assert_eq!(short(repeats.due(&writers(&[5, writer]))), [told.as_str()]);
        assert_eq!(short(repeats.due(&writers(&[5]))), [told.as_str()], "and no other");
    }
    assert_eq!(short(repeats.due(&writers(&[]))), ["comment 7", "comment 8", "comment 9"]);
}

#[test]
fn a_fence_that_could_not_be_taken_is_asked_for_again() {
    let mut repeats = Repeats::default();
    repeats.note(&moved("comments", "7", true));
    assert!(repeats.wants_fence(false));
    assert_eq!(short(repeats.due(&writers(&[]))), [""; 0], "the connection broke before there was one");
    assert!(repeats.wants_fence(false));
    repeats.fence(writers(&[110]));
    assert_eq!(short(repeats.due(&writers(&[]))), ["comment 7"]);
}

#[test]
fn more_than_can_be_kept_becomes_everything() {
    let mut repeats = Repeats::default();
    (0..2000).for_each(|project| repeats.note(&moved("comments", &project.to_string(), true)));
    assert!(repeats.wants_fence(false));
    repeats.fence(writers(&[]));
    assert_eq!(short(repeats.due(&writers(&[]))), ["everything"]);
}

/// Of all fences that wait for the same.
#[test]
fn more_than_can_be_kept_in_the_end_becomes_everything() {
    let mut repeats = Repeats::default();
    for round in 0..3 {
        let projects = round * 400..(round + 1) * 400;
        projects.clone().for_each(|project| repeats.note(&moved("comments", &project.to_string(), true)));
        assert!(repeats.wants_fence(false));
        repeats.fence(writers(&[5]));
        assert_eq!(short(repeats.due(&writers(&[5]))).len(), projects.len());
    }
    assert_eq!(short(repeats.due(&writers(&[]))), ["everything"]);
}

#[test]
fn what_was_lost_is_everything_where_a_path_is_followed() {
    let mut repeats = Repeats::default();
    repeats.lose();
    assert!(!repeats.wants_fence(false), "no row takes others along");
    assert!(!repeats.wants_fence(true), "what was lost before there was a path did not matter");
    repeats.lose();
    assert!(repeats.wants_fence(true));
    repeats.lose();
    repeats.fence(writers(&[110]));
    assert_eq!(short(repeats.due(&writers(&[]))), ["everything"]);
    assert!(repeats.wants_fence(true), "what was lost since waits for another");
    repeats.fence(writers(&[120]));
    assert_eq!(short(repeats.due(&writers(&[]))), ["everything"]);
    assert!(!repeats.wants_fence(true));
}

#[test]
fn a_fence_of_another_connection_is_taken_again() {
    let mut repeats = Repeats::default();
    repeats.note(&moved("comments", "7", true));
    assert!(repeats.wants_fence(false));
    repeats.fence(writers(&[1_000_000]));
    repeats.unfence();
    assert_eq!(short(repeats.due(&writers(&[]))), [""; 0]);
    assert!(repeats.wants_fence(false));
    repeats.fence(writers(&[110]));
    assert_eq!(short(repeats.due(&writers(&[110]))), ["comment 7"]);
    repeats.unfence();
    assert!(repeats.wants_fence(false));
    repeats.fence(writers(&[]));
    assert_eq!(short(repeats.due(&writers(&[]))), ["comment 7"]);
    assert!(!repeats.wants_fence(false));
}

/// Each beside one transaction more, so that no two are alike.
#[test]
fn more_fences_than_are_kept_are_told_too_early_and_none_is_lost() {
    let mut repeats = Repeats::default();
    let all: Vec<u64> = (1..=40).collect();
    for project in 1..=40 {
        repeats.note(&moved("comments", &project.to_string(), true));
        assert!(repeats.wants_fence(false));
        repeats.fence(writers(&all[..project]));
        let told = short(repeats.due(&writers(&all[..project])));
        assert!(told.contains(&format!("comment {project}")), "{told:?}");
    }
    let told = short(repeats.due(&writers(&all[1..])));
    assert_eq!(told.len(), 40, "all wait for the first transaction");
    let told = short(repeats.due(&writers(&all[2..])));
    assert_eq!(told.len(), 40, "what waited for the first alone now waits for others as well");
    let told = short(repeats.due(&writers(&all[30..])));
    assert!(told.contains(&"comment 3".to_owned()) && told.contains(&"comment 40".to_owned()), "{told:?}");
    assert!(short(repeats.due(&writers(&[]))).contains(&"comment 40".to_owned()));
    assert_eq!(short(repeats.due(&writers(&[]))), [""; 0]);
}
