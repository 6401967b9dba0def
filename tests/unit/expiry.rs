//! A token ends when its time has gone by, whatever becomes of the wall clock.

use std::time::Duration;

use pgherald::expiry::Expiry;

/// Noon of a day, in seconds since 1970.
const NOON: u64 = 1_795_176_000;

/// A look at the session's token: what it says, both clocks, and how much is left, all in seconds. The steady clock
/// counts from the start of the machine, the wall clock and the token's end are told from `NOON`.
type Look = (i64, u64, i64, u64);

#[track_caller]
fn check(looks: &[Look]) {
    let mut expiry = Expiry::default();
    for (place, (ends_at, steady, wall, expected)) in looks.iter().enumerate() {
        let wall = || Duration::from_secs(NOON.saturating_add_signed(*wall));
        let left = expiry.left(NOON.saturating_add_signed(*ends_at), Duration::from_secs(*steady), wall);
        assert_eq!(left, Duration::from_secs(*expected), "look {place} of {looks:?}");
    }
}

#[test]
fn a_token_is_good_until_its_time_has_gone_by() {
    check(&[(600, 5000, 0, 600), (600, 5001, 1, 599), (600, 5599, 599, 1), (600, 5600, 600, 0), (600, 9999, 4999, 0)]);
}

#[test]
fn a_clock_that_jumps_changes_nothing() {
    // Forward: nobody is ended early.
    check(&[(600, 5000, 0, 600), (600, 5010, 3610, 590), (600, 5020, 86_400, 580), (600, 5600, 7200, 0)]);
    // Back: nobody is kept.
    check(&[(600, 5000, 0, 600), (600, 5010, -3590, 590), (600, 5600, -3000, 0), (600, 5601, -3000, 0)]);
    // To 1970, as a machine without a battery does, and on again.
    check(&[(600, 5000, 0, 600), (600, 5010, i64::MIN, 590), (600, 5020, 20, 580)]);
}

#[test]
fn time_in_suspension_counts() {
    // Both clocks went on by a night.
    check(&[(600, 5000, 0, 600), (600, 33_800, 28_800, 0)]);
}

#[test]
fn a_renewed_token_is_judged_by_the_clocks_of_its_own_moment() {
    check(&[(600, 5000, 0, 600), (1200, 5500, 500, 700), (1200, 6199, 1199, 1), (1200, 6200, 1200, 0)]);
    // A shorter one as well.
    check(&[(600, 5000, 0, 600), (60, 5010, 10, 50)]);
    // The clock was put right in between: the renewal believes it, and later jumps change nothing again.
    check(&[(600, 5000, 0, 600), (4200, 5100, 3600, 600), (4200, 5200, 0, 500), (4200, 5700, 100, 0)]);
    // The same token once more is no other end.
    check(&[(600, 5000, 0, 600), (600, 5100, 3600, 500)]);
}

#[test]
fn what_has_ended_already_has_nothing_left() {
    check(&[(-1, 5000, 0, 0), (-1, 5001, -3600, 0)]);
    check(&[(0, 5000, 0, 0)]);
    check(&[(i64::MIN, 0, 0, 0)]);
}

#[test]
fn an_end_in_the_far_future_is_no_overflow() {
    let mut expiry = Expiry::default();
    for steady in [0, 1, u64::MAX / 2, u64::MAX] {
        let left = expiry.left(u64::MAX, Duration::from_secs(steady), || Duration::from_secs(NOON));
        assert_eq!(left, Duration::from_secs(u64::MAX - NOON).saturating_sub(Duration::from_secs(steady)), "{steady}");
    }
    let mut expiry = Expiry::default();
    assert_eq!(expiry.left(u64::MAX, Duration::MAX, || Duration::ZERO), Duration::ZERO);
}

#[test]
fn the_wall_clock_is_asked_once_for_each_token() {
    let (mut expiry, mut asked) = (Expiry::default(), 0);
    for (steady, ends_at) in [(0, 600), (1, 600), (2, 600), (3, 700), (4, 700)] {
        expiry.left(ends_at, Duration::from_secs(steady), || {
            asked += 1;
            Duration::ZERO
        });
    }
    assert_eq!(asked, 2);
}

#[test]
fn an_expiry_is_small_as_every_session_has_one() {
    assert!(size_of::<Expiry>() <= 24, "{} bytes", size_of::<Expiry>());
}
