//! The wall clock of the daemon's machine is set while sessions are open. Debian's libfaketime does that to one process.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::browser::Browser;
use crate::world::{Daemon, Database, Settings, World, now, token_with, until};

/// The wall clock of one daemon, and nothing else of it: timers run as they do.
struct WallClock {
    folder: TempDir,
    daemon: Option<u32>,
}

impl WallClock {
    /// A daemon with a clock of its own, which goes right as yet.
    async fn start(change: impl FnOnce(Settings) -> Settings) -> (Self, World) {
        let mut clock = Self { folder: tempfile::tempdir().unwrap(), daemon: None };
        clock.set("+0");
        let database = Database::sample().await;
        let settings = change(Settings::new(&database.url))
            .variable("LD_PRELOAD", library().to_str().unwrap())
            .variable("FAKETIME_TIMESTAMP_FILE", clock.folder.path().join("offset").to_str().unwrap())
            .variable("FAKETIME_NO_CACHE", "1")
            .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let daemon = settings.start().await;
        clock.daemon = Some(daemon.pid());
        (clock, World { daemon, database })
    }

    /// Sets it to so much before or after the real time.
    fn set(&self, offset: &str) {
        let folder = self.folder.path();
        // At one blow: a file that is half written would be another time.
        std::fs::write(folder.join("next"), offset).unwrap();
        std::fs::rename(folder.join("next"), folder.join("offset")).unwrap();
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        // What the library leaves behind where its process is killed.
        for kind in ["faketime_shm", "sem.faketime_sem"] {
            let _ = self.daemon.map(|pid| std::fs::remove_file(format!("/dev/shm/{kind}_{pid}")));
        }
    }
}

/// The library, wherever the distribution keeps it: in a folder of the architecture, or straight in the system's.
fn library() -> PathBuf {
    let inside = |folder: &str| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = ["/usr/lib", "/usr/lib64"].into_iter().flat_map(|folder| inside(folder).chain([folder.into()]));
    let mut places = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    places.find(|place| place.exists()).expect("libfaketime is there: run `make tools`")
}

fn address(daemon: &Daemon) -> String {
    format!("ws://{}/ws?project_id=7", daemon.address)
}

/// Asks twice: if time alone has ended the session, the first question brings it out.
async fn lives(browser: &mut Browser) {
    for reference in ["1", "2"] {
        browser.send(&json!({ "type": "ping", "ref": reference })).await;
        let frame = browser.frame().await;
        assert_eq!((&frame["type"], &frame["ref"]), (&json!("pong"), &json!(reference)), "{frame}");
    }
}

#[tokio::test]
async fn a_clock_that_is_set_forward_ends_no_session_early() {
    let (clock, world) = WallClock::start(|settings| settings.set("limits.idle_timeout", "10s")).await;
    let ten_minutes = token_with(&json!({ "sub": "alice", "exp": now() + 600 }));
    let mut alice = Browser::open(&address(&world.daemon), Some(&ten_minutes)).await.unwrap();
    lives(&mut alice).await;
    clock.set("+1h");
    // Whoever comes now is judged by the new time.
    let newcomer = async || Browser::open(&address(&world.daemon), Some(&ten_minutes)).await;
    until("the jump", async || newcomer().await.is_err()).await;
    lives(&mut alice).await;
    world.run("update tasks set done = true where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
    // A renewed token is one that comes now.
    let later = now() + 3600 + 600;
    alice.send(&json!({ "type": "auth", "token": token_with(&json!({ "sub": "alice", "exp": later })) })).await;
    alice.hears(&["authenticated"]).await;
    lives(&mut alice).await;
    // Nothing else took the jump for time that has gone by.
    assert_eq!(world.daemon.get("/ready").await.0, 200);
    assert_eq!(world.daemon.metric("pgherald_listener_reconnects_total").await, 0.0);
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_no_expired_session() {
    let (clock, world) = WallClock::start(|settings| settings.set("auth.leeway", "1s")).await;
    let began = Instant::now();
    let brief = token_with(&json!({ "sub": "alice", "exp": now() + 4, "nbf": now() - 60 }));
    let mut alice = Browser::open(&address(&world.daemon), Some(&brief)).await.unwrap();
    lives(&mut alice).await;
    clock.set("-1h");
    let newcomer = async || Browser::open(&address(&world.daemon), Some(&brief)).await;
    until("the jump", async || newcomer().await.is_err()).await;
    lives(&mut alice).await;
    assert_eq!(alice.closed().await, (4401, "token invalid or expired".to_owned()));
    // Four seconds and the leeway, of which the token's whole seconds may take one.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(3900) && took < Duration::from_secs(15), "it was ended after {took:?}");
    assert_eq!(world.daemon.get("/ready").await.0, 200);
    assert_eq!(world.daemon.metric("pgherald_listener_reconnects_total").await, 0.0);
}
