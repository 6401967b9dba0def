//! Daemons are there and nobody relays: everybody is told to refetch, as often as more waits.

use pgherald::scratch::Scratch;

use crate::browser::Browser;
use crate::proxy::Proxy;
use crate::relay_world::{hears_at_last, queued, silent, start, until_relays};
use crate::world::{Database, Settings, connect, now, options, token_with, until};

/// Ends the relay's session, and has its lock, as long as it is not given back.
async fn stop_relays(database: &Database) {
    let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                  where datname = current_database() and application_name = 'pgherald relay'";
    until("the lock of the relay", async || {
        database.run(ended).await;
        database.client.query_one("select pg_try_advisory_lock(7434, 3)", &[]).await.unwrap().get(0)
    })
    .await;
}

#[tokio::test]
async fn a_stranger_with_the_lock_of_the_relay_costs_precision_only() {
    let database = silent().await;
    let stranger = connect(&database.url).await;
    stranger.batch_execute("set application_name = 'mallory'; select pg_advisory_lock(7434, 3)").await.unwrap();
    // not idle, so nobody takes it for a relay that hangs
    let cancel = stranger.cancel_token();
    let busy = tokio::spawn(async move { stranger.batch_execute("select pg_sleep(1000)").await });
    let daemon = start(&Settings::new(&database.url)).await;
    let mut alice = daemon.browser("alice", "7").await;
    for round in 1..=3 {
        database.run("update tasks set done = not done where id = 1").await;
        alice.hears(&["reconnect notification_dropped"]).await;
        assert_eq!(daemon.metric("pgherald_relay_stalls_total").await, f64::from(round));
    }
    assert!(daemon.log().contains("mallory"), "{}", daemon.log());
    assert_eq!(queued(&database.client).await, 3);
    cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
    busy.await.unwrap().unwrap_err();
    until_relays(&daemon).await;
    for _ in 0..3 {
        hears_at_last(&mut alice, "task UPDATE 7/1").await;
    }
    // and is not told of what moves
    for _ in 0..50 {
        database.run("update tasks set done = not done where id = 1").await;
        alice.hears(&["task UPDATE 7/1"]).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(daemon.metric("pgherald_relay_stalls_total").await, 3.0);
}

/// The server has a connection for writers, and no other for the relay.
#[tokio::test]
async fn a_relay_that_cannot_connect_costs_precision_only() {
    let database = silent().await;
    let daemon = start(&Settings::new(&database.url)).await;
    until_relays(&daemon).await;
    let mut alice = daemon.browser("alice", "7").await;
    // nobody but who is connected already
    let name: String = database.client.query_one("select current_database()::text", &[]).await.unwrap().get(0);
    let admin = connect(&database.url.replace(&name, "postgres")).await;
    admin.batch_execute(&format!("alter database {name} allow_connections false")).await.unwrap();
    let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                  where datname = current_database() and application_name = 'pgherald relay'";
    database.run(ended).await;
    until("the relay to be gone", async || crate::relay_world::state(&daemon).await.is_empty()).await;
    database.run("update tasks set done = not done where id = 1").await;
    alice.hears(&["reconnect notification_dropped"]).await;
    admin.batch_execute(&format!("alter database {name} allow_connections true")).await.unwrap();
    hears_at_last(&mut alice, "task UPDATE 7/1").await;
}

/// Nobody relays, and who watches that gets no answer, while older connections to the server live on.
#[tokio::test]
async fn a_pool_that_gets_no_answer_costs_precision_only() {
    let database = silent().await;
    let proxy = Proxy::start(&database.url).await;
    let settings = Settings::new(&proxy.url(&database.url)).set("database.listen_url", &database.url);
    let settings = settings.set("database.query_timeout", "2s").set("database.connect_timeout", "1s");
    let settings = settings.set("authorize.claim", "projects");
    let daemon = start(&settings).await;
    until_relays(&daemon).await;
    let token = token_with(&serde_json::json!({ "sub": "dora", "exp": now() + 600, "projects": ["7"] }));
    let mut dora = Browser::open(&format!("ws://{}/ws", daemon.address), Some(&token)).await.unwrap();
    dora.subscribe("7").await;
    proxy.silence();
    stop_relays(&database).await;
    database.run("update tasks set done = true where id = 1").await;
    assert_eq!(queued(&database.client).await, 1);
    dora.hears(&["reconnect notification_dropped"]).await;
    proxy.speak();
    database.client.batch_execute("select pg_advisory_unlock(7434, 3)").await.unwrap();
    hears_at_last(&mut dora, "task UPDATE 7/1").await;
}

/// A daemon that does not know yet whether it has to relay.
#[tokio::test]
async fn a_pool_that_has_never_answered_costs_precision_only() {
    let database = silent().await;
    let proxy = Proxy::start(&database.url).await;
    let settings = Settings::new(&proxy.url(&database.url)).set("database.listen_url", &database.url);
    let settings = settings.set("database.query_timeout", "2s").set("database.connect_timeout", "1s");
    let settings = settings.set("authorize.claim", "projects");
    proxy.silence();
    let daemon = settings.start().await;
    let token = token_with(&serde_json::json!({ "sub": "dora", "exp": now() + 600, "projects": ["7"] }));
    let mut dora = Browser::open(&format!("ws://{}/ws", daemon.address), Some(&token)).await.unwrap();
    dora.subscribe("7").await;
    database.run("update tasks set done = true where id = 1").await;
    while dora.short().await != "reconnect notification_dropped" {}
    assert_eq!(queued(&database.client).await, 0, "the writer saw nobody");
}

/// A listener does not read, and the queue of NOTIFY fills: what is in ours waits.
#[tokio::test]
async fn a_notification_queue_that_fills_costs_precision_only_since_17() {
    let server = Scratch::start(&options().setting("max_notify_queue_pages", "64")).await.unwrap();
    let database = Database::on(server.url()).await.with_sample().await;
    database.run("select pgherald.set_transport('relay')").await;
    let daemon = start(&Settings::new(&database.url)).await;
    until_relays(&daemon).await;
    let mut alice = daemon.browser("alice", "7").await;
    let sleeper = connect(&server.url()).await;
    sleeper.batch_execute("listen anything").await.unwrap();
    sleeper.batch_execute("begin; select 1").await.unwrap();
    let filler = connect(&server.url()).await;
    let full = "select pg_notification_queue_usage() > 0.81";
    let mut place = 0;
    while !filler.query_one(full, &[]).await.unwrap().get::<_, bool>(0) {
        place += 1;
        assert!(place < 64, "the sleeper holds nothing");
        filler.batch_execute(&format!("select pg_notify('other', repeat('x', 7900) || {place})")).await.unwrap();
    }
    database.run("update tasks set done = true where id = 1").await;
    alice.hears(&["reconnect notification_dropped"]).await;
    assert_eq!(queued(&database.client).await, 1);
    assert_eq!(daemon.log().matches("what is in ours has to wait").count(), 1);
    drop(sleeper);
    hears_at_last(&mut alice, "task UPDATE 7/1").await;
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
    drop((daemon, database, filler));
    server.shutdown().await.unwrap();
}
