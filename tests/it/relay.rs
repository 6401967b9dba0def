//! The relay transport tells what NOTIFY tells, in the same frames.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::relay_world::{dropped, queued, relayed, sent, silent, start, until_relays};
use crate::witness::{MODES, Witness, rows};
use crate::world::{Daemon, Settings, World, token, until};

const COMMENTS: &str = "create table comments (id int primary key, task_id int references tasks);
    select pgherald.watch('comments', 'task_id->project_id')";

/// Each write, and what alice is told of it, in any order.
const WRITES: &[(&str, &str)] = &[
    ("update tasks set done = true where id = 1", "task UPDATE 7/1"),
    ("update tasks set title = 'all'", "task UPDATE 7/1, task UPDATE 7/2"),
    ("update tasks set project_id = 15 - project_id where id in (2, 3)", "task UPDATE 7/2, task UPDATE 7/3"),
    ("delete from tasks where id = 3", "task DELETE 7/3"),
    (
        "insert into tasks (id, project_id, title) select i, 7, 'x' from generate_series(11, 13) i",
        "task INSERT 7/11, task INSERT 7/12, task INSERT 7/13",
    ),
    // by way of comment -> task -> project
    (COMMENTS, ""),
    ("insert into comments values (1, 11)", "comment INSERT 7/1"),
    ("update comments set task_id = 12", "comment UPDATE 7/1"),
    ("update sprints set name = 'x' where project_id = 7", "sprint UPDATE 7/00000000-0000-4000-8000-000000000007"),
    // triggers of rows
    ("insert into notes select i, 7 from generate_series(1, 3) i", "note INSERT 7/1, note INSERT 7/2, note INSERT 7/3"),
    ("update notes set project_id = 8 where id = 3", "note UPDATE 7/3"),
    // one of many resources, and one of everybody
    (
        "select pgherald.notify('report', 'a', 'UPDATE', '7'), pgherald.notify('report', 'b', 'UPDATE', '8')",
        "report UPDATE 7/a",
    ),
    ("select pgherald.notify('report', null, 'DELETE', '*')", "report DELETE 7/*"),
    ("truncate notes", "note DELETE 7/*"),
    ("truncate tasks cascade", "comment DELETE 7/*, task DELETE 7/*"),
];

#[tokio::test]
async fn every_kind_of_write_reaches_its_browser() {
    let world = relayed().await;
    world
        .run(
            "create table notes (id int primary key, project_id int);
             select pgherald.watch('notes', mode => 'row')",
        )
        .await;
    let mut alice = world.daemon.browser("alice", "7").await;
    for (sql, expected) in WRITES {
        world.run(sql).await;
        let expected: BTreeSet<_> = expected.split(", ").filter(|frame| !frame.is_empty()).map(str::to_owned).collect();
        let mut told = BTreeSet::new();
        while told.len() < expected.len() {
            told.insert(alice.short().await);
        }
        assert_eq!(told, expected, "{sql}");
    }
    let client = &world.database.client;
    until("the queue to be empty", async || queued(client).await == 0).await;
    assert_eq!(dropped(client).await, 0);
    assert!(world.daemon.metric("pgherald_relay_rows_total").await as i64 >= sent(client).await);
}

#[tokio::test]
async fn a_merge_over_partitions_is_told_since_15() {
    for mode in MODES {
        let World { daemon, database } = relayed().await;
        let mut witness = Witness::of(database).await;
        witness
            .run(&format!(
                "create table parts (id int, project_id int, title text, primary key (id, project_id)) partition by list (project_id);
                 create table parts_7 partition of parts for values in (7);
                 create table parts_8 partition of parts for values in (8);
                 insert into parts values (1, 7, 'old'), (2, 8, 'old'), (3, 7, 'old');
                 select pgherald.watch('parts'{mode})"
            ))
            .await;
        witness
            .run(
                "merge into parts p using (values (1, 7), (3, 7), (4, 8)) v(id, project_id)
                    on p.id = v.id and p.project_id = v.project_id
                  when matched and v.id = 1 then update set title = 'new'
                  when matched then delete
                  when not matched then insert values (v.id, v.project_id, 'new')",
            )
            .await;
        until("all of it to be sent", async || queued(&witness.client).await == 0).await;
        let told = witness.covered().await;
        for row in rows("parts DELETE 7/3:7, parts INSERT 8/4:8", mode) {
            let whole = row.replace("/3:7", "/*").replace("/4:8", "/*");
            assert!(told.contains(&row) || told.contains(&whole), "{mode}: {row} is not in {told:?}");
        }
        assert!(told.iter().any(|row| row.starts_with("parts UPDATE")), "{mode}: {told:?}");
        drop(daemon);
    }
}

/// A session that resumes, and what it was told of.
async fn resume(daemon: &Daemon, since: &Value) -> (Browser, Vec<String>) {
    let mut browser = Browser::open(&format!("ws://{}/ws", daemon.address), Some(&token("alice"))).await.unwrap();
    browser.send(&json!({ "type": "subscribe", "ref": "s", "project_id": "7", "since": since })).await;
    let mut missed = Vec::new();
    loop {
        match browser.short().await {
            subscribed if subscribed == "subscribed" => return (browser, missed),
            frame => missed.push(frame),
        }
    }
}

#[tokio::test]
async fn a_client_resumes_on_another_daemon_from_any_frame() {
    let database = silent().await;
    let settings = Settings::new(&database.url).set("database.connect_timeout", "2s");
    let daemon = start(&settings).await;
    until_relays(&daemon).await;
    let other = start(&settings).await;
    // nobody resumes after a loss was told, as a daemon does when it comes, for twice as long as one may try to be present
    for daemon in [&daemon, &other] {
        let mut alice = daemon.browser("alice", "7").await;
        until("clients to resume", async || {
            database.run("update tasks set done = not done where id = 1").await;
            let cursor = alice.frame().await["cursor"].clone();
            resume(daemon, &cursor).await.1.is_empty()
        })
        .await;
    }
    let (mut alice, mut elsewhere) = (daemon.browser("alice", "7").await, other.browser("alice", "7").await);
    database.run("select pgherald.notify('report', 'start', 'UPDATE', '7')").await;
    for browser in [&mut alice, &mut elsewhere] {
        while browser.short().await != "report UPDATE 7/start" {}
    }
    // several payloads of a transaction, rows of one payload, and transactions that are sent in one batch
    database
        .run(
            "begin; update tasks set done = true where id = 1; update tasks set done = true where id = 2;
             insert into tasks (id, project_id, title) values (11, 7, 'x'), (12, 7, 'x'); commit;
             begin; delete from tasks where id = 11; update tasks set done = false where id = 1; commit;
             update tasks set title = 'y' where id = 2",
        )
        .await;
    let mut frames = Vec::new();
    for _ in 0..7 {
        let (frame, same) = (alice.frame().await, elsewhere.frame().await);
        assert_eq!(frame["cursor"], same["cursor"], "two daemons");
        frames.push(frame);
    }
    let cursors: BTreeMap<_, _> = frames.iter().map(|frame| (frame["cursor"].to_string(), ())).collect();
    assert_eq!(cursors.len(), frames.len(), "cursors are unique");
    for (place, frame) in frames.iter().enumerate() {
        let missed: Vec<_> = frames[place + 1..].iter().map(crate::browser::short).collect();
        for daemon in [&daemon, &other] {
            assert_eq!(resume(daemon, &frame["cursor"]).await.1, missed, "after frame {place}");
        }
    }
    // and after another has become the relay
    let cursor = frames[3]["cursor"].clone();
    drop(daemon);
    until_relays(&other).await;
    let (mut back, missed) = resume(&other, &cursor).await;
    assert_eq!(missed, frames[4..].iter().map(crate::browser::short).collect::<Vec<_>>());
    database.run("update tasks set title = 'z' where id = 2").await;
    back.hears(&["task UPDATE 7/2"]).await;
}

#[tokio::test]
async fn payloads_have_ordinals_that_rise() {
    let World { daemon: _daemon, database } = relayed().await;
    let mut witness = Witness::of(database).await;
    witness.run("update tasks set done = not done; select pgherald.notify('report', 'a')").await;
    witness.run("insert into tasks (project_id, title) values (7, 'x')").await;
    until("all of it to be sent", async || queued(&witness.client).await == 0).await;
    let payloads: Vec<Value> =
        witness.payloads().await.iter().map(|payload| serde_json::from_str(payload).unwrap()).collect();
    let ordinals: Vec<_> = payloads.iter().map(|payload| payload["ordinal"].as_u64().unwrap()).collect();
    assert_eq!(ordinals.len(), 4, "{payloads:?}");
    assert!(ordinals.is_sorted_by(|a, b| a < b) && ordinals[0] >= 10_000_000_000, "{ordinals:?}");
}
