//! Event streams as people really read them: curl, Node's `eventsource`, nginx in between.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::event_source::EventSource;
use crate::nginx::Nginx;
use crate::world::{LIMIT, Settings, World, now, token, token_with, until};

/// A running program and what it prints.
struct Program {
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}: run make tools"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { lines, child }
    }

    /// Node's client on an address; the token goes into a header.
    fn node(url: &str, token: Option<&str>) -> Self {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(root.join("target/peers/node/node_modules/eventsource").exists(), "run make tools");
        Self::start(Command::new("node").arg(root.join("tests/peers/node_events.mjs")).arg(url).args(token))
    }

    async fn line(&mut self) -> Option<String> {
        let line = tokio::time::timeout(LIMIT, self.lines.next_line()).await;
        line.unwrap_or_else(|_| panic!("nothing printed within {LIMIT:?}")).unwrap()
    }

    async fn says(&mut self) -> Value {
        serde_json::from_str(&self.line().await.expect("a line, not the end")).unwrap()
    }

    /// The next message's id, and of its frame the type and the row.
    async fn hears(&mut self, kind: &str, row: Option<&str>) -> String {
        let said = self.says().await;
        let expected = (json!("message"), json!(kind), json!(row));
        let frame = &said["frame"];
        assert_eq!((said["peer"].clone(), frame["type"].clone(), frame["data"]["id"].clone()), expected, "{said}");
        said["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn curl_prints_events_as_they_come() {
    let mut world = World::new().await;
    let url = format!("http://{}/events?project_id=7", world.daemon.address);
    let mut curl = Program::start(
        Command::new("curl")
            .args(["-N", "-s", "-i", "-H", &format!("Authorization: Bearer {}", token("alice"))])
            .arg(url),
    );
    assert_eq!(curl.line().await.unwrap(), "HTTP/1.1 200 OK");
    while !curl.line().await.unwrap().contains("\"type\":\"subscribed\"") {}
    world.run("update tasks set done = true where id = 1").await;
    assert_eq!(curl.line().await.unwrap(), "");
    let id = curl.line().await.unwrap();
    let data = curl.line().await.unwrap();
    let frame: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(id, format!("id: {}", frame["cursor"].as_str().unwrap()));
    assert_eq!(frame["data"]["id"], "1");
    world.daemon.signal("TERM").await;
    assert_eq!(curl.line().await.unwrap(), "");
    assert_eq!(curl.line().await.unwrap(), r#"data: {"type":"close","code":1001,"reason":"going away"}"#);
    // A clean end to curl: no reset, nothing missing.
    assert_eq!(curl.child.wait().await.unwrap().code(), Some(0));
    assert_eq!(world.daemon.exit_code().await, Some(0));
}

#[tokio::test]
async fn nodes_eventsource_comes_back_by_itself_and_misses_nothing() {
    let World { mut daemon, database } = World::new().await;
    let settings = Settings::new(&database.url).set("http.listen", &daemon.address);
    let mut node = Program::node(&format!("http://{}/events?project_id=7", daemon.address), Some(&token("alice")));
    assert_eq!(node.says().await, json!({ "peer": "opened" }));
    node.hears("subscribed", None).await;
    database.run("update tasks set done = true where id = 1").await;
    assert!(!node.hears("cache_invalidate", Some("1")).await.is_empty());

    daemon.signal("TERM").await;
    assert_eq!(node.says().await["frame"], json!({ "type": "close", "code": 1001, "reason": "going away" }));
    assert_eq!(node.says().await, json!({ "peer": "broken" }));
    assert_eq!(daemon.exit_code().await, Some(0));
    let _next = settings.start().await;
    // Three seconds later it is back, with the id it heard last, which the new daemon does not know.
    assert_eq!(node.says().await, json!({ "peer": "opened" }));
    node.hears("reconnect", None).await;
    node.hears("subscribed", None).await;
}

#[tokio::test]
async fn nodes_eventsource_gives_up_when_its_token_has_ended() {
    let world = World::with(|settings| settings.set("auth.query_token", "true").set("auth.leeway", "1s")).await;
    let token = token_with(&json!({ "sub": "alice", "exp": now() + 2 }));
    let url = format!("http://{}/events?project_id=7&access_token={token}", world.daemon.address);
    let mut node = Program::node(&url, None);
    assert_eq!(node.says().await, json!({ "peer": "opened" }));
    node.hears("subscribed", None).await;
    assert_eq!(node.says().await["frame"]["code"], 4401);
    assert_eq!(node.says().await, json!({ "peer": "broken" }));
    assert_eq!(node.says().await, json!({ "peer": "closed", "status": 401 }));
}

/// A stream through nginx.
async fn through(nginx: &Nginx) -> EventSource {
    let url = format!("http://{}/events?project_id=7", nginx.address);
    let client = reqwest::Client::builder()
        .default_headers(
            [(reqwest::header::ACCEPT_ENCODING, reqwest::header::HeaderValue::from_static("gzip"))]
                .into_iter()
                .collect(),
        )
        .build()
        .unwrap();
    let mut source = EventSource::request(client.get(url).bearer_auth(token("alice"))).await.unwrap();
    source.hears(&["subscribed"]).await;
    source
}

#[tokio::test]
async fn nginx_with_its_defaults_passes_each_event_at_once() {
    let world = World::new().await;
    let nginx = Nginx::start(&world.daemon, "").await;
    let mut source = through(&nginx).await;
    assert!(!source.headers.contains_key("content-encoding") && !source.headers.contains_key("content-length"));
    for _ in 0..5 {
        let began = Instant::now();
        world.run("update tasks set done = not done where id = 1").await;
        source.hears(&["task UPDATE 7/1"]).await;
        assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    }
    // A small event is not kept until a buffer is full; a burst arrives whole.
    world
        .run("insert into tasks (id, project_id, title) select id, 7, 'new' from generate_series(2000, 2199) id")
        .await;
    for id in 2000..2200 {
        source.hears(&[&format!("task INSERT 7/{id}")]).await;
    }
    drop(source);
    until("the stream to end", async || world.daemon.metric("pgherald_sessions ").await == 0.0).await;
}

#[tokio::test]
async fn heartbeats_keep_a_silent_stream_open_through_nginx() {
    // As 25 s are to nginx's 60, so is a second to its three, nearly.
    let world = World::with(|settings| settings.set("limits.idle_timeout", "2s")).await;
    let nginx = Nginx::start(&world.daemon, "proxy_read_timeout 3s;").await;
    let mut source = through(&nginx).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(7) {
        let before = source.parser.dispatched;
        source.until("heartbeat", |parser| parser.dispatched > before).await;
    }
    world.run("update tasks set done = true where id = 1").await;
    source.hears(&["task UPDATE 7/1"]).await;
}

#[tokio::test]
async fn a_drain_ends_streams_behind_nginx_too() {
    let mut world = World::new().await;
    let nginx = Nginx::start(&world.daemon, "").await;
    let mut source = through(&nginx).await;
    world.daemon.signal("TERM").await;
    source.closes(1001, "going away").await;
    assert_eq!(world.daemon.exit_code().await, Some(0));
}
