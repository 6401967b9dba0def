//! Answers about membership are believed for a while, and never longer than something says otherwise.

use serde_json::json;

use crate::browser::Browser;
use crate::proxy::Proxy;
use crate::world::{Daemon, Database, Settings, World, token, until};

async fn session(daemon: &Daemon, subject: &str) -> Browser {
    Browser::open(&format!("ws://{}/ws", daemon.address), Some(&token(subject))).await.unwrap()
}

/// Whether `subject` may subscribe to project 7 now.
async fn allowed(browser: &mut Browser) -> bool {
    browser.send(&json!({ "type": "subscribe", "ref": "ask", "project_id": "7" })).await;
    loop {
        let frame = browser.frame().await;
        match frame["type"].as_str() {
            Some("subscribed") => break,
            Some("error") => {
                assert_eq!(frame["code"], "forbidden");
                return false;
            }
            _ => {}
        }
    }
    browser.send(&json!({ "type": "unsubscribe", "project_id": "7" })).await;
    // It may be revoked in between.
    while !["unsubscribed", "error"].contains(&browser.frame().await["type"].as_str().unwrap()) {}
    true
}

#[tokio::test]
async fn a_change_of_the_members_makes_the_cached_answers_void() {
    let world =
        World::with(|settings| settings.set("authorize.cache_ttl", "1h").set("limits.requests_burst", "4000")).await;
    let mut carol = session(&world.daemon, "carol").await;
    assert!(!allowed(&mut carol).await);
    world.run("insert into project_members values (7, 'carol')").await;
    until("carol to be let in", async || allowed(&mut carol).await).await;
    world.run("delete from project_members where user_id = 'carol'").await;
    until("carol to be kept out", async || !allowed(&mut carol).await).await;
}

#[tokio::test]
async fn a_no_is_not_kept() {
    let world = World::with(|settings| settings.set("authorize.cache_ttl", "1h")).await;
    // No trigger tells of this table, and nobody waits for one.
    world.run("select pgherald.unwatch('project_members')").await;
    let mut carol = session(&world.daemon, "carol").await;
    assert!(!allowed(&mut carol).await);
    world.run("insert into project_members values (7, 'carol')").await;
    assert!(allowed(&mut carol).await, "at once");
}

#[tokio::test]
async fn cached_answers_do_not_outlive_a_reconnect_of_the_listener() {
    let world =
        World::with(|settings| settings.set("authorize.cache_ttl", "1h").set("limits.requests_burst", "4000")).await;
    // No trigger tells of this table, so only the reconnect can.
    world.run("select pgherald.unwatch('project_members')").await;
    let mut alice = session(&world.daemon, "alice").await;
    assert!(allowed(&mut alice).await);
    world.run("delete from project_members where user_id = 'alice'").await;
    assert!(allowed(&mut alice).await, "this answer is cached");
    let killed = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    world.run(killed).await;
    until("alice to be kept out", async || !allowed(&mut alice).await).await;
}

#[tokio::test]
async fn who_renews_while_membership_cannot_be_checked_is_not_believed() {
    let database = Database::sample().await;
    let proxy = Proxy::start(&database.url).await;
    let settings = Settings::new(&proxy.url(&database.url)).set("database.query_timeout", "2s");
    let daemon = settings.set("database.listen_url", &database.url).start().await;
    let mut alice = session(&daemon, "alice").await;
    alice.subscribe("7").await;
    // Once she hears of it, the cached answer is void.
    database.run("update project_members set role = 'guest' where user_id = 'alice'").await;
    alice.hears(&["project_members UPDATE 7/7:alice"]).await;
    proxy.silence();
    alice.send(&json!({ "type": "auth", "token": token("alice") })).await;
    alice.hears(&["authenticated", "revoked"]).await;
    database.run("update tasks set done = true where id = 1").await;
    alice.send(&json!({ "type": "ping" })).await;
    alice.hears(&["pong"]).await;
}

#[tokio::test]
async fn a_client_that_resumes_by_frame_is_told_that_it_may_have_missed_something() {
    let world = World::new().await;
    let mut alice = session(&world.daemon, "alice").await;
    alice.send(&json!({ "type": "subscribe", "ref": "s", "project_id": "7", "since": "748123.0" })).await;
    alice.hears(&["reconnect history_gap", "subscribed"]).await;
}
