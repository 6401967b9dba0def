//! No writer is ever hurt: where a notification cannot be sent, the write commits, the loss is counted, and every session
//! is told to ask again.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::witness::{TRANSPORTS, Transport, Witness};
use crate::world::{World, connect, unique};

/// A key that is too long for one notification, so that `pgherald.split` is needed.
pub const WORDS: &str = "create table words (id text primary key, project_id int); select pgherald.watch('words');";

/// What the sessions are told first when `broken` has been done to the sample application and a role without any rights
/// but to its tables then writes. The write commits, and `holds` is true afterwards.
pub async fn first_told(transport: Transport, broken: &str, write: &str, holds: &str) -> String {
    let world = World::by(transport).await;
    first_told_in(world, broken, write, holds).await
}

/// The same in this world.
pub async fn first_told_in(world: World, broken: &str, write: &str, holds: &str) -> String {
    let mut alice = world.daemon.browser("alice", "7").await;
    world.run(WORDS).await;
    let role = unique("writer");
    world.run(broken).await;
    world.run(&format!("create role {role}; grant all on all tables in schema public to {role}")).await;
    let writer = connect(&world.database.url).await;
    writer.batch_execute(&format!("set role {role}")).await.unwrap();
    writer.batch_execute(write).await.unwrap_or_else(|error| panic!("{broken}: {write}: {error:?}"));
    let began = Instant::now();
    let row = world.database.client.query_one(&format!("select {holds}"), &[]).await.unwrap();
    let lost: i64 = world.database.client.query_one(&format!("select {LOST}"), &[]).await.unwrap().get(0);
    assert!(row.get::<_, bool>(0), "{broken}: {holds}, lost {lost}: {}", world.daemon.log());
    let told = alice.short().await;
    // A heartbeat of the tests is 0.5 s; a slow machine gets much more.
    assert!(began.elapsed() < Duration::from_secs(20), "{broken}: told after {:?}", began.elapsed());
    world.run(&format!("drop owned by {role}; drop role {role}")).await;
    told
}

/// The number of losses, as the daemon reads it.
pub const LOST: &str = "coalesce(pg_sequence_last_value(to_regclass('pgherald.dropped')), 0)";

/// Each of these costs one notification.
pub async fn loses(transport: Transport, cases: &[(&str, &str, &str)]) {
    let each = cases.iter().map(|(broken, write, holds)| async move {
        let told = first_told(transport, broken, write, &format!("{holds} and {LOST} = 1")).await;
        assert_eq!(told, "reconnect notification_dropped", "{transport:?} {broken}");
    });
    join_all(each).await;
}

pub const DONE: &str = "update tasks set done = true where title like 'Choose%'";
pub const IS_DONE: &str = "(select done from tasks where title like 'Choose%')";

/// What needs more than the short cut.
pub const LONG: (&str, &str) =
    ("insert into words values (repeat('x', 9000), 7)", "exists (select from words where length(id) = 9000)");

#[tokio::test]
async fn columns_that_were_changed_beneath_us() {
    for transport in TRANSPORTS {
        loses(transport, &[
        ("alter table tasks rename project_id to project", DONE, IS_DONE),
        ("alter table tasks rename id to task_id", DONE, IS_DONE),
        ("alter table tasks drop column project_id", DONE, IS_DONE),
        ("alter table tasks drop column id", DONE, IS_DONE),
        ("alter table tasks drop constraint tasks_project_id_fkey, alter project_id type text using 'p-' || project_id", DONE, IS_DONE),
        ("alter table tasks drop constraint tasks_project_id_fkey, alter project_id type int[] using array[project_id]", DONE, IS_DONE),
        ("alter table tasks alter id drop identity; alter table tasks alter id type text using 't-' || id", DONE, IS_DONE),
        // too many digits for the type that it had
        ("alter table tasks alter id drop identity; alter table tasks alter id type numeric using id + 1e30", DONE, IS_DONE),
    ])
    .await;
    }
}

#[tokio::test]
async fn rights_functions_and_casts_that_were_changed_beneath_us() {
    let (long, is_long) = LONG;
    loses(
        Transport::Notify,
        &[
            ("revoke execute on function pg_notify(text, text) from public", DONE, IS_DONE),
            ("revoke execute on function pg_notification_queue_usage() from public", DONE, IS_DONE),
            ("revoke execute on function pgherald.split(text[]) from public", long, is_long),
            ("drop function pgherald.split", long, is_long),
            (
                "create or replace function pgherald.split(payloads text[]) returns text[] language plpgsql
                 as 'begin raise exception ''broken''; end'",
                long,
                is_long,
            ),
            // casts of somebody else's between types of PostgreSQL's own, and one that PostgreSQL has itself
            (
                "create function boom(int8) returns text language plpgsql as 'begin raise ''hijacked''; end';
             create function boom(int4) returns text language plpgsql as 'begin raise ''hijacked''; end';
             create cast (int8 as text) with function boom(int8); create cast (int4 as text) with function boom(int4)",
                // a single row needs no cast
                "update tasks set done = true",
                IS_DONE,
            ),
            (
                "create function boom(uuid) returns text language plpgsql as 'begin raise ''hijacked''; end';
             create cast (uuid as text) with function boom(uuid)",
                "update sprints set name = 'x' where project_id = 7",
                "exists (select from sprints where name = 'x')",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_id_of_ten_kilobytes_is_told_as_the_whole_resource() {
    for transport in TRANSPORTS {
        for write in [
            "insert into words values (repeat('x', 10240), 7)",
            "insert into words values (repeat(E'\\x01\"\\\\', 10240), 7), ('b', 7)",
        ] {
            let told = first_told(transport, "select 1", write, &format!("{LOST} = 0")).await;
            assert_eq!(told, "word INSERT 7/*", "{transport:?}");
        }
    }
}

#[tokio::test]
async fn one_loss_in_a_transaction_takes_nothing_else_with_it() {
    for transport in TRANSPORTS {
        let world = World::by(transport).await;
        let mut alice = world.daemon.browser("alice", "7").await;
        world.run("alter table sprints rename id to key; begin; update tasks set done = true where id = 1; update sprints set name = 'x'; update tasks set done = true where id = 2; commit").await;
        let mut told = vec![alice.short().await, alice.short().await, alice.short().await];
        told.sort();
        assert_eq!(told, ["reconnect notification_dropped", "task UPDATE 7/1", "task UPDATE 7/2"]);
        // and the next watch mends it
        world.run("select pgherald.refresh(); update sprints set name = 'y' where project_id = 7").await;
        while alice.short().await != "sprint UPDATE 7/00000000-0000-4000-8000-000000000007" {}
    }
}

#[tokio::test]
async fn a_trigger_function_that_somebody_rewrote_is_put_right_by_the_next_watch() {
    let world = World::new().await;
    let mut alice = world.daemon.browser("alice", "7").await;
    world
        .run(
            "do $$ declare f regproc; begin
                 select tgfoid::regproc into f from pg_trigger where tgrelid = 'tasks'::regclass and tgname = 'pgherald_update';
                 execute format('create or replace function %s() returns trigger language plpgsql as %L', f, 'begin raise ''broken''; end');
             end $$",
        )
        .await;
    // nobody but the installer can do that, and nothing of ours runs then
    assert!(world.database.client.batch_execute(DONE).await.is_err());
    world.run("select pgherald.refresh()").await;
    world.run(DONE).await;
    alice.hears(&["task UPDATE 7/2"]).await;
}

/// Nothing is counted where the counting itself has no rights or fails: then nobody is told.
#[tokio::test]
async fn a_loss_that_cannot_be_counted_is_told_all_the_same() {
    let long = "insert into words values (repeat('x', 9000), 7)";
    let done = "update tasks set done = true where id = 1";
    for (broken, write) in [
        ("revoke usage on schema pgherald from public", long),
        ("revoke execute on all functions in schema pgherald from public", long),
        (
            "revoke execute on function pgherald.count_dropped(oid, text) from public; alter table tasks rename project_id to p",
            done,
        ),
        ("drop function pgherald.count_dropped(oid, text); alter table tasks rename project_id to p", done),
        ("drop sequence pgherald.dropped; alter table tasks rename project_id to p", done),
    ] {
        for transport in TRANSPORTS {
            let told = first_told(transport, broken, write, "true").await;
            assert!(told.ends_with("/*") || told == "reconnect notification_dropped", "{transport:?} {broken}: {told}");
        }
    }
}

/// The cast to the type of the day before yesterday names other rows than those that changed, and other projects: their
/// sessions learn an id that is none of theirs, and those of the right project learn nothing.
#[tokio::test]
async fn a_retyped_column_is_told_as_it_reads_or_counted() {
    for transport in TRANSPORTS {
        for (column, kind, value, reads) in [
            ("project_id", "text", "1, '007'", "007/1"),
            ("project_id", "numeric", "1, 7.6", "7.6/1"),
            ("id", "text", "'007', 7", "7/007"),
            ("id", "numeric", "1.5, 7", "7/1.5"),
            ("id", "double precision", "1e-3, 7", "7/0.001"),
            ("id", "jsonb", "'2.5', 7", "7/2.5"),
        ] {
            let setup =
                "create table tasks (id int primary key, project_id int, n int); select pgherald.watch('tasks')";
            let mut witness = Witness::by(transport, setup).await;
            let retype = format!("alter table tasks alter {column} type {kind} using to_json({column})::text::{kind}");
            witness.run(&retype).await;
            for (write, action) in
                [(format!("insert into tasks values ({value})"), "INSERT"), ("update tasks set n = 1".into(), "UPDATE")]
            {
                let before = witness.dropped().await;
                let told = witness.covers(&write).await;
                let right = told == [format!("tasks {action} {reads}")].into()
                    || told == [format!("tasks {action} 7/*")].into()
                    || witness.dropped().await == before + 1;
                assert!(right, "{column} as {kind}: {told:?}");
            }
        }
    }
}

/// The name that an oid reads as then may have quotes.
#[tokio::test]
async fn an_oid_that_becomes_a_regclass_is_told_as_its_number() {
    for transport in TRANSPORTS {
        let setup =
            r#"create table "Tasks" (id oid primary key, project_id oid, n int); select pgherald.watch('"Tasks"')"#;
        let mut witness = Witness::by(transport, setup).await;
        witness.run(r#"alter table "Tasks" alter id type regclass, alter project_id type regclass"#).await;
        let number: u32 = witness.client.query_one(r#"select '"Tasks"'::regclass::oid"#, &[]).await.unwrap().get(0);
        for (write, action) in [
            (r#"insert into "Tasks" values ('"Tasks"', '"Tasks"')"#, "INSERT"),
            (r#"update "Tasks" set n = 1"#, "UPDATE"),
            (r#"delete from "Tasks""#, "DELETE"),
        ] {
            let told = witness.covers(write).await;
            assert_eq!(told, [format!("Tasks {action} {number}/{number}")].into());
        }
        assert_eq!(witness.dropped().await, 0);
    }
}
