//! The more are told at once, the longer they take.

use std::time::{Duration, Instant};

use pgherald::spread::Spread;

/// From 2 s to 60 s at `per_second`; tells so many sessions at each moment (in milliseconds from the start).
fn check(per_second: u32, told: &[(u64, usize)], expected_ms: &[u128]) {
    let start = Instant::now();
    let mut spread = Spread::new(Duration::from_secs(2), Duration::from_secs(60), per_second, start);
    let tell = |(at, sessions): &(u64, usize)| spread.tell(*sessions, start + Duration::from_millis(*at)).as_millis();
    let found: Vec<u128> = told.iter().map(tell).collect();
    assert_eq!(found, expected_ms, "{told:?} at {per_second} a second");
}

#[test]
fn a_few_are_spread_over_the_least() {
    check(1000, &[(0, 0), (0, 1), (0, 1000), (0, 999)], &[2000, 2000, 2000, 2000]);
}

#[test]
fn many_at_once_take_as_long_as_their_refetches() {
    check(1000, &[(0, 20_000)], &[20_000]);
    check(1, &[(0, 3)], &[3000]);
    check(100, &[(0, 2000)], &[20_000]);
}

#[test]
fn one_after_the_other_they_add_up() {
    check(1, &[(0, 1), (0, 1), (0, 1), (0, 1)], &[2000, 2000, 3000, 4000]);
    check(10, &[(0, 20), (0, 1), (0, 9)], &[2000, 2100, 3000]);
}

#[test]
fn what_was_expected_is_over_after_its_time() {
    check(10, &[(0, 100), (4000, 0), (4000, 40), (100_000, 1)], &[10_000, 6000, 10_000, 2000]);
    check(1000, &[(0, 20_000), (10_000, 20_000), (40_000, 1)], &[20_000, 30_000, 2000]);
}

#[test]
fn it_is_never_more_than_the_most_and_drains_from_there() {
    check(1, &[(0, 1_000_000), (0, 1), (10_000, 0), (58_000, 0)], &[60_000, 60_000, 50_000, 2000]);
    check(1, &[(0, usize::MAX)], &[60_000]);
    check(u32::MAX, &[(0, usize::MAX)], &[60_000]);
}

#[test]
fn a_clock_that_goes_back_neither_panics_nor_drains_twice() {
    check(1, &[(10_000, 30), (0, 0), (10_000, 0), (20_000, 0)], &[30_000, 30_000, 30_000, 20_000]);
}
