//! A client that was away goes on where it left off, on whichever daemon.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::world::{Daemon, Database, Settings, World, token};

/// A session that resumes by frame, and what it hears before `subscribed`, in short; the cursor of `subscribed`.
async fn resume(daemon: &Daemon, since: &str) -> (Browser, Vec<String>, Value) {
    let mut browser = Browser::open(&format!("ws://{}/ws", daemon.address), Some(&token("alice"))).await.unwrap();
    browser.send(&json!({ "type": "subscribe", "ref": "s", "project_id": "7", "since": since })).await;
    let mut missed = Vec::new();
    loop {
        let frame = browser.frame().await;
        match frame["type"].as_str().unwrap() {
            "subscribed" => return (browser, missed, frame["cursor"].clone()),
            "reconnect" => missed.push(format!("reconnect {}", frame["data"]["reason"].as_str().unwrap())),
            _ => missed.push(frame["data"]["id"].as_str().unwrap_or("*").to_owned()),
        }
    }
}

#[tokio::test]
async fn a_client_hears_exactly_what_it_missed_on_either_daemon() {
    let World { daemon, database } = World::new().await;
    let other = Settings::new(&database.url).start().await;
    let mut alice = daemon.browser("alice", "7").await;
    let mut elsewhere = other.browser("alice", "7").await;
    database
        .run("insert into tasks (id, project_id, title) select i, 7, 'x' from generate_series(10, 14) i; update tasks set done = true where id = 3")
        .await;
    // Cut off in the middle of a notification of five rows.
    let mut cursor = Value::Null;
    for _ in 0..2 {
        cursor = alice.frame().await["cursor"].clone();
    }
    drop(alice);
    database.run("delete from tasks where id in (12, 13); update tasks set done = true where id = 3").await;
    database.run("update tasks set title = 'y' where id = 10").await;
    // The other daemon has heard all of it once its own session has.
    for _ in 0..8 {
        elsewhere.frame().await;
    }
    for (daemon, since) in [(&daemon, vec!["1"; 0]), (&other, vec!["1"])] {
        let (mut alice, missed, newest) = resume(daemon, cursor.as_str().unwrap()).await;
        assert_eq!(missed, [vec!["12", "13", "14", "12", "13", "10"], since].concat());
        database.run("update tasks set done = not done where id = 1").await;
        alice.hears(&["task UPDATE 7/1"]).await;
        let (_, missed, _) = resume(daemon, newest.as_str().unwrap()).await;
        assert_eq!(missed, ["1"]);
        elsewhere.hears(&["task UPDATE 7/1"]).await;
        let url = format!("ws://{}/ws?project_id=7&since={}", daemon.address, newest.as_str().unwrap());
        let mut by_address = Browser::open(&url, Some(&token("alice"))).await.unwrap();
        by_address.hears(&["task UPDATE 7/1"]).await;
    }
    assert_eq!(daemon.metric("pgherald_resumes_total{result=\"found\"}").await, 3.0);
    assert_eq!(daemon.metric("pgherald_reconnect_frames_total").await, 0.0);
}

#[tokio::test]
async fn who_has_heard_all_that_it_asked_for_comes_back_to_nothing_and_lives_on() {
    let world = World::new().await;
    let open = async |since: &str| {
        let url = format!("ws://{}/ws?project_id=7&topics=task:1{since}", world.daemon.address);
        Browser::open(&url, Some(&token("alice"))).await.unwrap()
    };
    let mut alice = open("").await;
    world.run("update tasks set done = not done where project_id = 7").await;
    let cursor = alice.frame().await["cursor"].as_str().unwrap().to_owned();
    // The rest of that notification is nothing to it.
    let mut again = open(&format!("&since={cursor}")).await;
    world.run("update tasks set title = 'later' where id = 1").await;
    again.hears(&["task UPDATE 7/1"]).await;
}

#[tokio::test]
async fn a_quiet_project_goes_on_by_the_cursor_of_a_pong() {
    let world = World::with(|settings| settings.set("limits.history_events", "3")).await;
    let mut alice = world.daemon.browser("alice", "7").await;
    let mut bob = world.daemon.browser("bob", "8").await;
    world.run("update tasks set done = true where id = 1").await;
    let old = alice.frame().await["cursor"].clone();
    for _ in 0..3 {
        world.run("update tasks set done = not done where id = 3").await;
        bob.hears(&["task UPDATE 8/3"]).await;
    }
    alice.send(&json!({ "type": "ping", "ref": "p" })).await;
    let newest = alice.frame().await["cursor"].clone();
    world.run("update tasks set done = false where id = 2").await;
    alice.hears(&["task UPDATE 7/2"]).await;
    assert_eq!(resume(&world.daemon, newest.as_str().unwrap()).await.1, ["2"]);
    assert_eq!(resume(&world.daemon, old.as_str().unwrap()).await.1, ["reconnect history_gap"]);
}

#[tokio::test]
async fn nobody_resumes_across_an_absence_of_the_listener() {
    let World { mut daemon, database } = World::new().await;
    let mut alice = daemon.browser("alice", "7").await;
    database.run("update tasks set done = true where id = 1").await;
    let cursor = alice.frame().await["cursor"].as_str().unwrap().to_owned();
    let killed = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    database.run(killed).await;
    alice.hears(&["reconnect database_reconnected"]).await;
    assert_eq!(resume(&daemon, &cursor).await.1, ["reconnect history_gap"]);
    database.run("update tasks set done = false where id = 1").await;
    let newest = alice.frame().await["cursor"].as_str().unwrap().to_owned();
    assert_eq!(resume(&daemon, &newest).await.1, [""; 0]);
    // A daemon that has just started knows nothing of what was.
    daemon.signal("TERM").await;
    assert_eq!(daemon.exit_code().await, Some(0));
    let daemon = Settings::new(&database.url).start().await;
    assert_eq!(resume(&daemon, &newest).await.1, ["reconnect history_gap"]);
}

#[tokio::test]
async fn triggers_without_cursors_are_told_again_rather_than_lost() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world.run("update tasks set done = true where id = 1").await;
    let cursor = alice.frame().await["cursor"].as_str().unwrap().to_owned();
    let by_hand =
        r#"select pg_notify('cache_invalidate', '{"resource":"note","id":"5","action":"UPDATE","project_id":"7"}')"#;
    world.run(by_hand).await;
    let frame = alice.frame().await;
    assert_eq!((&frame["data"]["id"], frame.get("cursor")), (&"5".into(), None));
    world.run("update tasks set done = false where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
    assert_eq!(resume(&world.daemon, &cursor).await.1, ["5", "1"]);
}

#[tokio::test]
async fn renewing_in_mid_stream_loses_no_frame() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    let writes = async {
        for id in 100..300 {
            world.run(&format!("insert into tasks (id, project_id, title) values ({id}, 7, 'x')")).await;
        }
    };
    let reads = async {
        let (mut next, mut renewed) = (100, 0);
        while next < 300 || renewed < 40 {
            if next % 5 == 0 && renewed < (next - 100) / 5 {
                alice.send(&json!({ "type": "auth", "token": token("alice") })).await;
            }
            match alice.short().await {
                authenticated if authenticated == "authenticated" => renewed += 1,
                frame => {
                    assert_eq!(frame, format!("task INSERT 7/{next}"));
                    next += 1;
                }
            }
        }
    };
    tokio::join!(writes, reads);
}

#[tokio::test]
async fn topics_filters_and_formats_arrive_as_they_were_asked_for() {
    let database = Database::sample().await;
    database
        .run(
            "alter table tasks add parent_id bigint, add etag text default 'a';
             select pgherald.watch('tasks', include => array['parent_id', 'etag'])",
        )
        .await;
    let daemon = Settings::new(&database.url).start().await;
    let open = async |query: &str| {
        let url = format!("ws://{}/ws?project_id=7&{query}", daemon.address);
        Browser::open(&url, Some(&token("alice"))).await.unwrap()
    };
    let mut topics = open("topics=task:2,sprint:*").await;
    let mut children = open("filter=%7B%22parent_id%22%3A%229007199254740993%22%7D").await;
    let mut changes = open("format=resource_change&batch=true").await;
    for (sql, heard) in [
        ("update tasks set parent_id = 9007199254740992 where id = 1", [false, false]),
        ("update tasks set parent_id = 9007199254740993 where id = 1", [false, true]),
        // it leaves the filter's children, which show it still
        ("update tasks set parent_id = null where id = 1", [false, true]),
        ("update tasks set done = true where id = 1", [false, false]),
        ("update tasks set done = true where id = 2", [true, false]),
        ("update sprints set name = 'x' where project_id = 7", [true, true]),
        ("delete from tasks where id = 1", [false, false]),
        ("truncate tasks", [true, true]),
    ] {
        database.run(sql).await;
        let frame = changes.frame().await;
        assert_eq!(frame["type"], "resource_change", "{sql}: {frame}");
        for (browser, heard) in [&mut topics, &mut children].into_iter().zip(heard) {
            if heard {
                let frame = browser.frame().await;
                assert_eq!(frame["type"], "cache_invalidate", "{sql}: {frame}");
            }
            browser.send(&json!({ "type": "ping" })).await;
            assert_eq!(browser.short().await, "pong", "{sql} is told too often");
        }
        match sql {
            "truncate tasks" => {
                assert_eq!((&frame["event"], &frame["resource"]), (&"deleted".into(), &json!({ "id": null })))
            }
            "delete from tasks where id = 1" => assert_eq!(
                (&frame["event"], &frame["resource_type"], &frame["resources"]),
                (&"deleted".into(), &"task".into(), &json!([{ "id": "1", "etag": "a", "parent_id": null }]))
            ),
            _ => assert_eq!(frame["event"], "updated"),
        }
    }
}
