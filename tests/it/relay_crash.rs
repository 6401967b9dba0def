//! PostgreSQL crashes: the queue is gone with all that it held, and every session is told.

use pgherald::scratch::Scratch;
use tokio::process::Command;

use crate::browser::Browser;
use crate::relay_world::{hears_nothing_but_a_mark, number, on, queued, start, stop, two_phase, until_relays};
use crate::world::{Daemon, Database, Settings, options, until};

/// As `pg_ctl stop -m immediate` does, and after a while again.
async fn crash(server: &mut Scratch) {
    let file = std::fs::read_to_string(server.data_dir().join("postmaster.pid")).unwrap();
    let pid = file.lines().next().unwrap();
    assert!(Command::new("kill").args(["-QUIT", pid]).status().await.unwrap().success());
    let running = async || {
        Command::new("kill").args(["-0", pid]).stderr(std::process::Stdio::null()).status().await.unwrap().success()
    };
    until("the server to have crashed", async || !running().await).await;
    server.start_again().await.unwrap();
    assert!(server.log().contains("automatic recovery in progress"), "it was no crash");
}

/// Tells whether and how often alice was told to refetch, until a change of now reaches her as such and all is as it was.
async fn settles(alice: &mut Browser, daemon: &Daemon, database: &Database) -> usize {
    until("the listener to hear", async || daemon.metric("pgherald_listener_up").await == 1.0).await;
    until("the daemon to be present", async || daemon.metric("pgherald_relay_present ").await == 1.0).await;
    until_relays(daemon).await;
    database.run("select pgherald.notify('report', 'settled', 'UPDATE', '7')").await;
    let mut reconnects = 0;
    loop {
        match alice.short().await {
            settled if settled == "report UPDATE 7/settled" => return reconnects,
            frame => reconnects += usize::from(frame.starts_with("reconnect")),
        }
    }
}

#[tokio::test]
async fn what_a_crash_takes_from_the_queue_is_made_good() {
    let (mut server, mut database) = on(&options()).await;
    let daemon = start(&Settings::new(&database.url)).await;
    until_relays(&daemon).await;
    let mut alice = daemon.browser("alice", "7").await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    for _ in 0..2 {
        stop(&daemon, &database.client).await;
        database.run("update tasks set title = 'not told' where id = 1; checkpoint").await;
        assert_eq!(queued(&database.client).await, 1);
        crash(&mut server).await;
        database = database.reconnected().await;
        assert_eq!(queued(&database.client).await, 0, "the queue is empty after a crash");
        assert_eq!(number(&database.client, "select count(*) from tasks where title = 'not told'").await, 1);
        database.run("update tasks set title = 'x' where id = 1").await;
        daemon.signal("CONT").await;
        assert!(settles(&mut alice, &daemon, &database).await > 0, "alice is told to refetch");
        hears_nothing_but_a_mark(&mut alice, &database).await;
    }
    drop((daemon, database));
    server.shutdown().await.unwrap();
}

/// Its row in the queue is gone, and it is not: what it changes is to be seen only later.
#[tokio::test]
async fn a_transaction_prepared_before_a_crash_is_made_good_after_it() {
    let (mut server, database) = two_phase().await;
    let daemon = start(&Settings::new(&database.url)).await;
    until_relays(&daemon).await;
    let mut alice = daemon.browser("alice", "7").await;
    for id in [1, 3] {
        database
            .run(&format!("begin; update tasks set title = 'prepared' where id = {id}; prepare transaction 'p{id}'"))
            .await;
    }
    hears_nothing_but_a_mark(&mut alice, &database).await;
    crash(&mut server).await;
    let database = database.reconnected().await;
    assert!(settles(&mut alice, &daemon, &database).await > 0);
    assert_eq!(queued(&database.client).await, 0);
    // others are told meanwhile, and each is made good when it has ended
    hears_nothing_but_a_mark(&mut alice, &database).await;
    database.run("commit prepared 'p3'").await;
    alice.hears(&["reconnect notification_dropped"]).await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    database.run("commit prepared 'p1'").await;
    alice.hears(&["reconnect notification_dropped"]).await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    // a new one is told as itself
    database.run("begin; update tasks set title = 'anew' where id = 1; prepare transaction 'p'").await;
    database.run("commit prepared 'p'").await;
    alice.hears(&["task UPDATE 7/1"]).await;
    drop((daemon, database));
    server.shutdown().await.unwrap();
}
