//! Everybody whose time has come is woken, and nobody before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pgherald::alarms::{Alarm, Alarms};
use proptest::prelude::*;
use tokio::time::Instant;

/// Somebody who counts how often it was woken.
struct Sleeper {
    alarm: Alarm,
    woken: AtomicUsize,
}

fn sleeper(alarms: &Alarms<Sleeper>) -> Arc<Sleeper> {
    alarms.add(|alarm| Sleeper { alarm, woken: AtomicUsize::new(0) })
}

fn sweep(alarms: &Alarms<Sleeper>, at: Instant) -> usize {
    alarms.sweep(at, |sleeper| {
        sleeper.woken.fetch_add(1, Ordering::Relaxed);
    })
}

fn after(start: Instant, micros: u64) -> Instant {
    start + Duration::from_micros(micros)
}

#[test]
fn who_sets_no_alarm_is_never_woken() {
    let alarms = Alarms::default();
    let sleeper = sleeper(&alarms);
    assert_eq!(sweep(&alarms, after(Instant::now(), 1_000_000_000_000_000)), 0);
    assert_eq!(sleeper.woken.load(Ordering::Relaxed), 0);
}

#[test]
fn an_alarm_rings_until_it_is_set_anew() {
    let alarms = Alarms::default();
    let (sleeper, start) = (sleeper(&alarms), Instant::now());
    sleeper.alarm.set(after(start, 500_000));
    assert_eq!(sweep(&alarms, after(start, 499_999)), 0);
    assert_eq!(sweep(&alarms, after(start, 502_000)), 1);
    assert_eq!(sweep(&alarms, after(start, 600_000)), 1);
    sleeper.alarm.set(after(start, 900_000));
    assert_eq!(sweep(&alarms, after(start, 899_000)), 0);
    sleeper.alarm.set(after(start, 700_000));
    assert_eq!(sweep(&alarms, after(start, 899_000)), 1, "earlier than it was");
    sleeper.alarm.set(start.checked_sub(Duration::from_secs(1)).unwrap_or(start));
    assert_eq!(sweep(&alarms, after(start, 899_000)), 1, "long ago");
}

#[test]
fn who_has_gone_is_woken_no_more_and_its_place_is_given_out_again() {
    let alarms = Alarms::default();
    let start = Instant::now();
    let sleepers: Vec<_> = (0..3000).map(|_| sleeper(&alarms)).collect();
    sleepers.iter().for_each(|sleeper| sleeper.alarm.set(start));
    assert_eq!(sweep(&alarms, after(start, 9_000)), 3000);
    for gone in sleepers.iter().skip(1000) {
        alarms.remove(&gone.alarm);
        alarms.remove(&gone.alarm);
        assert_eq!(Arc::strong_count(gone), 1, "it is still held");
    }
    assert_eq!(sweep(&alarms, after(start, 9_000)), 1000);
    let late: Vec<_> = (0..3000).map(|_| sleeper(&alarms)).collect();
    assert_eq!(sweep(&alarms, after(start, 9_000)), 1000, "who comes has no alarm yet");
    late.iter().for_each(|sleeper| sleeper.alarm.set(start));
    assert_eq!(sweep(&alarms, after(start, 9_000)), 4000);
    assert!(late.iter().all(|sleeper| sleeper.woken.load(Ordering::Relaxed) == 1));
}

proptest! {
    #[test]
    fn nobody_is_woken_before_its_time_or_a_millisecond_too_late(moments in prop::collection::vec(0_u64..5_000, 1..50), now in 0_u64..9_000) {
        let alarms = Alarms::default();
        let start = Instant::now();
        let sleepers: Vec<_> = moments.iter().map(|_| sleeper(&alarms)).collect();
        for (sleeper, at) in sleepers.iter().zip(&moments) {
            sleeper.alarm.set(after(start, *at));
        }
        sweep(&alarms, after(start, now));
        for (sleeper, at) in sleepers.iter().zip(&moments) {
            let woken = sleeper.woken.load(Ordering::Relaxed) == 1;
            prop_assert!(!woken || *at <= now, "woken at {now}, wanted {at}");
            prop_assert!(woken || *at + 2_000 > now, "not woken at {now}, wanted {at}");
        }
    }
}
