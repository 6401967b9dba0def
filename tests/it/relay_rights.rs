//! Who may relay, and what everybody else can do with the queue: append, as everybody may NOTIFY.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::Client;

use crate::relay_world::{
    dropped, forget, hears_nothing_but_a_mark, queued, relayed, silent, start, state, until_relays, until_state,
};
use crate::world::{Database, Settings, World, connect, unique, until};

/// A role that may log in, and a URL to do so.
async fn role(database: &Database) -> (String, String) {
    let role = unique("nobody");
    database.run(&format!("create role {role} login; grant usage on schema public to {role}")).await;
    let mut url = reqwest::Url::parse(&database.url).unwrap();
    url.set_username(&role).unwrap();
    (role, url.into())
}

async fn refused(client: &Client, sql: &str) -> String {
    client.batch_execute("begin").await.unwrap();
    let result = client.batch_execute(sql).await;
    client.batch_execute("rollback").await.unwrap();
    result.expect_err(sql).as_db_error().unwrap().message().to_owned()
}

#[tokio::test]
async fn a_daemon_that_may_not_relay_says_what_it_needs() {
    let database = silent().await;
    let (role, url) = role(&database).await;
    database.run(&format!("grant select on project_members to {role}")).await;
    let daemon = Settings::new(&url).start().await;
    let mut alice = daemon.browser("alice", "7").await;
    let grant =
        format!("grant execute on function pgherald.relay(integer, integer), pgherald.recycle(bigint) to {role}");
    until("the log to have the grant", async || daemon.log().contains(&grant)).await;
    // at each look, as it hears of nothing
    for _ in 0..3 {
        alice.hears(&["reconnect notification_dropped"]).await;
    }
    assert_eq!(daemon.metric("pgherald_relay_present ").await, 0.0, "writers do not count on it");
    assert_eq!(state(&daemon).await, "");
    database.run(&grant).await;
    until_relays(&daemon).await;
    until("the daemon to be present", async || daemon.metric("pgherald_relay_present ").await == 1.0).await;
    database.run("select pgherald.notify('report', 'a', 'UPDATE', '7')").await;
    let mut frame = alice.short().await;
    while frame.starts_with("reconnect") {
        frame = alice.short().await;
    }
    assert_eq!(frame, "report UPDATE 7/a");
    // two looks later it still has not been told again
    sleep(Duration::from_millis(1200)).await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    drop((daemon, alice));
    forget(&database, &role).await;
}

#[tokio::test]
async fn a_writer_needs_no_rights_but_on_its_table() {
    let World { daemon, database } = relayed().await;
    let (role, url) = role(&database).await;
    database.run(&format!("grant select, insert, update, delete, truncate on tasks to {role}")).await;
    let mut alice = daemon.browser("alice", "7").await;
    let writer = connect(&url).await;
    for rest in ["awake", "asleep"] {
        if rest == "asleep" {
            until_state(&daemon, "asleep").await;
        }
        writer.batch_execute("update tasks set done = not done where id = 1").await.unwrap();
        alice.hears(&["task UPDATE 7/1"]).await;
        writer.batch_execute("select pgherald.notify('report', 'a', 'UPDATE', '7')").await.unwrap();
        alice.hears(&["report UPDATE 7/a"]).await;
    }
    // by every table of the queue
    for slot in 0..4 {
        database.run(&format!("select setval('pgherald.queue_slot', {slot})")).await;
        writer.batch_execute("update tasks set done = not done where id = 1").await.unwrap();
        alice.hears(&["task UPDATE 7/1"]).await;
    }
    assert_eq!(dropped(&database.client).await, 0);
    drop(writer);
    forget(&database, &role).await;
}

#[tokio::test]
async fn nobody_reads_the_queue_or_takes_from_it() {
    let World { daemon, database } = relayed().await;
    let (role, url) = role(&database).await;
    database.run(&format!("grant usage on schema pgherald to {role}")).await;
    let insider = connect(&url).await;
    for table in ["queue", "queue_0", "queue_1", "queue_2", "queue_3"] {
        for sql in [
            "select * from pgherald.T",
            "select payload from pgherald.T",
            "select tableoid from pgherald.T",
            "delete from pgherald.T",
            "update pgherald.T set payload = '{}'",
            "truncate pgherald.T",
            "insert into pgherald.T (lsn, payload) values ('0/1', '{}')",
            "insert into pgherald.T (payload) values ('{}') returning payload",
            "copy pgherald.T to stdout",
            "lock table pgherald.T in access exclusive mode",
            "lock table pgherald.T in access share mode",
            "alter table pgherald.T add x int",
            "create trigger t before insert on pgherald.T for each row execute function suppress_redundant_updates_trigger()",
        ] {
            let said = refused(&insider, &sql.replace('T', table)).await;
            assert!(said.contains("permission denied") || said.contains("must be owner"), "{sql} {table}: {said}");
        }
    }
    for sql in [
        "insert into pgherald.queue (payload) values ('{}')",
        "select setval('pgherald.queue_ordinals', 1)",
        "select setval('pgherald.queue_dead', 1)",
        "select setval('pgherald.queue_slot', 2)",
        "select nextval('pgherald.queue_dead')",
        "update pgherald.transport set transport = 'notify'",
        "insert into pgherald.transport values (false)",
        "select pgherald.relay(0, 10)",
        "select pgherald.recycle(0)",
        "select pgherald.open_queue(1)",
        "select pgherald.shrink_queue()",
        "select pgherald.set_transport('notify')",
    ] {
        let said = refused(&insider, sql).await;
        assert!(said.contains("permission denied") || said.contains("only postgres"), "{sql}: {said}");
    }
    for (payload, why) in [("repeat('x', 9000)", "too big"), ("null", "null value")] {
        let said = refused(&insider, &format!("insert into pgherald.queue_0 (payload) values ({payload})")).await;
        assert!(said.contains(why), "{payload}: {said}");
        let said = refused(&insider, &format!("select pgherald.append(array[{payload}])")).await;
        assert!(said.contains(why), "{payload}: {said}");
    }
    drop((insider, daemon));
    forget(&database, &role).await;
}

#[tokio::test]
async fn what_is_forged_reaches_nobody_and_stops_nobody() {
    let World { daemon, database } = relayed().await;
    let (role, url) = role(&database).await;
    database.run(&format!("grant usage on schema pgherald to {role}")).await;
    let mut alice = daemon.browser("alice", "7").await;
    let insider = connect(&url).await;
    let before = daemon.metric("pgherald_notifications_malformed_total").await;
    let forged = [
        "'{}'",
        "'{ '",
        "'no JSON'",
        "'[]'",
        "'ää'",
        "repeat('ä', 3984)",
        "repeat('\"', 7969)",
        "repeat('[', 7969)",
        "'{\"table\":\"tasks\",\"action\":\"UPDATE\",\"project_id\":\"7\",\"ids\":[\"1\"],\"ordinal\":7}'",
        "'{\"table\":\"tasks\",\"action\":\"NONE\",\"project_id\":\"7\",\"ids\":[\"1\"]}'",
        "'{\"table\":\"tasks\"}{\"action\":\"UPDATE\"}'",
        "E'{\\n}'",
    ];
    let forgery = forged.join("), (");
    for slot in 0..4 {
        insider
            .batch_execute(&format!("insert into pgherald.queue_{slot} (payload) values ({forgery})"))
            .await
            .unwrap();
    }
    insider.batch_execute(&format!("select pgherald.append(array[{}])", forged.join(", "))).await.unwrap();
    hears_nothing_but_a_mark(&mut alice, &database).await;
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
    let malformed = daemon.metric("pgherald_notifications_malformed_total").await - before;
    assert!(malformed >= forged.len() as f64, "{malformed} were malformed");
    assert_eq!(daemon.metric("pgherald_relay_elections_total").await, 1.0);
    // what NOTIFY would refuse: too short tells nothing, too long may have meant something
    insider.batch_execute("insert into pgherald.queue_0 (payload) values (''), ('x')").await.unwrap();
    hears_nothing_but_a_mark(&mut alice, &database).await;
    insider.batch_execute("insert into pgherald.queue_0 (payload) values (repeat('x', 7970))").await.unwrap();
    alice.hears(&["reconnect notification_dropped"]).await;
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
    assert_eq!(daemon.metric("pgherald_relay_elections_total").await, 1.0);
    drop(insider);
    forget(&database, &role).await;
}

/// Advisory locks are open to everybody in the database. Who misuses them costs something, and hides nothing.
#[tokio::test]
async fn locks_in_wrong_hands_delay_nothing() {
    let database = silent().await;
    let (role, url) = role(&database).await;
    let insider = connect(&url).await;
    insider.batch_execute("select pg_advisory_lock_shared(7434, n) from unnest(array[1, 11, 12, 13]) n").await.unwrap();
    let daemon = start(&Settings::new(&database.url)).await;
    until_relays(&daemon).await;
    let mut alice = daemon.browser("alice", "7").await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    for _ in 0..5 {
        sleep(Duration::from_millis(500)).await;
        hears_nothing_but_a_mark(&mut alice, &database).await;
    }
    insider
        .batch_execute("select pg_advisory_unlock_shared(7434, n) from unnest(array[1, 11, 12, 13]) n")
        .await
        .unwrap();
    alice.hears(&["reconnect notification_dropped"]).await;
    hears_nothing_but_a_mark(&mut alice, &database).await;

    // as a writer would that never ends; then as nobody should
    until_state(&daemon, "asleep").await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    insider.batch_execute("select pg_advisory_lock_shared(7434, 2)").await.unwrap();
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(state(&daemon).await, "awake");
    hears_nothing_but_a_mark(&mut alice, &database).await;
    insider.batch_execute("select pg_advisory_unlock_shared(7434, 2), pg_advisory_lock(7434, 2)").await.unwrap();
    sleep(Duration::from_millis(1500)).await;
    for _ in 0..3 {
        hears_nothing_but_a_mark(&mut alice, &database).await;
    }
    insider.batch_execute("select pg_advisory_unlock(7434, 2)").await.unwrap();
    until_state(&daemon, "asleep").await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    drop((insider, daemon));
    forget(&database, &role).await;
}
