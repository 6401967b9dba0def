//! What the doctor finds between the daemon and its server: poolers, standbys, versions, clocks, the queue.

use pgherald::scratch::Scratch;

use crate::doctor::{drop_role, examine, of, role};
use crate::pooler::Pooler;
use crate::world::{Database, Settings, connect, options, until};

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_found_where_it_matters() {
    let database = Database::sample().await;
    let pooler = Pooler::start(&database.url).await;
    let pooled = pooler.url(&database.url);
    let report = examine(&Settings::new(&pooled)).await;
    report.complains_of(&["pooler"]);
    report.says("pooler", "error", &["transaction mode", "database.listen_url"]);
    // Nobody listens on a connection of the pooler's now.
    let other = connect(&pooled).await;
    let channels = other.query_typed("select from pg_listening_channels()", &[]).await.unwrap();
    assert_eq!(channels.len(), 0);
    let direct = || Settings::new(&pooled).set("database.listen_url", &database.url);
    // Nor is a statement left there, when its plan fails.
    let query = "select 1 from project_members where project_id = $1 and user_id = $2 and 1 / 0 = 1";
    for _ in 0..2 {
        examine(&direct().set("authorize.query", query)).await.says("membership", "error", &["division by zero"]);
    }
    let report = examine(&direct()).await;
    report.complains_of(&[]);
    report.says("pooler", "ok", &["database.url", "fine for queries"]);
}

#[tokio::test]
async fn a_standby_is_an_error_of_the_listener() {
    let mut server = Scratch::start(&options()).await.unwrap();
    let database = Database::on(server.url()).await.with_sample().await;
    of(&database).await.says("primary", "ok", &[]);
    database.run("select pgherald.set_transport('relay')").await;
    server.stop().await.unwrap();
    std::fs::write(server.data_dir().join("standby.signal"), "").unwrap();
    server.start_again().await.unwrap();
    let report = of(&database).await;
    report.complains_of(&["primary", "relay"]);
    report.says("relay", "error", &["database.url leads to a standby"]);
    report.says("primary", "error", &["standby", "LISTEN", "database.listen_url"]);
    report.says("pooler", "skipped", &[]);
    drop(database);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_listener_elsewhere_is_found() {
    let (database, other) = (Database::sample().await, Database::empty().await);
    let elsewhere = Settings::new(&database.url).set("database.listen_url", &other.url);
    let report = examine(&elsewhere).await;
    report.complains_of(&["listener"]);
    report.says("listener", "error", &["another one", "the same database"]);
    let nowhere = Settings::new(&database.url).set("database.listen_url", "postgresql://x:pass-word@127.0.0.1:9/x");
    let report = examine(&nowhere).await;
    report.complains_of(&["listener"]);
    report.says("listener", "error", &["database.listen_url", "127.0.0.1:9", "refused"]);
    report.says("pooler", "skipped", &[]);
}

#[tokio::test]
async fn a_listener_that_is_ended_when_idle_is_found_since_14() {
    let database = Database::sample().await;
    let (name, url) = role(&database).await;
    database
        .run(&format!("grant select on project_members to {name}; alter role {name} set idle_session_timeout = '8s'"))
        .await;
    examine(&Settings::new(&url)).await.complains_of(&[]);
    let report = examine(&Settings::new(&url).set("database.heartbeat_interval", "10s")).await;
    report.complains_of(&["listener"]);
    report.says("listener", "warning", &["idle_session_timeout is 8000 ms"]);
    drop_role(&database, &name).await;
}

#[tokio::test]
async fn clocks_that_differ_are_a_warning() {
    let database = Database::sample().await;
    for (offset, said) in [("5 s", "5.0 s ahead of this"), ("-61 s", "61.0 s behind this")] {
        // In this database only; nobody can set the machine's clock here.
        database
            .run(&format!(
                "create or replace function pg_catalog.clock_timestamp() returns timestamptz language sql volatile
                 as 'select statement_timestamp() + interval ''{offset}'''"
            ))
            .await;
        let report = of(&database).await;
        report.complains_of(&["clock"]);
        report.says("clock", "warning", &[said, "NTP"]);
    }
}

#[tokio::test]
async fn other_versions_of_postgresql_are_told() {
    for (number, status, said) in [("120022", "error", "too old"), ("190001", "warning", "newer than this pgherald")] {
        let database = Database::sample().await;
        // A server that says so: there are none of these to test with.
        database
            .run(&format!(
                "create or replace function pg_catalog.current_setting(text) returns text language sql stable
                 as 'select case $1 when ''server_version_num'' then ''{number}'' else current_setting($1, false) end'"
            ))
            .await;
        let report = of(&database).await;
        report.complains_of(&["version"]);
        report.says("version", status, &[said]);
    }
}

#[tokio::test]
async fn prepared_transactions_are_a_warning() {
    let server = Scratch::start(&options().setting("max_prepared_transactions", "5")).await.unwrap();
    let database = Database::on(server.url()).await.with_sample().await;
    let report = of(&database).await;
    report.complains_of(&[]);
    report.says("two_phase", "ok", &["max_prepared_transactions = 5"]);
    // This is why.
    let refused = database.client.batch_execute("begin; update tasks set done = true; prepare transaction 'a'").await;
    let refused = refused.unwrap_err().as_db_error().unwrap().message().to_owned();
    assert!(refused.contains("cannot PREPARE") && refused.contains("NOTIFY"), "{refused}");
    database.run("rollback; begin; create table x (id int); prepare transaction 'b'").await;
    let report = of(&database).await;
    report.complains_of(&["two_phase"]);
    report.says("two_phase", "warning", &["1 prepared", "pgherald transport relay", "unwatch"]);
    database.run("rollback prepared 'b'").await;
    of(&database).await.complains_of(&[]);
    drop(database);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn commits_that_wait_for_the_lock_of_notify_are_a_warning() {
    let server = Scratch::start(&options()).await.unwrap();
    let database = Database::on(server.url()).await.with_sample().await;
    of(&database).await.complains_of(&[]);
    // A commit that waits for a standby keeps the lock; there is no standby.
    database.run("alter system set synchronous_standby_names = 'nobody'").await;
    database.run("select pg_reload_conf()").await;
    let holder = connect(&database.url).await;
    holder.batch_execute("set application_name = 'the holder'").await.unwrap();
    let hold = tokio::spawn(async move { holder.batch_execute("update tasks set done = true where id = 1").await });
    let held = "select from pg_stat_activity where wait_event = 'SyncRep' and application_name = 'the holder'";
    until("the lock to be held", async || !database.client.query(held, &[]).await.unwrap().is_empty()).await;
    let mut waiters = Vec::new();
    for _ in 0..3 {
        let waiter = connect(&database.url).await;
        waiter.batch_execute("set synchronous_commit = local").await.unwrap();
        waiters
            .push(tokio::spawn(async move { waiter.batch_execute("update tasks set done = true where id = 2").await }));
    }
    let count = "select from pg_stat_activity where wait_event_type = 'Lock'";
    until("commits to wait", async || database.client.query(count, &[]).await.unwrap().len() == 3).await;
    let report = of(&database).await;
    report.complains_of(&["commits"]);
    // Three rows of one name: the first waits for the lock of NOTIFY, the others for its row.
    report.says(
        "commits",
        "warning",
        &["1.0 on average", "held by pid", "the holder", "SyncRep", "pgherald transport relay"],
    );
    database.run("alter system reset synchronous_standby_names").await;
    database.run("select pg_reload_conf()").await;
    hold.await.unwrap().unwrap();
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
    of(&database).await.complains_of(&[]);
    drop(database);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_queue_that_fills_is_told_with_who_may_hold_it_since_17() {
    let server = Scratch::start(&options().setting("max_notify_queue_pages", "64")).await.unwrap();
    let database = Database::on(server.url()).await.with_sample().await;
    let sleeper = connect(&database.url).await;
    sleeper.batch_execute("set application_name = 'sleeper'; listen x").await.unwrap();
    sleeper.batch_execute("begin; select 1").await.unwrap();
    of(&database).await.complains_of(&[]);
    let fill = "select pg_notify('x', i || repeat('x', 7900)) from generate_series(1, 12) i";
    database.run(fill).await;
    let report = of(&database).await;
    report.complains_of(&["queue"]);
    report.says("queue", "warning", &["% used", "sleeper", "idle in transaction", "pg_terminate_backend"]);
    database.run(&fill.replace("12", "24")).await;
    of(&database).await.says("queue", "error", &["sleeper"]);
    let (name, url) = role(&database).await;
    let report = examine(&Settings::new(&url)).await;
    report.says("queue", "error", &["sessions that", &name, "pg_read_all_stats"]);
    drop_role(&database, &name).await;
    sleeper.batch_execute("commit").await.unwrap();
    until("the queue to be empty", async || of(&database).await.check("queue")["status"] == "ok").await;
    drop(database);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn losses_are_counted() {
    let database = Database::sample().await;
    database.run("select pgherald.count_dropped(null, 'a test'), pgherald.count_dropped(null, 'a test')").await;
    let report = of(&database).await;
    assert_eq!(report.code, 1);
    report.complains_of(&["losses"]);
    report.says("losses", "warning", &["installation: 2;"]);
}
