//! Probes and metrics tell the truth.

use pgherald::metrics::{ALL, Kind};

use crate::world::{Database, Settings, World, token, until};

#[tokio::test]
async fn live_and_ready_answer_and_the_rest_is_refused() {
    let world = World::new().await;
    assert_eq!(world.daemon.get("/live").await.0, 200);
    assert_eq!(world.daemon.get("/ready").await, (200, r#"{"ready":true,"reasons":[]}"#.to_owned()));
    let (status, body) = world.daemon.get("/nonsense").await;
    assert_eq!(status, 404);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap()["error"], "not_found");
    let (status, body) = world.daemon.get("/ws").await;
    assert_eq!(status, 426, "{body}");
    let client = reqwest::Client::new();
    let response = client.post(format!("http://{}/live", world.daemon.address)).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["allow"].to_str().unwrap()), (405, "GET"));
}

#[tokio::test]
async fn every_metric_without_labels_is_there_from_the_start() {
    let world = World::new().await;
    let (_, text) = world.daemon.get("/metrics").await;
    for (name, kind, labels, help) in ALL {
        if labels.is_empty() && *kind != Kind::Histogram {
            assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} is missing:\n{text}");
            assert!(text.contains(&format!("# HELP {name} {help}")), "{name} has no help:\n{text}");
        }
    }
}

#[tokio::test]
async fn metrics_count_what_happens() {
    let database = Database::sample().await;
    let daemon = Settings::new(&database.url).start().await;
    let mut alice = daemon.browser("alice", "7").await;
    let mut again = daemon.browser("alice", "7").await;
    database.run("update tasks set done = not done where project_id = 7").await;
    for browser in [&mut alice, &mut again] {
        browser.frame().await;
        browser.frame().await;
    }
    assert_eq!(daemon.metric("pgherald_sessions ").await, 2.0);
    assert_eq!(daemon.metric("pgherald_subscriptions ").await, 2.0);
    assert_eq!(daemon.metric("pgherald_notifications_received_total ").await, 1.0);
    assert_eq!(daemon.metric("pgherald_frames_sent_total ").await, 4.0);
    assert!(daemon.metric("pgherald_bytes_sent_total ").await > 400.0);
    assert_eq!(daemon.metric("pgherald_listener_up ").await, 1.0);
    let subscribed = "pgherald_access_queries_total{kind=\"subscribe\",result=\"allowed\"}";
    assert_eq!(daemon.metric(subscribed).await, 1.0);
    assert_eq!(daemon.metric("pgherald_access_cache_hits_total ").await, 1.0);
    assert_eq!(daemon.metric("pgherald_notify_to_socket_seconds_count ").await, 1.0);
    until("a heartbeat", async || daemon.metric("pgherald_canary_round_trip_seconds_count ").await >= 1.0).await;
    drop((alice, again));
    until("both to have left", async || daemon.metric("pgherald_sessions ").await == 0.0).await;
    assert_eq!(daemon.metric("pgherald_subscriptions ").await, 0.0);
    let refused =
        crate::browser::Browser::open(&format!("ws://{}/ws?project_id=7", daemon.address), Some(&token("bob"))).await;
    assert!(refused.is_err());
    assert_eq!(daemon.metric("pgherald_sessions_refused_total{reason=\"forbidden\"}").await, 1.0);
}
