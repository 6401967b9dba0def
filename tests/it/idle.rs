//! A silent session is pinged, and ended where nobody answers.

use futures_util::StreamExt;
use tokio_tungstenite::tungstenite::Message;

use crate::world::{LIMIT, World, until};

#[tokio::test]
async fn a_silent_session_is_pinged_and_lives_on_when_it_answers() {
    let world = World::with(|settings| settings.set("limits.idle_timeout", "4s")).await;
    let mut alice = world.daemon.browser("alice", "7").await;
    let mut pings = 0;
    while pings < 3 {
        // tungstenite answers by itself while it is read.
        let message = tokio::time::timeout(LIMIT, alice.socket.next()).await.expect("a ping").unwrap().unwrap();
        pings += i32::from(matches!(message, Message::Ping(_)));
    }
    world.run("update tasks set done = true where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
}

#[tokio::test]
async fn a_session_that_answers_no_ping_is_ended() {
    let world = World::with(|settings| settings.set("limits.idle_timeout", "300ms")).await;
    let _silent = world.daemon.browser("alice", "7").await;
    until("the session to end", async || {
        world.daemon.metric("pgherald_sessions_closed_total{code=\"idle_timeout\"}").await == 1.0
    })
    .await;
    assert_eq!(world.daemon.metric("pgherald_sessions ").await, 0.0);
}
