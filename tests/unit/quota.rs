//! A burst at once, then the rate.

use std::time::Duration;

use pgherald::quota::Quota;
use tokio::time::Instant;

/// Asks at each moment (in milliseconds from the start); `y` = granted, `n` = refused.
fn check(per_second: u32, burst: u32, moments_ms: &[u64], expected: &str) {
    let mut quota = Quota::new(per_second, burst);
    // After the quota was made, so that it is full at 0.
    let start = Instant::now();
    let ask = |at: &u64| if quota.take(start + Duration::from_millis(*at)) { 'y' } else { 'n' };
    let granted: String = moments_ms.iter().map(ask).collect();
    assert_eq!(granted, expected, "{per_second} a second, burst {burst}, at {moments_ms:?}");
}

#[test]
fn a_burst_is_granted_at_once_and_no_more() {
    check(1, 3, &[0, 0, 0, 0, 0], "yyynn");
    check(10, 1, &[0, 0, 0], "ynn");
}

#[test]
fn what_is_earned_later_is_granted_then() {
    check(10, 1, &[0, 50, 101, 150, 202], "ynyny");
    check(2, 2, &[0, 0, 0, 501, 502, 1002], "yynyny");
}

#[test]
fn a_long_silence_earns_no_more_than_a_burst() {
    check(10, 2, &[0, 1_000_000, 1_000_000, 1_000_000], "yyyn");
}

#[test]
fn a_refusal_costs_nothing() {
    check(10, 1, &[0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 101], "ynnnnnnnnny");
}

#[test]
fn a_clock_that_goes_back_neither_panics_nor_gives() {
    let mut quota = Quota::new(1, 1);
    let later = Instant::now() + Duration::from_secs(3600);
    assert!(quota.take(later));
    assert!(!quota.take(later - Duration::from_secs(1800)));
}
