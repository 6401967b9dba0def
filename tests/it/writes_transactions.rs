//! What a transaction changes is told when it commits, in the order of its statements.

use crate::witness::{WAYS, Way, Witness, summary, told};
use crate::world::connect;

const TASKS: &str = "create table tasks (id int primary key, project_id int, title text);
    create table notes (id text primary key, project_id text, task int);
    insert into tasks select g, 7 + g % 2, 'old' from generate_series(1, 40) g;
    select pgherald.watch('tasks'$mode), pgherald.watch('notes'$mode);";

#[tokio::test]
async fn what_a_transaction_keeps_is_told_and_what_it_takes_back_is_not() {
    told(
        TASKS,
        &[
            ("begin; insert into tasks values (101, 7); update tasks set title = 'x' where id = 1; rollback", ""),
            (
                "begin; insert into tasks values (101, 7); savepoint a; insert into tasks values (102, 7); rollback to a;
                 savepoint b; insert into tasks values (103, 7); release b; insert into tasks values (104, 7); commit",
                "tasks INSERT 7/101 7/103 7/104",
            ),
            // the same payload taken back, then meant
            (
                "begin; savepoint a; insert into tasks values (111, 7); rollback to a; insert into tasks values (111, 7); commit",
                "tasks INSERT 7/111",
            ),
            // released into one that is rolled back
            (
                "begin; savepoint a; savepoint b; insert into tasks values (121, 7); release b; rollback to a;
                 delete from tasks where id = 2; commit",
                "tasks DELETE 7/2",
            ),
            (
                "do $$ begin
                     insert into tasks values (131, 7);
                     begin insert into tasks values (132, 7); insert into tasks values (132, 7); exception when others then
                         insert into tasks values (133, 7); end;
                     begin update tasks set title = 'x' where id = 3; raise 'no'; exception when raise_exception then null; end;
                 end $$",
                "tasks INSERT 7/131 7/133",
            ),
            (
                "create procedure steps() language plpgsql as 'begin for i in 141..143 loop
                     insert into tasks values (i, 7); if i = 142 then rollback; else commit; end if; end loop; end'",
"",
),
("call steps()", "tasks INSERT 7/141 7/143"),
            ("begin isolation level serializable; delete from tasks where id in (4, 5); commit", "tasks DELETE 7/4 8/5"),
        ],
    )
    .await;
}

#[tokio::test]
async fn statements_are_told_in_order_and_transactions_when_they_commit() {
    for Way { mode, transport } in WAYS {
        let mut witness = Witness::by(transport, &TASKS.replace("$mode", mode)).await;
        let order = async |witness: &mut Witness| -> Vec<String> {
            witness.payloads().await.iter().map(|payload| summary(payload)).collect()
        };
        witness.run("begin; insert into tasks values (101, 7); update tasks set title = 'x' where id = 101; delete from tasks where id = 101; insert into notes values ('n', 7); commit").await;
        let expected = [
            r#"tasks INSERT 7 ["101"]"#,
            r#"tasks UPDATE 7 ["101"]"#,
            r#"tasks DELETE 7 ["101"]"#,
            r#"notes INSERT 7 ["n"]"#,
        ];
        assert_eq!(order(&mut witness).await, expected);
        let long = connect(&witness.url).await;
        long.batch_execute("begin; update tasks set title = 'long' where id = 2").await.unwrap();
        witness.run("insert into tasks values (102, 7)").await;
        long.batch_execute("delete from tasks where id = 4").await.unwrap();
        assert_eq!(order(&mut witness).await, [r#"tasks INSERT 7 ["102"]"#]);
        long.batch_execute("commit").await.unwrap();
        assert_eq!(order(&mut witness).await, [r#"tasks UPDATE 7 ["2"]"#, r#"tasks DELETE 7 ["4"]"#]);
    }
}

#[tokio::test]
async fn writers_beside_each_other() {
    for Way { mode, transport } in WAYS {
        let mut witness = Witness::by(transport, &TASKS.replace("$mode", mode)).await;
        let writers = (0..8).map(|writer| {
            let url = witness.url.clone();
            async move {
                let client = connect(&url).await;
                for n in 0..20 {
                    let id = 1000 + writer * 100 + n;
                    let sql = format!("begin; insert into tasks values ({id}, {writer}); update tasks set title = 'x' where id = {id}; commit");
                    client.batch_execute(&sql).await.unwrap();
                }
            }
        });
        futures_util::future::join_all(writers).await;
        let each = (0..8).flat_map(|writer| (0..20).map(move |n| format!("{writer}/{}", 1000 + writer * 100 + n)));
        let expected = each.flat_map(|row| [format!("tasks INSERT {row}"), format!("tasks UPDATE {row}")]).collect();
        assert_eq!(witness.covered().await, expected);
        assert_eq!(witness.dropped().await, 0);
    }
}
