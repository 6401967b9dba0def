//! Event streams: what a session over WebSocket hears, over plain HTTP.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::browser::Browser;
use crate::event_source::{EventSource, Parser, request};
use crate::world::{Daemon, LIMIT, World, now, token, token_with, until};

/// Status and code of a refused stream.
async fn refused(request: reqwest::RequestBuilder) -> (u16, String) {
    match EventSource::request(request).await {
        Err((status, code, _)) => (status, code),
        Ok(_) => panic!("the stream was opened"),
    }
}

async fn no_sessions(daemon: &Daemon) {
    until("all sessions to end", async || daemon.metric("pgherald_sessions ").await == 0.0).await;
    assert_eq!(daemon.metric("pgherald_subscriptions ").await, 0.0);
}

/// A stream over a bare socket, as `curl -N` would ask for it.
async fn bare(daemon: &Daemon, receive_buffer: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    let mut stream = socket.connect(daemon.address.parse().unwrap()).await.unwrap();
    ask(&mut stream).await;
    stream
}

async fn ask(stream: &mut TcpStream) {
    let request = format!(
        "GET /events?project_id=7 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        token("alice")
    );
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Reads from a bare socket until `last` is in what was read.
async fn read_until(stream: &mut TcpStream, last: &str) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&bytes).contains(last) {
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "over without {last}");
        }
    };
    tokio::time::timeout(LIMIT, reading).await.unwrap_or_else(|_| panic!("no {last}"));
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_stream_hears_the_very_frames_that_a_session_hears() {
    let world = World::new().await;
    world.run("create table notes (id int primary key, project_id int, body json)").await;
    world.run("select pgherald.watch('notes', include => '{body}')").await;
    for more in
        ["", "&format=resource_change", "&batch=true", "&topics=task:1,note:*", "&filter=%7B%22body%22:%22x%22%7D"]
    {
        let url = format!("ws://{}/ws?project_id=7{more}", world.daemon.address);
        let mut session = Browser::open(&url, Some(&token("alice"))).await.unwrap();
        let mut source = EventSource::open(&world.daemon, "alice", more).await;
        // The column keeps the line breaks of its writer, which would end a line of the stream.
        world
            .run(
                "begin; set local pgherald.origin = 'tab-1'; update tasks set done = not done where id in (1, 2);
                 insert into notes values (1, 7, E'{\"a\":\\r\\n1,\\n\\n\"data: b\"\\r:\"\\\\n\"}'); commit;
                 delete from notes; update tasks set done = not done where id = 1;
                 update projects set name = name || '!' where id = 7",
            )
            .await;
        let mut heard = 0;
        loop {
            let expected = session.frame().await;
            let event = source.event().await.unwrap();
            let frame: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!(frame, expected, "{more}");
            assert_eq!(event.id, frame["cursor"].as_str().unwrap_or(&event.id), "{more}");
            heard += 1;
            let about = frame["resource_type"].as_str().or(frame["data"]["resource"].as_str());
            let last = if more.contains("topics") { "task" } else { "project" };
            if about == Some(last) && (last == "project" || heard == 4) {
                break;
            }
        }
        assert!(heard >= 4, "{heard} with {more}");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_anywhere_is_taken_up_without_loss_or_repetition() {
    // what it missed while it was away fits into a mailbox
    let world = World::with(|settings| settings.set("limits.mailbox_frames", "1000")).await;
    let writer = world.database.url.to_string();
    let writing = tokio::spawn(async move {
        let client = crate::world::connect(&writer).await;
        for batch in 0..100 {
            let from = 10_000 + batch * 5;
            let insert = "insert into tasks (id, project_id, title) select id, 7, 'new' from generate_series";
            client.batch_execute(&format!("{insert}({from}, {from} + 4) id")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let mut source = EventSource::open(&world.daemon, "alice", "").await;
    let (mut expected, mut breaks) = (10_000, 0);
    while expected < 10_500 {
        let event = source.event().await.unwrap();
        let frame: Value = serde_json::from_str(&event.data).unwrap();
        match frame["type"].as_str().unwrap() {
            "subscribed" => continue,
            kind => assert_eq!(kind, "cache_invalidate", "{frame}"),
        }
        assert_eq!(frame["data"]["id"], expected.to_string(), "after {breaks} breaks");
        expected += 1;
        if expected % 23 == 0 {
            let last = event.id;
            drop(source);
            breaks += 1;
            // What the header says counts, not what the address still says from the first time.
            let again = request(&world.daemon, Some(&token("alice")), "&since=1.0").header("Last-Event-ID", &last);
            source = EventSource::request(again).await.unwrap();
            source.parser = Parser::from(last.as_str());
        }
    }
    writing.await.unwrap();
    assert!(breaks > 15);
    assert_eq!(world.daemon.metric("pgherald_resumes_total{result=\"gap\"}").await, 0.0);
}

#[tokio::test]
async fn a_cursor_that_nobody_knows_is_answered_by_reconnect() {
    let world = World::new().await;
    for (header, more) in [(Some("1.0"), ""), (Some("no cursor"), ""), (None, "&since=1.0"), (Some("1.0"), "&since=")] {
        let mut request = request(&world.daemon, Some(&token("alice")), more);
        if let Some(id) = header {
            request = request.header("Last-Event-ID", id);
        }
        let mut source = EventSource::request(request).await.unwrap();
        source.hears(&["reconnect history_gap", "subscribed"]).await;
    }
}

#[tokio::test]
async fn a_stream_without_a_cursor_yet_comes_back_to_a_gap() {
    let world = World::new().await;
    let source = EventSource::open(&world.daemon, "alice", "").await;
    let place = source.parser.last_event_id.clone();
    assert_eq!(place, "0.0", "a browser comes back by itself, and says this");
    drop(source);
    let again = request(&world.daemon, Some(&token("alice")), "").header("last-event-id", place);
    EventSource::request(again).await.unwrap().hears(&["reconnect history_gap", "subscribed"]).await;
}

#[tokio::test]
async fn who_may_not_come_in_is_told_why() {
    let world = World::with(|settings| settings.set("limits.sessions", "2").set("limits.drain_spread", "4s")).await;
    let (daemon, alice) = (&world.daemon, token("alice"));
    let to = |path: &str| reqwest::Client::new().get(format!("http://{}{path}", daemon.address)).bearer_auth(&alice);
    let code = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(refused(to("/events")).await, code(400, "malformed"));
    assert_eq!(refused(to("/events?project_id=7&format=xml")).await, code(400, "malformed"));
    assert_eq!(refused(to("/events?project_id=7&topics=%20")).await, code(400, "malformed"));
    assert_eq!(refused(to("/events?project_id=8")).await, code(403, "forbidden"));
    assert_eq!(refused(request(daemon, Some("no.token.this"), "")).await, code(401, "unauthorized"));
    let (status, word, headers) = EventSource::request(request(daemon, None, "")).await.err().unwrap();
    assert_eq!(
        (status, word.as_str(), &headers["www-authenticate"]),
        (401, "unauthorized", &"Bearer".parse().unwrap())
    );
    // A token in the address ends up in logs: refused where nobody allowed it, even a good one, even beside a header.
    assert_eq!(refused(request(daemon, None, &format!("&access_token={alice}"))).await, code(401, "unauthorized"));
    assert_eq!(refused(to(&format!("/events?project_id=7&access_token={alice}"))).await, code(401, "unauthorized"));
    assert_eq!(refused(to("/events/")).await, code(404, "not_found"));
    for method in [Method::POST, Method::PUT] {
        let request = reqwest::Client::new().request(method, format!("http://{}/events", daemon.address));
        let (status, word, headers) = EventSource::request(request).await.err().unwrap();
        assert_eq!(
            (status, word.as_str(), &headers["allow"]),
            (405, "method_not_allowed", &"GET, OPTIONS".parse().unwrap())
        );
    }
    no_sessions(daemon).await;

    let _first = EventSource::open(daemon, "alice", "").await;
    let mut second = EventSource::open(daemon, "alice", "").await;
    let (status, word, headers) = EventSource::request(to("/events?project_id=7")).await.err().unwrap();
    assert_eq!((status, word.as_str(), &headers["retry-after"]), (503, "full", &"1".parse().unwrap()));
    assert_eq!(Browser::refused(daemon.request("/ws")).await, code(503, "full"));
    daemon.signal("TERM").await;
    until("the drain to begin", async || daemon.get("/ready").await.0 == 503).await;
    assert_eq!(refused(to("/events?project_id=7")).await, code(503, "draining"));
    second.closes(1001, "going away").await;
}

#[tokio::test]
async fn streams_come_in_at_the_pace_of_sessions() {
    let world = World::with(|settings| settings.set("limits.connects_per_second", "1")).await;
    let began = Instant::now();
    let requests = (0..10).map(|_| request(&world.daemon, Some(&token("alice")), "")).collect::<Vec<_>>();
    let answers = join_all(requests.into_iter().map(EventSource::request)).await;
    let (opened, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    let most = 2 + began.elapsed().as_secs() as usize + 1;
    assert!((2..=most).contains(&opened.len()), "{} were opened, {most} may be", opened.len());
    for refusal in refused {
        let (status, code, _) = refusal.err().unwrap();
        assert_eq!((status, code.as_str()), (503, "too_many_connects"));
    }
}

#[tokio::test]
async fn a_token_in_the_address_opens_a_stream_where_that_is_allowed() {
    let world = World::with(|settings| settings.set("auth.query_token", "true")).await;
    let more = format!("&access_token={}", token("alice"));
    EventSource::request(request(&world.daemon, None, &more)).await.unwrap().hears(&["subscribed"]).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_does_not_come_back_with_it() {
    let world = World::with(|settings| settings.set("auth.leeway", "1s")).await;
    let token = token_with(&json!({ "sub": "alice", "exp": now() + 2 }));
    let mut source = EventSource::request(request(&world.daemon, Some(&token), "")).await.unwrap();
    source.hears(&["subscribed"]).await;
    source.closes(4401, "token invalid or expired").await;
    // `exp` counts in whole seconds: it may be let in for the rest of this one, to hear the same again.
    until("the token to be refused", async || {
        let again = EventSource::request(request(&world.daemon, Some(&token), "")).await;
        again.err().is_some_and(|(status, code, _)| (status, code.as_str()) == (401, "unauthorized"))
    })
    .await;
    assert!(world.daemon.metric("pgherald_sessions_closed_total{code=\"4401\"}").await >= 1.0);
    no_sessions(&world.daemon).await;
}

#[tokio::test]
async fn a_drain_ends_every_stream_and_waits_for_none_that_does_not_read() {
    let mut world = World::with(|settings| settings.set("limits.drain_grace", "10s")).await;
    world.run("create table pages (path text primary key, project_id int); select pgherald.watch('pages')").await;
    let mut sources = Vec::new();
    for _ in 0..10 {
        sources.push(EventSource::open(&world.daemon, "alice", "").await);
    }
    let _full = bare(&world.daemon, Some(4096)).await;
    let insert = "insert into pages select repeat('x', 300) || random(), 7 from generate_series(1, 200)";
    until("its mailbox to fill", async || {
        world.run(insert).await;
        world.daemon.metric("pgherald_coarsenings_total{step=\"resource\"").await >= 1.0
    })
    .await;
    let _idle = bare(&world.daemon, None).await;
    world.daemon.signal("TERM").await;
    // all at once: those that do not read are not waited for
    join_all(sources.iter_mut().map(async |source| {
        while !source.event().await.unwrap().data.starts_with(r#"{"type":"close""#) {}
        assert_eq!(source.event().await, None);
    }))
    .await;
    assert_eq!(world.daemon.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_client_that_goes_leaves_the_hub_at_once() {
    let world = World::new().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = bare(&world.daemon, None).await;
        read_until(&mut stream, "subscribed").await;
        streams.push(stream);
    }
    assert_eq!(world.daemon.metric("pgherald_sessions ").await, 20.0);
    assert_eq!(world.daemon.metric("pgherald_subscriptions ").await, 20.0);
    // Some say nothing, some reset the connection; nothing is sent to them meanwhile.
    for (place, stream) in streams.into_iter().enumerate() {
        if place % 2 == 0 {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(stream);
    }
    no_sessions(&world.daemon).await;
    assert_eq!(world.daemon.metric("pgherald_sessions_closed_total{code=\"disconnected\"}").await, 20.0);
}

#[tokio::test]
async fn a_client_that_goes_before_its_answer_leaves_nothing() {
    let world = World::new().await;
    for _ in 0..30 {
        drop(bare(&world.daemon, None).await);
    }
    let stays = EventSource::open(&world.daemon, "alice", "").await;
    until("all others to go", async || world.daemon.metric("pgherald_sessions ").await == 1.0).await;
    drop(stays);
    no_sessions(&world.daemon).await;
}

#[tokio::test]
async fn a_slow_reader_is_told_coarser_and_ended_when_it_stops() {
    let world = World::with(|settings| settings.set("limits.send_timeout", "2s")).await;
    world.run("create table pages (path text primary key, project_id int); select pgherald.watch('pages')").await;
    let mut slow = bare(&world.daemon, Some(4096)).await;
    let insert = "insert into pages select repeat('x', 300) || random(), 7 from generate_series(1, 100)";
    let mut rows = 0;
    until("its mailbox to coarsen", async || {
        world.run(insert).await;
        rows += 100;
        world.daemon.metric("pgherald_coarsenings_total{step=\"resource\"").await >= 1.0
    })
    .await;
    // It returns in time: rows first, then their resource.
    let read = read_until(&mut slow, r#""data":{"resource":"page","action""#).await;
    let told = read.matches("\"type\":\"cache_invalidate\"").count();
    assert!((2..=rows).contains(&told), "{told} of {rows}");

    let metric = "pgherald_sessions_closed_total{code=\"send_timeout\"}";
    until("the stream to end", async || {
        world.run(insert).await;
        world.daemon.metric(metric).await == 1.0
    })
    .await;
    no_sessions(&world.daemon).await;
}

#[tokio::test]
async fn megabytes_arrive_whole_and_in_order() {
    // On a busy machine the canary stands behind these megabytes for longer than the tests' usual two seconds.
    let world =
        World::with(|settings| settings.set("limits.mailbox_frames", "30000").set("database.heartbeat_timeout", "20s"))
            .await;
    world.run("create table pages (path text primary key, project_id int); select pgherald.watch('pages')").await;
    let mut source = EventSource::open(&world.daemon, "alice", "").await;
    let mut bytes = 0;
    for batch in 0..200 {
        let path = format!("lpad((n + {batch} * 100)::text, 300, 'x')");
        world.run(&format!("insert into pages select {path}, 7 from generate_series(0, 99) n")).await;
    }
    for n in 0..20_000 {
        let event = source.event().await.unwrap();
        bytes += event.data.len();
        let frame: Value = serde_json::from_str(&event.data).unwrap();
        let id = frame["data"]["id"].as_str().unwrap_or_else(|| panic!("row {n}: {frame}\n{}", world.daemon.log()));
        assert_eq!(id.trim_start_matches('x'), n.to_string());
    }
    assert!(bytes > 8_000_000, "{bytes} bytes");
    let sent = world.daemon.metric("pgherald_bytes_sent_total").await;
    assert!(sent > 8_000_000.0 && world.daemon.metric("pgherald_frames_sent_total").await >= 20_000.0, "{sent}");
}

#[tokio::test]
async fn the_head_keeps_proxies_and_browsers_from_keeping_the_stream() {
    let world = World::new().await;
    for version in ["1.0", "1.1"] {
        let mut stream = TcpStream::connect(&world.daemon.address).await.unwrap();
        let request = format!(
            "GET /events?project_id=7 HTTP/{version}\r\nHost: x\r\nAccept-Encoding: gzip\r\nAuthorization: Bearer {}\r\n\r\n",
            token("alice")
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let text = read_until(&mut stream, "subscribed").await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        for line in [
            "HTTP/1.1 200 OK",
            "content-type: text/event-stream",
            "cache-control: no-store, no-transform",
            "x-accel-buffering: no",
            "connection: close",
        ] {
            assert!(head.lines().any(|known| known == line), "no {line} in {head}");
        }
        for name in ["content-length", "transfer-encoding", "content-encoding", "access-control"] {
            assert!(!head.contains(name), "{name} in {head}");
        }
        let date = head.lines().find_map(|line| line.strip_prefix("date: ")).unwrap();
        assert!(date.ends_with(" GMT"), "{date}");
        assert!(
            body.starts_with(": pgherald\nretry: 3000\n\nid: ") || body.starts_with(": pgherald\nretry: 3000\n\ndata")
        );
    }
}

#[tokio::test]
async fn heartbeats_move_the_place_to_come_back_to() {
    let world = World::with(|settings| settings.set("limits.idle_timeout", "400ms")).await;
    let mut source = EventSource::open(&world.daemon, "alice", "&topics=sprint:*").await;
    assert_eq!(source.parser.retry, Some(3000));
    let before = source.parser.last_event_id.clone();
    // Nothing of what it asked for happens.
    world.run("update tasks set done = true where id = 1; update tasks set done = true where id = 3").await;
    source.until("a newer id", |parser| parser.last_event_id != before).await;
    let newer = source.parser.last_event_id.clone();
    drop(source);
    world.run("update sprints set name = name || '!' where project_id = 7").await;
    let again = request(&world.daemon, Some(&token("alice")), "&topics=sprint:*").header("Last-Event-ID", newer);
    let mut source = EventSource::request(again).await.unwrap();
    source.hears(&["sprint UPDATE 7/00000000-0000-4000-8000-000000000007", "subscribed"]).await;
}

#[tokio::test]
async fn streams_are_sessions_and_no_connections() {
    let world = World::with(|settings| {
        settings.set("limits.connections", "2").set("limits.header_timeout", "100ms").set("limits.idle_timeout", "2s")
    })
    .await;
    let mut sources = Vec::new();
    for _ in 0..10 {
        sources.push(EventSource::open(&world.daemon, "alice", "").await);
    }
    // Far longer than a connection without a session lives.
    let mut plain = TcpStream::connect(&world.daemon.address).await.unwrap();
    let ended = tokio::time::timeout(LIMIT, plain.read(&mut [0; 512])).await;
    assert!(ended.is_ok());
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.run("update tasks set done = true where id = 1").await;
    for source in &mut sources {
        source.hears(&["task UPDATE 7/1"]).await;
    }
    assert_eq!(world.daemon.metric("pgherald_sessions ").await, 10.0);
}

#[tokio::test]
async fn a_connection_that_served_other_requests_can_become_a_stream() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(&world.daemon.address).await.unwrap();
    stream.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut stream, "live\n").await;
    stream.write_all(b"GET /events?project_id=7 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(read_until(&mut stream, "}").await.contains("401 Unauthorized"));
    ask(&mut stream).await;
    read_until(&mut stream, "subscribed").await;
    world.run("update tasks set done = true where id = 1").await;
    read_until(&mut stream, r#""id":"1""#).await;
    // What a client says behind its request is not heard, and not for ever.
    stream.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stream.write_all(&[b'x'; 17_000]).await.unwrap();
    let rest = read_until(&mut stream, r#"{"type":"close","code":4413,"reason":"frame too large"}"#).await;
    assert!(!rest.contains("live"), "{rest}");
}

#[tokio::test]
async fn pages_of_other_origins_read_streams_where_they_are_allowed() {
    let app = "https://app.example.com";
    let open = World::new().await;
    let listed = World::with(|settings| settings.set("http.allowed_origins", app)).await;
    for (world, expected) in [(&open, "*"), (&listed, app)] {
        let from = |request: reqwest::RequestBuilder| request.header("Origin", app);
        let source = EventSource::request(from(request(&world.daemon, Some(&token("alice")), ""))).await.unwrap();
        assert_eq!(source.headers["access-control-allow-origin"], expected);
        assert!(!source.headers.contains_key("access-control-allow-credentials"));
        let (status, _, headers) = EventSource::request(from(request(&world.daemon, None, ""))).await.err().unwrap();
        assert_eq!((status, &headers["access-control-allow-origin"]), (401, &expected.parse().unwrap()));

        let url = format!("http://{}/events?project_id=7", world.daemon.address);
        let asked = from(reqwest::Client::new().request(Method::OPTIONS, url))
            .header("Access-Control-Request-Method", "GET")
            .header("Access-Control-Request-Headers", "authorization,last-event-id");
        let answer = asked.send().await.unwrap();
        let headers = answer.headers();
        assert_eq!(
            (answer.status().as_u16(), &headers["access-control-allow-origin"]),
            (204, &expected.parse().unwrap())
        );
        assert_eq!(headers["access-control-allow-methods"], "GET");
        assert_eq!(headers["access-control-allow-headers"], "authorization, cache-control, last-event-id");
        assert!(headers.contains_key("access-control-max-age"));
    }
    let evil = request(&listed.daemon, Some(&token("alice")), "").header("Origin", "https://evil.example.com");
    let (status, code, headers) = EventSource::request(evil).await.err().unwrap();
    assert_eq!((status, code.as_str()), (403, "origin_not_allowed"));
    assert!(!headers.contains_key("access-control-allow-origin"));
    let metrics = reqwest::Client::new().get(format!("http://{}/live", open.daemon.address)).header("Origin", app);
    assert!(!metrics.send().await.unwrap().headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn streams_begin_where_the_settings_say() {
    let nowhere = World::with(|settings| settings.set("http.event_paths", "")).await;
    assert_eq!(refused(request(&nowhere.daemon, Some(&token("alice")), "")).await, (404, "not_found".to_owned()));
    let elsewhere = World::with(|settings| settings.set("http.event_paths", "/api/changes,/sse")).await;
    for path in ["/api/changes", "/sse"] {
        let url = format!("http://{}{path}?project_id=7", elsewhere.daemon.address);
        let request = reqwest::Client::new().get(url).bearer_auth(token("alice"));
        EventSource::request(request).await.unwrap().hears(&["subscribed"]).await;
    }
}

#[tokio::test]
async fn a_stream_asked_for_behind_unread_answers_damages_none_of_them() {
    let world = World::new().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(world.daemon.address.parse().unwrap()).await.unwrap();
    for _ in 0..60 {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    }
    ask(&mut stream).await;
    // All is asked for before anything is read.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut text = String::new();
    while !text.contains("\"subscribed\"") && !text.contains("read the answer before this one first") {
        let mut bytes = [0; 4096];
        let read = tokio::time::timeout(LIMIT, stream.read(&mut bytes)).await.expect("an answer").unwrap();
        assert_ne!(read, 0, "over without an answer to the last request");
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    let mut rest = text.as_str();
    for place in 0..60 {
        let (head, body) = rest.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "answer {place}: {head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        rest = &body[length.parse().unwrap()..];
    }
    assert!(rest.starts_with("HTTP/1.1 200 OK") || rest.starts_with("HTTP/1.1 400"), "{rest}");
}
