//! What is written while no daemon lives is told by the one that comes: to refetch, when it comes and when the last
//! of those who had told nobody has ended.

use std::time::Duration;

use tokio::time::sleep;

use crate::relay_world::{
    hears_at_last, hears_nothing_but_a_mark, number, queued, relayed, silent, start, until_relays,
};
use crate::world::{Database, Settings, World, connect, until};

/// Longer than the daemon waits between two looks at open transactions early on.
const A_WHILE: Duration = Duration::from_millis(400);

#[tokio::test]
async fn sessions_are_told_when_their_daemon_becomes_present() {
    // connected while triggers notify
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world.run("update tasks set done = true where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
    world.run("select pgherald.set_transport('relay')").await;
    alice.hears(&["reconnect notification_dropped"]).await;
    until_relays(&world.daemon).await;
    hears_nothing_but_a_mark(&mut alice, &world.database).await;
}

/// As with a pool that has found the standby of two servers: it answers, and has never seen our lock.
#[tokio::test]
async fn a_pool_that_leads_elsewhere_does_not_tell_many_times_a_second() {
    let (database, other) = (silent().await, silent().await);
    let daemon = Settings::new(&other.url).set("database.listen_url", &database.url).start().await;
    let refused = async || daemon.log().matches("is that the same server?").count();
    until("the lock not to be seen", async || refused().await == 1).await;
    let told = async || daemon.metric("pgherald_reconnect_frames_total").await;
    let mut alice = daemon.browser("alice", "7").await;
    let (before, began) = (told().await, std::time::Instant::now());
    until("the same again", async || refused().await == 3).await;
    assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
    let told = told().await - before;
    assert!((2.0..10.0).contains(&told), "{told} times");
    alice.hears(&["reconnect notification_dropped"]).await;
}

#[tokio::test]
async fn a_transaction_that_told_nobody_is_made_good_when_it_has_ended() {
    for end in ["commit", "rollback"] {
        let database = silent().await;
        let [first, second] = [connect(&database.url).await, connect(&database.url).await];
        first.batch_execute("begin; update tasks set title = 'silent' where id = 1").await.unwrap();
        second.batch_execute("begin; insert into tasks (project_id, title) values (7, 'silent')").await.unwrap();
        // it serves at once, and relays what others write
        let daemon = start(&Settings::new(&database.url)).await;
        until_relays(&daemon).await;
        let mut alice = daemon.browser("alice", "7").await;
        hears_nothing_but_a_mark(&mut alice, &database).await;
        // one that is open tells what it writes from now on no more than before: it is told once it has ended, and each is
        first.batch_execute("update tasks set title = 'silent still' where id = 1").await.unwrap();
        sleep(A_WHILE).await;
        hears_nothing_but_a_mark(&mut alice, &database).await;
        first.batch_execute(end).await.unwrap();
        alice.hears(&["reconnect notification_dropped"]).await;
        sleep(A_WHILE).await;
        hears_nothing_but_a_mark(&mut alice, &database).await;
        second.batch_execute(end).await.unwrap();
        alice.hears(&["reconnect notification_dropped"]).await;
        sleep(A_WHILE).await;
        hears_nothing_but_a_mark(&mut alice, &database).await;
    }
}

/// It has tried the first lock when the daemon comes, finds nobody by the others, and has ended soon after.
#[tokio::test]
async fn a_transaction_between_two_of_its_tries_is_made_good() {
    let database = silent().await;
    let [slow, quick] = [connect(&database.url).await, connect(&database.url).await];
    // so that the daemon has to wait for the first lock
    slow.batch_execute("begin; update tasks set title = 'silent' where id = 1").await.unwrap();
    quick.batch_execute("begin; select pg_try_advisory_xact_lock_shared(7434, 1)").await.unwrap();
    let daemon = start(&Settings::new(&database.url)).await;
    until_relays(&daemon).await;
    let mut alice = daemon.browser("alice", "7").await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    let tries = "select bool_and(pg_try_advisory_xact_lock_shared(7434, key)) from unnest(array[11, 12, 13]) key";
    assert!(quick.query_one(tries, &[]).await.unwrap().get::<_, bool>(0), "it finds nobody");
    quick.batch_execute("commit").await.unwrap();
    alice.hears(&["reconnect notification_dropped"]).await;
    slow.batch_execute("commit").await.unwrap();
    alice.hears(&["reconnect notification_dropped"]).await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
}

/// There are four places. Who has none tells its sessions all the same what writers told nobody.
#[tokio::test]
async fn a_fifth_daemon_tells_what_was_told_nobody() {
    let database = silent().await;
    let settings = Settings::new(&database.url).set("database.pool_connections", "2");
    let writer = connect(&database.url).await;
    writer.batch_execute("begin; update tasks set title = 'silent' where id = 1").await.unwrap();
    let mut daemons = Vec::new();
    for _ in 0..4 {
        daemons.push(start(&settings).await);
    }
    let fifth = settings.start().await;
    let mut alice = fifth.browser("alice", "7").await;
    until("it to find out", async || fifth.log().contains("that may have told nobody")).await;
    // what it told when it began came before or after alice
    database.run("update tasks set done = not done where id = 2").await;
    hears_at_last(&mut alice, "task UPDATE 7/2").await;
    writer.batch_execute("commit").await.unwrap();
    alice.hears(&["reconnect notification_dropped"]).await;
    assert_eq!(fifth.metric("pgherald_relay_present ").await, 0.0);

    // all others are gone for a moment
    let ended = "select count(pg_terminate_backend(a.pid)) from pg_stat_activity a join pg_locks l using (pid)
                  where a.datname = current_database() and l.locktype = 'advisory' and l.objid in (1, 11, 12, 13) and l.mode = 'ExclusiveLock'";
    assert_eq!(number(&database.client, ended).await, 4);
    database.run("update tasks set done = not done where id = 1").await;
    loop {
        match &*alice.short().await {
            "reconnect notification_dropped" => break,
            frame => assert_eq!(frame, "task UPDATE 7/1"),
        }
    }
    drop(daemons);
}

/// It got three of the locks while somebody was there by the fourth, and the fourth before another came in their place.
#[tokio::test]
async fn a_transaction_that_told_nobody_between_two_daemons_is_made_good_by_those_without_a_lock() {
    let database = silent().await;
    let settings = Settings::new(&database.url).set("database.pool_connections", "2");
    let writer = connect(&database.url).await;
    let tries = "begin; select pg_try_advisory_xact_lock_shared(7434, key) from unnest(array[1, 11, 12]) key";
    writer.batch_execute(tries).await.unwrap();
    let mut first = start(&settings).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(start(&settings).await);
    }
    let without = [settings.start().await, settings.start().await];
    let mut browsers = [without[0].browser("alice", "7").await, without[1].browser("alice", "7").await];
    let held = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'pgherald presence'";
    until("all to be there", async || number(&database.client, held).await == 6).await;
    // a writer only tries; this one waits, so that it is sure to be the first
    let waits = "select count(*) from pg_locks where locktype = 'advisory' and objid = 13 and not granted
                    and database = (select oid from pg_database where datname = current_database())";
    let finds_nobody = writer.batch_execute("select pg_advisory_xact_lock_shared(7434, 13)");
    let leaves = async {
        until("the writer to wait", async || number(&database.client, waits).await == 1).await;
        first.signal("KILL").await;
        first.exit_code().await;
    };
    tokio::join!(finds_nobody, leaves).0.unwrap();
    for daemon in &without {
        until("it to find out", async || daemon.log().contains("that may have told nobody")).await;
    }
    database.run("update tasks set done = not done where id = 2").await;
    for browser in &mut browsers {
        hears_at_last(browser, "task UPDATE 7/2").await;
    }
    writer.batch_execute("commit").await.unwrap();
    for browser in &mut browsers {
        browser.hears(&["reconnect notification_dropped"]).await;
    }
}

/// The one that dies leaves the place to one that has been there all the time: no writer finds nobody.
#[tokio::test]
async fn presence_passes_on_without_a_gap() {
    let World { mut daemon, database } = relayed().await;
    // a relay that waits for a processor is no reason to tell everybody
    let other = start(&Settings::new(&database.url).set("database.heartbeat_timeout", "10s")).await;
    let mut bob = other.browser("bob", "8").await;
    let writer = connect(&database.url).await;
    let writes = async {
        for id in 1..=400 {
            writer
                .batch_execute(&format!("insert into tasks (id, project_id, title) values ({}, 8, 'x')", 2000 + id))
                .await
                .unwrap();
            if id == 100 {
                daemon.signal("KILL").await;
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    let reads = async {
        for id in 1..=400 {
            assert_eq!(bob.short().await, format!("task INSERT 8/{}", 2000 + id));
        }
    };
    tokio::join!(writes, reads);
    daemon.exit_code().await;
    assert_eq!(other.metric("pgherald_reconnect_frames_total").await, 0.0);
}

/// The server ends the session that writers knew a daemon by.
#[tokio::test]
async fn a_lost_presence_is_told_and_found_again() {
    let World { daemon, database } = relayed().await;
    let mut alice = daemon.browser("alice", "7").await;
    let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                  where datname = current_database() and application_name = 'pgherald presence'";
    assert_eq!(number(&database.client, ended).await, 1);
    alice.hears(&["reconnect notification_dropped"]).await;
    until("writers to know of it again", async || {
        database.run("update tasks set done = not done where id = 1").await;
        database.run("update tasks set done = not done where id = 2").await;
        let appended = "begin; update tasks set done = not done where id = 2";
        database.run(appended).await;
        let found = queued(&database.client).await > 0;
        database.run("commit").await;
        found
    })
    .await;
    // it was told again when it was back
    let mut reconnects = 0;
    while reconnects == 0 {
        database.run("select pgherald.notify('report', 'a', 'UPDATE', '7')").await;
        let mut frame = alice.short().await;
        while frame != "report UPDATE 7/a" {
            reconnects += usize::from(frame.starts_with("reconnect"));
            frame = alice.short().await;
        }
    }
}

/// An open snapshot keeps VACUUM from its work in the whole database, and CREATE INDEX CONCURRENTLY waits for it.
#[tokio::test]
async fn who_waits_for_its_turn_holds_no_snapshot() {
    let World { daemon: _relay, database } = relayed().await;
    let other = start(&Settings::new(&database.url)).await;
    until("the other to be present", async || other.metric("pgherald_relay_present ").await > 0.0).await;
    let indexed = database.client.batch_execute("create index concurrently on tasks (title)");
    let indexed = tokio::time::timeout(Duration::from_secs(15), indexed).await;
    indexed.expect("an index is made beside a daemon that waits").unwrap();
    let now = number(&database.client, "pg_current_xact_id()::text").await;
    let oldest = "select min(backend_xmin::text::int8) from pg_stat_activity where datname = current_database() and application_name ~ '^pgherald'";
    until("their snapshots to be newer", async || {
        let oldest = number(&database.client, oldest).await;
        oldest == 0 || oldest > now
    })
    .await;
    drop(other);
}

#[tokio::test]
async fn a_daemon_that_waits_its_turn_for_long_is_known_all_the_time() {
    let World { mut daemon, database } = relayed().await;
    let other = start(&Settings::new(&database.url).set("database.heartbeat_interval", "100ms")).await;
    let mut bob = other.browser("bob", "8").await;
    // long enough to be looked for several times
    sleep(Duration::from_secs(3)).await;
    assert_eq!(other.metric("pgherald_relay_present ").await, 1.0);
    daemon.signal("TERM").await;
    daemon.exit_code().await;
    until_relays(&other).await;
    database.run("update tasks set done = true where id = 3").await;
    assert_eq!(hears_at_last(&mut bob, "task UPDATE 8/3").await, 0, "it was never lost");
}

/// Without the relay, nothing of it.
#[tokio::test]
async fn a_daemon_whose_triggers_notify_has_no_connections_for_it() {
    let World { daemon, database } = World::new().await;
    let mut alice = daemon.browser("alice", "7").await;
    // two looks at the transport
    sleep(Duration::from_millis(1200)).await;
    let sessions = "select count(*) from pg_stat_activity where datname = current_database() and application_name ~ '^pgherald (presence|relay)'";
    assert_eq!(number(&database.client, sessions).await, 0);
    hears_nothing_but_a_mark(&mut alice, &database).await;
    let _: &Database = &database;
}
