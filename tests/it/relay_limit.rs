//! The queue is bounded: where the relay does not move, writers drop what they have to tell, and everybody refetches.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::browser::Browser;
use crate::relay_world::{
    dropped, hears_at_last, number, queued, relayed, silent, start, stop, until_relays, until_state,
};
use crate::world::{Database, Settings, World, connect, until};

const LIMIT_BYTES: i64 = 16 * 8192;
/// One writer in 64 looks whether there is room, some 50 fit into a page: that more pages than these are filled before one does is
/// less likely than one in ten million.
const OVERSHOOT_BYTES: i64 = 20 * 8192;
/// What the queue's tables have more than when nothing was in them.
const FILLED: &str = "pgherald.queue_bytes() - pg_sequence_last_value('pgherald.queue_dead')";

/// Another limit, for sessions too that have planned with the usual one.
async fn limit(database: &Database) {
    let settings = "create or replace function pgherald.queue_limit() returns bigint
        language sql immutable set search_path = pg_catalog, pg_temp as $$ select 16 * 8192::bigint $$;
        create or replace function pgherald.queue_files_limit() returns bigint
        language sql immutable set search_path = pg_catalog, pg_temp as $$ select 16 * pgherald.queue_limit() $$;
        select pgherald.set_transport('relay')";
    database.run(settings).await;
    assert_eq!(number(&database.client, "pgherald.queue_limit()").await, LIMIT_BYTES);
    assert_eq!(
        number(&database.client, "select count(*) from pgherald.watched where refresh_due is not null").await,
        0
    );
}

/// Transactions of one row each.
const WRITES: &str = "do $$ begin
    for i in 1..10000 loop
        update tasks set done = not done where id = 1;
        commit;
    end loop;
end $$";

#[tokio::test]
async fn a_full_queue_drops_and_every_session_is_told() {
    let World { daemon, database } = relayed().await;
    limit(&database).await;
    let mut alice = daemon.browser("alice", "7").await;
    // a queue that is sent on has room, however much went through it
    for _ in 0..10 {
        database.run(&WRITES.replace("10000", "200")).await;
        until("the queue to be empty", async || queued(&database.client).await == 0).await;
    }
    assert_eq!(dropped(&database.client).await, 0, "nothing was full");
    while alice.short().await != "task UPDATE 7/1" {}

    stop(&daemon, &database.client).await;
    let began = Instant::now();
    database.run(WRITES).await;
    assert!(began.elapsed() < Duration::from_secs(25), "writers do not wait: {:?}", began.elapsed());
    let (waiting, lost) = (queued(&database.client).await, dropped(&database.client).await);
    assert!((100..6000).contains(&waiting), "{waiting} rows are in the queue");
    assert_eq!(waiting + lost, 10_000);
    let filled = number(&database.client, FILLED).await;
    assert!(
        (LIMIT_BYTES..LIMIT_BYTES + OVERSHOOT_BYTES).contains(&filled),
        "those that were dropped took no room: {filled}"
    );
    // application code is not refused either, by the other way to the queue
    database.run("select pgherald.notify('report', 'a', 'UPDATE', '7'); insert into tasks select i, 7 + i % 2, null, 'x' from generate_series(5000, 5099) i").await;
    assert_eq!(dropped(&database.client).await, lost + 2);

    daemon.signal("CONT").await;
    while alice.short().await != "reconnect notification_dropped" {}
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
    // and then it takes everything again
    until("the relay to take note of it", async || {
        database.run("select pgherald.notify('report', 'b', 'UPDATE', '7')").await;
        let now = dropped(&database.client).await;
        database.run("select pgherald.notify('report', 'c', 'UPDATE', '7')").await;
        dropped(&database.client).await == now
    })
    .await;
    hears_report(&database, &mut alice).await;
    let lost = dropped(&database.client).await;
    for _ in 0..10 {
        database.run(&WRITES.replace("10000", "200")).await;
        until("the queue to be empty", async || queued(&database.client).await == 0).await;
    }
    assert_eq!(dropped(&database.client).await, lost);
}

/// A daemon that hangs before it has ever sent anything.
#[tokio::test]
async fn the_first_rows_of_a_database_are_limited_too() {
    let database = silent().await;
    // before the relay's session has made plans of the other
    limit(&database).await;
    let daemon = start(&Settings::new(&database.url)).await;
    until_relays(&daemon).await;
    stop(&daemon, &database.client).await;
    database.run(WRITES).await;
    let filled = number(&database.client, FILLED).await;
    assert!((LIMIT_BYTES..LIMIT_BYTES + OVERSHOOT_BYTES).contains(&filled), "{filled}");
    daemon.signal("CONT").await;
    let mut alice = daemon.browser("alice", "7").await;
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
    hears_report(&database, &mut alice).await;
}

/// One of them may still be covered by what is coarser.
async fn hears_report(database: &Database, alice: &mut Browser) {
    until("a row to be told", async || {
        database.run("select pgherald.notify('report', 'd', 'UPDATE', '7')").await;
        let heard = async { while alice.short().await != "report UPDATE 7/d" {} };
        timeout(Duration::from_secs(1), heard).await.is_ok()
    })
    .await;
}

/// A transaction of very many statements.
#[tokio::test]
async fn more_than_can_be_sent_soon_is_told_as_everything() {
    let World { daemon, database } = relayed().await;
    let mut alice = daemon.browser("alice", "7").await;
    let many =
        "insert into pgherald.queue_0 (payload) select format('{\"n\":%s}', i) from generate_series(1, 450000) i";
    database.run(many).await;
    alice.hears(&["reconnect notification_dropped"]).await;
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
    database.run("update tasks set done = true where id = 1").await;
    hears_at_last(&mut alice, "task UPDATE 7/1").await;
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
    let batches = daemon.metric("pgherald_relay_batches_total").await;
    assert!((3.0..50.0).contains(&batches), "{batches} batches");
    assert!((1..=2).contains(&dropped(&database.client).await));
}

/// Beside an old snapshot and a lock on each of them nothing can be removed from the tables: they grow, and are not full.
#[tokio::test]
async fn tables_that_cannot_be_emptied_are_not_full() {
    let World { daemon, database } = relayed().await;
    limit(&database).await;
    let dump = connect(&database.url).await;
    dump.batch_execute(
        "begin isolation level repeatable read; lock table pgherald.queue in access share mode; select 1",
    )
    .await
    .unwrap();
    for _ in 0..20 {
        database.run(&WRITES.replace("10000", "200")).await;
        until("the queue to be empty", async || queued(&database.client).await == 0).await;
    }
    assert_eq!(dropped(&database.client).await, 0);
    assert!(number(&database.client, "pgherald.queue_bytes()").await > 2 * LIMIT_BYTES);
    dump.batch_execute("commit").await.unwrap();
    drop(daemon);
}

/// But not without a limit.
#[tokio::test]
async fn tables_that_grow_too_large_drop_until_they_can_be_emptied() {
    let World { daemon, database } = relayed().await;
    limit(&database).await;
    let mut alice = daemon.browser("alice", "7").await;
    let dump = connect(&database.url).await;
    dump.batch_execute(
        "begin isolation level repeatable read; lock table pgherald.queue in access share mode; select 1",
    )
    .await
    .unwrap();
    let bytes = async || number(&database.client, "pgherald.queue_bytes()").await;
    while bytes().await < 15 * LIMIT_BYTES {
        database.run("insert into pgherald.queue_0 (payload) select format('{\"n\":\"%s\"}', repeat('x', 1000)) from generate_series(1, 100)").await;
    }
    until("the relay to take note of it", async || number(&database.client, FILLED).await <= LIMIT_BYTES / 16).await;
    assert_eq!(dropped(&database.client).await, 0);
    until("the tables to be too large", async || {
        database.run(&WRITES.replace("10000", "100")).await;
        until("the queue to be empty", async || queued(&database.client).await == 0).await;
        dropped(&database.client).await > 0
    })
    .await;
    while alice.short().await != "reconnect notification_dropped" {}
    let large = bytes().await;
    assert!((16 * LIMIT_BYTES..16 * LIMIT_BYTES + OVERSHOOT_BYTES).contains(&large), "{large}");
    let lost = dropped(&database.client).await;
    database.run(&WRITES.replace("10000", "1000")).await;
    assert_eq!(dropped(&database.client).await - lost, 1000, "the relay does not open it");
    assert_eq!(bytes().await, large);
    // also a relay that sleeps finds out
    until_state(&daemon, "asleep").await;
    dump.batch_execute("commit").await.unwrap();
    until("the tables to be emptied", async || bytes().await < LIMIT_BYTES).await;
    until("the queue to be open", async || {
        let lost = dropped(&database.client).await;
        database.run("update tasks set done = not done where id = 1").await;
        dropped(&database.client).await == lost
    })
    .await;
    hears_at_last(&mut alice, "task UPDATE 7/1").await;
}

#[tokio::test]
async fn a_long_queue_is_sent_on_in_bounded_batches() {
    let World { daemon, database } = relayed().await;
    let mut alice = daemon.browser("alice", "7").await;
    stop(&daemon, &database.client).await;
    database
        .run(
            "do $$ begin
                 for i in 1..23000 loop
                     perform pgherald.notify('report', i::text, 'UPDATE', '7');
                 end loop;
             end $$",
        )
        .await;
    assert_eq!(queued(&database.client).await, 23_000);
    daemon.signal("CONT").await;
    database.run("select pgherald.notify('end', 'end', 'UPDATE', '7')").await;
    // in order, and coarser where the mailbox is full
    let mut next = 1;
    loop {
        let frame = alice.short().await;
        match frame.strip_prefix("report UPDATE 7/") {
            None if frame.starts_with("end ") => break,
            Some(id) if id != "*" => {
                let id: u32 = id.parse().unwrap();
                assert!(id >= next, "{id} comes after {next}");
                next = id + 1;
            }
            _ => {}
        }
    }
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
    assert_eq!(daemon.metric("pgherald_relay_rows_total").await, 23_001.0);
    // and some where the tables are tidied
    let batches = daemon.metric("pgherald_relay_batches_total").await;
    assert!((3.0..30.0).contains(&batches), "{batches} batches");
    until("the metric to tell so", async || daemon.metric("pgherald_relay_waiting_rows").await == 0.0).await;
    assert_eq!(dropped(&database.client).await, 0);
    database.run("update tasks set done = true where id = 1").await;
    hears_at_last(&mut alice, "task UPDATE 7/1").await;
}

/// A dump without data leaves the sequences without a value.
#[tokio::test]
async fn a_queue_that_was_never_measured_has_room() {
    let database = silent().await;
    database.run("alter sequence pgherald.queue_dead restart; alter sequence pgherald.queue_slot restart").await;
    let closed = "select pgherald.close_queue()::int";
    assert_eq!(number(&database.client, closed).await, 0);
    assert_eq!(number(&database.client, "select percent from pgherald.backlog()").await, 0);
    database.run("insert into pgherald.queue_1 (payload) select repeat('x', 1000) from generate_series(1, 4000)").await;
    database.run("delete from pgherald.queue; select pgherald.relay(0, 1)").await;
    let noted = "select pg_sequence_last_value('pgherald.queue_dead') - pgherald.queue_bytes()";
    assert_eq!(number(&database.client, noted).await, 0);
}
