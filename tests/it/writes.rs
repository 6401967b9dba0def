//! No row that a statement changes goes untold, whatever the statement.

use std::pin::pin;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::Client;

use crate::witness::{WAYS, Way, Witness, rows, told};

const TASKS: &str = "create table tasks (id int primary key, project_id int, title text);
    create table notes (id text primary key, project_id text, task int);
    insert into tasks select g, 7 + g % 2, 'old' from generate_series(1, 40) g;
    select pgherald.watch('tasks'$mode), pgherald.watch('notes'$mode);";

#[tokio::test]
async fn one_statement_many_rows() {
    told(
        TASKS,
        &[
            ("insert into tasks values (101, 7), (102, 8), (103, 9), (104, 7)", "tasks INSERT 7/101 8/102 9/103 7/104"),
            ("insert into tasks select id + 100, project_id from tasks where id in (5, 6)", "tasks INSERT 8/105 7/106"),
            (
                "update tasks t set title = v.t from (values (1, 'a'), (2, 'b'), (2, 'c'), (9999, 'd')) v(id, t) where t.id = v.id",
                "tasks UPDATE 8/1 7/2",
            ),
            ("update tasks set title = id::text where id between 3 and 6", "tasks UPDATE 8/3 7/4 8/5 7/6"),
            ("update tasks set (project_id, title) = (select 9, 'x') where id = 3", "tasks UPDATE 8/3 9/3"),
            ("delete from tasks t using tasks o where t.id + 1 = o.id and o.id in (102, 104)", "tasks DELETE 7/101 9/103"),
            ("delete from tasks where id in (102, 104) returning *", "tasks DELETE 8/102 7/104"),
            // writes that write nothing
            ("update tasks set title = 'x' where id = 9999; delete from tasks where id = 9999", ""),
            ("insert into tasks select 1, 7 where false", ""),
            ("select * from tasks for update; select * from tasks for key share; lock tasks in exclusive mode", ""),
            ("insert into tasks values (1, 7) on conflict do nothing", ""),
            ("insert into tasks values (1, 7) on conflict (id) do update set title = 'y' where tasks.project_id = 99", ""),
        ],
    )
    .await;
}

#[tokio::test]
async fn several_writes_in_one_statement() {
    told(
        TASKS,
        &[
            (
                "with i as (insert into tasks values (201, 7), (202, 8) returning id),
                      u as (update tasks set project_id = 9 where id in (1, 2) returning id),
                      d as (delete from tasks where id in (3, 4) returning id)
                 select from i, u, d",
                "tasks INSERT 7/201 8/202, tasks UPDATE 8/1 9/1 7/2 9/2, tasks DELETE 8/3 7/4",
            ),
            // the same kind of write twice on one table
            (
                "with a as (insert into tasks values (211, 7)), b as (insert into tasks values (212, 8))
                 insert into tasks values (213, 9)",
                "tasks INSERT 7/211 8/212 9/213",
            ),
            (
                "with a as (update tasks set title = 'a' where id = 5), b as (update tasks set title = 'b' where id = 6)
                 delete from tasks where id = 7",
                "tasks UPDATE 8/5 7/6, tasks DELETE 8/7",
            ),
            // moved from one table into another; one that nobody reads is run too
            (
                "with gone as (delete from tasks where id in (8, 9) returning *), idle as (update tasks set title = 'i' where id = 10)
                 insert into notes select 'n' || id, project_id, id from gone",
                "tasks DELETE 7/8 8/9, tasks UPDATE 7/10, notes INSERT 7/n8 8/n9",
            ),
            (
                "insert into tasks values (11, 7, 'c'), (301, 7, 'c'), (12, 7, 'c'), (302, 8, 'c') on conflict (id)
                 do update set title = excluded.title, project_id = 9",
                "tasks INSERT 7/301 8/302, tasks UPDATE 8/11 9/11 7/12 9/12",
            ),
            ("truncate tasks, notes", "tasks DELETE */*, notes DELETE */*"),
            ("truncate only tasks restart identity", "tasks DELETE */*"),
        ],
    )
    .await;
}

#[tokio::test]
async fn merge_since_15() {
    const MERGED: &str = "create table tasks (id int primary key, project_id int, title text);
        create table days (id int, project_id int, day int, primary key (id, day)) partition by list (day);
        create table day1 partition of days for values in (1); create table day2 partition of days default;
        insert into tasks select g, 7 + g % 2 from generate_series(1, 20) g;
        insert into days select g, 7 + g % 2, g % 3 from generate_series(1, 20) g;
        select pgherald.watch('tasks'$mode), pgherald.watch('days'$mode);";
    told(
        MERGED,
        &[
            (
                "merge into tasks t using (values (1, 'd'), (2, 'u'), (3, 'm'), (4, 'n'), (101, 'i'), (102, 'i'), (103, 'n')) v(id, what)
                    on t.id = v.id
                  when matched and what = 'd' then delete
                  when matched and what = 'm' then update set project_id = 9
                  when matched and what = 'u' then update set title = 'u'
                  when matched then do nothing
                  when not matched and what = 'i' then insert values (v.id, v.id % 2 + 7)",
                "tasks DELETE 8/1, tasks UPDATE 7/2 8/3 9/3, tasks INSERT 8/101 7/102",
            ),
            ("merge into tasks t using (values (9999)) v(id) on t.id = v.id when matched then delete", ""),
            (
                "merge into days d using (values (1, 'd'), (2, 'u'), (3, 'm'), (101, 'i'), (102, 'i')) v(id, what) on d.id = v.id
                  when matched and what = 'd' then delete
                  when matched and what = 'm' then update set project_id = 9
                  when matched then update set project_id = project_id
                  when not matched then insert values (v.id, 7, v.id % 2)",
                "days UPDATE */*, days DELETE 8/1:1, days INSERT 7/101:1 7/102:0 | days DELETE 8/1:1, days UPDATE 7/2:2 8/3:0 9/3:0, days INSERT 7/101:1 7/102:0",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn merge_by_source_since_17() {
    told(
        TASKS,
        &[(
            "merge into tasks t using (select g from generate_series(3, 40) g) v(id) on t.id = v.id
              when not matched by source and t.id = 1 then delete when not matched by source then update set project_id = 9
              when matched and t.id = 3 then update set title = 'x'",
            "tasks DELETE 8/1, tasks UPDATE 7/2 9/2 8/3",
        )],
    )
    .await;
}

/// Sends `lines` to `COPY ... FROM STDIN`, in pieces that end anywhere.
async fn copy(client: &Client, sql: &str, lines: &str) {
    let mut sink = pin!(client.copy_in::<_, Bytes>(sql).await.unwrap());
    for piece in lines.as_bytes().chunks(7) {
        sink.send(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    sink.finish().await.unwrap();
}

#[tokio::test]
async fn copy_from_stdin() {
    for Way { mode, transport } in WAYS {
        let mut witness = Witness::by(transport, &TASKS.replace("$mode", mode)).await;
        copy(&witness.client, "copy tasks from stdin", "101\t7\ta\n102\t7\tb\n103\t7\tc\n").await;
        assert_eq!(witness.covered().await, rows("tasks INSERT 7/101 7/102 7/103", mode));
        // several projects, none, and columns in another order
        let lines = "201,7,\n202,8,a\n203,9,\"b\"\"\n\"\n204,8,c\n205,,d\n";
        copy(&witness.client, "copy tasks (id, project_id, title) from stdin (format csv)", lines).await;
        let expected = rows("tasks INSERT 7/201 8/202 9/203 8/204 */*", mode);
        assert_eq!(witness.covered().await, expected);
        let lines: String = (300..700).map(|id| format!("{}\t{id}\n", id % 3)).collect();
        copy(&witness.client, "copy tasks (project_id, id) from stdin", &lines).await;
        let expected = (300..700).map(|id| format!("tasks INSERT {}/{id}", id % 3)).collect();
        assert_eq!(witness.covered().await, expected);
        // one that fails half way, and one without a row
        let mut sink = pin!(witness.client.copy_in::<_, Bytes>("copy tasks from stdin").await.unwrap());
        sink.send(Bytes::from("901\t7\ta\n901\t7\tb\n")).await.unwrap();
        assert!(sink.finish().await.is_err());
        copy(&witness.client, "copy tasks from stdin", "").await;
        assert!(witness.covered().await.is_empty());
        assert_eq!(witness.dropped().await, 0);
    }
}

#[tokio::test]
async fn keys_and_projects_that_change() {
    told(
        "create table tasks (id int primary key, project_id int, title text);
         create table seats (id int unique deferrable, project_id int);
         insert into tasks select g, 7 from generate_series(1, 9) g; insert into seats values (1, 7), (2, 8), (3, null);
         select pgherald.watch('tasks'$mode), pgherald.watch('seats', id => array['id']$mode);",
        &[
            ("update tasks set id = 11 where id = 1", "tasks UPDATE 7/1 7/11"),
            ("update tasks set id = -id where id < 5", "tasks UPDATE 7/2 7/-2 7/3 7/-3 7/4 7/-4"),
            // key and project in one go
            ("update tasks set id = 12, project_id = 8 where id = -2", "tasks UPDATE 7/-2 8/12"),
            ("update tasks set id = id, project_id = project_id where id = 12", "tasks UPDATE 8/12"),
            ("update tasks set project_id = null where id = 12", "tasks UPDATE 8/12 */*"),
            ("update tasks set id = 13 where id = 12", "tasks UPDATE */*"),
            ("update tasks set project_id = 7 where id = 13", "tasks UPDATE */* 7/13"),
            ("insert into tasks values (21, null), (22, 7); delete from tasks where id in (21, 22)",
             "tasks INSERT */* 7/22, tasks DELETE */* 7/22"),
            // keys swapped within one statement
            ("update seats set id = 3 - id where id < 3", "seats UPDATE 7/1 7/2 8/1 8/2"),
            ("update seats set project_id = case id when 1 then 7 else 8 end where id < 3", "seats UPDATE 8/1 7/1 7/2 8/2"),
            ("begin; set constraints all deferred; update seats set id = 2 where id = 1; update seats set id = 1 where project_id = 8; commit",
             "seats UPDATE 7/1 7/2 8/2 8/1"),
        ],
    )
    .await;
}

#[tokio::test]
async fn prepared_statements_cursors_functions_and_procedures() {
    let calls = |from: i32| (from..from + 7).map(|n| format!("execute put({n}, 7);")).collect::<String>();
    let (first, second) = (calls(101), calls(201));
    let expect = |from: i32, key: &str| {
        format!("tasks INSERT {}", (from..from + 7).map(|n| format!("7/{n}{key}")).collect::<Vec<_>>().join(" "))
    };
    told(
        TASKS,
        &[
            // beyond the fifth the plan is a generic one
            (&format!("prepare put(int, int) as insert into tasks values ($1, $2); {first}"), &expect(101, "")),
            // and stays good while the application changes the table, in this session and its plans
            (
                &format!("alter table tasks add column extra int default 5, drop column title, alter column id type bigint; select pgherald.refresh(); {second}"),
                &expect(201, ""),
            ),
            ("alter table tasks add column title text; update tasks set title = 'x' where id = 201", "tasks UPDATE 7/201"),
            (
                "begin; declare c cursor for select * from tasks where id in (1, 2) order by id for update; move 1 in c;
                 update tasks set title = 'c' where current of c; fetch 1 from c; delete from tasks where current of c; commit",
                "tasks UPDATE 8/1, tasks DELETE 7/2",
            ),
            (
                "create function put(n int) returns int language plpgsql set search_path = '' as
                     'begin insert into public.tasks values (n, 7); update public.tasks set title = n::text where id = n - 1; return n; end';
                 select put(n) from generate_series(301, 303) n",
                "tasks INSERT 7/301 7/302 7/303, tasks UPDATE 7/301 7/302",
            ),
            (
                "create function sweep() returns bigint language sql as
                     'with gone as (delete from tasks where id in (301, 302) returning 1) select count(*) from gone';
                 select sweep()",
                "tasks DELETE 7/301 7/302",
            ),
            ("do $$ begin for i in 401..403 loop execute format('insert into tasks values (%s, 8)', i); end loop; end $$",
             "tasks INSERT 8/401 8/402 8/403"),
        ],
    )
    .await;
}

/// PostgreSQL puts a row that MERGE moves into the transition tables of INSERT and DELETE, and fires the UPDATE trigger.
#[tokio::test]
async fn merge_that_moves_a_row_to_another_partition_since_15() {
    told(
        "create table days (id int, project_id int, day int, primary key (id, day)) partition by list (day);
         create table day1 partition of days for values in (1); create table day2 partition of days default;
         insert into days values (1, 7, 1), (2, 7, 1), (3, 7, 1);
         select pgherald.watch('days'$mode)",
        &[
            // all of it: no transition table shows the row
            (
                "merge into days d using (values (1)) v(id) on d.id = v.id when matched then update set day = 2, project_id = 8",
                "days UPDATE */* | days DELETE 7/1:1, days INSERT 8/1:2",
            ),
            // the same, and what the INSERT trigger saw
            (
                "merge into days d using (values (2), (4)) v(id) on d.id = v.id
                  when matched then update set day = 2, project_id = 8 when not matched then insert values (v.id, 9, 1)",
                "days UPDATE */*, days INSERT 8/2:2 9/4:1 | days DELETE 7/2:1, days INSERT 8/2:2 9/4:1",
            ),
        ],
    )
    .await;
}
