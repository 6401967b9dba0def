//! What must hold, and does not yet. Not in main.rs: a test goes to its own file when the product is mended.

use crate::witness::{Witness, told};

/// PostgreSQL puts a row that MERGE moves into the transition tables of INSERT and DELETE, and fires the UPDATE trigger.
#[tokio::test]
async fn merge_that_moves_a_row_to_another_partition_since_15() {
    told(
        "create table days (id int, project_id int, day int, primary key (id, day)) partition by list (day);
         create table day1 partition of days for values in (1); create table day2 partition of days default;
         insert into days values (1, 7, 1), (2, 7, 1), (3, 7, 1);
         select pgherald.watch('days'$mode)",
        &[
            // nothing is told at all
            (
                "merge into days d using (values (1)) v(id) on d.id = v.id when matched then update set day = 2, project_id = 8",
                "days UPDATE 7/1:1 8/1:2 | days DELETE 7/1:1, days INSERT 8/1:2",
            ),
            // the row that went, and its project, are not told
            (
                "merge into days d using (values (2), (4)) v(id) on d.id = v.id
                  when matched then update set day = 2, project_id = 8 when not matched then insert values (v.id, 9, 1)",
                "days UPDATE 7/2:1 8/2:2, days INSERT 9/4:1 | days DELETE 7/2:1, days INSERT 8/2:2 9/4:1",
            ),
        ],
    )
    .await;
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
        let told = crate::writers::first_told(broken, write, "true").await;
        assert!(told.ends_with("/*") || told == "reconnect notification_dropped", "{broken}: {told}");
    }
}

/// Types are looked for in pg_temp first, also under `set search_path = ''`: anybody who may make a temporary type runs
/// code with the rights of whoever installed pgherald.
#[tokio::test]
async fn functions_with_definer_rights_run_nothing_of_their_callers() {
    let role = crate::world::unique("low");
    for call in [
        "count_dropped(1, 'x')",
        "drop_unused('{}')",
        "generate('tasks'::pg_catalog.regclass)",
        "watch('tasks'::pg_catalog.regclass)",
    ] {
        let witness =
            Witness::new("create table tasks (id int primary key, project_id int); create table ran_as (role text)")
                .await;
        let sql = format!(
            "create role {role}; grant all on schema public to {role}; alter table tasks owner to {role}; grant insert on ran_as to {role};
             set role {role};
             create function pg_temp.f(oid) returns bool language plpgsql as
                 'begin insert into public.ran_as values (current_user); return true; end';
             create domain pg_temp.regclass as oid check (pg_temp.f(value));
             create domain pg_temp.regrole as oid check (pg_temp.f(value));
             create domain pg_temp.regprocedure as oid check (pg_temp.f(value))"
        );
        witness.run(&sql).await;
        let called = witness.client.batch_execute(&format!("select pgherald.{call}")).await;
        witness.run("reset role; discard temp").await;
        let ran = witness.get("select string_agg(distinct role, ',') from ran_as").await;
        witness.run(&format!("drop owned by {role} cascade; drop role {role}")).await;
        assert_eq!(ran, "null", "{call}");
        called.unwrap();
    }
}

/// A temporary type of the writer's stands before PostgreSQL's own.
#[tokio::test]
async fn temporary_types_of_the_writer_cost_no_notification() {
    let mut witness = Witness::new("create table words (id text primary key, project_id int); select pgherald.watch('words');
        create type pg_temp.text as enum ('x'); create type pg_temp.json as enum ('x'); create type pg_temp.regclass as enum ('x')").await;
    let told = witness.covers("insert into words values (repeat('x', 9000), 7)").await;
    assert_eq!(told, ["words INSERT 7/*".to_owned()].into());
}

/// The cast to the type of the day before yesterday names other rows than those that changed, and other projects: their
/// sessions learn an id that is none of theirs, and those of the right project learn nothing.
#[tokio::test]
async fn a_retyped_column_is_told_as_it_reads_or_counted() {
    for (column, kind, value, reads) in [
        ("project_id", "text", "1, '007'", "007/1"),
        ("project_id", "numeric", "1, 7.6", "7.6/1"),
        ("id", "text", "'007', 7", "7/007"),
        ("id", "numeric", "1.5, 7", "7/1.5"),
        ("id", "double precision", "1e-3, 7", "7/0.001"),
        ("id", "jsonb", "'2.5', 7", "7/2.5"),
    ] {
        let setup = "create table tasks (id int primary key, project_id int); select pgherald.watch('tasks')";
        let mut witness = Witness::new(setup).await;
        let retype = format!("alter table tasks alter {column} type {kind} using to_json({column})::text::{kind}");
        witness.run(&retype).await;
        let told = witness.covers(&format!("insert into tasks values ({value})")).await;
        let whole = ["tasks INSERT 7/*".to_owned()].into();
        let right = told == [format!("tasks INSERT {reads}")].into() || told == whole || witness.dropped().await == 1;
        assert!(right, "{column} as {kind}: {told:?}");
    }
}

/// The daemon reads no such name, so every change of that table is untold.
#[tokio::test]
async fn names_with_control_characters_are_told_or_refused() {
    for setup in [
        "create table \"a\tb\" (id int primary key, project_id int); select pgherald.watch('\"a\tb\"')",
        "create table \"a\tb\" (id int primary key, project_id int); select pgherald.watch('\"a\tb\"', resource => E'c\\nd')",
    ] {
        let mut witness = Witness::new("").await;
        if witness.client.batch_execute(setup).await.is_ok() {
            // panics where the daemon's parser refuses
            assert_eq!(witness.covers("insert into \"a\tb\" values (1, 7)").await.len(), 1);
        }
    }
}

/// The partition is told as failed, although its parent takes it over in the same run.
#[tokio::test]
async fn a_refresh_takes_over_an_attached_table_that_was_watched_by_itself_and_says_so() {
    let witness = Witness::new(
        "create table p (id int, project_id int, primary key (id, project_id)) partition by list (project_id);
         create table a (id int, project_id int, primary key (id, project_id)); select pgherald.watch('p'), pgherald.watch('a');
         alter table p attach partition a for values in (7)",
    )
    .await;
    let said = witness
        .get("select string_agg(concat(relation, ' ', outcome), ', ' order by relation::text) from pgherald.refresh()")
        .await;
    assert!(!said.contains("failed"), "{said}");
}

/// "cannot collect transition tuples from child foreign tables": the application's own writes fail once a foreign table is
/// attached below a watched one. In row mode they succeed from 16 on.
#[tokio::test]
async fn a_foreign_partition_attached_later_takes_writes() {
    let witness = Witness::new(
        "create table remote (id int, project_id int, day int);
         create table days (id int, project_id int, day int) partition by list (day);
         create table day1 partition of days for values in (1); select pgherald.watch('days', id => array['id'])",
    )
    .await;
    let port = crate::world::server().await.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let database = witness.get("current_database()").await;
    witness
        .run(&format!(
            "create extension postgres_fdw; create server self foreign data wrapper postgres_fdw options (dbname '{database}', host '127.0.0.1', port '{port}');
             create user mapping for current_user server self options (user 'postgres', password_required 'false');
             create foreign table day2 (id int, project_id int, day int) server self options (table_name 'remote');
             alter table days attach partition day2 for values in (2)"
        ))
        .await;
    witness.run("insert into days values (1, 7, 1)").await;
    witness.run("insert into days values (2, 7, 2); update days set project_id = 8; delete from days").await;
}

/// What a transaction has said already is in the queue's usage only after its commit, which then fails. With the 8 GB of
/// the default that takes some 60 million notifications.
#[tokio::test]
async fn a_transaction_that_says_more_than_the_queue_holds_commits_since_17() {
    let options = crate::world::options().setting("max_notify_queue_pages", "64");
    let server = pgherald::scratch::Scratch::start(&options).await.unwrap();
    let database = crate::world::Database::on(server.url()).await.with_sample().await;
    database.run("do $$ begin for i in 1..20000 loop update tasks set title = i::text where id = i % 3 + 1; insert into tasks (project_id, title) values (7, i); end loop; end $$").await;
    drop(database);
    server.shutdown().await.unwrap();
}
