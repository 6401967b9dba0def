//! From one transport to the other and back, under the feet of whoever is writing.

use crate::browser::Browser;
use crate::proxy::Proxy;
use crate::relay_world::{dropped, number, queued, sent, silent, until_relays};
use crate::world::{Database, Settings, World, connect, until};

async fn switch(database: &Database, transport: &str) {
    database.run(&format!("select pgherald.set_transport('{transport}')")).await;
    let due = "select count(*) from pgherald.watched where refresh_due is not null";
    assert_eq!(number(&database.client, due).await, 0, "{transport}");
}

/// Reads until all of these were told, and nothing else; twice is no harm: of one transaction, each transport tells its part.
async fn told(browser: &mut Browser, expected: &[&str]) {
    let mut left: Vec<&str> = expected.to_vec();
    while !left.is_empty() {
        let frame = browser.short().await;
        assert!(expected.contains(&&*frame) || frame.starts_with("reconnect"), "{frame} instead of {left:?}");
        left.retain(|expected| *expected != frame);
    }
}

/// Reads what is still told of the last transaction.
async fn settle(browser: &mut Browser, database: &Database, expected: &[&str]) {
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
    database.run("select pgherald.notify('report', 'settled', 'UPDATE', '7')").await;
    loop {
        match browser.short().await {
            frame if frame == "report UPDATE 7/settled" => return,
            frame => assert!(expected.contains(&&*frame), "{frame}"),
        }
    }
}

#[tokio::test]
async fn a_transaction_that_is_open_across_a_switch_is_told_whole() {
    for isolation in ["read committed", "repeatable read"] {
        let World { daemon, database } = World::new().await;
        let mut alice = daemon.browser("alice", "7").await;
        let open = async || {
            let writer = connect(&database.url).await;
            writer
                .batch_execute(&format!(
                    "begin isolation level {isolation}; update tasks set title = 'before' where id = 1"
                ))
                .await
                .unwrap();
            writer.batch_execute("select pgherald.notify('report', 'before', 'UPDATE', '7')").await.unwrap();
            writer
        };
        let close = async |writer: tokio_postgres::Client| {
            let after = "update tasks set title = 'after' where id = 1; insert into tasks (id, project_id, title) values (2000, 7, 'x');
                         select pgherald.notify('report', 'after', 'UPDATE', '7'); delete from tasks where id = 2000; commit";
            writer.batch_execute(after).await.unwrap();
        };
        const ALL: &[&str] = &[
            "task UPDATE 7/1",
            "report UPDATE 7/before",
            "task INSERT 7/2000",
            "report UPDATE 7/after",
            "task DELETE 7/2000",
        ];

        let writer = open().await;
        switch(&database, "relay").await;
        until_relays(&daemon).await;
        daemon.is_present().await;
        close(writer).await;
        told(&mut alice, ALL).await;
        settle(&mut alice, &database, ALL).await;
        for transport in ["notify", "relay", "notify"] {
            let writer = open().await;
            switch(&database, transport).await;
            // others are told by the new way
            let before = sent(&database.client).await;
            database.run("update tasks set done = not done where id = 2").await;
            told(&mut alice, &["task UPDATE 7/2"]).await;
            assert_eq!(sent(&database.client).await - before, i64::from(transport == "relay"));
            close(writer).await;
            told(&mut alice, ALL).await;
            settle(&mut alice, &database, ALL).await;
        }
        assert_eq!(dropped(&database.client).await, 0);
        // and nothing comes late or twice
        database.run("update tasks set done = not done where id = 2").await;
        alice.hears(&["task UPDATE 7/2"]).await;
    }
}

/// Back to notify, and the daemon that relayed is gone: the one that comes finds what waits in the queue, or those who
/// still write by the old way.
#[tokio::test]
async fn a_daemon_that_comes_after_a_return_to_notify_tells_what_was_left() {
    // appended while a daemon lived, and committed when another has come
    let database = silent().await;
    let settings = Settings::new(&database.url);
    let daemon = crate::relay_world::start(&settings).await;
    let writer = connect(&database.url).await;
    writer.batch_execute("begin; update tasks set title = 'x' where id = 1").await.unwrap();
    assert_eq!(queued(&writer).await, 1);
    drop(daemon);
    switch(&database, "notify").await;
    let daemon = settings.start().await;
    let mut alice = daemon.browser("alice", "7").await;
    writer.batch_execute("commit").await.unwrap();
    told(&mut alice, &["task UPDATE 7/1"]).await;
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
    drop((alice, daemon));

    // written while nobody lived
    switch(&database, "relay").await;
    let sessions =
        "select count(*) from pg_stat_activity where datname = current_database() and application_name ~ '^pgherald'";
    until("nobody to live", async || number(&database.client, sessions).await == 0).await;
    writer.batch_execute("begin; update tasks set title = 'y' where id = 1").await.unwrap();
    assert_eq!(queued(&writer).await, 0);
    switch(&database, "notify").await;
    let daemon = settings.start().await;
    let mut alice = daemon.browser("alice", "7").await;
    database.run("update tasks set done = not done where id = 2").await;
    told(&mut alice, &["task UPDATE 7/2"]).await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    writer.batch_execute("commit").await.unwrap();
    loop {
        if alice.short().await == "reconnect notification_dropped" {
            break;
        }
    }
}

/// To relay and back while the daemon hears nothing, and between the two somebody writes. He ends before anybody could see him.
#[tokio::test]
async fn who_told_nobody_between_two_switches_that_were_not_heard_is_made_good() {
    let database = Database::sample().await;
    let (asks, listens) = (Proxy::start(&database.url).await, Proxy::start(&database.url).await);
    let settings = Settings::new(&asks.url(&database.url)).set("database.listen_url", &listens.url(&database.url));
    let daemon = settings.set("database.query_timeout", "2s").start().await;
    let mut alice = daemon.browser("alice", "7").await;
    asks.silence();
    listens.silence();
    until("the silence to be noticed", async || daemon.get("/ready").await.0 == 503).await;
    switch(&database, "relay").await;
    let writer = connect(&database.url).await;
    writer.batch_execute("begin; update tasks set title = 'x' where id = 1").await.unwrap();
    assert_eq!(queued(&writer).await, 0, "nobody is there");
    switch(&database, "notify").await;
    listens.speak();
    assert_eq!(alice.short().await, "reconnect database_reconnected");
    writer.batch_execute("commit").await.unwrap();
    asks.speak();
    assert_eq!(alice.short().await, "reconnect notification_dropped");
}

/// New tables, and those that are watched again, take the transport that is set.
#[tokio::test]
async fn what_is_watched_later_tells_by_the_transport_that_is_set() {
    let World { daemon, database } = crate::relay_world::relayed().await;
    let mut alice = daemon.browser("alice", "7").await;
    database.run("create table notes (id int primary key, project_id int); select pgherald.watch('notes')").await;
    let before = sent(&database.client).await;
    database.run("insert into notes values (1, 7)").await;
    told(&mut alice, &["note INSERT 7/1"]).await;
    assert_eq!(sent(&database.client).await, before + 1);
    switch(&database, "notify").await;
    database.run("select pgherald.watch('notes', mode => 'row'); insert into notes values (2, 7)").await;
    told(&mut alice, &["note INSERT 7/2"]).await;
    assert_eq!(sent(&database.client).await, before + 1);
    switch(&database, "relay").await;
    database.run("insert into notes values (3, 7)").await;
    told(&mut alice, &["note INSERT 7/3"]).await;
    assert_eq!(sent(&database.client).await, before + 2);
    for wrong in ["null", "'other'", "''"] {
        let refused =
            database.client.batch_execute(&format!("select pgherald.set_transport({wrong})")).await.unwrap_err();
        assert!(refused.as_db_error().unwrap().message().contains("cannot set the transport"), "{refused:?}");
    }
}

/// A table that cannot be written anew holds up no other, and who could not be rewritten is named and relayed for.
#[tokio::test]
async fn triggers_that_cannot_be_rewritten_are_named_and_relayed_for() {
    let database = silent().await;
    database
        .run(
            "create table notes (id int primary key, project_id int); select pgherald.watch('notes');
             create table gone (id int primary key, project_id int); select pgherald.watch('gone');
             comment on trigger pgherald_truncate on notes is 'mine'",
        )
        .await;
    // a column that its functions need
    database.run("alter table gone drop column project_id cascade").await;
    let settings = Settings::new(&database.url);
    drop(crate::relay_world::start(&settings).await);
    database.run("select pgherald.set_transport('notify')").await;
    let appending = "select string_agg(a::text, ', ' order by a::text) from pgherald.appending() a";
    let named: String = database.client.query_one(appending, &[]).await.unwrap().get(0);
    assert_eq!(named, "gone, notes");
    let output = crate::commands::run(&settings, &["transport", "notify"]).await;
    let (said, warned) = (crate::commands::text(&output.stdout), crate::commands::text(&output.stderr));
    assert!(said.contains("were rewritten all the same, but for those in the warnings"), "{said}");
    assert!(said.contains("watch or unwatch gone, notes"), "{said}");
    for warning in
        ["public.gone: its trigger functions could not be rewritten", "public.notes: its triggers still append"]
    {
        assert!(warned.contains(&format!("pgherald: warning: {warning}")), "{warned}");
    }
    // by a daemon that has never heard of a relay
    let daemon = crate::relay_world::start(&settings).await;
    until_relays(&daemon).await;
    let mut alice = daemon.browser("alice", "7").await;
    database.run("insert into notes values (1, 7)").await;
    told(&mut alice, &["note INSERT 7/1"]).await;
    assert_eq!(sent(&database.client).await, 1);
    database.run("update tasks set done = not done where id = 1").await;
    told(&mut alice, &["task UPDATE 7/1"]).await;
    assert_eq!(sent(&database.client).await, 1, "the others notify");
}

#[tokio::test]
async fn snapshots_from_before_a_switch_are_refused() {
    let database = silent().await;
    database.run("create table notes (id int primary key, project_id int)").await;
    let old = connect(&database.url).await;
    old.batch_execute("begin isolation level repeatable read; select count(*) from tasks").await.unwrap();
    let refused = old.batch_execute("select pgherald.set_transport('notify')").await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.message(), "cannot set the transport in a transaction that is repeatable read");
    assert!(refused.hint().unwrap().contains("begin isolation level read committed"));
    old.batch_execute("rollback; begin isolation level repeatable read; select count(*) from tasks").await.unwrap();
    switch(&database, "notify").await;
    let refused = old.batch_execute("select pgherald.watch('notes')").await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "40001", "{refused:?}");
    // tried again it sees what is set
    old.batch_execute("rollback; begin isolation level repeatable read; select pgherald.watch('notes'); commit")
        .await
        .unwrap();
    assert_eq!(number(&database.client, "select count(*) from pgherald.appending()").await, 0);
    // the command chooses its own
    let url = format!("{}?options=-cdefault_transaction_isolation%3Dserializable", &*database.url);
    crate::commands::succeeds(&Settings::new(&url), &["transport", "relay"]).await;
}

/// Writers that found nobody there, between two looks of a daemon.
#[tokio::test]
async fn what_was_told_to_nobody_is_made_good_after_a_return_to_notify() {
    let database = Database::sample().await;
    let daemon = Settings::new(&database.url).start().await;
    let mut alice = daemon.browser("alice", "7").await;
    daemon.signal("STOP").await;
    database
        .run(
            "do $$ begin
                perform pgherald.set_transport('relay'); commit;
                update tasks set done = not done where id = 1; commit;
                perform pgherald.set_transport('notify');
            end $$",
        )
        .await;
    daemon.signal("CONT").await;
    alice.hears(&["reconnect notification_dropped"]).await;
}

#[tokio::test]
async fn a_daemon_that_may_not_relay_makes_good_what_it_could_not_hear() {
    let database = silent().await;
    let role = crate::world::unique("nobody");
    database
        .run(&format!("create role {role} login; grant usage on schema public to {role}; grant select on project_members to {role}"))
        .await;
    let mut url = reqwest::Url::parse(&database.url).unwrap();
    url.set_username(&role).unwrap();
    let daemon = Settings::new(url.as_str()).set("database.heartbeat_interval", "10s").start().await;
    until("the daemon to have looked", async || daemon.log().contains("may not relay")).await;
    let mut alice = daemon.browser("alice", "7").await;
    database.run("update tasks set done = not done where id = 1").await;
    let writer = connect(&database.url).await;
    writer.batch_execute("begin; update tasks set done = not done where id = 2").await.unwrap();
    database.run("select pgherald.set_transport('notify')").await;
    alice.hears(&["reconnect notification_dropped"]).await;
    // and once more what was in flight then
    writer.batch_execute("commit").await.unwrap();
    alice.hears(&["reconnect notification_dropped"]).await;
    drop((daemon, alice));
    crate::relay_world::forget(&database, &role).await;
}

/// It goes on with the old body of its trigger, and has none of the locks yet that tell of it.
#[tokio::test]
async fn a_statement_that_runs_across_a_return_to_notify_is_heard_by_a_daemon_that_was_restarted() {
    let World { daemon, database } = crate::relay_world::relayed().await;
    let writer = connect(&database.url).await;
    let update = "update tasks set done = not done where id = 1 and pg_advisory_xact_lock_shared(99) is not null";
    writer.batch_execute(update).await.unwrap();
    until("that to be sent on", async || queued(&database.client).await == 0).await;
    database.run("select pg_advisory_lock(99)").await;
    let writing = tokio::spawn(async move { writer.batch_execute(update).await });
    let waits = "select count(*) from pg_locks where locktype = 'advisory' and objid = 99 and not granted
                    and database = (select oid from pg_database where datname = current_database())";
    until("the writer to write", async || number(&database.client, waits).await == 1).await;
    switch(&database, "notify").await;
    drop(daemon);
    let daemon = crate::relay_world::start(&Settings::new(&database.url)).await;
    let mut alice = daemon.browser("alice", "7").await;
    database.run("select pg_advisory_unlock(99)").await;
    writing.await.unwrap().unwrap();
    told(&mut alice, &["task UPDATE 7/1"]).await;
    // it is not for ever
    database.run("update pgherald.transport set changed_at = changed_at - interval '1 hour'").await;
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
    assert_eq!(number(&database.client, "pgherald.relay_wanted()::int").await, 0);
}
