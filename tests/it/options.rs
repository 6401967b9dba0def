//! The options of `watch`: columns that count, columns that travel, rows one by one; partitions and children.

use serde_json::{Value, json};

use crate::paths::COMMENTS;
use crate::witness::{NAMED_WAYS, TRANSPORTS, Way, Witness};
use crate::world::connect;

#[tokio::test]
async fn an_update_that_changes_none_of_the_columns_is_silent() {
    for Way { mode, transport } in NAMED_WAYS {
        let mut witness = Witness::by(
            transport,
            "create table t (id int primary key, project_id int, title text, seen int, data jsonb)",
        )
        .await;
        let watch = "select pgherald.watch('t', columns => array['title', 'data'], max_ids => 5";
        witness
            .run(&format!(
                "{watch}, mode => '{mode}'); insert into t select i, i % 2, 'a', 0, '{{}}' from generate_series(1, 4) i"
            ))
            .await;
        witness.payloads().await;
        for (sql, expected) in [
            ("update t set seen = 1 where id = 1", vec![]),
            ("update t set seen = 2", vec![]),
            ("update t set title = title", vec![]),
            ("update t set title = 'b' where id = 1", vec![r#"t UPDATE 1 ["1"]"#]),
            ("update t set data = '{\"a\": 1}' where id = 2", vec![r#"t UPDATE 0 ["2"]"#]),
            ("update t set data = '{\"a\":1}' where id = 2", vec![]),
            ("update t set title = null where id = 1", vec![r#"t UPDATE 1 ["1"]"#]),
            ("update t set title = null where id = 1", vec![]),
            ("update t set title = case id when 3 then 'c' else title end", vec![r#"t UPDATE 1 ["3"]"#]),
            // project and key always count
            ("update t set project_id = 5 where id = 4", vec![r#"t UPDATE 0 ["4"]"#, r#"t UPDATE 5 ["4"]"#]),
            ("update t set id = 40 where id = 4", vec![r#"t UPDATE 5 ["4","40"]"#]),
        ] {
            let said = witness.says(sql).await;
            if mode == "row" && sql.contains("id = 40") {
                assert_eq!(said, [r#"t UPDATE 5 ["4"]"#, r#"t UPDATE 5 ["40"]"#], "{sql}");
            } else {
                assert_eq!(said, expected, "{mode}: {sql}");
            }
        }
        // inserts and deletes are told whatever they hold
        assert_eq!(witness.says("insert into t values (50, 1); delete from t where id = 50").await.len(), 2);
        witness.run("insert into t select i, 1, 'a' from generate_series(100, 120) i").await;
        witness.payloads().await;
        assert_eq!(witness.says("update t set seen = 3").await, Vec::<String>::new(), "{mode}");
        let said = witness.says("update t set title = 'z' where id >= 100").await;
        assert!(said.contains(&"t UPDATE 1 null".to_owned()), "{mode}: {said:?}");
        assert_eq!(witness.dropped().await, 0);
    }
}

/// What is in the payloads under `rows` and `old_rows`.
async fn rows(witness: &mut Witness, sql: &str) -> Vec<(Value, Value)> {
    witness.run(sql).await;
    let payloads = witness.payloads().await;
    let events = payloads.iter().map(|payload| serde_json::from_str::<Value>(payload).unwrap());
    events.map(|event| (event["rows"].clone(), event["old_rows"].clone())).collect()
}

#[tokio::test]
async fn included_columns_travel_where_they_are_small() {
    for Way { mode, transport } in NAMED_WAYS {
        let mut witness = Witness::by(
            transport,
            "create table t (id int primary key, project_id int, title text, \"the Tag\" jsonb, at timestamptz)",
        )
        .await;
        witness
            .run(&format!("select pgherald.watch('t', include => array['title', 'the Tag', 'at'], mode => '{mode}')"))
            .await;
        let row = |title: &str| json!([{"title": title, "the Tag": [1], "at": "2026-11-20T17:00:00+00:00"}]);
        let none = (Value::Null, Value::Null);
        let insert = "begin; set local timezone = 'Asia/Tokyo'; insert into t values (1, 7, 'a\"', '[1]', '2026-11-20 17:00Z'); commit";
        assert_eq!(rows(&mut witness, insert).await, [(row("a\""), Value::Null)], "{mode}");
        let update = "update t set title = 'b' where id = 1";
        assert_eq!(rows(&mut witness, update).await, [(row("b"), row("a\""))], "{mode}");
        assert_eq!(rows(&mut witness, update).await, [(row("b"), Value::Null)], "{mode}");
        // moved, or by another name: what the other project may not see stays here
        for sql in ["update t set project_id = 8", "update t set id = 2"] {
            assert!(rows(&mut witness, sql).await.iter().all(|rows| *rows == none), "{mode}: {sql}");
        }
        assert_eq!(rows(&mut witness, "delete from t").await, [(row("b"), Value::Null)], "{mode}");
        // too large: the ids alone, and the write does not mind
        let huge = "insert into t values (3, 7, (select string_agg(md5(i::text), '') from generate_series(1, 400) i))";
        assert!(matches!(&rows(&mut witness, huge).await[..], [(Value::Null | Value::Array(_), Value::Null)]));
        assert_eq!(
            rows(&mut witness, "insert into t values (4, null, 'x')").await,
            std::slice::from_ref(&none),
            "{mode}"
        );
        witness.run("truncate t").await;
        witness.payloads().await;
        let said = witness.says("insert into t select i, 7, repeat('x', 300) from generate_series(1, 90) i").await;
        assert!(said.iter().all(|event| event.starts_with("t INSERT 7 [")), "{mode}: {said:?}");
        assert_eq!(witness.dropped().await, 0, "{mode}");
    }
}

#[tokio::test]
async fn included_columns_of_many_or_large_rows_stay_where_they_are() {
    for transport in TRANSPORTS {
        let mut witness =
            Witness::by(transport, "create table t (id int primary key, project_id int, title text)").await;
        witness.run("select pgherald.watch('t', include => array['title'])").await;
        // a hundred rows at most, however small
        let insert = |from: i32, to: i32| format!("insert into t select i, 7, '' from generate_series({from}, {to}) i");
        assert_ne!(rows(&mut witness, &insert(1001, 1100)).await[0].0, Value::Null);
        assert_eq!(rows(&mut witness, &insert(2001, 2101)).await[0].0, Value::Null);
        // 4000 bytes a row, before it is made into JSON
        let one =
            "insert into t values (3000, 7, (select string_agg(md5(i::text), '') from generate_series(1, 126) i))";
        assert_eq!(rows(&mut witness, one).await, [(json!([null]), Value::Null)]);
        witness.run("delete from t").await;
        witness.payloads().await;
        let found = rows(&mut witness, "insert into t values (1, 7, 'a'), (2, 7, 'b'), (3, 8, 'c')").await;
        assert!(found.contains(&(json!([{"title": "a"}, {"title": "b"}]), Value::Null)), "{found:?}");
        let found = rows(&mut witness, "update t set title = title || '!' where project_id = 7").await;
        assert_eq!(found, [(json!([{"title": "a!"}, {"title": "b!"}]), json!([{"title": "a"}, {"title": "b"}]))]);
    }
}

#[tokio::test]
async fn row_mode_is_bounded_and_tells_every_kind_of_write() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(
            transport,
            "create table t (id int primary key, project_id int) partition by range (id);
         create table t1 partition of t for values from (0) to (100); create table t2 partition of t default;
         select pgherald.watch('t', mode => 'row', max_ids => 3)",
        )
        .await;
        for (sql, expected) in [
            ("insert into t values (1, 7), (200, 8)", vec![r#"t INSERT 7 ["1"]"#, r#"t INSERT 8 ["200"]"#]),
            ("insert into t1 values (2, 7)", vec![r#"t INSERT 7 ["2"]"#]),
            (
                "insert into t values (1, 7) on conflict (id) do update set project_id = 9",
                vec![r#"t UPDATE 7 ["1"]"#, r#"t UPDATE 9 ["1"]"#],
            ),
            // to another partition: PostgreSQL shows row triggers a DELETE and an INSERT
            ("update t set id = 300 where id = 1", vec![r#"t DELETE 9 ["1"]"#, r#"t INSERT 9 ["300"]"#]),
            ("delete from t", vec![r#"t DELETE 7 ["2"]"#, r#"t DELETE 8 ["200"]"#, r#"t DELETE 9 ["300"]"#]),
            (
                "insert into t select i, 7 from generate_series(1, 50) i",
                vec![r#"t INSERT 7 ["1"]"#, r#"t INSERT 7 ["2"]"#, r#"t INSERT 7 ["3"]"#, "t INSERT 7 null"],
            ),
            ("truncate t1", vec!["t DELETE * null"]),
        ] {
            assert_eq!(witness.says(sql).await, expected, "{sql}");
        }
        // ATTACH is not hindered by the triggers of a table that was watched by itself, in either mode
        for mode in ["row", "statement"] {
            witness
            .run(&format!(
                "create table late (id int primary key, project_id int); select pgherald.watch('late', mode => '{mode}');
                 alter table t attach partition late for values from (1000) to (2000)"
            ))
            .await;
            let due = "refresh_due from pgherald.watched where relation = 't'::regclass";
            assert_ne!(witness.get(&format!("select {due}")).await, "null", "{mode}");
            witness.run("select * from pgherald.refresh()").await;
            assert_eq!(witness.get(&format!("select {due}")).await, "null", "{mode}");
            assert_eq!(witness.says("insert into late values (1000, 7)").await, [r#"t INSERT 7 ["1000"]"#], "{mode}");
            // the other way round: what was detached is silent, as PostgreSQL takes its copies of row triggers back
            witness.run("alter table t detach partition late; select * from pgherald.refresh()").await;
            assert_eq!(witness.says("insert into late values (1001, 7)").await, Vec::<String>::new(), "{mode}");
            witness.run("drop table late").await;
        }
        // there and back between the modes
        assert_eq!(witness.get("pgherald.watch('t', mode => 'statement')").await, "changed");
        assert_eq!(witness.says("insert into t1 values (60, 7), (61, 7)").await, [r#"t INSERT 7 ["60","61"]"#]);
        assert_eq!(witness.get("pgherald.watch('t', mode => 'row')").await, "changed");
        assert_eq!(witness.get("pgherald.watch('t', mode => 'row')").await, "unchanged");
        assert_eq!(
            witness.says("insert into t1 values (70, 7), (71, 7)").await,
            [r#"t INSERT 7 ["70"]"#, r#"t INSERT 7 ["71"]"#]
        );
        assert_eq!(witness.dropped().await, 0);
    }
}

#[tokio::test]
async fn replicas_are_silent_unless_asked() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(
            transport,
            "create table t (id int primary key, project_id int) partition by range (id);
         create table t1 partition of t default; select pgherald.watch('t', mode => 'row')",
        )
        .await;
        let replica = |id: i32| {
            format!("begin; set local session_replication_role = replica; insert into t values ({id}, 7); commit")
        };
        assert_eq!(witness.says(&replica(1)).await, Vec::<String>::new());
        assert_eq!(witness.get("pgherald.watch('t', mode => 'row', always => true)").await, "changed");
        assert_eq!(witness.get("pgherald.watch('t', mode => 'row', always => true)").await, "unchanged");
        assert_eq!(witness.says(&replica(2)).await, [r#"t INSERT 7 ["2"]"#]);
        let truncate = "begin; set local session_replication_role = replica; truncate t; commit";
        assert_eq!(witness.says(truncate).await, ["t DELETE * null"]);
        assert_eq!(witness.get("pgherald.watch('t', mode => 'row')").await, "changed");
        assert_eq!(witness.says(&replica(3)).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_refresh_follows_renamed_columns() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(transport, COMMENTS).await;
        witness
        .run(
            "create table t (id int primary key, project_id int, a int, b text);
             select pgherald.watch('t', id => array['a'], columns => array['b', 'a'], include => array['b']);
             select pgherald.watch('comments', 'task_id->list_id->project_id');
             alter table t rename project_id to \"Project->Id\"; alter table t rename a to \"A\"; alter table t rename b to bb;
             alter table comments rename task_id to tid; alter table tasks rename list_id to lid;
             alter table lists rename project_id to pid; alter table comments rename id to cid;
             insert into t values (1, 7, 5, 'x'); insert into comments values (1, 1)",
        )
        .await;
        assert_eq!(witness.dropped().await, 2);
        assert_eq!(
            witness
                .get("select string_agg(refresh_due, ' ') from pgherald.watched")
                .await
                .matches("has no column")
                .count(),
            2
        );
        let outcomes = "select string_agg(outcome, ' ') from pgherald.refresh()";
        assert_eq!(witness.get(outcomes).await, "changed changed");
        assert_eq!(witness.get(outcomes).await, "unchanged unchanged");
        assert_eq!(witness.get("select count(refresh_due) from pgherald.watched").await, "0");
        witness.payloads().await;
        assert_eq!(witness.says("insert into t values (2, 7, 6, 'y')").await, [r#"t INSERT 7 ["6"]"#]);
        assert_eq!(witness.says("insert into comments values (2, 1)").await, [r#"comments INSERT 7 ["2"]"#]);
        let options = "select concat(project, id, columns, include) from pgherald.watched where relation = ";
        assert_eq!(witness.get(&format!("{options} 't'::regclass")).await, "Project->Id{A}{bb,A}{bb}");
        assert_eq!(witness.get(&format!("{options} 'comments'::regclass")).await, "tid->lid->pid{cid}");
        // retyped: counted, due, repaired
        witness.run("alter table t alter \"Project->Id\" type text; insert into t values (3, 'seven', 7)").await;
        assert_eq!(witness.dropped().await, 3);
        assert!(
            witness
                .get("select refresh_due from pgherald.watched where relation = 't'::regclass")
                .await
                .contains("functions")
        );
        witness.run("select * from pgherald.refresh()").await;
        assert_eq!(witness.says("insert into t values (4, 'seven', 8)").await, [r#"t INSERT seven ["8"]"#]);
    }
}

#[tokio::test]
async fn children_are_told_directly_and_through_their_mother() {
    for Way { mode, transport } in NAMED_WAYS {
        let mut witness = Witness::by(
            transport,
            &format!(
            "create table mother (id int primary key, project_id int); create table child (more text) inherits (mother);
             create table own (id int primary key) inherits (mother); select pgherald.watch('own', resource => 'own');
             select pgherald.watch('mother', mode => '{mode}')"
        ),
        )
        .await;
        assert_eq!(witness.says("insert into child values (1, 7)").await, [r#"mother INSERT 7 ["1"]"#], "{mode}");
        assert_eq!(witness.says("insert into own values (2, 7)").await, [r#"own INSERT 7 ["2"]"#], "{mode}");
        assert_eq!(
            witness.says("update mother set project_id = 7 where id = 1").await,
            [r#"mother UPDATE 7 ["1"]"#],
            "{mode}"
        );
        witness.run("create table second () inherits (mother)").await;
        assert_ne!(
            witness.get("select refresh_due from pgherald.watched where relation = 'mother'::regclass").await,
            "null"
        );
        witness.run("select * from pgherald.refresh()").await;
        assert_eq!(witness.says("insert into second values (3, 7)").await, [r#"mother INSERT 7 ["3"]"#], "{mode}");
        assert_eq!(witness.get("pgherald.unwatch('mother')").await, "true");
        assert_eq!(witness.says("insert into child values (4, 7)").await, Vec::<String>::new());
        assert_eq!(witness.says("insert into own values (4, 7)").await, [r#"own INSERT 7 ["4"]"#]);
    }
}

#[tokio::test]
async fn the_plan_is_what_watch_does_and_takes_no_lock() {
    let witness = Witness::new(COMMENTS).await;
    // Somebody holds what watch itself would wait for.
    let other = connect(&witness.url).await;
    other.batch_execute("begin; lock table comments in share update exclusive mode").await.unwrap();
    let plan = "select string_agg(statement, '' order by n) from rows from (pgherald.plan('comments', 'task_id->list_id->project_id')) with ordinality p(statement, reason, n)";
    witness.run("begin").await;
    let script = witness.get(plan).await;
    let locks = "select count(*) from pg_locks l join pg_class c on c.oid = l.relation
        where l.pid = pg_backend_pid() and c.relname in ('comments', 'tasks', 'lists') and l.mode <> 'AccessShareLock'";
    assert_eq!(witness.get(locks).await, "0");
    witness.run("commit").await;
    other.batch_execute("rollback").await.unwrap();
    assert_eq!(witness.get("select count(*) from pgherald.watched").await, "0");
    // Run by hand it does the same.
    witness.run(&script).await;
    assert_eq!(witness.get("pgherald.watch('comments', 'task_id->list_id->project_id')").await, "unchanged");
    assert_eq!(
        witness.get("select count(*) from pgherald.plan('comments', 'task_id->list_id->project_id')").await,
        "0"
    );
    assert!(witness.fails("select pgherald.plan('comments')").await.contains("no column project_id"));
}

#[tokio::test]
async fn what_reads_differently_has_changed() {
    for Way { mode, transport } in NAMED_WAYS {
        let mut witness = Witness::by(transport, &format!(
            "create table t (id int primary key, project_id numeric, a numeric, b text);
             select pgherald.watch('t', columns => array['a'], mode => '{mode}'); insert into t select i, 7, 1, 'x' from generate_series(1, 2) i"
        ))
        .await;
        witness.payloads().await;
        assert!(witness.says("update t set b = 'y'").await.is_empty());
        assert_ne!(witness.says("update t set a = 1.0").await.len(), 0, "{mode}");
        assert_ne!(witness.says("update t set project_id = 7.0").await.len(), 0, "{mode}");
        assert_ne!(witness.says("update t set a = 1.00 where id = 1").await.len(), 0, "{mode}");
    }
}

#[tokio::test]
async fn a_row_that_is_turned_away_from_its_new_partition_is_told() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(
            transport,
            "create table pt (id int, project_id int, primary key (id, project_id)) partition by list (project_id);
         create table pt1 partition of pt for values in (1); create table pt2 partition of pt for values in (2);
         create function no() returns trigger language plpgsql as 'begin return null; end';
         create trigger no before insert on pt2 for each row execute function no();
         insert into pt select i, 1 from generate_series(1, 4) i; select pgherald.watch('pt', max_ids => 2)",
        )
        .await;
        assert_eq!(witness.says("update pt set project_id = 2 where id = 1").await, [r#"pt UPDATE 1 ["1:1"]"#]);
        assert_eq!(witness.says("update pt set project_id = 2").await, ["pt UPDATE 1 null"]);
        assert!(witness.says("update pt set project_id = 2").await.is_empty());
    }
}

#[tokio::test]
async fn merge_that_moves_one_of_several_rows_of_a_name_is_told_since_15() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(
            transport,
            "create table pt (id int, reg int, project_id int, primary key (id, reg)) partition by list (reg);
         create table pt1 partition of pt for values in (0); create table pt2 partition of pt default;
         insert into pt values (1, 0, 10), (1, 2, 20); select pgherald.watch('pt', id => array['id'])",
        )
        .await;
        let merge = "merge into pt using (values (0), (2)) v(reg) on pt.reg = v.reg
        when matched and pt.reg = 0 then update set reg = 5 when matched then update set project_id = 20";
        assert_eq!(witness.says(merge).await, ["pt UPDATE * null"]);
    }
}

/// Beneath the MERGE other partitioned tables are updated, before the row moves and after.
#[tokio::test]
async fn merge_that_moves_rows_is_told_whatever_happens_beneath_it_since_15() {
    for transport in TRANSPORTS {
        for event in ["before update", "after delete"] {
            let mut witness = Witness::by(
                transport,
                &format!(
                    "create table pt (id int primary key, project_id int) partition by range (id);
             create table pt1 partition of pt for values from (0) to (10); create table pt2 partition of pt default;
             create table counts (id int primary key, project_id int, n int) partition by list (id);
             create table counts1 partition of counts default;
             create function counted() returns trigger language plpgsql as
                 $$begin update public.counts set n = n + 1; return new; end$$;
             create trigger zz {event} on pt for each row execute function counted();
             insert into pt values (1, 7); insert into counts values (1, 5, 0);
             select pgherald.watch('pt'), pgherald.watch('counts')"
                ),
            )
            .await;
            let merge = |from: i32, to: i32| {
                format!(
                    "merge into pt using (values ({from})) v(id) on pt.id = v.id when matched then update set id = {to}"
                )
            };
            let mut said = witness.says(&merge(1, 20)).await;
            said.dedup();
            assert_eq!(said, [r#"counts UPDATE 5 ["1"]"#, "pt UPDATE * null"], "{event}");
            // what comes later is told as ever, in the same transaction too
            let two = format!("begin; {}; update pt set project_id = 7; commit", merge(20, 2));
            let said = witness.says(&two).await;
            assert!(said.contains(&r#"pt UPDATE 7 ["2"]"#.to_owned()), "{event}: {said:?}");
            assert_eq!(witness.says("update counts set n = 0").await, [r#"counts UPDATE 5 ["1"]"#], "{event}");
            assert_eq!(witness.dropped().await, 0, "{event}");
        }
    }
}

#[tokio::test]
async fn a_project_without_a_name_is_no_project() {
    for transport in TRANSPORTS {
        let mut witness =
            Witness::by(transport, "create table t (id int primary key, project_id text); select pgherald.watch('t')")
                .await;
        assert_eq!(witness.says("insert into t values (1, '')").await, ["t INSERT * null"]);
        assert_eq!(
            witness.says("insert into t values (2, ''), (3, 'a')").await,
            ["t INSERT * null", r#"t INSERT a ["3"]"#]
        );
        assert_eq!(witness.says("select pgherald.notify('e', '1', 'UPDATE', '')").await, ["e UPDATE * null"]);
    }
}

#[tokio::test]
async fn a_child_of_two_mothers_tells_for_one() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(transport,
        "create table p1 (id int primary key, project_id int); create table p2 (id int primary key, project_id int);
         create table c () inherits (p1, p2); select pgherald.watch('p1')",
    )
    .await;
        assert!(witness.fails("select pgherald.watch('p2')").await.contains("c below it tells in the name of"));
        assert_eq!(witness.get("select string_agg(outcome, ',') from pgherald.refresh()").await, "unchanged");
        witness.run("select pgherald.watch('c', id => array['id']); select pgherald.watch('p2')").await;
        assert_eq!(witness.says("insert into c values (1, 7)").await, [r#"c INSERT 7 ["1"]"#]);
        assert_eq!(witness.get("select string_agg(distinct outcome, ',') from pgherald.refresh()").await, "unchanged");
    }
}

#[tokio::test]
async fn a_grandchild_by_two_ways_is_one_table() {
    for Way { mode, transport } in NAMED_WAYS {
        let mut witness = Witness::by(
            transport,
            &format!(
                "create table mother (id int primary key, project_id int); create table a () inherits (mother);
             create table b () inherits (mother); create table c () inherits (a, b);
             select pgherald.watch('mother', mode => '{mode}')"
            ),
        )
        .await;
        assert_eq!(
            witness.get("select concat(relations, ' ', triggers) from pgherald.watched").await,
            "4 16",
            "{mode}"
        );
        assert_eq!(witness.says("insert into c values (1, 7)").await, [r#"mother INSERT 7 ["1"]"#], "{mode}");
        assert_eq!(witness.get("select outcome from pgherald.refresh()").await, "unchanged", "{mode}");
    }
}

#[tokio::test]
async fn a_partition_is_not_unwatched_by_itself() {
    for mode in ["statement", "row"] {
        let witness = Witness::new(&format!(
            "create table p (id int primary key, project_id int) partition by list (id); create table p1 partition of p default;
             select pgherald.watch('p', mode => '{mode}')"
        ))
        .await;
        assert!(witness.fails("select pgherald.unwatch('p1')").await.contains("it is a partition of public.p"));
        witness.run("alter table p detach partition p1").await;
        assert_eq!(witness.get("pgherald.unwatch('p1')").await, "true");
        assert_eq!(witness.get("pgherald.unwatch('p')").await, "true");
        assert_eq!(witness.get("select count(*) from pgherald.generated()").await, "0");
    }
}
