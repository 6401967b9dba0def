//! Waits grow, stay under their cap, and differ.

use std::time::Duration;

use pgherald::backoff::Backoff;

const BASE: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(30);

#[test]
fn the_ceiling_doubles_up_to_the_cap() {
    let mut backoff = Backoff::new(BASE, CAP);
    for ceiling_ms in [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000] {
        assert_eq!(backoff.ceiling(), Duration::from_millis(ceiling_ms));
        backoff.next_delay();
    }
}

#[test]
fn a_wait_is_a_random_part_of_its_ceiling() {
    let mut delays = Vec::new();
    for _ in 0..200 {
        let mut backoff = Backoff::new(BASE, CAP);
        backoff.next_delay();
        let ceiling = backoff.ceiling();
        let delay = backoff.next_delay();
        assert!(delay <= ceiling, "{delay:?} > {ceiling:?}");
        delays.push(delay);
    }
    // Full jitter: over the whole range, not around its end. 200 draws miss a quarter once in 10^24.
    let quarter = BASE / 2;
    assert!(delays.iter().any(|delay| *delay < quarter), "no short wait: {delays:?}");
    assert!(delays.iter().any(|delay| *delay > 3 * quarter), "no long wait: {delays:?}");
}

#[test]
fn a_reset_begins_anew() {
    let mut backoff = Backoff::new(BASE, CAP);
    for _ in 0..5 {
        backoff.next_delay();
    }
    backoff.reset();
    assert_eq!(backoff.ceiling(), BASE);
}

#[test]
fn years_of_attempts_do_not_overflow() {
    let mut backoff = Backoff::new(BASE, CAP);
    for _ in 0..10_000 {
        assert!(backoff.next_delay() <= CAP);
    }
    assert_eq!(backoff.ceiling(), CAP);
    let mut extreme = Backoff::new(Duration::MAX, Duration::from_secs(1));
    extreme.next_delay();
    assert_eq!(extreme.ceiling(), Duration::from_secs(1));
}
