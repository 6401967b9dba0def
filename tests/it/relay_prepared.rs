//! Transactions that are prepared: NOTIFY makes that fail, the relay does not.

use std::time::Duration;

use tokio::time::sleep;

use crate::relay_world::{hears_at_last, hears_nothing_but_a_mark, queued, start, state, two_phase, until_relays};
use crate::world::{Settings, connect, until};

/// Longer than a relay waits before it falls asleep.
const A_PAUSE: Duration = Duration::from_millis(900);

#[tokio::test]
async fn a_prepared_transaction_is_told_when_it_is_committed() {
    let (server, database) = two_phase().await;
    let daemon = start(&Settings::new(&database.url)).await;
    until_relays(&daemon).await;
    let mut alice = daemon.browser("alice", "7").await;
    for _ in 0..2 {
        // whoever rings cannot be prepared, so the relay never sleeps here
        sleep(A_PAUSE).await;
        assert_eq!(state(&daemon).await, "awake");
        database.run("begin; update tasks set title = 'x' where id = 1; prepare transaction 'kept'").await;
        database
            .run("begin; savepoint a; delete from tasks where id = 1 and false; select pgherald.notify('report', 'a'); prepare transaction 'taken back'")
            .await;
        sleep(A_PAUSE).await;
        hears_nothing_but_a_mark(&mut alice, &database).await;
        database.run("rollback prepared 'taken back'").await;
        hears_nothing_but_a_mark(&mut alice, &database).await;
        // by another session
        connect(&database.url).await.batch_execute("commit prepared 'kept'").await.unwrap();
        alice.hears(&["task UPDATE 7/1"]).await;
        hears_nothing_but_a_mark(&mut alice, &database).await;
    }
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
    assert_eq!(daemon.metric("pgherald_relay_bells_total").await, 0.0);

    // PostgreSQL's own rule
    database.run("select pgherald.set_transport('notify'); begin; update tasks set title = 'y' where id = 1").await;
    let refused = database.client.batch_execute("prepare transaction 'refused'").await.unwrap_err();
    assert!(refused.as_db_error().unwrap().message().contains("NOTIFY"), "{refused:?}");
    drop((daemon, database));
    server.shutdown().await.unwrap();
}

/// While nobody lives too: the daemon that comes waits for it.
#[tokio::test]
async fn one_that_was_prepared_while_nobody_lived_is_made_good() {
    let (server, database) = two_phase().await;
    database.run("begin; update tasks set title = 'x' where id = 1; prepare transaction 'silent'").await;
    let daemon = start(&Settings::new(&database.url)).await;
    until_relays(&daemon).await;
    let mut alice = daemon.browser("alice", "7").await;
    sleep(A_PAUSE).await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    database.run("commit prepared 'silent'").await;
    alice.hears(&["reconnect notification_dropped"]).await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    drop((daemon, database));
    server.shutdown().await.unwrap();
}

/// Some releases of PostgreSQL know it by another name then: it may be told twice.
#[tokio::test]
async fn one_that_told_nobody_is_made_good_when_it_is_prepared_later() {
    let (server, database) = two_phase().await;
    let writer = connect(&database.url).await;
    writer.batch_execute("begin; update tasks set title = 'x' where id = 1").await.unwrap();
    let daemon = start(&Settings::new(&database.url)).await;
    until_relays(&daemon).await;
    let mut alice = daemon.browser("alice", "7").await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    writer.batch_execute("prepare transaction 'silent'").await.unwrap();
    sleep(A_PAUSE).await;
    database.run("update tasks set done = not done where id = 2").await;
    hears_at_last(&mut alice, "task UPDATE 7/2").await;
    database.run("commit prepared 'silent'").await;
    alice.hears(&["reconnect notification_dropped"]).await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    drop((daemon, database));
    server.shutdown().await.unwrap();
}
