//! A reader that stops reading costs itself precision, and nobody else anything.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::world::{LIMIT, Settings, World, token, until};

/// A session with a small receive buffer, so that it is full soon.
async fn sluggard(world: &World) -> WebSocketStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(world.daemon.address.parse().unwrap()).await.unwrap();
    let mut request = world.daemon.request("/ws?project_id=7");
    request.headers_mut().insert("authorization", format!("Bearer {}", token("alice")).parse().unwrap());
    tokio_tungstenite::client_async(request, stream).await.unwrap().0
}

async fn frames_until(socket: &mut WebSocketStream<TcpStream>, mut last: impl FnMut(&Value) -> bool) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        let message = tokio::time::timeout(LIMIT, socket.next()).await.expect("a frame").unwrap().unwrap();
        if let Message::Text(text) = message {
            let frame: Value = serde_json::from_str(&text).unwrap();
            let ended = last(&frame);
            frames.push(frame);
            if ended {
                return frames;
            }
        }
    }
}

fn resident_kilobytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_reader_that_stops_gets_a_coarser_frame_and_the_others_never_wait() {
    let world = World::new().await;
    world.run("create table pages (path text primary key, project_id int); select pgherald.watch('pages')").await;
    let mut slow = sluggard(&world).await;
    let mut quick = world.daemon.browser("alice", "7").await;
    let before = resident_kilobytes(world.daemon.pid());

    let mut rows = 0;
    for batch in 0..120 {
        world
            .run(&format!(
                "insert into pages select repeat('x', 300) || '-{batch}-' || n, 7 from generate_series(1, 100) n"
            ))
            .await;
        rows += 100;
        // The quick one hears every row while the slow one reads nothing.
        let mut heard = BTreeSet::new();
        while heard.len() < 100 {
            heard.insert(quick.frame().await["data"]["id"].as_str().expect("a row").to_owned());
        }
    }
    assert!(world.daemon.metric("pgherald_coarsenings_total{step=\"resource\"").await >= 1.0, "nothing was coarsened");
    let grown = resident_kilobytes(world.daemon.pid()).saturating_sub(before);
    assert!(grown < 20_000, "{grown} KB for one reader that does not read");

    // It returns: rows first, then the rest in one frame, then all is as before.
    let frames = frames_until(&mut slow, |frame| frame["data"].get("id").is_none()).await;
    // What the kernel holds is bounded too: 64 KB of it, not the 4 MB that it would grow to.
    assert!(frames.len() < rows / 6, "{} frames of {rows}", frames.len());
    assert_eq!(frames.last().unwrap()["resource"], "page");
    until("the mailbox to be empty", async || {
        world.run("update tasks set done = not done where id = 1").await;
        let frames = frames_until(&mut slow, |frame| frame["resource"] == "task").await;
        frames.last().unwrap()["data"]["id"] == "1"
    })
    .await;
}

#[tokio::test]
async fn many_resources_at_once_become_one_reconnect() {
    let world = World::with(|settings| settings.set("limits.mailbox_frames", "4")).await;
    for n in 0..8 {
        world
            .run(&format!("create table t{n}x (path text primary key, project_id int); select pgherald.watch('t{n}x')"))
            .await;
    }
    let mut slow = sluggard(&world).await;
    until("a reconnect in the mailbox", async || {
        for n in 0..8 {
            let sql =
                format!("insert into t{n}x select repeat('x', 300) || n || random(), 7 from generate_series(1, 4) n");
            world.run(&sql).await;
        }
        world.daemon.metric("pgherald_coarsenings_total{step=\"project\"").await >= 1.0
    })
    .await;
    let frames = frames_until(&mut slow, |frame| frame["type"] == "reconnect").await;
    let last = frames.last().unwrap();
    assert_eq!((&last["project_id"], &last["data"]["reason"]), (&"7".into(), &"slow_consumer".into()), "{last}");
}

#[tokio::test]
async fn a_send_without_progress_ends_the_session() {
    let world = World::with(|settings| settings.set("limits.send_timeout", "300ms")).await;
    world.run("create table pages (path text primary key, project_id int); select pgherald.watch('pages')").await;
    let _slow = sluggard(&world).await;
    until("the session to end", async || {
        world.run("insert into pages select repeat('x', 300) || random(), 7 from generate_series(1, 200) n").await;
        world.daemon.metric("pgherald_sessions_closed_total{code=\"send_timeout\"}").await == 1.0
    })
    .await;
    assert_eq!(world.daemon.metric("pgherald_sessions ").await, 0.0);
}

#[tokio::test]
async fn the_more_sessions_are_told_to_refetch_the_longer_they_may_take() {
    let world = World::with(slow_application).await;
    let daemons =
        [slow_application(Settings::new(&world.database.url)), slow_application(Settings::new(&world.database.url))];
    let (second, third) = (daemons[0].start().await, daemons[1].start().await);
    let mut browsers = Vec::new();
    for (daemon, sessions, expected_ms) in [(&world.daemon, 1, 1000), (&second, 2, 2000), (&third, 5, 4000)] {
        for _ in 0..sessions {
            browsers.push((daemon.browser("alice", "7").await, expected_ms));
        }
    }
    // Whoever else asks for it is this connection.
    let listeners = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() \
                     and (query like 'notify pgherald%' or query like '%pg_sequence_last_value%')";
    until("three listeners", async || {
        world.database.client.query(&format!("select pid {listeners}"), &[]).await.unwrap().len() == 3
    })
    .await;
    world.run(&format!("select pg_terminate_backend(pid) {listeners}")).await;
    for (browser, expected_ms) in &mut browsers {
        let frame = browser.frame().await;
        assert_eq!(frame["data"], json!({ "reason": "database_reconnected", "spread_ms": expected_ms }));
    }
    // Whoever comes back to such a daemon is one more.
    let mut late = third.browser("alice", "7&since=unknown").await;
    let frame = late.frame().await;
    let spread_ms = frame["data"]["spread_ms"].as_u64().unwrap();
    assert!((1001..=4000).contains(&spread_ms), "{frame}");
}

/// It takes one refetch a second.
fn slow_application(settings: Settings) -> Settings {
    let settings = settings.set("limits.reconnect_spread", "100ms").set("limits.reconnect_spread_max", "4s");
    settings.set("limits.refetches_per_second", "1").set("database.heartbeat_interval", "200ms")
}
