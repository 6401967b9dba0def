//! `pgherald transport`: what it changes, and what it says.

use crate::commands::{fails, succeeds};
use crate::world::{Database, Settings, World, connect, unique, until};

/// A line that begins with `name`.
#[track_caller]
fn line<'a>(said: &'a str, name: &str) -> &'a str {
    said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no line {name}: {said}"))
}

#[tokio::test]
async fn the_transport_is_shown_set_and_set_back() {
    let World { daemon, database } = World::new().await;
    let settings = Settings::new(&database.url);
    let shown = succeeds(&settings, &["transport"]).await;
    assert!(shown.starts_with("transport  notify, since 20"), "{shown}");
    assert_eq!(shown.lines().count(), 1, "{shown}");

    let said = succeeds(&settings, &["transport", "relay"]).await;
    assert_eq!(
        said.lines().next(),
        Some("changed from notify to relay: the functions of 4 watched tables were rewritten")
    );
    let relay = line(&said, "relay  ");
    for word in ["pid ", "postgres, pgherald relay, 127.0.0.1", "awake", "are there: 1"] {
        assert!(relay.contains(word), "{word}: {said}");
    }
    assert_eq!(line(&said, "waiting"), "waiting    0 rows; the queue is 0 % full");
    assert!(!said.contains("next"), "{said}");
    let mut alice = daemon.browser("alice", "7").await;
    database.run("update tasks set done = true where id = 1").await;
    while alice.short().await != "task UPDATE 7/1" {}
    until("the relay to sleep", async || succeeds(&settings, &["status"]).await.contains(", asleep")).await;
    assert!(line(&succeeds(&settings, &["status"]).await, "transport").starts_with("transport  relay, since 20"));

    let again = succeeds(&settings, &["transport", "relay"]).await;
    let unchanged = "unchanged: it was relay already; the functions of 4 watched tables were rewritten all the same";
    assert_eq!(again.lines().next(), Some(unchanged));
    let back = succeeds(&settings, &["transport", "notify"]).await;
    assert!(back.starts_with("changed from relay to notify: "), "{back}");
    assert!(line(&back, "next").contains("until they are restarted"), "{back}");
    database.run("update tasks set done = true where id = 2").await;
    while alice.short().await != "task UPDATE 7/2" {}
}

#[tokio::test]
async fn without_a_daemon_it_says_that_changes_reach_nobody() {
    let database = Database::sample().await;
    let settings = Settings::new(&database.url);
    let said = succeeds(&settings, &["transport", "relay"]).await;
    assert_eq!(line(&said, "relay"), "relay      nobody; daemons that are there: 0");
    let next = line(&said, "next");
    assert!(next.contains("start a daemon") && next.contains("to ROLE"), "{said}");
}

#[tokio::test]
async fn a_daemon_whose_role_may_not_relay_is_named_with_the_grant() {
    let database = Database::sample().await;
    let role = unique("Herald");
    database.run(&format!("create role \"{role}\" login; grant select on project_members to \"{role}\"")).await;
    let url = database.url.replace("postgres@", &format!("{role}@"));
    let daemon = Settings::new(&url).start().await;
    let settings = Settings::new(&database.url);
    let said = succeeds(&settings, &["transport", "relay"]).await;
    let grant = line(&said, "next").split_once("role: ").unwrap().1;
    assert!(grant.starts_with("grant execute on function pgherald.relay"), "{said}");
    assert!(grant.ends_with(&format!("to \"{role}\"")), "{said}");
    let theirs = succeeds(&Settings::new(&url), &["transport"]).await;
    assert_eq!(line(&theirs, "waiting"), "waiting    0 rows; the queue is 0 % full");
    database.run(grant).await;
    until("the daemon to relay", async || {
        line(&succeeds(&settings, &["transport"]).await, "relay").contains("pgherald relay")
    })
    .await;
    assert!(!succeeds(&settings, &["transport"]).await.contains("next"));
    drop(daemon);
    database.run(&format!("drop owned by \"{role}\"; drop role \"{role}\"")).await;
}

#[tokio::test]
async fn it_says_why_it_cannot() {
    let database = Database::empty().await;
    let settings = Settings::new(&database.url);
    fails(&settings, &["transport"], 1, &["not installed", "run `pgherald migrate`"]).await;
    fails(&settings, &["transport", "relay"], 1, &["not installed", "run `pgherald migrate`"]).await;
    fails(&settings, &["transport", "carrier-pigeon"], 2, &["relay", "notify"]).await;
    succeeds(&settings, &["migrate"]).await;
    let role = unique("somebody");
    database.run(&format!("create role {role} login")).await;
    let theirs = Settings::new(&database.url.replace("postgres@", &format!("{role}@")));
    fails(
        &theirs,
        &["transport", "relay"],
        1,
        &["only postgres, who owns schema pgherald, may", "Connect as postgres"],
    )
    .await;
    assert!(succeeds(&theirs, &["transport"]).await.starts_with("transport  notify"));
    connect(&database.url).await.batch_execute(&format!("drop role {role}")).await.unwrap();
}
