//! The relay sleeps when it has nothing to do, and whoever writes then wakes it.

use std::time::{Duration, Instant};

use crate::relay_world::{hears_nothing_but_a_mark, number, relayed, start, two_phase, until_relays, until_state};
use crate::world::{Daemon, Settings, World, connect, until};

#[tokio::test]
async fn a_write_wakes_a_relay_that_sleeps() {
    let World { daemon, database } = relayed().await;
    let mut alice = daemon.browser("alice", "7").await;
    for bells in 1..=5 {
        until_state(&daemon, "asleep").await;
        database.run("update tasks set done = not done where id = 1").await;
        alice.hears(&["task UPDATE 7/1"]).await;
        // the look after it has the lock may find the row before the bell is heard
        let heard = async || daemon.metric("pgherald_relay_bells_total").await;
        until("the bell to be counted", async || heard().await == f64::from(bells)).await;
    }
    // by the other way to the queue
    until_state(&daemon, "asleep").await;
    database.run("select pgherald.notify('report', 'a', 'UPDATE', '7')").await;
    alice.hears(&["report UPDATE 7/a"]).await;
    // awake, nobody rings
    let (mut last, mut slow) = (Instant::now(), 0.0);
    for _ in 0..100 {
        slow += f64::from(u8::from(last.elapsed() > Duration::from_millis(400)));
        last = Instant::now();
        database.run("update tasks set done = not done where id = 1").await;
        alice.hears(&["task UPDATE 7/1"]).await;
    }
    let bells = daemon.metric("pgherald_relay_bells_total").await;
    assert!((6.0..=6.0 + slow).contains(&bells), "{bells} bells, after {slow} pauses");
    assert_eq!(daemon.metric("pgherald_relay_late_rows_total").await, 0.0);
}

#[tokio::test]
async fn no_relay_sleeps_while_a_writer_is_in_flight_that_saw_it_awake() {
    let World { daemon, database } = relayed().await;
    let mut alice = daemon.browser("alice", "7").await;
    let writer = connect(&database.url).await;
    let saw_awake = "select count(*) from pg_locks where locktype = 'advisory' and classid = 7434 and objid = 2 and mode = 'ShareLock'
                     and database = (select oid from pg_database where datname = current_database())";
    until("a writer to see it awake", async || {
        hears_nothing_but_a_mark(&mut alice, &database).await;
        writer.batch_execute("begin; update tasks set title = 'x' where id = 1").await.unwrap();
        let saw = number(&database.client, saw_awake).await == 1;
        if !saw {
            writer.batch_execute("rollback").await.unwrap();
        }
        saw
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(crate::relay_world::state(&daemon).await, "awake");
    writer.batch_execute("commit").await.unwrap();
    alice.hears(&["task UPDATE 7/1"]).await;
    // what is taken back holds nobody up
    until_state(&daemon, "asleep").await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    writer.batch_execute("begin; savepoint a; update tasks set title = 'y' where id = 1; rollback to a").await.unwrap();
    until_state(&daemon, "asleep").await;
    // and now that it sleeps, the same transaction rings
    writer.batch_execute("update tasks set title = 'z' where id = 1; commit").await.unwrap();
    alice.hears(&["task UPDATE 7/1"]).await;
    assert_eq!(daemon.metric("pgherald_relay_late_rows_total").await, 0.0);
}

/// User and system time of a process, in hundredths of a second.
#[cfg(target_os = "linux")]
fn cpu(pid: i64) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Percent of a core that daemon and relay's session need, over some seconds.
#[cfg(target_os = "linux")]
async fn percent(daemon: &Daemon, client: &tokio_postgres::Client, seconds: u64) -> f64 {
    let backend =
        "select pid from pg_stat_activity where application_name = 'pgherald relay' and datname = current_database()";
    let backend = number(client, backend).await;
    let used = || [cpu(backend), cpu(i64::from(daemon.pid()))];
    let before = used();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let [backend, daemon] = [0, 1].map(|place| (used()[place] - before[place]) as f64 / seconds as f64);
    println!("{backend} % of a core in PostgreSQL, {daemon} % in the daemon");
    backend + daemon
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn asleep_it_needs_no_processor() {
    let World { daemon, database } = relayed().await;
    until_state(&daemon, "asleep").await;
    let percent = percent(&daemon, &database.client, 3).await;
    assert!(percent <= 2.0, "{percent} % of a core");
    assert_eq!(crate::relay_world::state(&daemon).await, "asleep");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn awake_and_idle_it_needs_little() {
    let (server, database) = two_phase().await;
    let daemon = start(&Settings::new(&database.url)).await;
    until_relays(&daemon).await;
    // 5 on an idle machine
    until("it to need 8 % of a core at most", async || percent(&daemon, &database.client, 4).await <= 8.0).await;
    until("it to be awake", async || crate::relay_world::state(&daemon).await == "awake").await;
    drop((daemon, database));
    server.shutdown().await.unwrap();
}
