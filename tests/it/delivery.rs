//! A committed change reaches the sessions of its project, and nobody else.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::world::{Database, Settings, World, token, until};

#[tokio::test]
async fn every_change_of_a_sample_table_reaches_exactly_the_members_of_its_project() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    let mut bob = world.daemon.browser("bob", "8").await;
    world.run("insert into tasks (id, project_id, title) values (10, 7, 'new')").await;
    world.run("update tasks set done = true where id = 10").await;
    world.run("delete from tasks where id = 10").await;
    alice.hears(&["task INSERT 7/10", "task UPDATE 7/10", "task DELETE 7/10"]).await;

    let sprint = "00000000-0000-4000-8000-0000000000aa";
    world.run(&format!("insert into sprints values ('{sprint}', 7, 'x')")).await;
    world.run(&format!("update sprints set name = 'y' where id = '{sprint}'")).await;
    world.run(&format!("delete from sprints where id = '{sprint}'")).await;
    for action in ["INSERT", "UPDATE", "DELETE"] {
        alice.hears(&[&format!("sprint {action} 7/{sprint}")]).await;
    }

    world.run("insert into projects values (9, 'New'); insert into project_members values (9, 'alice')").await;
    let mut ninth = Browser::open(&format!("ws://{}/ws", world.daemon.address), Some(&token("alice"))).await.unwrap();
    until("alice to be a member", async || {
        ninth.send(&json!({ "type": "subscribe", "ref": "s", "project_id": "9" })).await;
        ninth.short().await == "subscribed"
    })
    .await;
    world.run("delete from projects where id = 9").await;
    // The inserts may still be on their way when the subscription begins. A deleted project has no members any more.
    while ninth.short().await != "revoked" {}

    world.run("update projects set name = 'Site' where id = 7").await;
    world.run("insert into project_members values (7, 'carol')").await;
    world.run("update project_members set role = 'guest' where user_id = 'carol'").await;
    world.run("delete from project_members where user_id = 'carol'").await;
    alice.hears(&["project UPDATE 7/7"]).await;
    for action in ["INSERT", "UPDATE", "DELETE"] {
        alice.hears(&[&format!("project_members {action} 7/7:carol")]).await;
    }

    // Bob's first frame is of his own project: he heard nothing of all that.
    world.run("update tasks set done = true where id = 3").await;
    bob.hears(&["task UPDATE 8/3"]).await;
    world.run("update tasks set done = true where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
}

#[tokio::test]
async fn a_moved_row_is_told_to_both_projects() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    let mut bob = world.daemon.browser("bob", "8").await;
    world.run("update tasks set project_id = 8 where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
    bob.hears(&["task UPDATE 8/1"]).await;
}

#[tokio::test]
async fn a_bulk_insert_of_a_hundred_rows_delivers_a_hundred_ids() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world.run("insert into tasks (id, project_id, title) select n, 7, 'bulk' from generate_series(101, 200) n").await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(alice.frame().await["data"]["id"].as_str().unwrap().parse::<i32>().unwrap());
    }
    ids.sort_unstable();
    assert_eq!(ids, (101..=200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reader_in_time_hears_every_row_of_a_transaction_however_many_there_are() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    // Five notifications of a hundred ids arrive together: more than limits.mailbox_frames, and nobody is slow.
    let bulk = |from: i32| {
        format!(
            "insert into tasks (id, project_id, title) select n, 7, 'x' from generate_series({from}, {}) n;",
            from + 99
        )
    };
    let statements: String = (2..7).map(|hundred| bulk(hundred * 100)).collect();
    world.run(&format!("begin; {statements} commit")).await;
    let mut ids = std::collections::BTreeSet::new();
    while ids.len() < 500 {
        let frame = alice.frame().await;
        ids.insert(frame["data"]["id"].as_str().unwrap_or_else(|| panic!("coarsened: {frame}")).to_owned());
    }
}

#[tokio::test]
async fn five_rapid_updates_of_one_row_arrive_as_five_frames_in_commit_order() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    let mut cursors = Vec::new();
    for n in 0..5 {
        world.run(&format!("update tasks set title = 'v{n}' where id = 1")).await;
    }
    for _ in 0..5 {
        let frame = alice.frame().await;
        assert_eq!((&frame["action"], &frame["data"]["id"]), (&"UPDATE".into(), &"1".into()));
        let (transaction, ordinal) = frame["cursor"].as_str().unwrap().split_once('.').unwrap();
        assert_eq!(ordinal, "0");
        cursors.push(transaction.parse::<u64>().unwrap());
    }
    assert!(cursors.is_sorted() && cursors.windows(2).all(|pair| pair[0] < pair[1]), "{cursors:?}");
}

#[tokio::test]
async fn the_notifications_of_one_transaction_are_numbered() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world
        .run("begin; update tasks set done = true where id = 1; update tasks set done = true where id = 2; commit")
        .await;
    let (first, second) = (alice.frame().await, alice.frame().await);
    let cursor = |frame: &Value| {
        frame["cursor"].as_str().unwrap().split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap()
    };
    assert_eq!(cursor(&first).0, cursor(&second).0);
    assert_eq!((cursor(&first).1, cursor(&second).1), ("0".into(), "1".into()));
}

#[tokio::test]
async fn a_rolled_back_transaction_delivers_nothing() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world.run("begin; update tasks set done = true; delete from sprints; rollback").await;
    world.run("update tasks set done = true where id = 2").await;
    alice.hears(&["task UPDATE 7/2"]).await;
}

#[tokio::test]
async fn a_truncate_names_the_whole_resource_to_every_project() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    let mut bob = world.daemon.browser("bob", "8").await;
    world.run("truncate tasks").await;
    alice.hears(&["task DELETE 7/*"]).await;
    bob.hears(&["task DELETE 8/*"]).await;
}

#[tokio::test]
async fn frames_are_to_the_letter_what_existing_frontends_expect() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world.run("update tasks set done = true where id = 1").await;
    let frame = alice.frame().await;
    let timestamp = frame["data"]["timestamp"].as_str().unwrap().to_owned();
    assert!(humantime::parse_rfc3339(&timestamp).is_ok(), "{timestamp}");
    let cursor = frame["cursor"].clone();
    assert!(cursor.is_string());
    let data = json!({ "resource": "task", "id": "1", "action": "UPDATE", "project_id": "7", "timestamp": timestamp });
    let whole = json!({
        "type": "cache_invalidate", "resource": "task", "action": "UPDATE", "project_id": "7", "cursor": cursor, "data": data
    });
    assert_eq!(frame, whole);
}

#[tokio::test]
async fn a_database_with_triggers_of_its_own_needs_no_migration() {
    let database = Database::empty().await;
    database
        .run(
            "create table project_members (project_id text, user_id text);
             insert into project_members values ('7', 'alice');
             create table notes (id bigint, project_id text);
             create function tell() returns trigger language plpgsql as $$ begin
                 perform pg_notify('cache_invalidate', json_build_object('resource', 'note', 'id', new.id, 'action', tg_op,
                     'project_id', new.project_id, 'timestamp', '2026-11-20T17:00:00Z')::text);
                 return null; end $$;
             create trigger tell after insert or update on notes for each row execute function tell();",
        )
        .await;
    let daemon = Settings::new(&database.url).start().await;
    let mut alice = daemon.browser("alice", "7").await;
    database.run("insert into notes values (9007199254740993, '7')").await;
    let frame = alice.frame().await;
    assert_eq!(frame["data"]["id"], "9007199254740993", "{frame}");
    assert_eq!(frame["data"]["timestamp"], "2026-11-20T17:00:00Z");
    assert_eq!(frame.get("cursor"), None, "a payload without a cursor has none");
    assert!(!daemon.log().contains("triggers could not send"), "{}", daemon.log());
}

#[tokio::test]
async fn several_projects_on_one_socket_are_told_apart_and_left_one_by_one() {
    let database = Database::sample().await;
    database.run("insert into project_members values (8, 'alice')").await;
    let world = World { daemon: Settings::new(&database.url).start().await, database };
    let mut alice = Browser::open(&format!("ws://{}/ws", world.daemon.address), Some(&token("alice"))).await.unwrap();
    alice.subscribe("7").await;
    alice.subscribe("8").await;
    world.run("update tasks set done = true where id = 1; update tasks set done = true where id = 3").await;
    alice.hears(&["task UPDATE 7/1", "task UPDATE 8/3"]).await;
    alice.send(&json!({ "type": "unsubscribe", "ref": "u", "project_id": "7" })).await;
    assert_eq!(alice.frame().await, json!({ "type": "unsubscribed", "ref": "u", "project_id": "7" }));
    world.run("update tasks set done = false where id = 1; update tasks set done = false where id = 3").await;
    alice.hears(&["task UPDATE 8/3"]).await;
    alice.send(&json!({ "type": "unsubscribe", "ref": "u", "project_id": "7" })).await;
    assert_eq!(alice.frame().await["code"], "not_subscribed");
    alice.send(&json!({ "type": "ping", "ref": "p" })).await;
    let pong = alice.frame().await;
    assert_eq!((&pong["type"], &pong["ref"]), (&"pong".into(), &"p".into()));
}

#[tokio::test]
async fn a_session_of_the_url_hears_only_changes_until_it_speaks() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world.run("update tasks set done = true where id = 1").await;
    // No `authenticated`, no `subscribed` came first.
    alice.hears(&["task UPDATE 7/1"]).await;
    alice.send(&json!({ "type": "ping" })).await;
    alice.hears(&["pong"]).await;
}

#[tokio::test]
async fn a_client_that_resumes_is_told_that_it_may_have_missed_something() {
    let world = World::new().await;
    let url = format!("ws://{}/ws?project_id=7&since=1.0", world.daemon.address);
    let mut alice = Browser::open(&url, Some(&token("alice"))).await.unwrap();
    let frame = alice.frame().await;
    assert_eq!(
        frame,
        json!({ "type": "reconnect", "project_id": "7", "data": { "reason": "history_gap", "spread_ms": 2000 } })
    );
}

#[tokio::test]
async fn an_oversized_statement_arrives_whole_however_it_is_split() {
    let world = World::new().await;
    world.run("create table pages (path text primary key, project_id int); select pgherald.watch('pages')").await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world.run("insert into pages select repeat('ä', 200) || n, 7 from generate_series(1, 90) n").await;
    let mut ids = std::collections::BTreeSet::new();
    while ids.len() < 90 {
        let frame = alice.frame().await;
        ids.insert(frame["data"]["id"].as_str().unwrap_or_else(|| panic!("{frame}")).to_owned());
    }
    world.run("insert into pages values (repeat('x', 9000), 7)").await;
    alice.hears(&["page INSERT 7/*"]).await;
}

#[tokio::test]
async fn the_origin_of_a_transaction_travels_into_its_frames_and_no_others() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world
        .run(r#"begin; set local pgherald.origin = 'tab "1" ü'; update tasks set done = true where id = 1; commit"#)
        .await;
    world.run("update tasks set done = false where id = 1").await;
    world.run("begin; set local pgherald.origin = 'moved'; update tasks set project_id = 8 where id = 2; commit").await;
    world
        .run("begin; set local pgherald.origin = 'app'; select pgherald.notify('note', '5', 'UPDATE', '7'); commit")
        .await;
    world.run("begin; set local pgherald.origin = 'gone'; truncate tasks; commit").await;
    let mut origins = Vec::new();
    for _ in 0..5 {
        let frame = alice.frame().await;
        origins.push(frame.get("origin").map(|origin| origin.as_str().unwrap().to_owned()));
    }
    assert_eq!(
        origins,
        [Some("tab \"1\" ü".to_owned()), None, Some("moved".into()), Some("app".into()), Some("gone".into())]
    );
    // However long it is, the write and its hint come through.
    world.run("insert into tasks (id, project_id, title) values (5, 7, 'x')").await;
    alice.hears(&["task INSERT 7/5"]).await;
    let long = "ü".repeat(5000);
    world
        .run(&format!("begin; set local pgherald.origin = '{long}'; update tasks set done = true where id = 5; commit"))
        .await;
    let frame = alice.frame().await;
    assert_eq!((&frame["data"]["id"], &frame["origin"]), (&"5".into(), &"ü".repeat(100).into()));
}

#[tokio::test]
async fn included_columns_arrive_with_their_row() {
    let world = World::new().await;
    world.run("select pgherald.watch('tasks', include => array['title', 'done'])").await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world.run(r#"update tasks set title = 'a "b"' where id = 1"#).await;
    assert_eq!(alice.frame().await["data"]["row"], serde_json::json!({ "title": "a \"b\"", "done": false }));
    // too large to travel: the hint comes alone
    world.run("update tasks set title = repeat('x', 9000) where id = 1").await;
    let frame = alice.frame().await;
    assert_eq!((&frame["data"]["id"], frame["data"].get("row")), (&"1".into(), None));
}
