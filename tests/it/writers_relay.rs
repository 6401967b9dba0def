//! No writer is hurt by the queue of the relay, whatever was done to it: the write commits, at once, and what cannot be
//! appended is counted.

use std::time::{Duration, Instant};

use pgherald::scratch::Scratch;

use crate::relay_world::dropped;
use crate::witness::{Transport, Witness};
use crate::world::{Database, Settings, World, connect, options, until};
use crate::writers::{DONE, IS_DONE, LONG, LOST, first_told_in, loses};

#[tokio::test]
async fn a_queue_that_was_changed_beneath_us() {
    loses(
        Transport::Relay,
        &[
            ("revoke insert (payload) on pgherald.queue_0 from public", DONE, IS_DONE),
            ("alter table pgherald.queue_0 enable row level security", DONE, IS_DONE),
            ("alter table pgherald.queue_0 add check (payload is null)", DONE, IS_DONE),
            ("alter table pgherald.queue_0 add column more int not null", DONE, IS_DONE),
            ("alter table pgherald.queue_0 rename to another", DONE, IS_DONE),
            ("drop table pgherald.queue_0", DONE, IS_DONE),
            ("drop table pgherald.queue cascade", DONE, IS_DONE),
            (
                "create function no() returns trigger language plpgsql as 'begin raise ''no''; end';
                 create trigger no before insert on pgherald.queue_0 for each row execute function no()",
                DONE,
                IS_DONE,
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn sequences_and_functions_of_the_queue_that_were_changed_beneath_us() {
    let (long, is_long) = LONG;
    loses(
        Transport::Relay,
        &[
            ("drop sequence pgherald.queue_slot", DONE, IS_DONE),
            ("revoke execute on function pg_try_advisory_xact_lock_shared(int, int) from public", DONE, IS_DONE),
            ("revoke execute on function pg_sequence_last_value(regclass) from public", DONE, IS_DONE),
            ("revoke execute on function pgherald.append(text[]) from public", long, is_long),
            ("drop function pgherald.append(text[])", long, is_long),
            ("revoke execute on function pg_current_wal_insert_lsn() from public", DONE, IS_DONE),
            ("revoke execute on function pgherald.split(text[]) from public", long, is_long),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_bell_that_cannot_be_rung() {
    let cases = [
        "revoke execute on function pg_notify(text, text) from public",
        "revoke execute on function pg_notification_queue_usage() from public",
        "revoke execute on function pgherald.ring() from public",
        "drop function pgherald.ring()",
        "create or replace function pgherald.ring() returns void language plpgsql as 'begin raise ''no''; end'",
    ];
    let each = cases.map(|broken| async move {
        let world = World::by(Transport::Relay).await;
        world.daemon.is_relay("asleep").await;
        let told = first_told_in(world, broken, DONE, &format!("{IS_DONE} and {LOST} = 1")).await;
        assert_eq!(told, "reconnect notification_dropped", "{broken}");
    });
    futures_util::future::join_all(each).await;
}

/// Whoever repairs or moves the tables of the queue holds up nobody who has a limit, and costs him nothing but the hint.
#[tokio::test]
async fn a_queue_that_is_locked() {
    let world = World::by(Transport::Relay).await;
    let mut alice = world.daemon.browser("alice", "7").await;
    let holder = connect(&world.database.url).await;
    holder.batch_execute("begin; lock table only pgherald.queue_0 in share mode").await.unwrap();
    let began = Instant::now();
    world.run("set lock_timeout = '50ms'; update tasks set done = true where id = 1").await;
    assert!(began.elapsed() < Duration::from_secs(20), "waited {:?}", began.elapsed());
    alice.hears(&["reconnect notification_dropped"]).await;
    holder.batch_execute("commit").await.unwrap();
    world.run("update tasks set done = true where id = 2").await;
    while alice.short().await != "task UPDATE 7/2" {}
}

/// NOTIFY is allowed in a transaction that only reads, an append is not.
#[tokio::test]
async fn a_transaction_that_only_reads_may_tell() {
    let mut witness = Witness::new("").await;
    let call = "select pgherald.notify('task', '1', 'UPDATE', '7')";
    let read_only = format!("begin read only; {call}; commit");
    assert_eq!(witness.says(&read_only).await, [r#"task UPDATE 7 ["1"]"#]);

    let world = World::by(Transport::Relay).await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world.run(&read_only).await;
    alice.hears(&["task UPDATE 7/1"]).await;
    // one that has written may read only from then on
    world.run("begin; update tasks set done = true where id = 1; set transaction read only; commit").await;
    alice.hears(&["task UPDATE 7/1"]).await;
}

#[tokio::test]
async fn no_room_for_another_lock() {
    // where transactions may be prepared the relay stays awake: a bell needs a lock that nobody could get
    let few = options().setting("max_locks_per_transaction", "10").setting("max_prepared_transactions", "1");
    let few = few.setting("max_connections", "20");
    let server = Scratch::start(&few).await.unwrap();
    let database = Database::on(server.url()).await.with_sample().await;
    database.run("select pgherald.set_transport('relay')").await;
    let daemon = Settings::new(&database.url).set("database.pool_connections", "2").start().await;
    daemon.is_present().await;
    let mut alice = daemon.browser("alice", "7").await;
    database.run("update tasks set done = true where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
    // one that has what any writer needs
    let writer = connect(&database.url).await;
    writer.batch_execute("begin; update tasks set done = true where id = 1").await.unwrap();
    let greedy = connect(&server.url()).await;
    until("a hint that found no room", async || {
        // others end, and then there is some again
        let all =
            greedy.batch_execute("select pg_advisory_lock(n) from generate_series(1, 1000000) n").await.unwrap_err();
        assert!(all.as_db_error().unwrap().message().contains("shared memory"), "{all:?}");
        writer.batch_execute("update tasks set done = true where id = 2").await.unwrap();
        dropped(&database.client).await == 1
    })
    .await;
    greedy.batch_execute("select pg_advisory_unlock_all()").await.unwrap();
    // the daemon may have found no room either, and then has to connect again
    until("the daemon to hear", async || daemon.metric("pgherald_listener_up").await == 1.0).await;
    alice.send(&serde_json::json!({ "type": "ping" })).await;
    while alice.short().await != "pong" {}
    writer.batch_execute("commit").await.unwrap();
    let mut told = vec![];
    while !(told.iter().any(|frame: &String| frame.starts_with("reconnect "))
        && told.contains(&"task UPDATE 7/1".into()))
    {
        told.push(alice.short().await);
    }
    // who told nobody meanwhile has everybody told to refetch
    until("rows to be told again", async || {
        database.run("update tasks set done = not done where id = 2").await;
        alice.short().await == "task UPDATE 7/2"
    })
    .await;
    drop((alice, daemon, database, writer, greedy));
    server.shutdown().await.unwrap();
}

/// Nothing of the queue is ever published, so it needs no identity of its rows.
#[tokio::test]
async fn publications_of_all_tables() {
    let world = World::by(Transport::Relay).await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world.run("set client_min_messages = error; create publication everything for all tables").await;
    let row = world.database.client.query_one("select current_setting('server_version_num')::int >= 150000", &[]).await;
    if row.unwrap().get(0) {
        world.run("create publication ours for tables in schema pgherald").await;
    }
    world.run("update tasks set done = true where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
    for transport in ["notify", "relay"] {
        world
            .run(&format!("select pgherald.set_transport('{transport}'); update tasks set done = true where id = 2"))
            .await;
        alice.hears(&["task UPDATE 7/2"]).await;
    }
}

#[tokio::test]
async fn tables_of_the_same_name() {
    let mut witness = Witness::by(
        Transport::Relay,
        "create table queue (id int primary key, project_id int); create table queue_0 (id int primary key, project_id int);
         select pgherald.watch('queue'), pgherald.watch('queue_0');
         create temporary table queue_1 (id int, payload text); create temporary table transport (transport text);
         create temporary sequence queue_slot",
    )
    .await;
    let writes = "insert into queue values (1, 7); insert into queue_0 values (1, 7), (2, 8);
        create temporary table queue_0 (id int, payload text); create temporary table queue (id int, payload text);
        insert into public.queue values (2, 7); select pgherald.notify('note', '1', 'UPDATE', '7')";
    let told = ["note UPDATE 7/1", "queue INSERT 7/1", "queue INSERT 7/2", "queue_0 INSERT 7/1", "queue_0 INSERT 8/2"];
    assert_eq!(witness.covers(writes).await, told.map(str::to_owned).into());
    assert_eq!(witness.dropped().await, 0);
}

/// Applications ask for the id that a session was given last.
#[tokio::test]
async fn the_last_value_of_a_session_is_the_applications() {
    for transport in [Transport::Notify, Transport::Relay] {
        let world = World::by(transport).await;
        world.run("create table orders (id serial primary key, project_id int); select pgherald.watch('orders')").await;
        for (sql, last) in [
            ("insert into orders (project_id) values (7)", 1),
            ("update orders set project_id = 8", 1),
            ("insert into orders (project_id) select i from generate_series(1, 50) i", 51),
            ("insert into orders (project_id) values (7); select pgherald.notify('report', 'a', 'UPDATE', '7')", 52),
        ] {
            world.run(sql).await;
            let row = world.database.client.query_one("select lastval(), currval('orders_id_seq')", &[]).await.unwrap();
            assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (last, last), "{transport:?} {sql}");
        }
        // nor where the trigger fails
        world.run("alter table orders rename project_id to project; insert into orders (project) values (7)").await;
        let row =
            world.database.client.query_one("select lastval(), last_value from pgherald.dropped", &[]).await.unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (53, 1), "{transport:?}");
    }
}

/// What a database is set to is neither the relay's business nor that of a lone daemon.
#[tokio::test]
async fn settings_of_the_whole_database() {
    let database = Database::sample().await;
    database.run("select pgherald.set_transport('relay')").await;
    let sets = "do $$ declare s text; begin
        foreach s in array array['default_transaction_isolation = serializable', 'default_transaction_deferrable = on',
                'statement_timeout = 2000', 'lock_timeout = 1', 'idle_in_transaction_session_timeout = 10', 'search_path = nowhere',
                'session_replication_role = replica', 'row_security = off', 'synchronous_commit = on', 'quote_all_identifiers = on',
                'standard_conforming_strings = off', 'client_min_messages = log', 'enable_seqscan = off', 'jit_above_cost = 0'] loop
            execute format('alter database %I set %s', current_database(), s);
        end loop; end $$";
    database.run(sets).await;
    let query = "select from public.project_members where project_id::text = $1 and user_id::text = $2";
    let settings = Settings::new(&database.url).set("database.heartbeat_timeout", "10s");
    let daemon = settings.set("authorize.query", query).start().await;
    daemon.is_present().await;
    let mut alice = daemon.browser("alice", "7").await;
    let writer = connect(&database.url).await;
    writer.batch_execute("reset session_replication_role; set session_replication_role = origin").await.unwrap();
    let write = |done: bool| format!("begin read write; update public.tasks set done = {done} where id = 1; commit");
    writer.batch_execute(&write(true)).await.unwrap();
    alice.hears(&["task UPDATE 7/1"]).await;
    // longer than any of these limits
    daemon.is_relay("asleep").await;
    writer.batch_execute(&write(false)).await.unwrap();
    alice.hears(&["task UPDATE 7/1"]).await;
    assert_eq!(daemon.metric("pgherald_relay_elections_total").await, 1.0, "{}", daemon.log());
}

#[tokio::test]
async fn serializable_writers_beside_each_other() {
    let mut witness = Witness::by(
        Transport::Relay,
        "create table tasks (id int, project_id int); select pgherald.watch('tasks', id => array['id'])",
    )
    .await;
    let writers = (0..8).map(|writer| {
        let url = witness.url.clone();
        async move {
            let client = connect(&url).await;
            for n in 0..20 {
                let id = writer * 100 + n;
                let sql = format!(
                    "begin isolation level serializable; insert into tasks values ({id}, {writer}); select pg_sleep(0.002);
                     insert into tasks values ({id}, {writer}); commit"
                );
                client.batch_execute(&sql).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(writers).await;
    assert_eq!(witness.covered().await.len(), 160);
    assert_eq!(witness.dropped().await, 0);
}

#[tokio::test]
async fn prepared_transactions() {
    let server = Scratch::start(&options().setting("max_prepared_transactions", "4")).await.unwrap();
    let database = Database::on(server.url()).await;
    let mut witness = Witness::on(
        database,
        Transport::Relay,
        "create table tasks (id int primary key, project_id int); select pgherald.watch('tasks')",
    )
    .await;
    // longer than a relay stays awake without rows
    tokio::time::sleep(Duration::from_millis(700)).await;
    witness.run("begin; insert into tasks values (1, 7); prepare transaction 'kept'").await;
    witness.run("begin; insert into tasks values (2, 7); prepare transaction 'gone'").await;
    assert!(witness.covered().await.is_empty());
    let ended = "rollback prepared 'gone'; commit prepared 'kept'";
    for statement in ended.split("; ") {
        witness.run(statement).await;
    }
    assert_eq!(witness.covered().await, ["tasks INSERT 7/1".to_owned()].into());
    assert_eq!(witness.dropped().await, 0);
    drop(witness);
    server.shutdown().await.unwrap();
}

/// Its daemon is there, so the writers append, and nothing comes of it.
#[tokio::test]
async fn a_relay_that_cannot_relay() {
    let world = World::by(Transport::Relay).await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world.run("alter function pgherald.relay(int, int) rename to unknown").await;
    let relay = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name = 'pgherald relay'";
    world.run(relay).await;
    for _ in 0..2 {
        world.run("update tasks set done = true where id = 1").await;
        alice.hears(&["reconnect notification_dropped"]).await;
    }
    world.run("alter function pgherald.unknown(int, int) rename to relay").await;
    while alice.short().await != "task UPDATE 7/1" {}
}

/// A connection that is lost now and then is not waited for longer each time.
#[tokio::test]
async fn connections_that_are_lost_again_and_again() {
    let world = World::by(Transport::Relay).await;
    let connections = "select count(*) from pg_locks l join pg_stat_activity a using (pid)
        where a.datname = current_database() and a.application_name like 'pgherald %' and l.locktype = 'advisory' and l.granted and l.objid in (1, 3, 11, 12, 13)";
    let end = "select array_agg(pid) from (select pid, pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name like 'pgherald %' offset 0) ended";
    let gone = "select not exists (select from pg_stat_activity where pid = any($1))";
    let client = &world.database.client;
    for _ in 0..12 {
        let there = async || client.query_one(connections, &[]).await.unwrap().get::<_, i64>(0) == 2;
        until("both connections", there).await;
        world.daemon.is_present().await;
        // one step at least
        tokio::time::sleep(Duration::from_millis(100)).await;
        let ended: Vec<i32> = client.query_one(end, &[]).await.unwrap().get(0);
        until("their end", async || client.query_one(gone, &[&ended]).await.unwrap().get(0)).await;
    }
    let delays = || -> Vec<u64> {
        let log = world.daemon.log();
        let facts = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        facts.filter_map(|fact| fact["delay_ms"].to_string().trim_matches('"').parse().ok()).collect()
    };
    until("each loss to be logged", async || delays().len() >= 23).await;
    let delays = delays();
    assert!(delays.iter().all(|delay| *delay <= 100), "{delays:?} {}", world.daemon.log());
}
