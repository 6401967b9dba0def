//! Clients that people really use: Python's `websockets` and Node's `ws` (`tests/peers/`).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::world::{LIMIT, World, token};

static ROOT: LazyLock<&Path> = LazyLock::new(|| Path::new(env!("CARGO_MANIFEST_DIR")));

/// A client of another make.
#[derive(Clone, Copy, Debug)]
enum Make {
    Python,
    Node,
}

impl Make {
    const ALL: [Self; 2] = [Self::Python, Self::Node];

    /// The program that runs it, and its script; both are there, or the test fails.
    fn command(self) -> Command {
        let (program, script, library) = match self {
            Self::Python => (ROOT.join("target/peers/python/bin/python"), "python_peer.py", "python/requirements.txt"),
            Self::Node => (PathBuf::from("node"), "node_peer.mjs", "node/installed.json"),
        };
        let installed = ROOT.join("target/peers").join(library);
        assert!(installed.exists(), "{} is missing: run make tools", installed.display());
        let mut command = Command::new(program);
        command.arg(ROOT.join("tests/peers").join(script));
        command
    }
}

/// A running client.
struct Peer {
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
    make: Make,
}

impl Peer {
    /// Connects as `subject` and closes after so many frames; 0 = waits until the server closes.
    fn start(make: Make, world: &World, subject: &str, project: &str, frames: usize) -> Self {
        let url = format!("ws://{}/ws", world.daemon.address);
        let mut command = make.command();
        command.args([&url, &token(subject), project, &frames.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{make:?}: {error}: run make tools"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { lines, child, make }
    }

    /// The next line that it prints.
    async fn line(&mut self) -> Value {
        let line = tokio::time::timeout(LIMIT, self.lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("{:?} printed nothing within {LIMIT:?}", self.make)).unwrap();
        serde_json::from_str(&line.unwrap_or_else(|| panic!("{:?} ended early", self.make))).unwrap()
    }

    async fn prints(&mut self, expected: Value) {
        let line = self.line().await;
        assert_eq!(line, expected, "{:?}", self.make);
    }

    /// Up to the acknowledged subscription: the subprotocol was chosen, a ping between fragments was answered.
    async fn subscribes(&mut self, project: &str) {
        self.prints(json!({ "peer": "opened", "subprotocol": "pgherald.v1" })).await;
        self.prints(json!({ "peer": "ponged", "payload": "between" })).await;
        let subscribed = self.line().await;
        let told = ["type", "ref", "project_id"].map(|field| subscribed[field].as_str());
        assert_eq!(told, [Some("subscribed"), Some("é"), Some(project)], "{:?}", self.make);
    }

    /// After its last frame: pings of both extremes are answered, the close too.
    async fn parts(mut self) {
        self.prints(json!({ "peer": "ponged", "payload": "" })).await;
        self.prints(json!({ "peer": "ponged", "payload": "x".repeat(125) })).await;
        self.prints(json!({ "peer": "closed", "code": 1000, "reason": "bye" })).await;
        self.ends().await;
    }

    /// It ends by itself and is content.
    async fn ends(mut self) {
        assert_eq!(self.lines.next_line().await.unwrap(), None, "{:?} prints no more", self.make);
        let status = tokio::time::timeout(LIMIT, self.child.wait()).await.expect("the client ends").unwrap();
        assert!(status.success(), "{:?}: {status}", self.make);
    }
}

#[tokio::test]
async fn real_clients_hear_a_change_and_part_cleanly() {
    let world = World::new().await;
    for make in Make::ALL {
        let mut peer = Peer::start(make, &world, "alice", "7", 2);
        peer.subscribes("7").await;
        world.run("update tasks set done = not done where id = 1").await;
        let frame = peer.line().await;
        assert_eq!((&frame["type"], &frame["action"]), (&"cache_invalidate".into(), &"UPDATE".into()), "{frame}");
        assert_eq!((&frame["data"]["resource"], &frame["data"]["id"]), (&"task".into(), &"1".into()), "{frame}");
        peer.parts().await;
    }
}

#[tokio::test]
async fn real_clients_read_a_burst_of_many_frames_in_one_write() {
    let world = World::with(|settings| settings.set("limits.mailbox_frames", "1000")).await;
    for (make, first) in [(Make::Python, 10_000), (Make::Node, 20_000)] {
        let mut peer = Peer::start(make, &world, "alice", "7", 401);
        peer.subscribes("7").await;
        let rows = format!("generate_series({first}, {})", first + 399);
        world.run(&format!("insert into tasks (id, project_id, title) select id, 7, 'new' from {rows} id")).await;
        let mut bytes = 0;
        for id in first..first + 400 {
            let frame = peer.line().await;
            assert_eq!(frame["data"]["id"], id.to_string(), "{make:?}: {frame}");
            bytes += frame.to_string().len();
        }
        assert!(bytes > 70_000, "{bytes} bytes are no burst");
        peer.parts().await;
    }
}

#[tokio::test]
async fn real_clients_are_told_that_the_daemon_goes_away() {
    let mut world = World::new().await;
    let mut peers = Make::ALL.map(|make| Peer::start(make, &world, "alice", "7", 0));
    for peer in &mut peers {
        peer.subscribes("7").await;
    }
    world.daemon.signal("TERM").await;
    for mut peer in peers {
        peer.prints(json!({ "peer": "closed", "code": 1001, "reason": "going away" })).await;
        peer.ends().await;
    }
    assert_eq!(world.daemon.exit_code().await, Some(0));
}

#[tokio::test]
async fn real_clients_are_told_why_they_are_refused() {
    let world = World::new().await;
    for make in Make::ALL {
        let mut peer = Peer::start(make, &world, "mallory", "7", 1);
        peer.prints(json!({ "peer": "opened", "subprotocol": "pgherald.v1" })).await;
        peer.prints(json!({ "peer": "ponged", "payload": "between" })).await;
        let frame = peer.line().await;
        assert_eq!((&frame["type"], &frame["code"]), (&"error".into(), &"forbidden".into()), "{frame}");
        assert_eq!(frame["ref"], "é");
        peer.parts().await;
    }
}
