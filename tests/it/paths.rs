//! Paths along foreign keys: where they lead, who may take them, and what they leave behind.

use crate::witness::{NAMED_WAYS, TRANSPORTS, Way, Witness};
use crate::world::unique;

/// A comment belongs to a task, that to a list, that to a project.
pub const COMMENTS: &str = "create table lists (id int primary key, project_id int);
    create table tasks (id int primary key, list_id smallint references lists on delete set null);
    alter table tasks alter list_id type int;
    create table comments (id int primary key, task_id bigint references tasks on delete cascade on update cascade, body text);
    insert into lists values (1, 7), (2, 8), (3, null); insert into tasks values (1, 1), (2, 2), (3, 3), (4, null)";

#[tokio::test]
async fn a_path_along_foreign_keys_leads_to_the_project() {
    for Way { mode, transport } in NAMED_WAYS {
        let mut witness = Witness::by(transport, COMMENTS).await;
        witness
            .run(&format!("select pgherald.watch('comments', 'task_id -> list_id->project_id', mode => '{mode}')"))
            .await;
        for (sql, expected) in [
            ("insert into comments values (1, 1)", vec![r#"comments INSERT 7 ["1"]"#]),
            ("insert into comments values (2, 2)", vec![r#"comments INSERT 8 ["2"]"#]),
            ("update comments set body = 'a' where id = 1", vec![r#"comments UPDATE 7 ["1"]"#]),
            // moved by itself
            (
                "update comments set task_id = 2 where id = 1",
                vec![r#"comments UPDATE 7 ["1"]"#, r#"comments UPDATE 8 ["1"]"#],
            ),
            // ways that lead nowhere: a hint to everyone, without the id
            ("insert into comments values (3, 3)", vec!["comments INSERT * null"]),
            ("insert into comments values (4, 4)", vec!["comments INSERT * null"]),
            ("insert into comments values (5, null)", vec!["comments INSERT * null"]),
            ("delete from comments where id in (3, 4, 5)", vec!["comments DELETE * null"]),
            // what is in the middle of the path has moved
            ("update tasks set list_id = 1 where id = 2", vec!["comments UPDATE 7 null", "comments UPDATE 8 null"]),
            ("update lists set project_id = 9 where id = 1", vec!["comments UPDATE 7 null", "comments UPDATE 9 null"]),
            ("update tasks set list_id = list_id", vec![]),
            ("update lists set id = id", vec![]),
            ("insert into tasks values (5, 2)", vec![]),
            ("delete from tasks where id = 5", vec![]),
            // the list is gone: what was its project?
            ("delete from lists where id = 1", vec!["comments UPDATE * null"]),
            ("update tasks set list_id = 2 where id = 2", vec!["comments UPDATE * null", "comments UPDATE 8 null"]),
            // and here the task is: the cascade finds no project any more
            ("delete from tasks where id = 2", vec!["comments DELETE * null"]),
            ("truncate lists cascade", vec!["comments DELETE * null"]),
        ] {
            let mut said = witness.says(sql).await;
            said.dedup();
            assert_eq!(said, expected, "{mode}: {sql}");
        }
        assert_eq!(witness.dropped().await, 0);
    }
}

/// Of its time is all that it sees: maybe the project that a parent has left since.
#[tokio::test]
async fn a_transaction_with_a_snapshot_of_its_beginning_tells_everybody() {
    for Way { mode, transport } in NAMED_WAYS {
        let mut witness = Witness::by(transport, COMMENTS).await;
        witness
            .run(&format!("select pgherald.watch('comments', 'task_id -> list_id->project_id', mode => '{mode}'); insert into comments values (1, 1)"))
            .await;
        for level in ["repeatable read", "serializable"] {
            let old = crate::world::connect(&witness.url).await;
            old.batch_execute(&format!("begin isolation level {level}; select count(*) from tasks")).await.unwrap();
            witness.run("update lists set project_id = 16 - project_id where id in (1, 2)").await;
            witness.covered().await;
            old.batch_execute("update comments set body = 'a' where id = 1; commit").await.unwrap();
            assert_eq!(witness.says("select 1").await, ["comments UPDATE * null"], "{mode}, {level}");
        }
        assert_eq!(witness.dropped().await, 0);
    }
}

#[tokio::test]
async fn many_rows_find_their_projects_in_one_look() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(transport, COMMENTS).await;
        witness.run("select pgherald.watch('comments', 'task_id->list_id->project_id', max_ids => 3)").await;
        // in any order: they were joined
        let said = witness.says("insert into comments values (1, 1), (2, 2), (3, 1)").await;
        assert_eq!(said[0].replace(r#""3","1""#, r#""1","3""#), r#"comments INSERT 7 ["1","3"]"#);
        assert_eq!(said[1..], [r#"comments INSERT 8 ["2"]"#]);
        let said = witness.says("insert into comments values (4, 1), (5, 1)").await;
        assert_eq!(said[0].replace(r#""5","4""#, r#""4","5""#), r#"comments INSERT 7 ["4","5"]"#);
        let said = witness.says("update comments set body = 'b'").await;
        assert_eq!(said, ["comments UPDATE 7 null", "comments UPDATE 8 null"]);
        // more projects than max_ids
        witness.run("insert into lists select i, i from generate_series(10, 20) i; insert into tasks select i, i from generate_series(10, 20) i").await;
        assert_eq!(
            witness.says("insert into comments select i, i from generate_series(10, 20) i").await,
            ["comments INSERT * null"]
        );
        assert_eq!(
            witness.says("update lists set project_id = project_id + 100 where id >= 10").await,
            ["comments UPDATE * null"]
        );
        assert_eq!(witness.dropped().await, 0);
    }
}

#[tokio::test]
async fn a_path_leads_through_partitions_and_survives_their_end() {
    for Way { mode, transport } in NAMED_WAYS {
        let mut witness = Witness::by(transport, &format!(
            "create table tasks (id int primary key, project_id int) partition by range (id);
             create table tasks1 partition of tasks for values from (0) to (10); create table tasks2 partition of tasks default;
             create table comments (id int primary key,
                 task_id int references tasks on delete cascade deferrable initially deferred);
             insert into tasks values (1, 7), (20, 8); select pgherald.watch('comments', 'task_id->project_id', mode => '{mode}')"
        ))
        .await;
        for (sql, expected) in [
            ("insert into comments values (1, 1)", vec![r#"comments INSERT 7 ["1"]"#]),
            ("update tasks set project_id = 9 where id = 1", vec!["comments UPDATE 7 null", "comments UPDATE 9 null"]),
            ("update tasks1 set project_id = 7", vec!["comments UPDATE 7 null", "comments UPDATE 9 null"]),
            // the parent comes later in the transaction: for now there is no project
            (
                "begin; insert into comments values (2, 3); insert into tasks values (3, 7); commit",
                vec!["comments INSERT * null"],
            ),
        ] {
            assert_eq!(witness.says(sql).await, expected, "{mode}: {sql}");
        }
        // a new partition has no trigger until the refresh, which is due
        witness.run("create table tasks3 partition of tasks for values from (100) to (110)").await;
        assert!(witness.get("select refresh_due from pgherald.watched").await.contains("tasks3 has no trigger"));
        witness.run("select * from pgherald.refresh(); insert into tasks3 values (100, 5)").await;
        assert_eq!(witness.says("update tasks3 set project_id = 6").await.len(), 2, "{mode}");
        assert_eq!(witness.dropped().await, 0);
        // gone: the write commits, and the loss is counted
        witness.run("drop table tasks cascade").await;
        assert_eq!(witness.says("update comments set task_id = 1").await, Vec::<String>::new());
        assert_ne!(witness.dropped().await, 0, "{mode}");
        assert!(witness.get("select refresh_due from pgherald.watched").await.contains("no foreign key"));
        assert!(witness.get("select reason from pgherald.refresh()").await.contains("no foreign key"));
    }
}

#[tokio::test]
async fn keys_of_every_type_can_be_followed() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(transport, "").await;
        let kinds = [
            "uuid",
            "text",
            "varchar(40)",
            "char(36)",
            "numeric",
            "date",
            "timestamptz",
            "smallint",
            "text collate \"C\"",
            "code",
        ];
        witness.run("create domain code as text").await;
        for (n, kind) in kinds.iter().enumerate() {
            let key = match n {
                0 => "00000000-0000-0000-0000-000000000001",
                4 | 7 => "12",
                5 => "2026-11-20",
                6 => "2026-11-20 00:00Z",
                _ => "a'\"\\b",
            };
            let key = key.replace('\'', "''");
            witness
                .run(&format!(
                    "create table \"A {n}\" (\"the Id\" {kind} primary key, \"pro ject\" {kind});
                 create table \"B {n}\" (id int primary key, \"to\" {kind} references \"A {n}\");
                 insert into \"A {n}\" values ('{key}', '{key}');
                 select pgherald.watch('\"B {n}\"', 'to->pro ject')"
                ))
                .await;
            witness.run("begin; set local timezone = 'Asia/Tokyo'; set local datestyle = 'German'").await;
            let said = witness.says(&format!("insert into \"B {n}\" values (1, '{key}'); commit")).await;
            assert_eq!(said.len(), 1, "{kind}: {said:?}");
            assert!(!said[0].contains(" * "), "{kind}: {said:?}");
            let other = if n == 0 {
                "00000000-0000-0000-0000-000000000002"
            } else if n == 3 {
                "b"
            } else if (4..8).contains(&n) {
                continue;
            } else {
                "b"
            };
            let said = witness.says(&format!("update \"A {n}\" set \"pro ject\" = '{other}'")).await;
            assert_eq!(said.len(), 2, "{kind}: {said:?}");
        }
        assert_eq!(witness.dropped().await, 0);
    }
}

/// However many parents move, and whoever moves them.
#[tokio::test]
async fn parents_that_move_together_are_told_once_for_each_project() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(
            transport,
            "create table lists (id int primary key, at timestamptz);
         create table tasks (id int primary key, list_id int references lists);
         create table comments (id int primary key, task_id int references tasks);
         insert into lists values (1, '2026-11-20 17:00Z'), (2, '2026-11-21 17:00Z');
         insert into lists select i, '2026-11-20 17:00Z' from generate_series(11, 15) i;
         insert into tasks select i, 1 from generate_series(1, 5) i; insert into comments values (1, 1);
         select pgherald.watch('comments', 'task_id->list_id->at', max_ids => 3);
         set timezone = 'Asia/Tokyo'; set datestyle = 'German'",
        )
        .await;
        let both = ["comments UPDATE 2026-11-20 17:00:00+00 null", "comments UPDATE 2026-11-21 17:00:00+00 null"];
        for sql in ["update tasks set list_id = 2", "update lists set at = '2026-11-21 17:00Z' where id > 10"] {
            assert_eq!(witness.says(sql).await, both, "{sql}");
        }
        assert_eq!(witness.dropped().await, 0);
    }
}

/// A key is compared as the table of the key compares, wherever it comes from.
#[tokio::test]
async fn a_path_compares_keys_as_their_table_does() {
    for Way { mode, transport } in NAMED_WAYS {
        let mut witness = Witness::by(
            transport,
            &format!(
                "create collation fold (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
             create table lists (id text collate fold primary key, project_id int);
             create table tasks (id text collate \"POSIX\" primary key, list text collate fold references lists);
             create table comments (id int primary key, task text collate \"POSIX\" references tasks);
             insert into lists values ('Work', 7), ('Home', 8); insert into tasks values ('a', 'WORK'), ('b', 'hOME');
             select pgherald.watch('tasks', 'list->project_id', mode => '{mode}', resource => 'task');
             select pgherald.watch('comments', 'task->list->project_id', mode => '{mode}')"
            ),
        )
        .await;
        for (sql, expected) in [
            ("insert into tasks values ('c', 'work')", vec![r#"task INSERT 7 ["c"]"#]),
            (
                "insert into tasks values ('d', 'wOrk'), ('e', 'home')",
                vec![r#"task INSERT 7 ["d"]"#, r#"task INSERT 8 ["e"]"#],
            ),
            ("insert into comments values (1, 'a')", vec![r#"comments INSERT 7 ["1"]"#]),
            (
                "insert into comments values (2, 'a'), (3, 'b')",
                vec![r#"comments INSERT 7 ["2"]"#, r#"comments INSERT 8 ["3"]"#],
            ),
            (
                "update tasks set list = 'HOME' where id = 'a'",
                vec![
                    "comments UPDATE 7 null",
                    "comments UPDATE 8 null",
                    r#"task UPDATE 7 ["a"]"#,
                    r#"task UPDATE 8 ["a"]"#,
                ],
            ),
        ] {
            assert_eq!(witness.says(sql).await, expected, "{mode}: {sql}");
        }
        assert_eq!(witness.dropped().await, 0);
    }
}

/// Its children stay as they are, so nothing but the parent can tell of them.
#[tokio::test]
async fn a_parent_that_is_deleted_and_inserted_anew_takes_its_children_along() {
    for Way { mode, transport } in NAMED_WAYS {
        let mut witness = Witness::by(
            transport,
            &format!(
                "create table lists (id int primary key, project_id int);
             create table tasks (id int primary key, list_id int references lists deferrable);
             create table comments (id int primary key, task_id int references tasks deferrable initially deferred);
             insert into lists values (1, 7), (2, 8), (3, 7); insert into tasks values (1, 1), (2, 2), (3, 3);
             insert into comments values (1, 1), (2, 2);
             select pgherald.watch('comments', 'task_id->list_id->project_id', max_ids => 3, mode => '{mode}')"
            ),
        )
        .await;
        let everyone = || vec!["comments UPDATE * null".to_owned()];
        let and_everyone = |one: &[i32]| {
            let projects = one.iter().map(|k| format!("comments UPDATE {k} null"));
            everyone().into_iter().chain(projects).collect::<Vec<_>>()
        };
        for (sql, expected) in [
            ("begin; delete from tasks where id = 1; insert into tasks values (1, 2); commit", everyone()),
            (
                "with d as (delete from tasks where id = 1 returning id) insert into tasks select id, 1 from d",
                everyone(),
            ),
            // no table but the one at the path's end is written to
            (
                "begin; set constraints all deferred; delete from lists where id = 1; insert into lists values (1, 6); commit",
                everyone(),
            ),
            // another one takes the key over
            (
                "begin; update tasks set id = 9 where id = 1; insert into tasks values (1, 2); commit",
                and_everyone(&[6]),
            ),
            ("begin; delete from tasks where id = 1; update tasks set id = 1 where id = 9; commit", everyone()),
            // the list of the deleted one is gone as well
            (
                "begin; set constraints all deferred; delete from lists where id = 2; delete from tasks where id = 2;
                 insert into tasks values (2, 2); insert into lists values (2, 5); commit",
                everyone(),
            ),
            // a savepoint that is rolled back takes its mark along
            (
                "begin; savepoint a; insert into tasks values (30, 2); rollback to a; delete from tasks where id = 3; commit",
                vec![],
            ),
            // what an application does all day
            ("insert into tasks values (3, 3)", vec![]),
            ("delete from tasks where id = 3", vec![]),
            ("begin; insert into tasks values (3, 3); insert into tasks values (4, 3); commit", vec![]),
            ("insert into tasks select from lists where false; delete from tasks where false", vec![]),
            ("begin; insert into tasks select from lists where false; delete from tasks where id = 4; commit", vec![]),
            ("truncate lists cascade", vec!["comments DELETE * null".to_owned()]),
        ] {
            let mut said = witness.says(sql).await;
            said.dedup();
            assert_eq!(said, expected, "{mode}: {sql}");
        }
        assert_eq!(witness.dropped().await, 0);
        witness.run("select pgherald.unwatch('comments')").await;
        assert_eq!(witness.get("select count(*) from pg_trigger where tgname like 'pgherald%'").await, "0");
        assert_eq!(witness.get("select count(*) from pgherald.generated()").await, "0");
    }
}

#[tokio::test]
async fn a_partition_that_is_deleted_and_inserted_anew_takes_its_children_along() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(transport,
        "create table tasks (id int primary key, project_id int) partition by range (id);
         create table tasks1 partition of tasks for values from (0) to (10); create table tasks2 partition of tasks default;
         create table comments (id int primary key, task_id int references tasks deferrable initially deferred);
         create table lists (id int primary key, project_id int); create table archive () inherits (lists);
         create table notes (id int primary key, list_id int references lists deferrable initially deferred);
         insert into tasks values (1, 7), (20, 8); insert into comments values (1, 1), (2, 20);
         insert into lists values (1, 7); insert into archive values (1, 5); insert into notes values (1, 1);
         select pgherald.watch('comments', 'task_id->project_id'), pgherald.watch('notes', 'list_id->project_id')",
    )
    .await;
        for (sql, expected) in [
            ("begin; delete from tasks1; insert into tasks values (1, 9); commit", "comments UPDATE * null"),
            (
                "begin; delete from tasks where id = 20; insert into tasks2 values (20, 6); commit",
                "comments UPDATE * null",
            ),
            ("begin; delete from only lists; insert into lists values (1, 9); commit", "notes UPDATE * null"),
            (
                "begin; delete from lists; insert into lists values (1, 9); insert into archive values (1, 9); commit",
                "notes UPDATE * null",
            ),
            ("begin; delete from archive; insert into archive values (1, 4); commit", "notes UPDATE * null"),
        ] {
            let mut said = witness.says(sql).await;
            said.dedup();
            assert_eq!(said, [expected], "{sql}");
        }
        assert_eq!(witness.dropped().await, 0);
    }
}

/// Elsewhere a parent cannot go while its children stay, and need not say that it goes or comes.
#[tokio::test]
async fn only_deferrable_keys_without_an_action_need_more_triggers() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(
            transport,
            "create table tasks (id int primary key, project_id int); insert into tasks values (1, 7);
         create table comments (id int primary key, task_id int constraint task references tasks)",
        )
        .await;
        let watch = "pgherald.watch('comments', 'task_id->project_id')";
        let triggers = "select count(*) from pg_trigger where tgrelid = 'tasks'::regclass and tgname like 'pgherald%'";
        for action in ["cascade", "set null", "set default", "restrict"] {
            witness
            .run(&format!(
                "alter table comments drop constraint task,
                     add constraint task foreign key (task_id) references tasks on delete {action} deferrable initially deferred;
                 select {watch}"
            ))
            .await;
            assert_eq!(witness.get(triggers).await, "1", "{action}");
        }
        assert!(witness.says("insert into tasks values (2, 7); delete from tasks where id = 2").await.is_empty());
        // a key that is altered makes a refresh due
        witness
            .run(
                "alter table comments drop constraint task, add constraint task foreign key (task_id) references tasks",
            )
            .await;
        assert_eq!(witness.get(watch).await, "unchanged");
        for (deferrable, reason, count) in
            [("deferrable", "has no trigger", "3"), ("not deferrable", "needs no more", "1")]
        {
            witness.run(&format!("alter table comments alter constraint task {deferrable}")).await;
            let due = witness.get("select refresh_due from pgherald.watched").await;
            assert!(due.contains(reason), "{due}");
            assert_eq!(witness.get("select outcome from pgherald.refresh()").await, "changed");
            assert_eq!(witness.get(triggers).await, count);
            assert_eq!(witness.get(watch).await, "unchanged");
        }
    }
}

/// Lookups run with the installer's rights, so they must be no way around anybody's.
#[tokio::test]
async fn a_path_gives_nobody_more_rights() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(
            transport,
            "create table secrets (id int primary key, project_id int); insert into secrets values (1, 7)",
        )
        .await;
        let (owner, writer) = (unique("owner"), unique("writer"));
        witness
            .run(&format!(
                "create role {owner}; create role {writer}; grant create, usage on schema public to {owner};
             grant references on secrets to {owner};
             set role {owner}; create table notes (id int primary key, secret_id int references secrets);
             grant insert, update on notes to {writer}"
            ))
            .await;
        let watch = "select pgherald.watch('notes', 'secret_id->project_id')";
        // not the owner of what lies in between, which needs a trigger
        let error = witness.fails(watch).await;
        assert!(error.contains("may not read that") || error.contains("only its owner may"), "{error}");
        assert!(witness.fails(&format!("{watch}; ")).await.contains("secrets"));
        // nor by writing the options by hand
        witness.run("select pgherald.watch('notes', '*')").await;
        let options = r#"{"mode":"statement","always":false,"max_ids":1000,"project":"secret_id->project_id"}"#;
        witness.run(&format!("comment on trigger pgherald_truncate on notes is '{options}'")).await;
        assert!(witness.fails("select pgherald.generate('notes')").await.contains("may not read that"));
        witness.run("reset role; select pgherald.unwatch('notes')").await;

        // the owner of all of them may, and the writer needs no right on what lies in between
        witness
            .run(&format!("alter table secrets owner to {owner}; set role {owner}; {watch}; set role {writer}"))
            .await;
        assert_eq!(witness.says("insert into notes values (1, 1)").await, [r#"notes INSERT 7 ["1"]"#]);
        assert!(witness.fails("select * from secrets").await.contains("permission denied"));
        // nor by asking the lookup itself
        let lookup = witness.get("select name from pgherald.generated() where role = 'lookup'").await;
        assert!(witness.fails(&format!("select pgherald.{lookup}('{{1}}')")).await.contains("permission denied"));
        witness.run(&format!("reset role; select pgherald.unwatch('notes'); alter table secrets enable row level security, force row level security; set role {owner}")).await;
        assert!(witness.fails(watch).await.contains("row security"));
        witness.run("reset role; create type mood as enum ('a'); create table moods (m mood primary key, project_id int); create table days (id int primary key, m mood references moods)").await;
        assert!(witness.fails("select pgherald.watch('days', 'm->project_id')").await.contains("not PostgreSQL's own"));
        // whose cast to text would run with the installer's rights
        witness.run("create table lists (id int primary key, project_id int); create table moody (id mood primary key, list int references lists, m mood); select 1").await;
        for (id, more) in [("id", ""), ("list", ", columns => array['m']"), ("list", ", include => array['m']")] {
            let error = witness
                .fails(&format!("select pgherald.watch('moody', 'list->project_id', id => array['{id}']{more})"))
                .await;
            assert!(error.contains("not PostgreSQL's own"), "{error}");
        }
        witness
            .run(&format!("drop owned by {owner} cascade; drop owned by {writer}; drop role {owner}, {writer}"))
            .await;
    }
}

#[tokio::test]
async fn what_dropped_tables_leave_is_cleared_away() {
    let witness = Witness::new(COMMENTS).await;
    witness
        .run("select pgherald.watch('comments', 'task_id->list_id->project_id'); select pgherald.watch('lists')")
        .await;
    let left =
        "(select count(*) from pgherald.generated()) + (select count(*) from pg_trigger where tgname like 'pgherald%')";
    assert_eq!(witness.get(left).await, (4 + 4 + 4 + 4 + 2 + 2 + 2).to_string());
    witness.run("drop table comments; select pgherald.drop_unused()").await;
    // one of the same name does not get in the way of what is left
    let again = "create table comments (id int primary key, task_id int references tasks);
        select pgherald.watch('comments', 'task_id->list_id->project_id'); drop table comments";
    witness.run(again).await;
    // still harmless to the writers of the others
    witness.run("update tasks set list_id = 2 where id = 1; update lists set project_id = 5").await;
    assert_eq!(witness.dropped().await, 0);
    witness.run("select * from pgherald.refresh()").await;
    assert_eq!(witness.get(left).await, "8");
    witness.run("select pgherald.unwatch('lists')").await;
    assert_eq!(witness.get(left).await, "0");
}

/// What it may not clear away is another's to clear away, and what it cannot repair has a hint.
#[tokio::test]
async fn a_refresh_by_anybody_does_what_he_may() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(transport, COMMENTS).await;
        let stranger = unique("stranger");
        witness
            .run(&format!(
                "select pgherald.watch('comments', 'task_id->list_id->project_id'); drop table comments;
             create table keyless (id int primary key, project_id int); select pgherald.watch('keyless');
             alter table keyless drop constraint keyless_pkey;
             create role {stranger}; set role {stranger}"
            ))
            .await;
        let report = "select string_agg(concat_ws(' ', relation, outcome, reason), '; ') from pgherald.refresh()";
        let said = witness.get(report).await;
        assert!(said.contains("only its owner may: Call it as "), "{said}");
        let left = "select count(*) from pg_trigger where tgname like 'pgherald_moved%'";
        assert_eq!(witness.get(left).await, "2");
        witness.run("reset role").await;
        let said = witness.get(report).await;
        assert!(said.contains("it has no primary key: Pass id => "), "{said}");
        assert_eq!(witness.get(left).await, "0");
        assert!(witness.says("update lists set project_id = 1").await.is_empty());
        witness.run(&format!("drop role {stranger}")).await;
    }
}

#[tokio::test]
async fn a_function_that_somebody_uses_is_left_to_him() {
    let witness = Witness::new(COMMENTS).await;
    let watch = "select pgherald.watch('comments', 'task_id->list_id->project_id')";
    witness.run(watch).await;
    let lookup = witness.get("select name from pgherald.generated() where role = 'lookup' and step = 2").await;
    witness.run(&format!("create view mine as select pgherald.{lookup}('{{1}}')")).await;
    assert_eq!(witness.get("pgherald.unwatch('comments')").await, "true");
    assert_eq!(witness.get("select array_agg(name) from pgherald.generated()").await, format!("{{{lookup}}}"));
    assert_eq!(witness.get("select * from mine").await, "{7}");
    // it is in nobody's way, and goes when it can
    witness.run(watch).await;
    assert_eq!(witness.get("select string_agg(outcome, ',') from pgherald.refresh()").await, "unchanged");
    witness.run("select pgherald.unwatch('comments'); drop view mine; select pgherald.drop_unused()").await;
    assert_eq!(witness.get("select count(*) from pgherald.generated()").await, "0");
}

#[tokio::test]
async fn a_lookup_never_means_the_child_of_a_parent() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(
            transport,
            "create table pr (id int primary key, project_id int); create table pr_archive () inherits (pr);
         create table ch (id int primary key, pr_id int references pr);
         insert into pr values (1, 1), (2, 2); insert into pr_archive values (1, 5), (2, 5);
         select pgherald.watch('ch', 'pr_id->project_id')",
        )
        .await;
        let said = witness.says("insert into ch values (11, 1), (12, 2)").await;
        assert_eq!(said, [r#"ch INSERT 1 ["11"]"#, r#"ch INSERT 2 ["12"]"#]);
    }
}
