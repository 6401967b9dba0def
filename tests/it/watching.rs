//! What can be watched, by whom, and what becomes of it: watch again, unwatch, refresh.

use crate::watch::{LEFT, TASKS};
use crate::witness::{TRANSPORTS, WAYS, Way, Witness};
use crate::world::{connect, unique};

#[tokio::test]
async fn any_name_can_be_watched() {
    let long = "x".repeat(62);
    let (odd, key, project) = (r#""Odd ""%s' $1 \ ☃ table""#, r#""the %I ""id"" $body$""#, r#""pro:ject %s k j""#);
    let mut witness = Witness::new(&format!(
        "create schema \"Other.Schema\";
         create table \"Other.Schema\".{odd} ({key} text primary key, {project} int);
         create table {long}a (id int primary key, project_id int);
         create table {long}b (id int primary key, project_id int);
         create table \"Other.Schema\".\"order\" (id int primary key, project_id int);
         create table \"order\" (id int primary key, project_id int);
         select pgherald.watch('{long}a'), pgherald.watch('{long}b'), pgherald.watch('\"order\"'),
                pgherald.watch('\"Other.Schema\".\"order\"')"
    ))
    .await;
    witness
        .client
        .query_one(
            "select pgherald.watch($1::text::regclass, $2, array[$3::text]::name[])",
            &[&format!("\"Other.Schema\".{odd}"), &project.trim_matches('"'), &r#"the %I "id" $body$"#],
        )
        .await
        .unwrap();
    let told = witness
        .says(&format!(
            "insert into \"Other.Schema\".{odd} values ('a', 7); update \"Other.Schema\".{odd} set {project} = 8"
        ))
        .await;
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with(r#"Odd "%s' $1 \ ☃ table INSERT 7"#), "{told:?}");
    for (name, prefix) in [
        (format!("{long}a"), ""),
        (format!("{long}b"), ""),
        ("order".into(), ""),
        ("order".into(), "\"Other.Schema\"."),
    ] {
        let told = witness.says(&format!("insert into {prefix}\"{name}\" values (1, 7)")).await;
        assert_eq!(told, [format!("{name} INSERT 7 [\"1\"]")]);
    }
    assert_eq!(witness.get("select count(*) from pgherald.watched where enabled").await, "5");
    assert_eq!(witness.dropped().await, 0);
}

/// Two columns each, which triggers take for something else, or for variables of theirs.
const NAMES: &[(&str, &str)] = &[
    ("pgherald_tail", "pgherald_origin"),
    ("pgherald_new", "pgherald_old"),
    ("seen", "payload"),
    ("ids", "k"),
    ("old_ids", "old_k"),
    ("awake", "sent"),
    ("j", "payloads"),
    ("same_j", "stays"),
];

#[tokio::test]
async fn keys_and_projects_may_be_named_as_what_triggers_declare() {
    for Way { mode, transport } in WAYS {
        let mut witness = Witness::by(transport, "select 1").await;
        for (id, project) in NAMES {
            let made = format!("create table named ({id} int primary key, {project} text)");
            witness
                .run(&format!("{made}; select pgherald.watch('named', '{project}', array['{id}']::name[]{mode})"))
                .await;
            for (write, told) in [
                ("insert into named values (1, 'a')".to_owned(), &["named INSERT a/1"][..]),
                (format!("update named set {project} = 'b'"), &["named UPDATE a/1", "named UPDATE b/1"]),
                (format!("update named set {project} = {project}"), &["named UPDATE b/1"]),
                ("insert into named values (2, 'c'), (3, 'c')".to_owned(), &["named INSERT c/2", "named INSERT c/3"]),
                (
                    "delete from named where true".to_owned(),
                    &["named DELETE b/1", "named DELETE c/2", "named DELETE c/3"],
                ),
            ] {
                let told = told.iter().map(|row| (*row).to_owned()).collect();
                assert_eq!(witness.covers(&write).await, told, "{id} {mode}: {write}");
            }
            witness.run("drop table named").await;
        }
        assert_eq!(witness.dropped().await, 0);
    }
}

#[tokio::test]
async fn columns_that_count_or_travel_may_be_named_as_what_triggers_declare() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(transport, "select 1").await;
        for ((one, other), option) in
            NAMES.iter().flat_map(|names| ["columns", "include"].map(|option| (names, option)))
        {
            let made = format!("create table named (id int primary key, project_id int, {one} text, {other} text)");
            let watch = format!("select pgherald.watch('named', {option} => array['{one}', '{other}']::name[])");
            witness.run(&format!("{made}; {watch}")).await;
            for (write, action) in [
                ("insert into named values (1, 7, 'a', 'b')".to_owned(), "INSERT"),
                (format!("update named set {one} = 'c'"), "UPDATE"),
                (format!("update named set {other} = 'd'"), "UPDATE"),
            ] {
                let told = witness.covers(&write).await;
                assert_eq!(told, [format!("named {action} 7/1")].into(), "{one} {option}: {write}");
            }
            witness.run("drop table named").await;
        }
        assert_eq!(witness.dropped().await, 0);
    }
}

#[tokio::test]
async fn watching_again_changes_nothing_and_waits_for_nobody() {
    let mut witness = Witness::new(TASKS).await;
    let before = witness.get("select string_agg(xmin::text || oid, ' ' order by oid) from pg_proc").await;
    // a writer in its transaction holds ROW EXCLUSIVE
    let writer = connect(&witness.url).await;
    writer.batch_execute("begin; insert into tasks values (1, 7)").await.unwrap();
    witness.run("set lock_timeout = '500ms'").await;
    assert_eq!(witness.get("pgherald.watch('tasks')").await, "unchanged");
    assert_eq!(witness.get("select string_agg(xmin::text || oid, ' ' order by oid) from pg_proc").await, before);
    // other options replace the functions, and wait for no writer either
    assert_eq!(witness.get("pgherald.watch('tasks', '*', resource => 'todo')").await, "changed");
    writer.batch_execute("commit").await.unwrap();
    witness.payloads().await;
    assert_eq!(witness.says("insert into tasks values (2, 7)").await, [r#"todo INSERT * ["2"]"#]);
    assert_eq!(
        witness.get("select concat(project, id, resource, max_ids, enabled, triggers) from pgherald.watched").await,
        "*{id}todo1000t4"
    );
    // a trigger that was disabled or dropped is put right
    witness.run("alter table tasks disable trigger pgherald_update; drop trigger pgherald_delete on tasks").await;
    assert_eq!(witness.get("select enabled from pgherald.watched").await, "false");
    assert_eq!(witness.get("pgherald.watch('tasks', '*', resource => 'todo')").await, "changed");
    assert_eq!(witness.get("select enabled from pgherald.watched").await, "true");
}

#[tokio::test]
async fn two_first_watches_at_once_are_one() {
    let witness = Witness::new("create table tasks (id int primary key, project_id int)").await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let url = witness.url.clone();
            tokio::spawn(async move { connect(&url).await.batch_execute("select pgherald.watch('tasks')").await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(witness.get(LEFT).await, "8");
}

#[tokio::test]
async fn a_renamed_table_stays_watched_and_its_old_name_is_free() {
    let mut witness = Witness::new(TASKS).await;
    witness.run("alter table tasks rename to old; create table tasks (id int primary key, project_id int); select pgherald.watch('tasks')").await;
    assert_eq!(witness.says("insert into old values (1, 7)").await, [r#"tasks INSERT 7 ["1"]"#]);
    assert_eq!(witness.get("pgherald.watch('old')").await, "changed");
    assert_eq!(witness.says("insert into old values (2, 7)").await, [r#"old INSERT 7 ["2"]"#]);
    assert_eq!(witness.says("insert into tasks values (2, 7)").await, [r#"tasks INSERT 7 ["2"]"#]);
}

#[tokio::test]
async fn unwatch_leaves_nothing() {
    let mut witness = Witness::new(TASKS).await;
    assert_eq!(witness.get(LEFT).await, "8");
    assert_eq!(witness.get("pgherald.unwatch('tasks')").await, "true");
    assert_eq!(witness.get("pgherald.unwatch('tasks')").await, "false");
    assert_eq!(witness.get(LEFT).await, "0");
    assert!(witness.says("insert into tasks values (1, 7)").await.is_empty());
    assert_eq!(witness.get("select count(*) from pgherald.watched").await, "0");
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_with_the_reason_and_the_way_out() {
    let witness = Witness::new(
        "create table t (id int primary key, project int, other int, shape json, document xml, place point);
         create table nokey (id int, project_id int);
         create view v as select 1 as id, 2 as project_id; create materialized view m as select 1 as id, 2 as project_id;
         create sequence s; create temporary table tmp (id int primary key, project_id int);
         create foreign data wrapper w; create server x foreign data wrapper w;
         create foreign table f (id int, project_id int) server x;
         create table parent (id int, project_id int) partition by list (project_id);
         create foreign table leaf partition of parent for values in (1) server x;
         create table mother (id int primary key, project_id int);
         create table child () inherits (mother); create foreign table grandchild () inherits (child) server x;",
    )
    .await;
    for (arguments, expected) in [
        ("'v'", "v: it is a view, | call pgherald.notify()"),
        ("'m'", "m: it is a materialized view, | call pgherald.notify()"),
        ("'f'", "f: it is a foreign table, | call pgherald.notify()"),
        ("'s'", "not a table"),
        ("'tmp'", "temporary"),
        ("0", "no such table"),
        ("null", "no such table"),
        ("'pg_catalog.pg_class'", "belongs to the system"),
        ("'information_schema.sql_features'", "belongs to the system"),
        ("'pgherald.migrations'", "belongs to the system"),
        ("'t'", "no column project_id | id, project, other, shape | project => 'column'"),
        ("'t', 'nope->x'", "no column nope"),
        ("'t', 'project->x'", "no foreign key on public.t(project)"),
        ("'t', 'project', columns => array['nope']", "no column nope"),
        ("'t', 'project', include => array['nope']", "no column nope"),
        ("'t', 'project', columns => '{}'", "columns is empty"),
        ("'t', 'project', include => '{}'", "include is empty"),
        ("'t', 'project', columns => array['shape']", "column shape has a type without equality | jsonb for json"),
        ("'t', 'project', columns => array['document']", "column document has a type without equality"),
        ("'t', 'project', columns => array['place']", "column place has a type without equality"),
        ("'t', 'project', mode => 'each'", "mode is 'each' | statement or row"),
        ("'t', 'project', always => true", "always needs mode => 'row'"),
        ("'t', null", "which project?"),
        ("'t', 'project', array['nope']", "no column nope | id, project, other"),
        ("'t', 'project', '{}'", "id is empty"),
        ("'t', 'project', max_ids => 0", "may be 1 to 10000"),
        ("'t', 'project', resource => ''", "1 to 200 bytes"),
        ("'nokey'", "no primary key | Pass id => array["),
        ("'parent', id => array['id']", "leaf below it is a foreign table | one by one"),
        ("'mother'", "grandchild below it is a foreign table"),
    ] {
        let error = witness.fails(&format!("select pgherald.watch({arguments})")).await;
        assert!(error.starts_with("cannot watch"), "{error}");
        for part in expected.split(" | ") {
            assert!(error.contains(part), "{arguments}: {error}");
        }
    }
    assert_eq!(witness.get(LEFT).await, "0");
    witness.run("select pgherald.watch('nokey', id => array['id'])").await;
}

#[tokio::test]
async fn a_virtual_column_is_no_project_since_18() {
    let witness = Witness::new("").await;
    witness.run("create table g (id int primary key, a int, project_id int generated always as (a + 1) virtual)").await;
    let error = witness.fails("select pgherald.watch('g')").await;
    assert!(error.contains("virtual generated"), "{error}");
}

#[tokio::test]
async fn owning_the_table_is_the_right_to_watch_it() {
    let mut witness = Witness::new("").await;
    let (owner, other) = (unique("owner"), unique("other"));
    witness
        .run(&format!(
            "create role {owner}; create role {other}; grant create, usage on schema public to {owner};
             grant usage on schema public to {other};
             set role {owner}; create table tasks (id int primary key, project_id int);
             grant all on tasks to {other}; set role {other}"
        ))
        .await;
    let error = witness.fails("select pgherald.watch('tasks')").await;
    assert!(error.contains("only its owner may") && error.contains(&format!("Call it as {owner}")), "{error}");
    witness.run(&format!("set role {owner}; select pgherald.watch('tasks')")).await;
    assert_eq!(witness.says("insert into tasks values (1, 7)").await, [r#"tasks INSERT 7 ["1"]"#]);
    // the functions are the installer's, so nobody else can put code under the writers
    assert_eq!(witness.get("select count(*) from pg_proc where pronamespace = 'pgherald'::regnamespace and proowner = current_user::regrole").await, "0");
    witness.run(&format!("set role {other}")).await;
    for sql in [
        "select pgherald.unwatch('tasks')",
        "comment on trigger pgherald_truncate on tasks is '{}'",
        "create function pgherald.x() returns int language sql as 'select 1'",
    ] {
        witness.fails(sql).await;
    }
    // the functions of a table are of no use on another one
    let function: String = witness
        .get("select proname from pg_proc where prorettype = 'trigger'::regtype and proname like '%tasks%insert'")
        .await;
    let error = witness
        .fails(&format!("create temporary table mine (id int); create trigger pgherald_insert after insert on mine execute function pgherald.{function}()"))
        .await;
    assert!(error.contains("permission denied"), "{error}");
    // generate() does nothing but what the owner has asked for
    witness.run("select pgherald.generate('tasks')").await;
    assert_eq!(witness.get(LEFT).await, "8");
    witness.run(&format!("set role {owner}; select pgherald.watch('tasks', '*'), pgherald.unwatch('tasks')")).await;
    assert_eq!(witness.get(LEFT).await, "0");
    witness.run(&format!("reset role; drop owned by {owner}, {other}; drop role {owner}, {other}")).await;
}

#[tokio::test]
async fn the_application_may_change_its_tables() {
    let mut witness = Witness::new(TASKS).await;
    for sql in [
        "alter table tasks alter column title type varchar(10)",
        "alter table tasks alter column id type bigint",
        "alter table tasks alter column project_id type bigint",
        "alter table tasks drop column title",
        "alter table tasks add column note text",
    ] {
        witness.run(sql).await;
    }
    assert_eq!(witness.says("insert into tasks values (5000000000, 7)").await, [r#"tasks INSERT 7 ["5000000000"]"#]);
    assert_eq!(witness.dropped().await, 0);
    witness.run("drop table tasks").await;
}

#[tokio::test]
async fn a_whole_schema_is_watched_and_every_table_left_out_has_its_reason() {
    let mut witness = Witness::new(
        "create schema app;
         create table app.tasks (id int primary key, project_id int);
         create table app.\"Odd Names\" (\"Id\" int primary key, project_id text);
         create table app.settings (id int primary key);
         create table app.keyless (project_id int);
         create table app.audit (id int primary key, project_id int);
         create view app.seen as select * from app.tasks;
         create table app.parts (id int, project_id int, primary key (id, project_id)) partition by list (project_id);
         create table app.parts_7 partition of app.parts for values in (7)",
    )
    .await;
    let report = "select string_agg(relation::text || ' ' || outcome || coalesce(': ' || reason, ''), E'\n' order by relation::text)
        from pgherald.watch_all('app', skip => array['audit'])";
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let first = lines(witness.get(&format!("({report})")).await);
    assert_eq!(first.len(), 7, "{first:#?}");
    for (line, expected) in first.iter().zip([
        "app.\"Odd Names\" watched",
        "app.audit skipped: as asked",
        "app.keyless skipped: cannot watch app.keyless: it has no primary key: Pass id",
        "app.parts watched",
        "app.seen skipped: ",
        "app.settings skipped: it has no column project_id",
        "app.tasks watched",
    ]) {
        assert!(line.starts_with(expected), "{line}, expected {expected}");
    }
    let again = lines(witness.get(&format!("({report})")).await).join(" ");
    assert_eq!((again.matches("unchanged").count(), again.matches(" watched").count()), (3, 0), "{again}");
    assert_eq!(witness.says("insert into app.parts values (1, 7)").await, [r#"parts INSERT 7 ["1:7"]"#]);
    assert!(witness.fails("select pgherald.watch_all('nowhere')").await.contains("nowhere"));
}

#[tokio::test]
async fn a_refresh_follows_the_application_and_one_broken_table_stops_no_other() {
    let mut witness = Witness::new(
        "create table tasks (id int primary key, project_id int, code text not null);
         create table gone (id int primary key, project_id int);
         create table parts (id int, project_id int, primary key (id, project_id)) partition by list (project_id);
         select pgherald.watch('tasks', resource => 'job'), pgherald.watch('gone'), pgherald.watch('parts')",
    )
    .await;
    let report = "select string_agg(relation::text || ' ' || outcome || coalesce(': ' || reason, ''), '; ' order by relation::text)
        from pgherald.refresh()";
    assert_eq!(witness.get(&format!("({report})")).await, "gone unchanged; parts unchanged; tasks unchanged");
    witness
        .run(
            "alter table gone drop column project_id;
             alter table tasks drop constraint tasks_pkey, add primary key (code), alter column project_id type text;
             create table parts_7 partition of parts for values in (7)",
        )
        .await;
    let after = witness.get(&format!("({report})")).await;
    assert!(after.starts_with("gone failed: cannot watch public.gone: it has no column project_id"), "{after}");
    assert!(after.ends_with("parts changed; tasks changed"), "{after}");
    // The key, the type and the partition are followed, and the label has stayed.
    assert_eq!(witness.says("insert into tasks values (1, 'p-7', 'c1')").await, [r#"job INSERT p-7 ["c1"]"#]);
    assert_eq!(witness.says("insert into parts_7 values (1, 7)").await, [r#"parts INSERT 7 ["1:7"]"#]);
    assert!(witness.fails("select pgherald.watch_again('pg_class')").await.contains("is not watched"));
}
