//! SIGTERM: everybody is told, then the daemon goes.

use std::time::{Duration, Instant};

use crate::browser::Browser;
use crate::world::{World, token, until};

#[tokio::test]
async fn sigterm_closes_every_session_with_1001_and_exits_with_0() {
    let mut world = World::new().await;
    let mut browsers = Vec::new();
    for _ in 0..20 {
        browsers.push(world.daemon.browser("alice", "7").await);
    }
    world.daemon.signal("TERM").await;
    for browser in &mut browsers {
        assert_eq!(browser.closed().await, (1001, "going away".to_owned()));
    }
    assert_eq!(world.daemon.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_draining_daemon_is_not_ready_and_takes_nobody_in() {
    let mut world = World::with(|settings| settings.set("limits.drain_spread", "2s")).await;
    // Among thirty random moments of two seconds, some are late enough for a look around.
    let mut browsers = Vec::new();
    for _ in 0..30 {
        browsers.push(world.daemon.browser("alice", "7").await);
    }
    world.daemon.signal("TERM").await;
    until("the drain to begin", async || world.daemon.get("/ready").await.0 == 503).await;
    assert!(world.daemon.get("/ready").await.1.contains("draining"));
    assert_eq!(world.daemon.get("/live").await.0, 200);
    let mut request = world.daemon.request("/ws");
    request.headers_mut().insert("authorization", format!("Bearer {}", token("alice")).parse().unwrap());
    assert_eq!(Browser::refused(request).await, (503, "draining".to_owned()));
    for browser in &mut browsers {
        assert_eq!(browser.closed().await.0, 1001);
    }
    assert_eq!(world.daemon.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_the_daemon_at_once() {
    let mut world = World::with(|settings| settings.set("limits.drain_spread", "20s")).await;
    let mut browsers = Vec::new();
    for _ in 0..10 {
        browsers.push(world.daemon.browser("alice", "7").await);
    }
    world.daemon.signal("TERM").await;
    until("the drain to begin", async || world.daemon.get("/ready").await.0 == 503).await;
    let began = Instant::now();
    world.daemon.signal("TERM").await;
    assert_eq!(world.daemon.exit_code().await, Some(1));
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_client_that_does_not_answer_the_close_holds_nobody_up() {
    let mut world = World::with(|settings| settings.set("limits.drain_grace", "10s")).await;
    let _silent = world.daemon.browser("alice", "7").await;
    let began = Instant::now();
    world.daemon.signal("TERM").await;
    assert_eq!(world.daemon.exit_code().await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn sessions_are_closed_one_after_the_other_over_the_spread() {
    let mut world = World::with(|settings| settings.set("limits.drain_spread", "5s")).await;
    let mut browsers = Vec::new();
    for _ in 0..30 {
        browsers.push(world.daemon.browser("alice", "7").await);
    }
    world.daemon.signal("TERM").await;
    let closings = browsers.iter_mut().map(async |browser| {
        assert_eq!(browser.closed().await.0, 1001);
        Instant::now()
    });
    let mut moments = futures_util::future::join_all(closings).await;
    moments.sort_unstable();
    // Thirty random moments of five seconds all fall into a second of it once in 10^18 runs.
    let spread = moments[29] - moments[0];
    assert!(spread > Duration::from_secs(1), "all went within {spread:?}");
    assert_eq!(world.daemon.exit_code().await, Some(0));
}
