//! No row of the relay's queue is lost, doubled or left lying, whatever writers, daemons and PostgreSQL do, and whenever.
//! "Left lying" is what a relay does that falls asleep beside a row: somebody may come soon and wake it, or not.
//!
//! `PGHERALD_STRESS_SECONDS` says how long each test goes on, `PGHERALD_STRESS_SEED` what the writers do.

mod crash;
mod daemons;
mod ear;
mod judge;
mod order;
mod page;
mod pulse;
mod rounds;
mod scene;
mod sketch;
mod trouble;
mod writers;

use std::time::Duration;

use futures_util::future::join_all;
use pgherald::relay::Pace;
use pgherald::scratch::{self, Scratch};

use self::judge::{LATE, Verdict};
use self::order::Load;
use self::pulse::Pulse;
use self::rounds::{Relay, Rounds};
use self::scene::{Locks, Scene};
use self::sketch::FinalDrain;
use crate::world::{LIMIT, options, server};

/// In a normal run.
const SECONDS: u64 = 5;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

fn length() -> Duration {
    Duration::from_secs(number("PGHERALD_STRESS_SECONDS").unwrap_or(SECONDS))
}

/// What a failure prints.
fn seed() -> u64 {
    let seed = number("PGHERALD_STRESS_SEED").unwrap_or_else(|| rand::random::<u64>() >> 16);
    println!("PGHERALD_STRESS_SEED={seed}");
    seed
}

/// So hurried that it falls asleep after each row.
fn sleepy() -> Pace {
    Pace { patience: Duration::from_millis(1), linger: Duration::from_millis(1), ..Pace::default() }
}

/// Goes to the next table every few rows.
fn rotating() -> Pace {
    Pace { tidy_rows: 10, table_bytes_max: 0, ..sleepy() }
}

/// Plays on `server`, each in a database of its own, all at once.
async fn play(server: &str, all: &[(Locks, Rounds)], length: Duration) -> Vec<Verdict> {
    let (seed, pulse) = (seed(), Pulse::new(server).await);
    let plays = all.iter().zip(0..).map(async |((locks, rounds), place)| {
        let scene = Scene::new(server.to_owned(), *locks).await.with_presence().await;
        let (count, verdict) = rounds.play(&scene, &pulse, seed + 1000 * place, length).await;
        println!("{rounds:?}, {locks:?}: {count} rounds, {verdict}");
        let sleeps = !rounds.prepares && !rounds.long;
        assert!(verdict.bells >= if sleeps { count / 10 } else { 0 }, "it sleeps between two rounds: {verdict}");
        verdict
    });
    join_all(plays).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_is_lost_doubled_or_left_lying() {
    let sleepy = (Locks::Held, Rounds::of(Relay::Product(sleepy())));
    let rotating = (Locks::Held, Rounds { long: true, ..Rounds::of(Relay::Product(rotating())) });
    for verdict in play(&server().await, &[sleepy, sleepy, rotating], length()).await {
        assert!(verdict.is_whole() && verdict.late.is_empty(), "{verdict}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_can_be_prepared_and_lose_no_row() {
    let server = Scratch::start(&options().setting("max_prepared_transactions", "20")).await.unwrap();
    let prepares = Rounds { prepares: true, long: true, ..Rounds::of(Relay::Product(rotating())) };
    for verdict in play(&server.url(), &[(Locks::Held, prepares)], length()).await {
        assert!(verdict.is_whole() && verdict.late.is_empty(), "{verdict}");
        assert_eq!(verdict.bells, 0, "a bell fails what is prepared");
    }
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_protocol_leaves_no_row_lying() {
    let whole = (Locks::Held, Rounds::of(Relay::Sketch(FinalDrain::Done)));
    for verdict in play(&server().await, &[whole, whole], length() / 2).await {
        assert!(verdict.is_whole() && verdict.late.is_empty(), "{verdict}");
    }
}

/// That what follows is noticed is what the tests above are worth.
async fn leaves_rows_lying(locks: Locks, final_drain: FinalDrain) {
    let wrong = Rounds { lying_max: 8, ..Rounds::of(Relay::Sketch(final_drain)) };
    for verdict in play(&server().await, &[(locks, wrong)], LIMIT).await {
        assert!(verdict.is_whole(), "nothing but late: {verdict}");
        assert!(verdict.late.len() >= 3 && verdict.late.iter().all(|(_, delay)| *delay > LATE), "{verdict}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_does_not_look_again_once_it_has_the_lock_leaves_rows_lying() {
    leaves_rows_lying(Locks::Held, FinalDrain::LeftOut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_do_not_hold_their_lock_leave_rows_lying() {
    leaves_rows_lying(Locks::Glanced, FinalDrain::Done).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_versions_of_a_row_are_heard_in_order() {
    let (seed, server) = (seed(), server().await);
    let seconds = usize::try_from(length().as_secs()).unwrap();
    let rotates = |tidy_rows| Pace { tidy_rows, table_bytes_max: 0, ..Pace::default() };
    let (quick, slow) = (Load { updates: 2000 * seconds, slow: false }, Load { updates: 250 * seconds, slow: true });
    let runs = [(Pace::default(), quick), (rotates(50), quick), (rotates(1), slow)];
    join_all(runs.map(async |(pace, load)| {
        let scene = Scene::new(server.clone(), Locks::Held).await.with_presence().await;
        let file = "select pg_relation_filenode('pgherald.queue_0') <> (select relfilenode from born)";
        scene.database.run("create table born as select pg_relation_filenode('pgherald.queue_0') as relfilenode").await;
        let bells = order::updates(&scene, pace, load, seed).await;
        let rotated: bool = scene.database.client.query_one(file, &[]).await.unwrap().get(0);
        println!("{pace:?}, {load:?}: {bells} bells, rotated: {rotated}");
        // a relay that is idle truncates as well
        assert!(rotated || pace.table_bytes_max > 0);
        assert!(bells < load.updates / 50, "{bells} bells: it was awake all the time");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_killed_or_hangs_loses_no_row() {
    let (seed, scene) = (seed(), Scene::new(server().await, Locks::Held).await);
    let (ends, verdict) = trouble::ends_of_relays(&scene, seed, length()).await;
    println!("{ends} ends of relays, {verdict}");
    assert!(verdict.is_whole(), "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_transport_loses_no_row() {
    let (seed, scene) = (seed(), Scene::new(server().await, Locks::Held).await);
    let (switches, verdict) = trouble::switches(&scene, seed, length() / 2).await;
    println!("{switches} switches, {verdict}");
    assert!(verdict.is_whole(), "{verdict}");
}

async fn survives_crashes(settings: scratch::Options, prepares: bool) {
    let mut server = Scratch::start(&settings).await.unwrap();
    let crashes = usize::try_from(length().as_secs()).unwrap().div_ceil(4).max(2);
    let rows = crash::crashes(&mut server, prepares, crashes).await;
    println!("{crashes} crashes, {rows} rows");
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_postgresql_is_made_good() {
    survives_crashes(options(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_prepared_before_a_crash_is_made_good() {
    survives_crashes(options().setting("max_prepared_transactions", "20"), true).await;
}
