//! Who may see a project no more hears nothing more of it, from the commit on that says so.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use pgherald::protocol::{Form, Subscribe, Wire};
use pgherald::{access, config, database, hub, membership, warden};
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use crate::browser::Browser;
use crate::event_source::{EventSource, request};
use crate::proxy::Proxy;
use crate::relay_world::until_relays;
use crate::witness::{TRANSPORTS, Transport};
use crate::world::{Daemon, Database, Settings, World, connect, token, until};

async fn session(daemon: &Daemon, subject: &str, project: &str) -> Browser {
    let mut browser = Browser::open(&format!("ws://{}/ws", daemon.address), Some(&token(subject))).await.unwrap();
    browser.subscribe(project).await;
    browser
}

/// All that a session hears until it is answered.
async fn told(browser: &mut Browser) -> Vec<String> {
    browser.send(&json!({ "type": "ping" })).await;
    let mut told = Vec::new();
    loop {
        match browser.short().await {
            pong if pong == "pong" => return told,
            other => told.push(other),
        }
    }
}

#[tokio::test]
async fn nothing_that_is_committed_with_or_after_the_removal_reaches_the_removed() {
    for transport in TRANSPORTS {
        removed_again_and_again(transport).await;
    }
}

async fn removed_again_and_again(transport: Transport) {
    let world = World::by(transport).await;
    let mut alice = session(&world.daemon, "alice", "7").await;
    world.run("insert into project_members values (8, 'carol')").await;
    world.run("insert into project_members values (7, 'carol')").await;
    alice.hears(&["project_members INSERT 7/7:carol"]).await;
    let mut carol = session(&world.daemon, "carol", "7").await;
    carol.subscribe("8").await;
    for round in 0..10 {
        world
            .run(
                "begin; update tasks set done = not done where id = 1; delete from project_members where user_id = 'carol' and project_id = 7;
                 update tasks set done = not done where id = 2; commit; update tasks set done = not done where id in (2, 3)",
            )
            .await;
        let mut frames: Vec<String> = Vec::new();
        while !["revoked", "task UPDATE 8/3"].iter().all(|wanted| frames.iter().any(|frame| frame == wanted)) {
            frames.push(carol.short().await);
        }
        frames.extend(told(&mut carol).await);
        frames.sort();
        assert_eq!(frames, ["revoked", "task UPDATE 8/3"], "round {round}");
        alice
            .hears(&["task UPDATE 7/1", "project_members DELETE 7/7:carol", "task UPDATE 7/2", "task UPDATE 7/2"])
            .await;
        carol.send(&json!({ "type": "subscribe", "ref": "s", "project_id": "7" })).await;
        assert_eq!(carol.frame().await["code"], "forbidden");
        world.run("insert into project_members values (7, 'carol')").await;
        alice.hears(&["project_members INSERT 7/7:carol"]).await;
        carol.subscribe("7").await;
    }
    assert_eq!(world.daemon.metric("pgherald_subscriptions ").await, 3.0);
    assert_eq!(world.daemon.metric("pgherald_subscriptions_revoked_total").await, 10.0);
}

#[tokio::test]
async fn a_role_that_the_query_forbids_counts_as_well() {
    let query = "select 1 from project_members where project_id = $1 and user_id = $2 and role <> 'banned'";
    let world = World::with(|settings| settings.set("authorize.query", query)).await;
    let mut alice = session(&world.daemon, "alice", "7").await;
    world.run("update project_members set role = 'guest' where user_id = 'alice'").await;
    alice.hears(&["project_members UPDATE 7/7:alice"]).await;
    world.run("update project_members set role = 'banned' where user_id = 'alice'").await;
    let frame = alice.frame().await;
    assert_eq!(frame, json!({ "type": "revoked", "project_id": "7", "reason": "not_a_member" }));
    world.run("truncate project_members cascade").await;
    assert_eq!(told(&mut alice).await, [""; 0]);
}

#[tokio::test]
async fn a_session_of_the_url_that_never_spoke_is_closed() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world.run("delete from project_members where user_id = 'alice'").await;
    alice.hears(&["revoked"]).await;
    assert_eq!(alice.closed().await.0, 4403);
}

#[tokio::test]
async fn an_event_stream_is_revoked_and_does_not_come_back() {
    let world = World::new().await;
    let mut stream = EventSource::open(&world.daemon, "alice", "").await;
    world.run("delete from project_members where user_id = 'alice'; update tasks set done = true").await;
    stream.hears(&["revoked"]).await;
    stream.closes(4403, "forbidden").await;
    let again = EventSource::request(request(&world.daemon, Some(&token("alice")), "")).await;
    assert_eq!(again.err().map(|(status, code, _)| (status, code)), Some((403, "forbidden".to_owned())));
}

#[tokio::test]
async fn what_no_trigger_told_is_found_in_time() {
    let world = World::with(|settings| settings.set("authorize.recheck_interval", "200ms")).await;
    world.run("select pgherald.unwatch('project_members')").await;
    let mut alice = session(&world.daemon, "alice", "7").await;
    world.run("delete from project_members where user_id = 'alice'").await;
    alice.hears(&["revoked"]).await;
}

#[tokio::test]
async fn a_change_of_members_that_could_not_be_told_is_found_with_the_loss() {
    let database = Database::sample().await;
    database
        .run(
            "create table grants (id int primary key, project_id int, who text); insert into grants values (1, 7, 'alice');
             select pgherald.watch('grants'); alter table grants rename column id to number",
        )
        .await;
    let settings =
        Settings::new(&database.url).set("authorize.recheck_interval", "1h").set("authorize.cache_ttl", "1h");
    let settings = settings.set("authorize.query", "select 1 from grants where project_id = $1 and who = $2");
    let daemon = settings.set("authorize.recheck_on", "grant").start().await;
    let mut alice = session(&daemon, "alice", "7").await;
    database.run("delete from grants").await;
    alice.hears(&["reconnect notification_dropped", "revoked"]).await;
    alice.send(&json!({ "type": "subscribe", "ref": "s", "project_id": "7" })).await;
    assert_eq!(alice.frame().await["code"], "forbidden");
}

#[tokio::test]
async fn what_was_missed_while_the_listener_was_away_is_found_before_anything_else_is_told() {
    let world = World::with(|settings| settings.set("authorize.recheck_interval", "1h")).await;
    world.run("select pgherald.unwatch('project_members')").await;
    let mut alice = session(&world.daemon, "alice", "7").await;
    let mut bob = session(&world.daemon, "bob", "8").await;
    world.run("delete from project_members where user_id = 'alice'").await;
    let killed = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    world.run(killed).await;
    bob.hears(&["reconnect database_reconnected"]).await;
    world.run("update tasks set done = not done").await;
    bob.hears(&["task UPDATE 8/3"]).await;
    alice.hears(&["reconnect database_reconnected", "revoked"]).await;
    assert_eq!(told(&mut alice).await, [""; 0]);
}

#[tokio::test]
async fn a_database_that_does_not_answer_lets_nothing_go() {
    let database = Database::sample().await;
    database.run("insert into project_members values (7, 'carol')").await;
    let proxy = Proxy::start(&database.url).await;
    let settings = Settings::new(&proxy.url(&database.url)).set("database.query_timeout", "2s");
    // that it does not find out about the transport either is told later than this
    let settings = settings.set("database.listen_url", &database.url).set("database.heartbeat_interval", "30s");
    let daemon = settings.set("limits.mailbox_frames", "4").start().await;
    let mut alice = session(&daemon, "alice", "7").await;
    let mut carol = session(&daemon, "carol", "7").await;
    proxy.silence();
    database
        .run("delete from project_members where user_id = 'carol'; update tasks set done = not done where id = 1")
        .await;
    until("a question without an answer", async || {
        daemon.metric("pgherald_access_queries_total{kind=\"recheck\",result=\"error\"}").await >= 1.0
    })
    .await;
    assert_eq!((told(&mut alice).await, told(&mut carol).await), (vec![], vec![]));
    proxy.speak();
    alice.hears(&["project_members DELETE 7/7:carol", "task UPDATE 7/1"]).await;
    carol.hears(&["revoked"]).await;
    // More than a mailbox holds in the meantime is everything.
    proxy.silence();
    database.run("insert into project_members values (7, 'dora')").await;
    for _ in 0..5 {
        database.run("update tasks set done = not done where id = 1").await;
    }
    assert_eq!(told(&mut alice).await, [""; 0]);
    proxy.speak();
    alice.hears(&["reconnect access_checked"]).await;
}

/// Sessions, hub, warden and access as the daemon puts them together, without the sockets.
#[tokio::test]
async fn ten_thousand_subscriptions_and_one_revocation_are_one_query() {
    let database = Database::sample().await;
    database.run("insert into project_members select 7, 'user ' || i from generate_series(1, 10000) i").await;
    let environment = [("PGHERALD__DATABASE__URL".to_owned(), database.url.to_string())].into();
    let config = config::Config::load(config::File::None, &environment).unwrap();
    let pool = Arc::new(database::Database::open(&config.database).unwrap());
    let access = Arc::new(access::Access::open(&config, pool).await.unwrap());
    let hub = hub::Hub::new(&config.limits, Duration::ZERO);
    let form = Form { wire: Wire::EventStream, ..Form::default() };
    let wanted = Subscribe { project_id: "7".into(), ..Subscribe::default() }.wanted(form).unwrap();
    let sessions: Vec<membership::Membership> = (1..=10_000)
        .map(|number| {
            let subject = format!("user {number}").as_str().into();
            let session = membership::Membership::join(&hub, Some(&subject), Wire::EventStream, false).unwrap();
            session.subscribe(&wanted, || true, |_| None).unwrap();
            session
        })
        .collect();
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let work = warden::run(Arc::clone(&hub), Arc::clone(&access), Duration::from_secs(3600));
    let warden = AbortOnDropHandle::new(tokio::spawn(work));
    database.run("delete from project_members where user_id = 'user 77'").await;
    hub.hold(&pgherald::event::Scope::Project(wanted.project.clone()));
    until("the answer", async || hub.doubtful(false).is_empty()).await;
    drop(warden);
    let text = handle.render();
    let queries: Vec<&str> = text.lines().filter(|line| line.starts_with("pgherald_access_queries_total")).collect();
    assert_eq!(queries, ["pgherald_access_queries_total{kind=\"recheck\",result=\"denied\"} 1"]);
    let revoked: HashSet<usize> = (0..10_000).filter(|place| sessions[*place].projects().is_empty()).collect();
    assert_eq!(revoked, HashSet::from([76]));
}

/// The removal lies in the queue of a relay that stands still, and what is written after the switch does not.
#[tokio::test]
async fn who_was_removed_before_a_change_of_the_transport_is_told_nothing_after_it() {
    let database = Database::sample().await;
    database.run("insert into project_members values (7, 'carol'); select pgherald.set_transport('relay')").await;
    // nobody takes over while this lasts
    let settings = Settings::new(&database.url).set("database.heartbeat_timeout", "60s");
    let relay = settings.start().await;
    relay.is_relay("asleep").await;
    let other = settings.start().await;
    other.is_present().await;
    let mut carol = session(&other, "carol", "7").await;
    relay.signal("STOP").await;
    database.run("delete from project_members where user_id = 'carol'").await;
    database.run("select pgherald.set_transport('notify'); update tasks set done = true where id = 1").await;
    assert_eq!(carol.short().await, "revoked");
    relay.signal("CONT").await;
}

/// By way of a relay they come as they were written, and not as they were committed: what comes before the removal may have
/// been committed after it.
#[tokio::test]
async fn what_was_written_before_a_removal_and_committed_after_it_waits() {
    let database = Database::sample().await;
    database.run("insert into project_members values (7, 'carol'); select pgherald.set_transport('relay')").await;
    let settings = Settings::new(&database.url).set("database.heartbeat_timeout", "60s");
    let relay = settings.start().await;
    relay.is_relay("asleep").await;
    let other = settings.start().await;
    other.is_present().await;
    let mut carol = session(&other, "carol", "7").await;
    // all of it is sent on at once
    relay.signal("STOP").await;
    let (early, one, two) = (connect(&database.url).await, connect(&database.url).await, connect(&database.url).await);
    early.batch_execute("begin; insert into tasks (project_id, title) values (7, 'early')").await.unwrap();
    one.batch_execute("begin; update tasks set done = true where id = 1").await.unwrap();
    two.batch_execute("begin; update tasks set done = true where id = 2").await.unwrap();
    one.batch_execute("delete from project_members where user_id = 'carol'; commit").await.unwrap();
    two.batch_execute("commit").await.unwrap();
    early.batch_execute("commit").await.unwrap();
    relay.signal("CONT").await;
    assert_eq!(carol.short().await, "revoked");
    assert_eq!(told(&mut carol).await, [""; 0]);
}

/// A daemon that writers do not know of hears what is relayed all the same, and may not have been told of the removal.
#[tokio::test]
async fn who_was_removed_while_nobody_was_present_is_told_nothing_that_is_relayed_after_it() {
    let database = Database::sample().await;
    database.run("insert into project_members values (7, 'carol'); select pgherald.set_transport('relay')").await;
    let daemon = Settings::new(&database.url).start().await;
    until_relays(&daemon).await;
    daemon.is_present().await;
    let (mut carol, mut alice) = (session(&daemon, "carol", "7").await, session(&daemon, "alice", "7").await);
    // it is not present again before it has a new connection, and does not try for a while
    let other = connect(&database.url).await;
    let name: String = other.query_one("select current_database()::text", &[]).await.unwrap().get(0);
    let admin = connect(&database.url.replace(&name, "postgres")).await;
    admin.batch_execute(&format!("alter database {name} allow_connections false")).await.unwrap();
    let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                  where datname = current_database() and application_name = 'pgherald presence'";
    database.run(ended).await;
    until("it to wait", async || {
        let log = daemon.log();
        // at least a second
        let delay = log.rsplit_once("\"delay_ms\":\"").map_or("", |(_, rest)| rest);
        delay.chars().take_while(char::is_ascii_digit).count() > 3
    })
    .await;
    told(&mut carol).await;
    database.run("delete from project_members where user_id = 'carol'").await;
    // as another daemon is that has begun meanwhile
    other.batch_execute("select pg_advisory_lock(7434, 13)").await.unwrap();
    database.run("update tasks set done = true where id = 1").await;
    while alice.short().await != "task UPDATE 7/1" {}
    let heard = told(&mut carol).await;
    assert!(heard.iter().any(|frame| frame == "revoked"), "{heard:?}");
    assert!(!heard.iter().any(|frame| frame.starts_with("task")), "{heard:?}");
    admin.batch_execute(&format!("alter database {name} allow_connections true")).await.unwrap();
}

/// The removal began while nobody was present, and so it is told to nobody; it ends when it likes.
#[tokio::test]
async fn who_is_removed_by_a_transaction_from_before_is_told_nothing_that_is_relayed_after_it() {
    let database = Database::sample().await;
    database.run("insert into project_members values (7, 'carol'); select pgherald.set_transport('relay')").await;
    let silent = connect(&database.url).await;
    silent.batch_execute("begin; delete from project_members where user_id = 'carol'").await.unwrap();
    let daemon = Settings::new(&database.url).start().await;
    until_relays(&daemon).await;
    daemon.is_present().await;
    let (mut carol, mut alice) = (session(&daemon, "carol", "7").await, session(&daemon, "alice", "7").await);
    let write = "update tasks set done = not done where id = 1";
    // by now it looks once a second who has ended
    tokio::time::sleep(Duration::from_millis(2600)).await;
    for browser in [&mut alice, &mut carol] {
        told(browser).await;
    }
    database.run(write).await;
    alice.hears(&["task UPDATE 7/1"]).await;
    carol.hears(&["task UPDATE 7/1"]).await;
    silent.batch_execute("commit").await.unwrap();
    database.run(write).await;
    while alice.short().await != "task UPDATE 7/1" {}
    let heard = told(&mut carol).await;
    assert!(heard.iter().any(|frame| frame == "revoked"), "{heard:?}");
    assert!(!heard.iter().any(|frame| frame.starts_with("task")), "{heard:?}");
    // and then nobody is asked about any more
    let asked = "pgherald_access_queries_total{kind=\"recheck\",result=\"allowed\"}";
    until("a change that is told unasked", async || {
        let before = daemon.metric(asked).await;
        assert!(before > 0.0);
        database.run(write).await;
        while alice.short().await != "task UPDATE 7/1" {}
        daemon.metric(asked).await == before
    })
    .await;
}
