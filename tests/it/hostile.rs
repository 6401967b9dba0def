//! Bad input gets a clear refusal, leaks nothing, and harms nobody else.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::browser::Browser;
use crate::world::{LIMIT, World, token, until};

/// After whatever was done to the daemon, alice is still told within the limit, and nothing leaked into her frames.
async fn alice_still_hears(world: &World, alice: &mut Browser) {
    world.run("update tasks set done = not done where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
}

async fn session(world: &World) -> Browser {
    Browser::open(&format!("ws://{}/ws", world.daemon.address), Some(&token("alice"))).await.unwrap()
}

#[tokio::test]
async fn a_malformed_payload_reaches_nobody() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    let payloads = [
        "",
        "not json",
        "{",
        "null",
        "[]",
        r#"{"table":"tasks"}"#,
        r#"{"table":"tasks","action":"SELECT","project_id":"7"}"#,
        r#"{"action":"UPDATE","project_id":"7"}"#,
        r#"{"table":"","action":"UPDATE","project_id":"7"}"#,
        r#"{"table":"tasks","action":"UPDATE","project_id":{}}"#,
        r#"{"table":"tasks","action":"UPDATE","project_id":"7","ids":[{}]}"#,
    ];
    for payload in payloads {
        world.database.client.execute("select pg_notify('cache_invalidate', $1)", &[&payload]).await.unwrap();
    }
    let long = format!("{}secret-at-the-end", "x".repeat(7000));
    world.database.client.execute("select pg_notify('cache_invalidate', $1)", &[&long]).await.unwrap();
    alice_still_hears(&world, &mut alice).await;
    assert_eq!(world.daemon.metric("pgherald_notifications_malformed_total").await, 12.0);
    let log = world.daemon.log();
    assert_eq!(log.matches("ignored a notification").count(), 1, "once a minute at most: {log}");
    assert!(!log.contains("secret-at-the-end"), "only the first bytes are logged");
}

#[tokio::test]
async fn a_malformed_frame_gets_a_clear_refusal() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    for (text, code) in [
        (r#"{"type":"dance","ref":"1"}"#, "unknown_type"),
        (r#"{"ref":"1"}"#, "unknown_type"),
        (r#"{"type":"subscribe","ref":"1"}"#, "malformed"),
        (r#"{"type":"subscribe","ref":"1","project_id":7}"#, "malformed"),
        (r#"{"type":"subscribe","ref":"1","project_id":""}"#, "malformed"),
        (r#"{"type":"subscribe","ref":"1","project_id":"*"}"#, "malformed"),
        (r#"{"type":"subscribe","ref":"1","project_id":"8"}"#, "forbidden"),
        (r#"{"type":"subscribe","ref":"1","project_id":"no number"}"#, "forbidden"),
        (r#"{"type":"subscribe","ref":"1","project_id":"7","topics":["task"]}"#, "bad_topic"),
        (r#"{"type":"subscribe","ref":"1","project_id":"7","filter":{"a":{}}}"#, "bad_filter"),
        (r#"{"type":"subscribe","ref":"1","project_id":"7","format":"xml"}"#, "bad_format"),
        (r#"{"type":"unsubscribe","ref":"1","project_id":"8"}"#, "not_subscribed"),
    ] {
        let mut browser = session(&world).await;
        browser.socket.send(Message::text(text)).await.unwrap();
        let frame = browser.frame().await;
        assert_eq!(
            (&frame["type"], &frame["ref"], &frame["code"]),
            (&"error".into(), &"1".into(), &code.into()),
            "{text}: {frame}"
        );
        assert!(frame["message"].as_str().unwrap().len() > 5, "{frame}");
        browser.subscribe("7").await;
    }
    for (message, code) in [
        (Message::text("not json"), 4400),
        (Message::text("[1,2]"), 4400),
        (Message::text("{\"type\":"), 4400),
        (Message::text("[".repeat(10_000)), 4400),
        (Message::binary(vec![1, 2, 3]), 4400),
        (Message::text("x".repeat(20_000)), 4413),
        (Message::binary(vec![0; 20_000]), 4413),
    ] {
        let mut browser = session(&world).await;
        let _ = browser.socket.send(message).await;
        assert_eq!(browser.closed().await.0, code);
    }
    alice_still_hears(&world, &mut alice).await;
    until("the refused sessions to leave", async || world.daemon.metric("pgherald_sessions ").await == 1.0).await;
}

#[tokio::test]
async fn frames_that_are_no_websocket_close_with_1002() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(&world.daemon.address).await.unwrap();
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n\r\n",
        token("alice")
    );
    // The frame, unmasked, comes right behind the request: it must not be lost in between.
    stream.write_all(&[head.as_bytes(), b"\x81\x02{}"].concat()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("the daemon closes").unwrap();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 101"), "{text}");
    assert!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the accept key of the RFC: {text}");
    let frame = &answer[answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4..];
    assert_eq!((frame[0], u16::from_be_bytes([frame[2], frame[3]])), (0x88, 1002), "{frame:?}");
}

#[tokio::test]
async fn half_an_http_request_is_cut_off() {
    let world = World::with(|settings| settings.set("limits.header_timeout", "300ms")).await;
    let mut stream = TcpStream::connect(&world.daemon.address).await.unwrap();
    stream.write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nAuthori").await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("the daemon gives up").unwrap();
    // A connection that says nothing at all is cut off as well.
    let mut silent = TcpStream::connect(&world.daemon.address).await.unwrap();
    tokio::time::timeout(LIMIT, silent.read_to_end(&mut answer)).await.expect("the daemon gives up").unwrap();
}

#[tokio::test]
async fn a_connection_that_reads_no_answers_gives_its_place_back() {
    let world =
        World::with(|settings| settings.set("limits.connections", "1").set("limits.header_timeout", "200ms")).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(world.daemon.address.parse().unwrap()).await.unwrap();
    // Requests as long as they are taken; then the daemon waits for a reader that never comes.
    let pipeline = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let full = async {
        loop {
            stream.writable().await.unwrap();
            if stream.try_write(pipeline.as_bytes()).is_err() {
                tokio::task::yield_now().await;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(500), full).await;
    until("room for another", async || {
        reqwest::get(format!("http://{}/live", world.daemon.address)).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    drop(stream);
}

#[tokio::test]
async fn http_connections_beyond_the_limit_are_turned_away() {
    let world = World::with(|settings| settings.set("limits.connections", "2")).await;
    let _first = TcpStream::connect(&world.daemon.address).await.unwrap();
    let _second = TcpStream::connect(&world.daemon.address).await.unwrap();
    let mut third = TcpStream::connect(&world.daemon.address).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LIMIT, third.read_to_string(&mut answer)).await.expect("the daemon answers").unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["message"].is_string());
}

#[tokio::test]
async fn ten_thousand_subscribe_frames_end_the_session_and_nobody_elses() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    let mut flood = session(&world).await;
    let (mut write, mut read) =
        futures_util::StreamExt::split(std::mem::replace(&mut flood.socket, session(&world).await.socket));
    let sending = tokio::spawn(async move {
        for n in 0..10_000 {
            let frame = json!({ "type": "subscribe", "ref": n.to_string(), "project_id": n.to_string() });
            if write.send(Message::text(frame.to_string())).await.is_err() {
                return;
            }
        }
    });
    alice_still_hears(&world, &mut alice).await;
    let closed = async {
        loop {
            match futures_util::StreamExt::next(&mut read).await {
                Some(Ok(Message::Close(Some(frame)))) => return u16::from(frame.code),
                Some(Ok(_)) => {}
                other => panic!("no close frame but {other:?}"),
            }
        }
    };
    assert_eq!(tokio::time::timeout(LIMIT, closed).await.expect("the flood is ended"), 4429);
    sending.abort();
    alice_still_hears(&world, &mut alice).await;
}

#[tokio::test]
async fn a_client_that_reads_no_answers_is_read_no_further() {
    let world = World::with(|settings| {
        settings.set("limits.requests_burst", "1000000000").set("limits.requests_per_second", "1000000000")
    })
    .await;
    let mut alice = world.daemon.browser("alice", "7").await;
    let mut flood = session(&world).await;
    let blocked = tokio::time::timeout(Duration::from_secs(2), async {
        loop {
            let ping = json!({ "type": "ping", "ref": "x".repeat(10_000) });
            flood.socket.send(Message::text(ping.to_string())).await.unwrap();
        }
    });
    assert!(blocked.await.is_err(), "the daemon goes on reading what it can't answer");
    alice_still_hears(&world, &mut alice).await;
}
