//! Whatever happens between us and PostgreSQL, sessions are told, and writers never notice.

use std::collections::BTreeSet;
use std::time::Duration;

use pgherald::scratch::Scratch;
use serde_json::Value;
use tokio_postgres::Client;

use crate::browser::Browser;
use crate::proxy::Proxy;
use crate::relay_world::{silent, start, until_relays};
use crate::world::{Daemon, Database, Settings, World, connect, options, token, until};

async fn ready(daemon: &Daemon) -> (u16, Vec<String>) {
    let (status, body) = daemon.get("/ready").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    (status, body["reasons"].as_array().unwrap().iter().map(|reason| reason.as_str().unwrap().to_owned()).collect())
}

async fn terminate_listener(database: &Database) {
    // its last statement is its canary or its look at the losses
    let killed = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()
                  and query ~ '^notify pgherald|pgherald.dropped' and pid <> pg_backend_pid()";
    until("the listener to be terminated", async || !database.client.query(killed, &[]).await.unwrap().is_empty())
        .await;
}

/// One `reconnect`, and nothing between it and what comes next.
async fn resyncs_once(alice: &mut Browser, database: &Database) {
    let frame = alice.frame().await;
    assert_eq!(
        (&frame["type"], &frame["data"]["reason"]),
        (&"reconnect".into(), &"database_reconnected".into()),
        "{frame}"
    );
    assert_eq!(frame.get("project_id"), None, "it is about all projects");
    database.run("update tasks set done = not done where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
}

#[tokio::test]
async fn a_terminated_listener_ends_in_one_reconnect_frame() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    terminate_listener(&world.database).await;
    resyncs_once(&mut alice, &world.database).await;
    until("readiness", async || ready(&world.daemon).await.0 == 200).await;
    assert_eq!(world.daemon.metric("pgherald_listener_reconnects_total").await, 1.0);
}

#[tokio::test]
async fn a_restart_of_postgresql_ends_in_one_reconnect_frame() {
    let mut server = Scratch::start(&options()).await.unwrap();
    let database = Database::on(server.url()).await.with_sample().await;
    let daemon = Settings::new(&database.url).start().await;
    let mut alice = daemon.browser("alice", "7").await;
    assert_eq!(ready(&daemon).await, (200, vec![]));
    server.stop().await.unwrap();
    until("the daemon to say that it is not ready", async || {
        let (status, reasons) = ready(&daemon).await;
        status == 503
            && reasons.contains(&"listener_down".to_owned())
            && reasons.contains(&"database_unreachable".to_owned())
    })
    .await;
    assert_eq!(daemon.get("/live").await.0, 200, "it lives all the same");
    server.start_again().await.unwrap();
    let database = database.reconnected().await;
    resyncs_once(&mut alice, &database).await;
    until("readiness", async || ready(&daemon).await.0 == 200).await;
    drop(database);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_network_that_goes_silent_is_noticed_and_ends_in_one_reconnect_frame() {
    let database = Database::sample().await;
    let proxy = Proxy::start(&database.url).await;
    let daemon = Settings::new(&database.url).set("database.listen_url", &proxy.url(&database.url)).start().await;
    let mut alice = daemon.browser("alice", "7").await;
    assert_eq!(ready(&daemon).await.0, 200);
    proxy.silence();
    let began = std::time::Instant::now();
    until("the silence to be noticed", async || ready(&daemon).await == (503, vec!["listener_down".to_owned()])).await;
    // Heartbeat interval and timeout of the tests are 0.5 s and 2 s; a slow machine gets as much again.
    assert!(began.elapsed() < Duration::from_secs(5), "noticed after {:?}", began.elapsed());
    database.run("update tasks set done = true where id = 2").await;
    proxy.speak();
    resyncs_once(&mut alice, &database).await;
    until("readiness", async || ready(&daemon).await.0 == 200).await;
}

#[tokio::test]
async fn a_connection_that_loses_notifications_is_noticed_by_its_canary() {
    let database = Database::sample().await;
    let proxy = Proxy::start(&database.url).await;
    let daemon = Settings::new(&database.url).set("database.listen_url", &proxy.url(&database.url)).start().await;
    let mut alice = daemon.browser("alice", "7").await;
    // Queries are answered all the time: only what is sent and does not come back tells.
    proxy.deafen();
    until("the deafness to be noticed", async || ready(&daemon).await == (503, vec!["listener_down".to_owned()])).await;
    // the log is read beside the test, so its line may come later
    until("the log to name the canary", async || daemon.log().contains("canary")).await;
    // of the row that is looked at afterwards: a connection that has just begun to listen may hear it
    database.run("update tasks set done = true where id = 1").await;
    proxy.speak();
    resyncs_once(&mut alice, &database).await;
}

#[tokio::test]
async fn a_write_commits_while_no_daemon_runs_and_while_one_restarts() {
    let World { mut daemon, database } = World::new().await;
    daemon.signal("TERM").await;
    assert_eq!(daemon.exit_code().await, Some(0));
    database.run("update tasks set title = 'alone' where id = 1").await;
    let daemon = Settings::new(&database.url).start().await;
    let mut alice = daemon.browser("alice", "7").await;
    database.run("update tasks set title = 'together' where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
    let title: String = database.client.query_one("select title from tasks where id = 1", &[]).await.unwrap().get(0);
    assert_eq!(title, "together");
}

#[tokio::test]
async fn a_write_commits_when_its_notification_cannot_be_sent_and_sessions_are_told() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    // The trigger's key column is gone under its feet.
    world.run("alter table tasks rename column id to task_id").await;
    world.run("update tasks set done = true where task_id = 1").await;
    let done: bool =
        world.database.client.query_one("select done from tasks where task_id = 1", &[]).await.unwrap().get(0);
    assert!(done, "the write is there");
    alice.hears(&["reconnect notification_dropped"]).await;
}

/// Three beats of the daemon's heart: whatever it tells by itself has been told.
async fn three_beats(daemon: &Daemon) {
    let beats = async || daemon.metric("pgherald_canary_round_trip_seconds_count").await;
    let before = beats().await;
    until("three beats", async || beats().await >= before + 3.0).await;
}

/// A server where nobody else writes, with a transaction that lasts: what ends beside it is told all the same.
async fn beside_a_long_transaction() -> (Scratch, Database, Client) {
    let server = Scratch::start(&options()).await.unwrap();
    let database = Database::on(server.url()).await.with_sample().await;
    let long = connect(&database.url).await;
    long.batch_execute("begin; select pg_current_xact_id()").await.unwrap();
    (server, database, long)
}

#[tokio::test]
async fn a_loss_is_told_again_when_its_transaction_has_ended() {
    let (server, database, long) = beside_a_long_transaction().await;
    let daemon = Settings::new(&database.url).start().await;
    let mut alice = daemon.browser("alice", "7").await;
    database.run("alter table tasks rename column id to task_id").await;
    // The sequence is seen before the commit; a client that refetches then would keep what is stale.
    database.run("begin; update tasks set done = true where task_id = 1").await;
    alice.hears(&["reconnect notification_dropped"]).await;
    database.run("commit").await;
    alice.hears(&["reconnect notification_dropped"]).await;
    long.batch_execute("commit").await.unwrap();
    alice.hears(&["reconnect notification_dropped"]).await;
    three_beats(&daemon).await;
    database.run("alter table tasks rename column task_id to id; update tasks set done = true where id = 2").await;
    alice.hears(&["task UPDATE 7/2"]).await;
    drop((alice, daemon, long, database));
    server.shutdown().await.unwrap();
}

/// A table whose rows move with those of another.
const COMMENTS: &str = "create table comments (id int primary key, task_id bigint references tasks);
    select pgherald.watch('comments', 'task_id->project_id')";

/// A daemon by one transport, that has told what it tells at its start.
async fn settled(database: &Database, transport: &str) -> Daemon {
    let settings = Settings::new(&database.url);
    let daemon = if transport == "relay" { start(&settings).await } else { settings.start().await };
    if transport == "relay" {
        until_relays(&daemon).await;
        daemon.is_present().await;
    }
    three_beats(&daemon).await;
    daemon
}

#[tokio::test]
async fn a_writer_who_found_the_project_that_a_move_has_left_is_made_good() {
    for transport in ["notify", "relay"] {
        let (server, database, long) = beside_a_long_transaction().await;
        database.run(&format!("{COMMENTS}; select pgherald.set_transport('{transport}')")).await;
        let daemon = settled(&database, transport).await;
        let mut alice = daemon.browser("alice", "7").await;
        let mut bob = daemon.browser("bob", "8").await;
        let late = connect(&database.url).await;
        late.batch_execute("begin; insert into comments values (1, 1)").await.unwrap();
        database.run("update tasks set project_id = 8 where id = 1").await;
        alice.hears(&["comment UPDATE 7/*", "task UPDATE 7/1", "comment UPDATE 7/*"]).await;
        bob.hears(&["comment UPDATE 8/*", "task UPDATE 8/1", "comment UPDATE 8/*"]).await;
        late.batch_execute("commit").await.unwrap();
        // Alice's project was the comment's when the writer looked; bob's is now.
        let told = BTreeSet::from([alice.short().await, alice.short().await]);
        assert_eq!(told, ["comment INSERT 7/1", "comment UPDATE 7/*"].map(String::from).into());
        bob.hears(&["comment UPDATE 8/*"]).await;
        drop((alice, bob, daemon, long, late, database));
        server.shutdown().await.unwrap();
    }
}

/// The same where nobody heard of the move.
#[tokio::test]
async fn a_writer_who_found_the_project_that_an_unheard_move_has_left_is_made_good() {
    for transport in ["notify", "relay"] {
        let (server, database, long) = beside_a_long_transaction().await;
        database.run(&format!("{COMMENTS}; select pgherald.set_transport('{transport}')")).await;
        let mut daemon = settled(&database, transport).await;
        let (late, mover) = (connect(&database.url).await, connect(&database.url).await);
        // a snapshot does not show a transaction that is younger than all that have ended
        mover.batch_execute("begin; select pg_current_xact_id()").await.unwrap();
        late.batch_execute("begin; insert into comments values (1, 1)").await.unwrap();
        daemon.signal("TERM").await;
        assert_eq!(daemon.exit_code().await, Some(0));
        mover.batch_execute("update tasks set project_id = 8 where id = 1; commit").await.unwrap();
        let daemon = settled(&database, transport).await;
        let mut alice = daemon.browser("alice", "7").await;
        let mut bob = daemon.browser("bob", "8").await;
        late.batch_execute("commit").await.unwrap();
        let told = BTreeSet::from([alice.short().await, alice.short().await]);
        assert_eq!(told, ["comment INSERT 7/1", "reconnect notification_dropped"].map(String::from).into());
        bob.hears(&["reconnect notification_dropped"]).await;
        drop((alice, bob, daemon, long, late, mover, database));
        server.shutdown().await.unwrap();
    }
}

/// Only where somebody was writing before.
#[tokio::test]
async fn a_path_is_no_reason_to_reconnect_twice() {
    // on a server where nobody else writes
    let server = Scratch::start(&options()).await.unwrap();
    let database = Database::on(server.url()).await.with_sample().await;
    database.run(COMMENTS).await;
    let daemon = Settings::new(&database.url).start().await;
    let mut alice = daemon.browser("alice", "7").await;
    terminate_listener(&database).await;
    resyncs_once(&mut alice, &database).await;
    three_beats(&daemon).await;
    database.run("update tasks set done = not done where id = 2").await;
    alice.hears(&["task UPDATE 7/2"]).await;
    drop((alice, daemon, database));
    server.shutdown().await.unwrap();
}

/// What the daemon does not wait for any more, its sessions do not either.
#[tokio::test]
async fn a_lock_that_is_held_for_long_does_not_fill_the_server_with_sessions() {
    let database = silent().await;
    let settings = Settings::new(&database.url).set("database.query_timeout", "1s");
    let daemon = start(&settings.set("database.heartbeat_timeout", "1s")).await;
    until_relays(&daemon).await;
    let holder = connect(&database.url).await;
    let lock = "begin; alter sequence pgherald.dropped owned by none;
        lock table pgherald.transport, pgherald.queue in access exclusive mode";
    holder.batch_execute(lock).await.unwrap();
    let waiting = async || -> Vec<i32> {
        let sql = "select coalesce(array_agg(pid), '{}') from pg_stat_activity where datname = current_database()
                     and application_name = 'pgherald' and wait_event_type = 'Lock' and wait_event = 'relation'";
        database.client.query_one(sql, &[]).await.unwrap().get(0)
    };
    let mut seen = BTreeSet::new();
    until("a dozen sessions to have waited", async || {
        seen.extend(waiting().await);
        seen.len() >= 12
    })
    .await;
    // each of them, while the lock is held
    until("those that were given up to have ended", async || waiting().await.iter().all(|pid| !seen.contains(pid)))
        .await;
    holder.batch_execute("rollback").await.unwrap();
    let mut alice = daemon.browser("alice", "7").await;
    until("the daemon to hear again", async || {
        database.run("update tasks set done = not done where id = 1").await;
        alice.short().await == "task UPDATE 7/1"
    })
    .await;
}

#[tokio::test]
async fn a_daemon_that_cannot_ask_for_membership_lets_nobody_in() {
    let database = Database::sample().await;
    let proxy = Proxy::start(&database.url).await;
    let settings = Settings::new(&proxy.url(&database.url)).set("database.query_timeout", "2s");
    let settings = settings.set("database.pool_connections", "1");
    let daemon = settings.set("database.listen_url", &database.url).start().await;
    proxy.silence();
    let mut request = daemon.request("/ws?project_id=7");
    request.headers_mut().insert("authorization", format!("Bearer {}", token("alice")).parse().unwrap());
    assert_eq!(Browser::refused(request).await, (503, "unavailable".to_owned()));
    let mut alice = Browser::open(&format!("ws://{}/ws", daemon.address), Some(&token("alice"))).await.unwrap();
    alice.send(&serde_json::json!({ "type": "subscribe", "ref": "s", "project_id": "7" })).await;
    assert_eq!(alice.frame().await["code"], "unavailable");
    // The connection that did not answer is not asked again, though it never closed.
    proxy.speak();
    until("alice to be let in", async || {
        alice.send(&serde_json::json!({ "type": "subscribe", "ref": "s", "project_id": "7" })).await;
        alice.frame().await["type"] == "subscribed"
    })
    .await;
}
