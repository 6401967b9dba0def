//! One daemon relays. Where it goes or hangs, another does, and nothing is lost.

use std::time::{Duration, Instant};

use crate::browser::Browser;
use crate::relay_world::{
    dropped, hears_at_last, hears_nothing_but_a_mark, queued, relayed, silent, start, state, until_relays, until_state,
};
use crate::world::{Daemon, Database, Settings, World, until};

/// A relay and one that waits for its turn, on the same database.
async fn pair(heartbeat_timeout: &str) -> (Daemon, Daemon, Database) {
    let database = silent().await;
    let settings = Settings::new(&database.url).set("database.heartbeat_timeout", heartbeat_timeout);
    let relay = start(&settings).await;
    until_relays(&relay).await;
    let other = start(&settings).await;
    (relay, other, database)
}

/// What is about to end is awake, for half a second still, or asleep.
async fn rests(relay: &Daemon, state: &str, bob: &mut Browser, database: &Database) {
    until_state(relay, "asleep").await;
    if state == "awake" {
        database.run("update tasks set done = true where id = 3").await;
        bob.hears(&["task UPDATE 8/3"]).await;
    }
}

#[tokio::test]
async fn of_three_daemons_one_relays_and_all_tell() {
    let World { daemon, database } = relayed().await;
    let settings = Settings::new(&database.url).set("database.heartbeat_timeout", "10s");
    let daemons = [daemon, start(&settings).await, start(&settings).await];
    let mut browsers = Vec::new();
    for daemon in &daemons {
        browsers.push(daemon.browser("alice", "7").await);
    }
    for _ in 0..20 {
        database.run("update tasks set done = not done where id = 1").await;
        for browser in &mut browsers {
            browser.hears(&["task UPDATE 7/1"]).await;
        }
    }
    let mut sent = Vec::new();
    for daemon in &daemons {
        let relays = !state(daemon).await.is_empty();
        assert_eq!(daemon.metric("pgherald_relay_elections_total").await, f64::from(u8::from(relays)));
        assert_eq!(daemon.metric("pgherald_relay_present ").await, 1.0);
        sent.push(daemon.metric("pgherald_relay_rows_total").await);
    }
    assert_eq!(sent, [20.0, 0.0, 0.0]);
}

#[tokio::test]
async fn another_takes_over_from_a_relay_that_ends() {
    for signal in ["KILL", "TERM"] {
        for rest in ["awake", "asleep"] {
            // so long what waits is nobody's concern, and no relay is taken for one that hangs
            let (mut relay, other, database) = pair("30s").await;
            let mut bob = other.browser("bob", "8").await;
            rests(&relay, rest, &mut bob, &database).await;
            relay.signal(signal).await;
            let began = Instant::now();
            for id in 2000..2100 {
                database.run(&format!("insert into tasks (id, project_id, title) values ({id}, 8, 'x')")).await;
            }
            for id in 2000..2100 {
                assert_eq!(bob.short().await, format!("task INSERT 8/{id}"), "SIG{signal} while {rest}");
            }
            let took = began.elapsed();
            assert!(took < Duration::from_secs(15), "SIG{signal} while {rest}: {took:?}");
            assert!(!state(&other).await.is_empty());
            assert_eq!(other.metric("pgherald_relay_elections_total").await, 1.0);
            assert_eq!(other.metric("pgherald_relay_hung_ended_total").await, 0.0);
            relay.exit_code().await;
            assert_eq!((queued(&database.client).await, dropped(&database.client).await), (0, 0));
        }
    }
}

#[tokio::test]
async fn another_ends_the_session_of_a_relay_that_hangs_and_takes_over() {
    for rest in ["awake", "asleep"] {
        let (relay, other, database) = pair("1s").await;
        let (mut alice, mut bob) = (relay.browser("alice", "7").await, other.browser("bob", "8").await);
        rests(&relay, rest, &mut bob, &database).await;
        relay.signal("STOP").await;
        let began = Instant::now();
        for id in 2000..2100 {
            database.run(&format!("insert into tasks (id, project_id, title) values ({id}, 8, 'x')")).await;
        }
        let writing = began.elapsed();
        assert!(writing < Duration::from_secs(15), "writers do not wait: {writing:?}");
        // that they wait is told before
        let mut told = 0;
        for id in 2000..2100 {
            told += hears_at_last(&mut bob, &format!("task INSERT 8/{id}")).await;
        }
        // more often where writing them took longer than two looks are apart; its own listener may have been too slow as well
        let most = 2 + (writing.as_secs_f64() / 0.5) as usize;
        assert!((1..=most).contains(&told), "told {told} times, stopped while {rest}");
        // it is given 3 s; a slow machine gets more
        assert!(began.elapsed() < Duration::from_secs(20), "taken over after {:?}", began.elapsed());
        until_relays(&other).await;
        assert_eq!(other.metric("pgherald_relay_hung_ended_total").await, 1.0);
        assert_eq!(other.metric("pgherald_relay_elections_total").await, 1.0);
        until("the log to tell of it", async || other.log().contains("the relay did not move")).await;
        assert_eq!(dropped(&database.client).await, 0);

        // the first comes back and waits for its turn
        relay.signal("CONT").await;
        until_state(&relay, "").await;
        // its listener may have lost a heartbeat
        let beats = async || relay.metric("pgherald_canary_round_trip_seconds_count").await;
        let before = beats().await;
        until("two beats", async || beats().await >= before + 2.0).await;
        database.run("update tasks set done = true where id = 1").await;
        hears_at_last(&mut alice, "task UPDATE 7/1").await;
        assert_eq!(relay.metric("pgherald_relay_elections_total").await, 1.0);
        assert_eq!(relay.metric("pgherald_relay_hung_ended_total").await, 0.0);
        assert!(!state(&other).await.is_empty());
        // and has it when the other ends
        let mut other = other;
        other.signal("KILL").await;
        other.exit_code().await;
        until("the first to relay again", async || relay.metric("pgherald_relay_elections_total").await == 2.0).await;
        until("the first to be known to writers", async || relay.metric("pgherald_relay_present ").await == 1.0).await;
        database.run("select pgherald.notify('report', 'a', 'UPDATE', '7')").await;
        hears_at_last(&mut alice, "report UPDATE 7/a").await;
        hears_nothing_but_a_mark(&mut alice, &database).await;
    }
}

/// One that lives is left alone, however quiet it is.
#[tokio::test]
async fn a_relay_that_sleeps_is_not_taken_for_one_that_hangs() {
    let (relay, other, database) = pair("1s").await;
    let mut bob = other.browser("bob", "8").await;
    until_state(&relay, "asleep").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(state(&relay).await, "asleep");
    assert_eq!(other.metric("pgherald_relay_hung_ended_total").await, 0.0);
    assert_eq!(relay.metric("pgherald_relay_elections_total").await, 1.0);
    database.run("update tasks set done = true where id = 3").await;
    bob.hears(&["task UPDATE 8/3"]).await;
}
