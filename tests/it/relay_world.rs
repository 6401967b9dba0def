//! What the tests of the relay transport need: worlds whose triggers append to the queue, and what daemons and the
//! queue tell of themselves.

use pgherald::scratch::{Options, Scratch};
use tokio_postgres::Client;

use crate::browser::Browser;
use crate::world::{Daemon, Database, Settings, World, options, until};

/// The sample application with the relay transport, and no daemon yet.
pub async fn silent() -> Database {
    let database = Database::sample().await;
    database.run("select pgherald.set_transport('relay')").await;
    database
}

/// The same with a daemon that relays, which has told everybody so.
pub async fn relayed() -> World {
    let database = silent().await;
    // a machine that stands still for some seconds is no reason to look for another relay
    let daemon = start(&Settings::new(&database.url).set("database.heartbeat_timeout", "10s")).await;
    until_relays(&daemon).await;
    World { daemon, database }
}

/// A server of the test's own, on which transactions can be prepared.
pub async fn two_phase() -> (Scratch, Database) {
    on(&options().setting("max_prepared_transactions", "10")).await
}

/// A server of the test's own with the sample application and the relay transport.
pub async fn on(options: &Options) -> (Scratch, Database) {
    let server = Scratch::start(options).await.unwrap();
    let database = Database::on(server.url()).await.with_sample().await;
    database.run("select pgherald.set_transport('relay')").await;
    (server, database)
}

/// Starts a daemon, and waits until writers know of it and whoever had connected by then was told.
pub async fn start(settings: &Settings) -> Daemon {
    let daemon = settings.start().await;
    until("the daemon to be present", async || daemon.metric("pgherald_relay_present ").await == 1.0).await;
    daemon
}

/// "awake", "asleep", or "" where this daemon is not the relay.
pub async fn state(daemon: &Daemon) -> &'static str {
    for state in ["awake", "asleep"] {
        if daemon.metric(&format!("pgherald_relay_state{{state=\"{state}\"}}")).await == 1.0 {
            return state;
        }
    }
    ""
}

pub async fn until_state(daemon: &Daemon, expected: &str) {
    until(&format!("the relay to be {expected:?}"), async || state(daemon).await == expected).await;
}

pub async fn until_relays(daemon: &Daemon) {
    until("the daemon to be the relay", async || !state(daemon).await.is_empty()).await;
}

/// Stops the daemon, as a hung machine does, in a moment in which its session with PostgreSQL does nothing.
pub async fn stop(daemon: &Daemon, client: &Client) {
    daemon.signal("STOP").await;
    // what it had asked for just before may be on its way
    let busy = "select count(*) from pg_stat_activity
                 where datname = current_database() and application_name = 'pgherald relay'
                   and (state <> 'idle' or state_change > clock_timestamp() - interval '100 ms')";
    until("the relay's session to have nothing to do", async || number(client, busy).await == 0).await;
}

/// A number that an expression has.
pub async fn number(client: &Client, expression: &str) -> i64 {
    let sql = format!("select coalesce(({expression})::int8, 0)");
    client.query_one(&sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

/// How many rows the queue holds, as this session sees it.
pub async fn queued(client: &Client) -> i64 {
    number(client, "select count(*) from pgherald.queue").await
}

/// How many payloads a relay has ever sent.
pub async fn sent(client: &Client) -> i64 {
    number(client, "pg_sequence_last_value('pgherald.queue_ordinals') - 9999999999").await
}

pub async fn dropped(client: &Client) -> i64 {
    number(client, "pg_sequence_last_value('pgherald.dropped')").await
}

/// Reads until the next frame that is no `reconnect`; it is this one. Gives back how many there were.
pub async fn hears_at_last(browser: &mut Browser, expected: &str) -> usize {
    let mut reconnects = 0;
    loop {
        let frame = browser.short().await;
        if !frame.starts_with("reconnect") {
            assert_eq!(frame, expected);
            return reconnects;
        }
        reconnects += 1;
    }
}

/// Changes a row of project 7, and expects that this is the next that is told: so nothing was before it.
pub async fn hears_nothing_but_a_mark(browser: &mut Browser, database: &Database) {
    database.run("update tasks set done = not done where id = 2").await;
    browser.hears(&["task UPDATE 7/2"]).await;
}

/// Drops a role of the test's own, once its sessions have ended.
pub async fn forget(database: &Database, role: &str) {
    let sessions = format!("select count(*) from pg_stat_activity where usename = '{role}'");
    until("the role's sessions to end", async || number(&database.client, &sessions).await == 0).await;
    database.run(&format!("drop owned by {role}; drop role {role}")).await;
}
