//! The ring of the newest changes: bounded by number, bytes and age.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgherald::cursor::Cursor;
use pgherald::event::{Invalidation, ProjectId, Scope};
use pgherald::history::{Heard, History};
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);

fn cursor(transaction: u64) -> Cursor {
    Cursor { transaction, ordinal: 0, place: 0 }
}

fn change(transaction: Option<u64>) -> Heard {
    let mut change = Invalidation::of_resource("task".into(), Scope::EveryProject);
    change.transaction = transaction;
    Heard { change: Arc::new(change), cursor: transaction.map(cursor), bytes: 100, repeated: false }
}

/// The transactions missed since then; `None` = a gap.
fn since(history: &mut History, transaction: u64, now: Instant) -> Option<Vec<Option<u64>>> {
    let missed = history.since(cursor(transaction), now, &ProjectId::parse("7").unwrap())?;
    Some(missed.iter().map(|(heard, _)| heard.change.transaction).collect())
}

#[test]
fn every_bound_makes_the_oldest_go() {
    let now = Instant::now();
    let mut few = History::new(3, usize::MAX, HOUR);
    let mut light = History::new(100, 1300, HOUR);
    let mut young = History::new(100, usize::MAX, Duration::from_secs(3));
    for number in 1..=6 {
        for history in [&mut few, &mut light, &mut young] {
            history.push(change(Some(number)), now + Duration::from_secs(number));
        }
    }
    let later = now + Duration::from_secs(6);
    for history in [&mut few, &mut light] {
        assert_eq!(since(history, 3, later), None);
        assert_eq!(since(history, 4, later), Some(vec![Some(5), Some(6)]));
    }
    assert_eq!(since(&mut young, 3, later), Some(vec![Some(4), Some(5), Some(6)]));
    assert_eq!(since(&mut young, 3, later + Duration::from_secs(1)), None);
    assert_eq!(since(&mut History::new(0, 0, HOUR), 1, now), None);
}

#[test]
fn a_change_without_a_cursor_is_told_to_whoever_may_have_missed_it() {
    let now = Instant::now();
    let mut history = History::new(100, usize::MAX, HOUR);
    [Some(1), None, Some(2), None].into_iter().for_each(|number| _ = history.push(change(number), now));
    assert_eq!(since(&mut history, 1, now), Some(vec![None, Some(2), None]));
    assert_eq!(since(&mut history, 2, now), Some(vec![None]));
    assert_eq!(history.newest(), Some(cursor(2)));
}

#[test]
fn what_this_daemon_repeated_is_told_wherever_it_stands() {
    let now = Instant::now();
    let mut history = History::new(100, usize::MAX, HOUR);
    history.push(Heard { repeated: true, ..change(None) }, now);
    history.push(change(Some(1)), now);
    history.push(change(Some(2)), now);
    assert_eq!(since(&mut history, 1, now), Some(vec![None, Some(2)]));
}

#[test]
fn of_two_places_with_one_cursor_the_older_counts() {
    let now = Instant::now();
    let mut history = History::new(3, usize::MAX, HOUR);
    [1, 2, 1].into_iter().for_each(|number| _ = history.push(change(Some(number)), now));
    assert_eq!(since(&mut history, 1, now), Some(vec![Some(2), Some(1)]), "who comes back hears more, not less");
}

#[test]
fn a_wall_goes_with_what_is_before_it() {
    let now = Instant::now();
    let project = ProjectId::parse("7").unwrap();
    let mut history = History::new(2, usize::MAX, HOUR);
    history.push(change(Some(1)), now);
    history.wall(&Scope::Project(project.clone()));
    history.push(change(Some(2)), now);
    assert!(history.is_walled(cursor(1), &project));
    assert!(!history.is_walled(cursor(1), &ProjectId::parse("8").unwrap()));
    assert!(!history.is_walled(cursor(2), &project), "this one has heard it");
    history.push(change(Some(3)), now);
    // Its cursor comes again, and nothing is left of the time before.
    history.push(change(Some(1)), now);
    assert!(!history.is_walled(cursor(1), &project));
    history.wall(&Scope::EveryProject);
    history.clear();
    history.push(change(Some(4)), now);
    assert!(!history.is_walled(cursor(4), &project));
}

proptest! {
    #[test]
    fn found_means_all_that_followed_and_nothing_else(
        bounds in (0..8_usize, 0..4000_usize),
        steps in prop::collection::vec(prop_oneof![8 => Just(true), 1 => Just(false)], 0..40)
    ) {
        let now = Instant::now();
        let mut history = History::new(bounds.0, bounds.1, HOUR);
        let (mut published, mut cleared) = (Vec::new(), 0);
        for push in steps {
            if push {
                published.push(published.len() as u64 + 1);
                history.push(change(published.last().copied()), now);
            } else {
                history.clear();
                cleared = published.len();
            }
            for (place, number) in published.iter().enumerate() {
                if let Some(missed) = since(&mut history, *number, now) {
                    prop_assert!(place >= cleared);
                    let expected: Vec<_> = published[place + 1..].iter().map(|number| Some(*number)).collect();
                    prop_assert_eq!(missed, expected);
                }
            }
        }
    }
}
