//! What the triggers say, and that they never hurt a writer.

use serde_json::Value;

use crate::witness::{Witness, summary};
use crate::world::unique;

pub const TASKS: &str = "create table tasks (id int primary key, project_id int, title text);
    select pgherald.watch('tasks');";

/// Its ids may be too long for one payload.
const WORDS: &str = "create table words (id text, project_id int);
    select pgherald.watch('words', id => array['id']);";

/// Triggers of ours, and generated functions.
pub const LEFT: &str = "select (select count(*) from pg_trigger where tgname like 'pgherald%')
    + (select count(*) from pg_proc where pronamespace = 'pgherald'::regnamespace and prorettype = 'trigger'::regtype)";

#[tokio::test]
async fn the_payload_is_what_the_design_says() {
    let mut witness = Witness::new(TASKS).await;
    witness.run("begin; insert into tasks values (1, 7)").await;
    let cursor = witness.get("pg_current_xact_id()").await;
    witness.run("commit").await;
    let expected = format!(r#"{{"table":"tasks","action":"INSERT","project_id":"7","ids":["1"],"cursor":"{cursor}"}}"#);
    assert_eq!(witness.payloads().await, [expected]);
}

#[tokio::test]
async fn every_kind_of_write_is_told() {
    let mut witness = Witness::new(TASKS).await;
    for (sql, expected) in [
        ("insert into tasks values (1, 7, 'a')", vec![r#"tasks INSERT 7 ["1"]"#]),
        ("update tasks set title = 'b'", vec![r#"tasks UPDATE 7 ["1"]"#]),
        ("insert into tasks values (2, 7), (3, 7)", vec![r#"tasks INSERT 7 ["2","3"]"#]),
        (
            "insert into tasks values (4, 8), (5, 9), (6, 8)",
            vec![r#"tasks INSERT 8 ["4","6"]"#, r#"tasks INSERT 9 ["5"]"#],
        ),
        // a moved row: both projects
        ("update tasks set project_id = 8 where id = 1", vec![r#"tasks UPDATE 7 ["1"]"#, r#"tasks UPDATE 8 ["1"]"#]),
        // a changed key: both ids
        ("update tasks set id = 10 where id = 1", vec![r#"tasks UPDATE 8 ["1","10"]"#]),
        (
            "insert into tasks values (2, 7), (20, 7) on conflict (id) do update set title = 'c'",
            vec![r#"tasks INSERT 7 ["20"]"#, r#"tasks UPDATE 7 ["2"]"#],
        ),
        ("insert into tasks values (2, 7) on conflict do nothing", vec![]),
        (
            "with gone as (delete from tasks where id in (2, 3) returning 1)
             update tasks set title = 'd' where id = 20",
            vec![r#"tasks DELETE 7 ["2","3"]"#, r#"tasks UPDATE 7 ["20"]"#],
        ),
        ("update tasks set title = 'x' where false", vec![]),
        ("begin; insert into tasks values (99, 7); rollback", vec![]),
        ("begin; savepoint a; insert into tasks values (99, 7); rollback to a; commit", vec![]),
        ("insert into tasks values (30, null)", vec!["tasks INSERT * null"]),
        ("insert into tasks values (31, null), (32, 7)", vec!["tasks INSERT * null", r#"tasks INSERT 7 ["32"]"#]),
        ("update tasks set project_id = 7 where id = 30", vec!["tasks UPDATE * null", r#"tasks UPDATE 7 ["30"]"#]),
        ("truncate tasks", vec!["tasks DELETE * null"]),
    ] {
        assert_eq!(witness.says(sql).await, expected, "{sql}");
    }
    assert_eq!(witness.dropped().await, 0);
}

#[tokio::test]
async fn merge_is_told_by_what_it_did_since_15() {
    let mut witness = Witness::new(TASKS).await;
    witness.run("insert into tasks values (1, 7), (2, 7)").await;
    witness.payloads().await;
    let told = witness
        .says(
            "merge into tasks t using (values (1, 0), (2, 1), (3, 0)) v(id, gone) on t.id = v.id
             when matched and gone = 1 then delete
             when matched then update set title = 'm'
             when not matched then insert values (v.id, 8)",
        )
        .await;
    let expected = [r#"tasks DELETE 7 ["2"]"#, r#"tasks INSERT 8 ["3"]"#, r#"tasks UPDATE 7 ["1"]"#];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn five_updates_of_a_row_are_five_notifications_in_commit_order() {
    let mut witness = Witness::new(TASKS).await;
    witness.run("insert into tasks values (1, 7)").await;
    for _ in 0..5 {
        witness.run("update tasks set title = 'x'").await;
    }
    let cursors: Vec<u64> = witness.payloads().await.iter().map(|p| cursor(p)).collect();
    assert_eq!(cursors.len(), 6);
    assert!(cursors.is_sorted());
}

fn cursor(payload: &str) -> u64 {
    let event: Value = serde_json::from_str(payload).unwrap();
    event["cursor"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn many_rows_are_named_and_too_many_become_the_whole_resource() {
    let mut witness = Witness::new(TASKS).await;
    let told = witness.says("insert into tasks select g, 7 from generate_series(1, 100) g").await;
    let ids: Vec<_> = (1..=100).map(|id| format!("\"{id}\"")).collect();
    assert_eq!(told, [format!("tasks INSERT 7 [{}]", ids.join(","))]);
    let told = witness.says("insert into tasks select g, 7 + g % 2 from generate_series(1001, 11000) g").await;
    assert_eq!(told, ["tasks INSERT 7 null", "tasks INSERT 8 null"]);
    let told = witness.says("update tasks set title = 'x', project_id = 9 where project_id = 8").await;
    assert_eq!(told, ["tasks UPDATE 8 null", "tasks UPDATE 9 null"]);
    // more projects than max_ids: all of them in one word
    let told = witness.says("update tasks set project_id = id").await;
    assert_eq!(told, ["tasks UPDATE * null"]);
    witness.run("select pgherald.watch('tasks', max_ids => 2)").await;
    witness.payloads().await;
    for (sql, expected) in [
        ("update tasks set project_id = 7 where id <= 2", "2"),
        ("delete from tasks where id <= 2", r#"["1","2"]"#),
        ("delete from tasks where id <= 5", "null"),
    ] {
        let told = witness.says(sql).await;
        assert!(told.iter().any(|line| line.contains(expected)), "{sql}: {told:?}");
    }
}

#[tokio::test]
async fn long_lists_of_ids_are_split_below_the_limit() {
    let mut witness =
        Witness::new("create table t (id text primary key, project_id int); select pgherald.watch('t')").await;
    // 3 bytes in JSON's escape and 4 in UTF-8 each: the limit counts bytes
    witness.run("insert into t select repeat('\"é😀', 40) || g, 7 from generate_series(1, 150) g").await;
    let payloads = witness.payloads().await;
    assert!(payloads.len() > 2, "{}", payloads.len());
    let mut ids = 0;
    for payload in &payloads {
        let event: Value = serde_json::from_str(payload).unwrap();
        ids += event["ids"].as_array().unwrap().len();
        assert_eq!(event["project_id"], "7");
    }
    assert_eq!(ids, 150);
    // the same through UPDATE and DELETE
    for sql in ["update t set project_id = 8", "delete from t"] {
        witness.run(sql).await;
        assert!(witness.payloads().await.len() > 2);
    }
    // an id that fits nowhere, and more of them than ten notifications carry
    let mut witness = Witness::new(
        "create table t (n int primary key, id text, project_id int);
         select pgherald.watch('t', id => array['id'])",
    )
    .await;
    assert_eq!(witness.says("insert into t values (1, repeat('x', 9000), 7)").await, ["t INSERT 7 null"]);
    let told = witness.says("insert into t select g, repeat('x', 100) || g, 7 from generate_series(2, 900) g").await;
    assert_eq!(told, ["t INSERT 7 null"]);
    // a key that is null names no row
    assert_eq!(witness.says("insert into t values (-1, null, 7)").await, ["t INSERT 7 null"]);
    assert_eq!(witness.dropped().await, 0);
}

#[tokio::test]
async fn payloads_of_every_length_around_the_limit_arrive() {
    let mut witness = Witness::new(
        "create table t (n serial primary key, id text, project_id int);
         select pgherald.watch('t', id => array['id'])",
    )
    .await;
    witness.run("do $$ begin for i in 7880..8010 loop insert into t (id, project_id) values (repeat('x', i), 7); end loop; end $$").await;
    let payloads = witness.payloads().await;
    // 30 bytes less than NOTIFY carries: a relay adds as many
    assert!(payloads.iter().any(|p| p.len() == 7969));
    assert!(payloads.iter().all(|p| p.len() <= 7969));
    // those beyond are the same payload in one transaction, so PostgreSQL says it once
    assert_eq!(payloads.iter().filter(|p| p.contains("null")).count(), 1);
    assert_eq!(witness.dropped().await, 0);
}

#[tokio::test]
async fn keys_of_every_type_are_strings() {
    let mut witness = Witness::new(
        "create domain code as text; create type color as enum ('red', 'b\"lue');
         create table a (a int, b text, project_id bigint, primary key (b, a));
         create table u (id uuid primary key, project_id uuid);
         create table s (id text primary key, project_id text);
         create table c (id code primary key, project_id color);
         create table n (id numeric primary key, project_id int8);
         create table e (id int primary key);
         create table i (id int, name text, project_id int, primary key (id) include (name));
         select pgherald.watch(r, case when r = 'e'::regclass then '*' else 'project_id' end)
           from unnest(array['a', 'u', 's', 'c', 'n', 'e', 'i']::regclass[]) r",
    )
    .await;
    let uuid = "00000000-0000-4000-8000-00000000000a";
    let big = i64::MAX;
    for (sql, expected) in [
        (format!("insert into a values (1, 'x:y', {big})"), format!(r#"a INSERT {big} ["x:y:1"]"#)),
        (format!("insert into u values ('{uuid}', '{uuid}')"), format!(r#"u INSERT {uuid} ["{uuid}"]"#)),
        (r#"insert into s values ('a"b\c😀', 'p"q')"#.into(), r#"s INSERT p"q ["a\"b\\c😀"]"#.into()),
        ("update s set project_id = repeat('x', 200)".into(), String::new()),
        (r#"insert into c values ('k', 'b"lue')"#.into(), r#"c INSERT b"lue ["k"]"#.into()),
        (
            "insert into n values (12345678901234567890.50, 1)".into(),
            r#"n INSERT 1 ["12345678901234567890.50"]"#.into(),
        ),
        ("insert into e values (1), (2)".into(), r#"e INSERT * ["1","2"]"#.into()),
        ("update e set id = 3 where id = 2".into(), r#"e UPDATE * ["2","3"]"#.into()),
        ("delete from e".into(), r#"e DELETE * ["1","3"]"#.into()),
        ("insert into i values (1, 'n', 7)".into(), r#"i INSERT 7 ["1"]"#.into()),
        // a project that cannot be said is told to all, without the row
        ("insert into s values ('x', repeat('y', 201))".into(), "s INSERT * null".into()),
        ("insert into s values ('y', '*')".into(), "s INSERT * null".into()),
    ] {
        let told = witness.says(&sql).await;
        if expected.is_empty() {
            assert_eq!(told.len(), 2, "{told:?}");
        } else {
            assert_eq!(told, [expected], "{sql}");
        }
    }
    assert_eq!(witness.dropped().await, 0);
}

#[tokio::test]
async fn an_id_does_not_depend_on_the_writers_session() {
    let mut witness = Witness::new(
        "create table t (a timestamptz, b date, c bytea, d float8, e timestamp, f interval, project_id date,
                         primary key (a, b, c, d, e, f));
         select pgherald.watch('t')",
    )
    .await;
    let insert =
        "insert into t values ('2026-01-02 03:04:05+00', date '2026-01-02', decode('ff00', 'hex'), 0.1::float8 + 0.2,
         timestamp '2026-01-02 03:04:05', interval '1 day', date '2026-01-02'); ";
    let plain = witness.says(insert).await;
    assert!(plain[0].contains("2026-01-02 03:04:05+00:2026-01-02:\\\\xff00:0.30000000000000004:"), "{plain:?}");
    witness.says("delete from t").await;
    let odd = "set timezone = 'Asia/Kathmandu'; set datestyle = 'SQL, DMY'; set bytea_output = 'escape';
        set extra_float_digits = -10; set intervalstyle = 'iso_8601'; set quote_all_identifiers = on; ";
    assert_eq!(witness.says(&format!("{odd}{insert}")).await, plain);
}

#[tokio::test]
async fn a_label_takes_the_place_of_the_table() {
    let mut witness = Witness::new(TASKS).await;
    witness.run("select pgherald.watch('tasks', resource => 'to \"do\"')").await;
    witness.run("insert into tasks values (1, 7)").await;
    let payloads = witness.payloads().await;
    assert!(payloads[0].starts_with(r#"{"resource":"to \"do\"","action":"INSERT""#), "{payloads:?}");
    witness.run("truncate tasks").await;
    assert_eq!(summary(&witness.payloads().await[0]), r#"to "do" DELETE * null"#);
}

#[tokio::test]
async fn a_writer_needs_no_grants() {
    let mut witness = Witness::new(TASKS).await;
    let role = unique("writer");
    witness
        .run(&format!(
            "revoke all on schema public from public; create role {role}; grant usage on schema public to {role};
             grant select, insert, update, delete, truncate on tasks to {role}; set role {role};"
        ))
        .await;
    let told = witness
        .says(
            "insert into tasks values (1, 7); update tasks set project_id = 8; delete from tasks;
             insert into tasks select g, 7 from generate_series(1, 2000) g; truncate tasks",
        )
        .await;
    assert_eq!(told.len(), 6, "{told:?}");
    assert_eq!(witness.dropped().await, 0);
    // and a loss is counted for such a role too
    witness.run("reset role; alter table tasks rename project_id to p").await;
    witness.run(&format!("set role {role}; insert into tasks values (1, 7)")).await;
    assert_eq!(witness.dropped().await, 1);
    witness.run(&format!("reset role; drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn a_broken_trigger_lets_the_write_succeed_and_counts_the_loss() {
    for breakage in [
        "alter table tasks rename column project_id to project",
        "alter table tasks drop column project_id",
        "alter table tasks rename column id to key",
        "alter table tasks alter column project_id type text using 'seven'",
        "alter table tasks alter column id type text using 'x' || id",
    ] {
        let mut witness = Witness::new(TASKS).await;
        witness.run("insert into tasks values (1, 7, 'a')").await;
        witness.payloads().await;
        assert_eq!(witness.dropped().await, 0);
        witness.run(breakage).await;
        assert!(witness.says("update tasks set title = 'b'").await.is_empty(), "{breakage}");
        assert_eq!(witness.get("select title from tasks").await, "b");
        assert_eq!(witness.dropped().await, 1, "{breakage}");
        // rolled back, and counted all the same
        witness.run("begin; update tasks set title = 'c'; rollback").await;
        assert_eq!(witness.dropped().await, 2);
    }
}

#[tokio::test]
async fn helpers_that_raise_or_are_gone_do_not_fail_the_write() {
    let mut witness = Witness::new(WORDS).await;
    witness
        .run(
            "create or replace function pgherald.split(payloads text[]) returns text[]
                 language plpgsql as 'begin raise exception ''broken''; end';
             insert into words values (repeat('1', 9000), 7)",
        )
        .await;
    assert_eq!(witness.dropped().await, 1);
    witness
        .run(
            "create or replace function pgherald.count_dropped(relation oid, reason text) returns void
                 language plpgsql as 'begin raise exception ''broken''; end';
             insert into words values (repeat('2', 9000), 7);
             drop function pgherald.split; drop function pgherald.count_dropped; insert into words values (repeat('3', 9000), 7)",
        )
        .await;
    // what could not be counted; two of one transaction arrive as one
    assert_eq!(witness.says("select 1").await, ["words INSERT * null"]);
    assert_eq!(witness.says("insert into words values (4, 7)").await, [r#"words INSERT 7 ["4"]"#]);
    assert_eq!(witness.get("select count(*) from words").await, "4");
}

#[tokio::test]
async fn a_cancelled_write_is_cancelled() {
    let witness = Witness::new(WORDS).await;
    witness
        .run(
            "create or replace function pgherald.split(payloads text[]) returns text[]
                 language plpgsql as 'begin perform pg_sleep(60); end'; set statement_timeout = '200ms'",
        )
        .await;
    let error = witness.fails("insert into words values (repeat('1', 9000), 7)").await;
    assert!(error.contains("statement timeout"), "{error}");
    assert_eq!(witness.get("select count(*) from words").await, "0");
}

#[tokio::test]
async fn a_hostile_search_path_changes_nothing() {
    let mut witness = Witness::new(TASKS).await;
    let watching = "create schema evil;
        create function evil.boom(text, text) returns void language plpgsql as 'begin raise exception ''hijacked''; end';
        create function evil.boom_bool(text, text) returns boolean language plpgsql as 'begin raise exception ''hijacked''; end';
        create function evil.boom_bool(int8, int8) returns boolean language plpgsql as 'begin raise exception ''hijacked''; end';
        create function evil.boom_bool(int4, int4) returns boolean language plpgsql as 'begin raise exception ''hijacked''; end';
        create function evil.boom_bool(float8, float8) returns boolean language plpgsql as 'begin raise exception ''hijacked''; end';
        create function evil.boom_text(text, text) returns text language plpgsql as 'begin raise exception ''hijacked''; end';
        create function evil.pg_notify(text, text) returns void language plpgsql as 'begin raise exception ''hijacked''; end';
        create function evil.octet_length(text) returns int language plpgsql as 'begin raise exception ''hijacked''; end';
        create function evil.coalesce(text, text) returns text language plpgsql as 'begin raise exception ''hijacked''; end';
        create function evil.to_json(text) returns json language plpgsql as 'begin raise exception ''hijacked''; end';
        create function evil.pg_current_xact_id() returns xid8 language plpgsql as 'begin raise exception ''hijacked''; end';
        create function evil.pg_notification_queue_usage() returns float8 language plpgsql as 'begin raise exception ''hijacked''; end';
        create operator evil.|| (leftarg = text, rightarg = text, function = evil.boom_text);
        create operator evil.= (leftarg = text, rightarg = text, function = evil.boom_bool);
        create operator evil.= (leftarg = int8, rightarg = int8, function = evil.boom_bool);
        create operator evil.> (leftarg = int8, rightarg = int8, function = evil.boom_bool);
        create operator evil.> (leftarg = int4, rightarg = int4, function = evil.boom_bool);
        create operator evil.<> (leftarg = text, rightarg = text, function = evil.boom_bool);
        create operator evil.> (leftarg = float8, rightarg = float8, function = evil.boom_bool);
        create type evil.text as enum ('x'); create type evil.int8 as enum ('x');
        create temporary table pgherald_new (id int, project_id int);
        create temporary table pgherald_old (id int, project_id int);
        create temporary table pg_class (oid int, relname text); create temporary table pg_trigger (oid int);
        set search_path = evil, pg_temp, public, pg_catalog;
        create table public.s (id pg_catalog.text primary key, project_id pg_catalog.text);
        create table public.v (id pg_catalog.text primary key, project_id pg_catalog.text);
        select pgherald.watch('public.s'), pgherald.watch('public.s'), pgherald.watch('public.v'), pgherald.unwatch('public.v');";
    witness.run(watching).await;
    for (sql, expected) in [
        ("insert into public.tasks values (1, 7), (2, 8)", 2),
        ("update public.tasks set project_id = 9", 3),
        ("delete from public.tasks", 1),
        ("insert into public.tasks select g, 7 from pg_catalog.generate_series(1, 2000) g", 1),
        ("truncate public.tasks", 1),
        ("insert into public.s values ('a', 'b'), ('c', null)", 2),
        ("update public.s set id = 'd'::pg_catalog.text operator(pg_catalog.||) id", 2),
        ("select pgherald.notify('x', '1', 'UPDATE', '7')", 1),
    ] {
        assert_eq!(witness.says(sql).await.len(), expected, "{sql}");
    }
    witness.run("reset search_path").await;
    assert_eq!(witness.dropped().await, 0);
}

#[tokio::test]
async fn partitions_are_told_through_the_parent_directly_and_when_a_row_moves() {
    let mut witness = Witness::new(
        "create table p (id int, project_id int, day int, primary key (id, day)) partition by list (day);
         create table p1 partition of p for values in (1);
         create table p2 (day int not null, id int not null, extra text, project_id int) ;
         alter table p2 drop column extra; alter table p attach partition p2 for values in (2);
         create table p3 partition of p for values in (3, 4) partition by list (day);
         create table p34 partition of p3 for values in (4);
         select pgherald.watch('p')",
    )
    .await;
    for (sql, expected) in [
        (
            "insert into p (id, project_id, day) values (1, 7, 1), (2, 7, 2), (3, 7, 4)",
            r#"p INSERT 7 ["1:1","2:2","3:4"]"#,
        ),
        ("insert into p2 (id, project_id, day) values (5, 8, 2)", r#"p INSERT 8 ["5:2"]"#),
        ("insert into p34 (id, project_id, day) values (6, 8, 4)", r#"p INSERT 8 ["6:4"]"#),
        ("update p3 set project_id = project_id where id = 6", r#"p UPDATE 8 ["6:4"]"#),
        ("update p set day = 2 where id = 1", r#"p UPDATE 7 ["1:1","1:2"]"#),
        ("delete from p1", ""),
        ("delete from p2 where id = 5", r#"p DELETE 8 ["5:2"]"#),
        ("truncate p1", "p DELETE * null"),
    ] {
        let told = witness.says(sql).await;
        assert_eq!(told.join(" + "), expected, "{sql}");
    }
    let watched = "select concat(relation, ' ', id, ' ', enabled, ' ', relations) from pgherald.watched";
    assert_eq!(witness.get(watched).await, "p {id,day} t 5");
    let error = witness.fails("select pgherald.watch('p2')").await;
    assert!(error.contains("partition of public.p, which is watched"), "{error}");
    // a new partition is seen as missing, and watching again completes it
    witness.run("create table p5 partition of p for values in (5)").await;
    assert_eq!(witness.get(watched).await, "p {id,day} f 6");
    assert_eq!(witness.get("pgherald.watch('p')").await, "changed");
    assert_eq!(witness.get("pgherald.watch('p')").await, "unchanged");
    assert_eq!(witness.says("insert into p5 values (9, 7, 5)").await, [r#"p INSERT 7 ["9:5"]"#]);
    // a partition that was watched by itself is taken over
    witness
        .run(
            "create table p6 (id int, project_id int, day int, primary key (id, day)); select pgherald.watch('p6');
               alter table p attach partition p6 for values in (6)",
        )
        .await;
    assert_eq!(witness.says("insert into p6 values (9, 7, 6)").await, [r#"p6 INSERT 7 ["9:6"]"#]);
    witness.run("select pgherald.watch('p')").await;
    assert_eq!(witness.says("delete from p6").await, [r#"p DELETE 7 ["9:6"]"#]);
    assert_eq!(witness.get("select count(*) from pgherald.watched").await, "1");
    witness.run("select pgherald.unwatch('p')").await;
    assert_eq!(witness.get(LEFT).await, "0");
    assert_eq!(witness.dropped().await, 0);
}

#[tokio::test]
async fn application_code_can_notify_too() {
    let mut witness = Witness::new("").await;
    for (arguments, expected) in [
        ("'task', '1', 'update', '7'", r#"task UPDATE 7 ["1"]"#),
        ("'task', '1', project_id => '7'", r#"task UPDATE 7 ["1"]"#),
        ("'task', null, 'DELETE', '7'", "task DELETE 7 null"),
        ("'task', '1', 'INSERT', '*'", r#"task INSERT * ["1"]"#),
        ("'task', '1'", "task UPDATE * null"),
        ("'task', repeat('é', 4000), 'UPDATE', '7'", "task UPDATE 7 null"),
        ("'task', '1', 'UPDATE', repeat('x', 201)", "task UPDATE * null"),
        (r#"'t"k', 'a"b\', 'UPDATE', '"'"#, r#"t"k UPDATE " ["a\"b\\"]"#),
    ] {
        assert_eq!(witness.says(&format!("select pgherald.notify({arguments})")).await, [expected]);
    }
    for arguments in ["'task', '1', 'UPSERT'", "'task', '1', null", "null, '1'", "'', '1'", "repeat('x', 201), '1'"] {
        assert!(witness.fails(&format!("select pgherald.notify({arguments})")).await.starts_with("cannot notify"));
    }
}
