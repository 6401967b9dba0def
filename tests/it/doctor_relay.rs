//! What the doctor finds about the relay, and about commits that wait for one another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use pgherald::scratch::Scratch;

use crate::doctor::{drop_role, examine, of, role};
use crate::world::{Database, Settings, World, connect, options, until};

const SET_RELAY: &str = "select pgherald.set_transport('relay')";

#[tokio::test]
async fn a_relay_that_nobody_is_is_an_error() {
    let database = Database::sample().await;
    of(&database).await.says("relay", "ok", &["not needed", "triggers notify"]);
    database.run(SET_RELAY).await;
    let report = of(&database).await;
    report.complains_of(&["relay"]);
    report.says("relay", "error", &["no daemon is there", "pgherald serve"]);
    let daemons = [Settings::new(&database.url).start().await, Settings::new(&database.url).start().await];
    until("both to be there", async || {
        let report = of(&database).await;
        report.check("relay")["message"].as_str().unwrap().contains("daemons that are there: 2")
    })
    .await;
    let report = of(&database).await;
    report.complains_of(&[]);
    report.says("relay", "ok", &["pgherald relay", "relays", "rows that wait: 0; the queue is 0 % full"]);
    drop(daemons);
}

#[tokio::test]
async fn a_relay_that_hangs_is_an_error_and_so_is_a_queue_that_fills() {
    let World { daemon, database } = World::new().await;
    database.run(SET_RELAY).await;
    until("a relay", async || of(&database).await.check("relay")["status"] == "ok").await;
    daemon.signal("STOP").await;
    database
        .run("select pgherald.append(array_agg('{\"a\":1}' || repeat(' ', 1000))) from generate_series(1, 10000)")
        .await;
    until("the hang to be found", async || {
        of(&database).await.check("relay")["message"].as_str().unwrap().contains("the relay hangs")
    })
    .await;
    let report = of(&database).await;
    report.complains_of(&["relay"]);
    report.says("relay", "error", &["has not moved for", "pg_terminate_backend", "start another daemon"]);
    report.says("relay", "error", &["the queue is 3", " % full; rows that wait: 10000"]);
    daemon.signal("CONT").await;
    until("all to be sent on", async || of(&database).await.check("relay")["status"] == "ok").await;
}

#[tokio::test]
async fn a_role_that_may_not_relay_is_told_the_grant() {
    let database = Database::sample().await;
    let (name, url) = role(&database).await;
    database.run(&format!("grant select on project_members to {name}; {SET_RELAY}")).await;
    let report = examine(&Settings::new(&url)).await;
    report.complains_of(&["relay"]);
    report.says("relay", "error", &[&format!("{name} may not relay"), "no daemon is there"]);
    let advice = report.check("relay")["advice"].as_str().unwrap();
    let grant = advice.split("; ").next().unwrap().split_once(": ").unwrap().1;
    database.run(grant).await;
    let daemon = Settings::new(&url).start().await;
    until("it to relay", async || examine(&Settings::new(&url)).await.check("relay")["status"] == "ok").await;
    drop(daemon);
    drop_role(&database, &name).await;
}

#[tokio::test]
async fn strangers_with_its_locks_are_named() {
    let World { daemon, database } = World::new().await;
    database.run(SET_RELAY).await;
    until("a relay", async || of(&database).await.check("relay")["status"] == "ok").await;
    // Writers in flight have it as well.
    let writer = connect(&database.url).await;
    until("the relay to be kept awake", async || {
        let update = "update tasks set done = true where id = 1";
        writer.batch_execute(&format!("rollback; {update}")).await.unwrap();
        writer.batch_execute(&format!("begin; {update}")).await.unwrap();
        let held =
            "select from pg_locks where locktype = 'advisory' and classid = 7434 and objid = 2 and mode = 'ShareLock'
            and database = (select oid from pg_database where datname = current_database())";
        !database.client.query(held, &[]).await.unwrap().is_empty()
    })
    .await;
    let report = of(&database).await;
    report.complains_of(&[]);
    report.says("relay", "ok", &["awake"]);
    let stranger = connect(&database.url).await;
    stranger.batch_execute("set application_name = 'mallory'; select pg_advisory_lock_shared(7434, 2)").await.unwrap();
    let report = of(&database).await;
    report.complains_of(&["relay"]);
    report.says("relay", "warning", &["mallory", "(7434, 2)", "pg_terminate_backend"]);
    stranger.batch_execute("select pg_advisory_unlock_all(), pg_advisory_lock(7434, 4)").await.unwrap();
    of(&database).await.says("relay", "warning", &["mallory", "(7434, 4)"]);
    stranger.batch_execute("select pg_advisory_unlock_all()").await.unwrap();
    let waiting = tokio::spawn(async move { stranger.batch_execute("select pg_advisory_lock(7434, 3)").await });
    until("it to wait", async || of(&database).await.check("relay")["status"] == "warning").await;
    of(&database).await.says("relay", "warning", &["mallory", "(7434, 3)"]);
    waiting.abort();
    drop((writer, daemon));
}

#[tokio::test]
async fn who_keeps_its_tables_large_is_named() {
    let World { daemon, database } = World::new().await;
    database.run(SET_RELAY).await;
    until("a relay", async || of(&database).await.check("relay")["status"] == "ok").await;
    // As pg_dump does.
    let dump = connect(&database.url).await;
    dump.batch_execute(
        "set application_name = 'the dump'; begin isolation level repeatable read; select 1;
         lock table pgherald.queue in access share mode",
    )
    .await
    .unwrap();
    let append =
        "select pgherald.append(array_agg('{\"a\":\"' || repeat('a', 1900) || '\"}')) from generate_series(1, 10000)";
    database.run(append).await;
    until("the size to be found", async || of(&database).await.check("relay")["status"] == "warning").await;
    let report = of(&database).await;
    report.complains_of(&["relay"]);
    report.says("relay", "warning", &[" MB", "the dump", "a lock on them since"]);
    dump.batch_execute("commit").await.unwrap();
    until("the tables to be small", async || {
        database.run(&append.replace("10000", "300")).await;
        of(&database).await.check("relay")["status"] == "ok"
    })
    .await;
    drop(daemon);
}

#[tokio::test]
async fn transactions_may_be_prepared_where_the_relay_never_sleeps() {
    let server = Scratch::start(&options().setting("max_prepared_transactions", "5")).await.unwrap();
    let database = Database::on(server.url()).await.with_sample().await;
    let daemon = Settings::new(&database.url).start().await;
    database.run(SET_RELAY).await;
    until("a relay", async || of(&database).await.check("relay")["status"] == "ok").await;
    database.run("begin; update tasks set done = true where id = 1; prepare transaction 'a'").await;
    let report = of(&database).await;
    report.complains_of(&[]);
    report.says("relay", "ok", &["awake", "never sleeps", "max_prepared_transactions"]);
    report.says("two_phase", "ok", &["also for watched tables", "prepared now: 1"]);
    let mut alice = daemon.browser("alice", "7").await;
    database.run("commit prepared 'a'").await;
    while alice.short().await != "task UPDATE 7/1" {}
    drop((daemon, database));
    server.shutdown().await.unwrap();
}

/// Writers that commit one after the other, each its own row, until this is dropped.
struct Writers {
    going: Arc<AtomicBool>,
    commits: Arc<AtomicU64>,
}

impl Writers {
    async fn start(url: &str, count: i32, sql: &str) -> Self {
        let writers = Self { going: Arc::new(AtomicBool::new(true)), commits: Arc::default() };
        for id in 1..=count {
            let (going, commits) = (Arc::clone(&writers.going), Arc::clone(&writers.commits));
            let (client, sql) = (connect(url).await, sql.replace("$1", &(100 + id).to_string()));
            client.batch_execute("set application_name = 'a busy writer'").await.unwrap();
            tokio::spawn(async move {
                while going.load(Relaxed) {
                    client.batch_execute(&sql).await.unwrap();
                    commits.fetch_add(1, Relaxed);
                }
            });
        }
        writers
    }

    async fn commit(&self, more: u64) {
        let before = self.commits.load(Relaxed);
        until("writers to commit", async || self.commits.load(Relaxed) >= before + more).await;
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.going.store(false, Relaxed);
    }
}

#[tokio::test]
async fn writers_that_wait_for_one_another_are_told_to_use_the_relay_and_then_wait_no_more() {
    // A slow disk.
    let options = options().setting("fsync", "on").setting("commit_delay", "5000").setting("commit_siblings", "0");
    let server = Scratch::start(&options).await.unwrap();
    let database = Database::on(server.url()).await.with_sample().await;
    database
        .run("insert into tasks (id, project_id, title) select i, 7, 'busy' from generate_series(101, 108) i")
        .await;
    let daemon = Settings::new(&database.url).start().await;
    let writers = Writers::start(&database.url, 8, "update tasks set done = not done where id = $1").await;
    writers.commit(8).await;
    let report = of(&database).await;
    report.complains_of(&["commits"]);
    report.says("commits", "warning", &["on average", "a busy writer", "pgherald transport relay"]);

    database.run(SET_RELAY).await;
    until("a relay", async || of(&database).await.check("relay")["status"] == "ok").await;
    writers.commit(100).await;
    until("commits not to wait", async || of(&database).await.check("commits")["status"] == "ok").await;
    drop(writers);

    let notify = "update tasks set done = not done where id = $1; notify something, '$1'";
    let others = Writers::start(&database.url, 8, notify).await;
    others.commit(8).await;
    until("others to wait", async || of(&database).await.check("commits")["status"] == "warning").await;
    of(&database).await.says("commits", "warning", &["a busy writer", "other users of NOTIFY"]);
    let elsewhere = Database::on(server.url()).await.with_sample().await;
    let found = async || of(&elsewhere).await.check("commits")["status"] == "warning";
    until("others to wait, seen from elsewhere", found).await;
    of(&elsewhere).await.says("commits", "warning", &["a busy writer", "all of them are in other databases"]);
    drop((others, daemon, database, elsewhere));
    server.shutdown().await.unwrap();
}
