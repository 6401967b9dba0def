//! Settings of the daemon's role, which apply to all its sessions, and would stop the relay.

use std::time::Duration;

use tokio::time::sleep;

use crate::browser::Browser;
use crate::relay_world::{dropped, forget, hears_nothing_but_a_mark, queued, silent, start, until_relays, until_state};
use crate::world::{Database, Settings, unique, until};

/// A role that owns nothing and may relay, with these settings in this database; its URL.
async fn role(database: &Database, settings: &[&str]) -> (String, String) {
    let role = unique("relay");
    database
        .run(&format!(
            "create role {role} login; grant usage on schema pgherald to {role}; grant select on project_members to {role};
             grant execute on function pgherald.relay(integer, integer), pgherald.recycle(bigint) to {role}"
        ))
        .await;
    let name: String = database.client.query_one("select current_database()::text", &[]).await.unwrap().get(0);
    for setting in settings {
        database.run(&format!("alter role {role} in database {name} set {setting}")).await;
    }
    let mut url = reqwest::Url::parse(&database.url).unwrap();
    url.set_username(&role).unwrap();
    (role, url.into())
}

/// Whatever else: on a slow machine, the queries of the daemon's other connections may take longer than the role allows.
async fn hears_a_mark(browser: &mut Browser, database: &Database) {
    until("a change to be told as such", async || {
        database.run("update tasks set done = not done where id = 2").await;
        browser.short().await == "task UPDATE 7/2"
    })
    .await;
}

#[tokio::test]
async fn the_settings_of_its_role_do_not_stop_the_relay() {
    for settings in [
        &["default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on"][..],
        &["default_transaction_isolation = 'repeatable read'"],
        &["synchronous_commit = 'remote_apply'", "jit = on", "jit_above_cost = 0"],
        &["statement_timeout = '120ms'", "lock_timeout = '1ms'"],
        &["idle_in_transaction_session_timeout = '1ms'"],
        &[
            "enable_seqscan = off",
            "standard_conforming_strings = off",
            "quote_all_identifiers = on",
            "client_min_messages = 'debug1'",
        ],
        &["row_security = off", "session_replication_role = 'replica'"],
    ] {
        let database = silent().await;
        let (role, url) = role(&database, settings).await;
        let daemon = start(&Settings::new(&url).set("database.heartbeat_timeout", "10s")).await;
        until_relays(&daemon).await;
        let mut alice = daemon.browser("alice", "7").await;
        // longer than a statement may take, and asleep meanwhile
        for _ in 0..3 {
            hears_a_mark(&mut alice, &database).await;
            until_state(&daemon, "asleep").await;
            sleep(Duration::from_millis(300)).await;
        }
        // enough of it that the tables are tidied
        database
            .run("do $$ begin for i in 1..3000 loop perform pgherald.notify('report', i::text, 'UPDATE', '8'); if i % 100 = 0 then commit; end if; end loop; end $$")
            .await;
        until("the queue to be empty", async || queued(&database.client).await == 0).await;
        hears_a_mark(&mut alice, &database).await;
        assert_eq!(daemon.metric("pgherald_relay_elections_total").await, 1.0, "{settings:?}: {}", daemon.log());
        assert_eq!(dropped(&database.client).await, 0);
        drop(daemon);
        forget(&database, &role).await;
    }
}

/// Since 14. The connection that listens is never idle for so long.
#[tokio::test]
async fn sessions_that_are_idle_for_long_are_kept_since_14() {
    let database = silent().await;
    let (role, url) = role(&database, &["idle_session_timeout = '6s'"]).await;
    let daemon = start(&Settings::new(&url)).await;
    until_state(&daemon, "asleep").await;
    let other = start(&Settings::new(&url)).await;
    let mut alice = other.browser("alice", "7").await;
    sleep(Duration::from_secs(9)).await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    assert_eq!(daemon.metric("pgherald_relay_elections_total").await, 1.0, "{}", daemon.log());
    assert_eq!(other.metric("pgherald_relay_elections_total").await, 0.0, "{}", daemon.log());
    drop((daemon, other));
    forget(&database, &role).await;
}
