//! The queue's tables stay small, also while somebody holds an old snapshot, beside which VACUUM removes nothing.

use crate::relay_world::{dropped, number, queued, relayed};
use crate::world::{Daemon, Database, World, connect, until};

const SIZE: &str = "select sum(pg_relation_size(format('pgherald.queue_%s', n))) from generate_series(0, 3) n";
const SLOT: &str = "pg_sequence_last_value('pgherald.queue_slot')";
const MEGABYTE: i64 = 1024 * 1024;

/// Tells by triggers and by hand, some thousand times, as fast as the relay can follow. Whoever looked into the queue for that would
/// keep the relay from truncating it.
async fn write(database: &Database, daemon: &Daemon, thousands: i32) {
    let relayed = async || daemon.metric("pgherald_relay_rows_total").await;
    let mut due = relayed().await;
    for _ in 0..thousands {
        database
            .run(
                "do $$ begin
                     for i in 1..500 loop
                         insert into notes values (7);
                         perform pgherald.notify('report', i::text, 'UPDATE', '8');
                         if i % 50 = 0 then commit; end if;
                     end loop;
                 end $$",
            )
            .await;
        due += 1000.0;
        until("all of it to be sent on", async || relayed().await >= due).await;
    }
    assert_eq!(relayed().await, due);
}

/// The daemon's time for a row.
async fn seconds_a_row(daemon: &Daemon, before: [f64; 2]) -> ([f64; 2], f64) {
    let now =
        [daemon.metric("pgherald_relay_batch_seconds_sum").await, daemon.metric("pgherald_relay_rows_total").await];
    (now, (now[0] - before[0]) / (now[1] - before[1]))
}

async fn world() -> World {
    let world = relayed().await;
    world.run("create table notes (project_id int); select pgherald.watch('notes', id => '{project_id}')").await;
    world
}

#[tokio::test]
async fn an_old_snapshot_does_not_make_the_queue_grow() {
    let World { daemon, database } = world().await;
    let (counts, _) = seconds_a_row(&daemon, [0.0, 0.0]).await;
    write(&database, &daemon, 5).await;
    let usual = daemon.metric("pgherald_relay_rotations_total").await;
    assert_eq!((usual, number(&database.client, SLOT).await), (0.0, 0), "VACUUM is enough");
    assert!(number(&database.client, SIZE).await < 4 * MEGABYTE);

    let holder = connect(&database.url).await;
    holder.batch_execute("begin isolation level repeatable read; select count(*) from tasks").await.unwrap();
    let (counts, early) = seconds_a_row(&daemon, counts).await;
    let mut largest = 0;
    for _ in 0..10 {
        write(&database, &daemon, 5).await;
        largest = largest.max(number(&database.client, SIZE).await);
    }
    let (mut counts, _) = seconds_a_row(&daemon, counts).await;
    // of several, as any of them may have waited for a processor
    let mut late = f64::MAX;
    for _ in 0..5 {
        write(&database, &daemon, 5).await;
        largest = largest.max(number(&database.client, SIZE).await);
        let now;
        (counts, now) = seconds_a_row(&daemon, counts).await;
        late = late.min(now);
    }
    // on a slow machine the relay has nothing to do now and then, and truncates the only table it needs
    let rotations = daemon.metric("pgherald_relay_rotations_total").await;
    let (early, late) = (early * 1e6, late * 1e6);
    println!("largest {largest} bytes, {rotations} rotations, early {early:.1} us a row, late {late:.1} us");
    assert!(largest < 8 * MEGABYTE, "{largest} bytes after {rotations} rotations");
    assert!(late < early * 5.0, "{late} us a row after {early} us");
    holder.batch_execute("commit").await.unwrap();
    until("writers to have their short cut again", async || {
        write(&database, &daemon, 1).await;
        number(&database.client, SLOT).await == 0 && number(&database.client, SIZE).await < 4 * MEGABYTE
    })
    .await;
    assert_eq!(dropped(&database.client).await, 0);
    let mut alice = daemon.browser("alice", "7").await;
    database.run("update tasks set done = true where id = 1").await;
    // the last of what was written before may still be on its way
    while alice.short().await != "task UPDATE 7/1" {}
}

/// pg_dump locks every table until it is done, and so no table can be truncated. It has a snapshot as well.
#[tokio::test]
async fn nothing_is_lost_while_the_tables_are_locked_against_truncating() {
    let World { daemon, database } = world().await;
    let holder = connect(&database.url).await;
    holder
        .batch_execute(
            "begin isolation level repeatable read; select count(*) from tasks;
             lock table pgherald.queue_0, pgherald.queue_1, pgherald.queue_2, pgherald.queue_3 in access share mode",
        )
        .await
        .unwrap();
    write(&database, &daemon, 40).await;
    let mut bob = daemon.browser("bob", "8").await;
    database.run("update tasks set done = true where id = 3").await;
    while bob.short().await != "task UPDATE 8/3" {}
    let rotations = daemon.metric("pgherald_relay_rotations_total").await;
    assert!((1.0..=3.0).contains(&rotations), "{rotations} rotations: there is no empty table after three");
    holder.batch_execute("commit").await.unwrap();
    until("the tables to be small again", async || {
        write(&database, &daemon, 1).await;
        number(&database.client, SLOT).await == 0 && number(&database.client, SIZE).await < 4 * MEGABYTE
    })
    .await;
    assert_eq!((queued(&database.client).await, dropped(&database.client).await), (0, 0));
    let mut bob = daemon.browser("bob", "8").await;
    database.run("update tasks set done = true where id = 3").await;
    while bob.short().await != "task UPDATE 8/3" {}
}

/// Nothing of it is ever taken, but it would be read through again and again.
#[tokio::test]
async fn what_was_rolled_back_does_not_stay() {
    let World { daemon, database } = relayed().await;
    let mut alice = daemon.browser("alice", "7").await;
    let rows = "insert into pgherald.queue_0 (payload) select repeat('x', 100) from generate_series(1, 40000)";
    database.run(&format!("begin; {rows}")).await;
    assert!(number(&database.client, SIZE).await > 4 * MEGABYTE);
    database.run("rollback").await;
    database.run("update tasks set done = true where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
    until("the tables to be small again", async || number(&database.client, SIZE).await < 4 * MEGABYTE).await;
}

/// A writer that holds a row in each table: the tables cannot be locked, and what it wrote is told all the same.
#[tokio::test]
async fn a_row_that_waits_in_a_table_that_was_left_is_told() {
    let World { daemon, database } = world().await;
    let mut alice = daemon.browser("alice", "7").await;
    let mut writers = Vec::new();
    for slot in 0..4 {
        database.run(&format!("select setval('pgherald.queue_slot', {slot})")).await;
        let writer = connect(&database.url).await;
        writer
            .batch_execute(&format!(
                "begin; insert into tasks (id, project_id, title) values ({}, 7, 'x')",
                2000 + slot
            ))
            .await
            .unwrap();
        writers.push(writer);
        // too large for writers to be sent back to it
        let rows = "insert into pgherald.queue_0 (payload) select repeat('x', 100) from generate_series(1, 1000)";
        database.run(&format!("begin; {rows}; rollback")).await;
    }
    let held = "select count(distinct relation) from pg_locks where mode = 'RowExclusiveLock' and relation::regclass::text ~ '^pgherald.queue_[0-3]$'
                and database = (select oid from pg_database where datname = current_database())";
    until("a row in each", async || number(&database.client, held).await == 4).await;
    write(&database, &daemon, 3).await;
    while alice.short().await != "note INSERT 7/7" {}
    for (slot, writer) in writers.iter().enumerate() {
        writer.batch_execute("commit").await.unwrap();
        loop {
            let frame = alice.short().await;
            if frame == format!("task INSERT 7/{}", 2000 + slot) {
                break;
            }
            assert!(frame.starts_with("note"), "{frame}");
        }
    }
    write(&database, &daemon, 1).await;
    assert_eq!((queued(&database.client).await, dropped(&database.client).await), (0, 0));
}

/// Rows of so many bytes in the usual table.
const FILL: &str = "do $$ begin
        for i in 1..600 loop
            insert into notes values (7);
            perform pgherald.notify('report', i::text, 'UPDATE', '8');
            if i % 50 = 0 then commit; end if;
        end loop;
    end $$";

/// Each look of a relay reads it, also where nothing is in it.
#[tokio::test]
async fn a_table_that_is_not_written_to_is_truncated() {
    let World { daemon, database } = world().await;
    let usual = "pg_relation_size('pgherald.queue_0')";
    // as a writer does who does not commit
    let holder = connect(&database.url).await;
    holder.batch_execute("begin; insert into notes values (7)").await.unwrap();
    database.run(FILL).await;
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
    database.run("create table since as select clock_timestamp() as since").await;
    let looked = "select count(*) from pg_stat_activity, since where application_name = 'pgherald relay'
                  and datname = current_database() and query_start > since + interval '600 ms'";
    until("the relay to have looked in vain", async || number(&database.client, looked).await == 1).await;
    assert!(number(&database.client, usual).await > 65536);
    assert_eq!(number(&database.client, SLOT).await, 0, "writers keep their short cut");
    holder.batch_execute("commit").await.unwrap();
    until("the table to be empty", async || number(&database.client, usual).await == 0).await;
    until("writers to have their short cut again", async || number(&database.client, SLOT).await == 0).await;
    assert_eq!(daemon.metric("pgherald_relay_rotations_total").await, 0.0);
}

/// Whoever writes while that happens waits for nothing, and is told.
#[tokio::test]
async fn a_truncation_loses_nothing_of_those_who_write_meanwhile() {
    let World { daemon, database } = world().await;
    let (mut told, mut truncated, mut round) = (0.0, 0, 0);
    while round < 25 || truncated <= 5 {
        round += 1;
        assert!(round < 60, "{truncated} times");
        let file = "pg_relation_filenode('pgherald.queue_0')";
        let before = number(&database.client, file).await;
        database.run(FILL).await;
        // so long after the last row that the relay is about to truncate, or at it, or has done so
        let end = std::time::Instant::now() + std::time::Duration::from_millis(200 + 6 * round);
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let writer = connect(&database.url).await;
            writers.spawn(async move {
                tokio::time::sleep_until(end.into()).await;
                for _ in 0..20 {
                    writer.batch_execute("insert into notes values (7)").await.unwrap();
                }
            });
        }
        writers.join_all().await;
        told += 1260.0;
        until("all of it to be sent", async || daemon.metric("pgherald_relay_rows_total").await >= told).await;
        truncated += i32::from(number(&database.client, file).await != before);
    }
    assert_eq!(daemon.metric("pgherald_relay_rows_total").await, told);
    assert_eq!((queued(&database.client).await, dropped(&database.client).await), (0, 0));
    assert_eq!(daemon.metric("pgherald_relay_late_rows_total").await, 0.0);
}
