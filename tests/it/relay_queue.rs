//! What is in the queue of the relay, and when there is nothing.

use crate::relay_world::{dropped, hears_nothing_but_a_mark, number, queued, relayed, sent, silent};
use crate::world::{Settings, World, connect, until};

#[tokio::test]
async fn what_is_rolled_back_is_not_told() {
    let World { daemon, database } = relayed().await;
    let mut alice = daemon.browser("alice", "7").await;
    let mine = async |sql: &str, expected| {
        database.run(sql).await;
        assert_eq!(queued(&database.client).await, expected, "{sql}");
    };
    mine("begin; update tasks set done = true where id = 1", 1).await;
    mine("rollback", 0).await;
    mine("begin; savepoint a; delete from tasks where id = 1", 1).await;
    mine("rollback to a", 0).await;
    let caught = "do $$ begin
            delete from tasks where id = 1;
            assert (select count(*) = 1 from pgherald.queue);
            raise 'no';
        exception when raise_exception then null; end $$";
    mine(caught, 0).await;
    mine("commit", 0).await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    // what is kept beside it is told
    database
        .run(
            "begin; savepoint a; delete from tasks where id = 1; rollback to a;
             update tasks set title = 'kept' where id = 1; savepoint b; update tasks set title = 'kept' where id = 2;
             release b; commit",
        )
        .await;
    alice.hears(&["task UPDATE 7/1", "task UPDATE 7/2"]).await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    assert_eq!(queued(&database.client).await, 0);
}

/// A transaction sees what it has appended, and the relay does not yet.
#[tokio::test]
async fn a_statement_of_ten_thousand_rows_appends_once_for_each_project() {
    let World { daemon, database } = relayed().await;
    let mut alice = daemon.browser("alice", "7").await;
    let ten_thousand = "insert into tasks (project_id, title) select 7 + i % 2, 'x' from generate_series(1, 10000) i";
    for (sql, expected) in [
        (ten_thousand, 2),
        ("update tasks set title = 'y'", 2),
        ("update tasks set title = 'z' where project_id = 7", 1),
        ("delete from tasks where id > 3", 0),
        ("update tasks set done = true where id = 1", 1),
        ("update tasks set done = true where id = 4711", 0),
        // payloads too long for NOTIFY: one for each project all the same, as more than max_ids are the whole resource
        ("insert into tasks (project_id, title) select 7, 'x' from generate_series(1, 900) i", 1),
    ] {
        database.run(&format!("begin; {sql}")).await;
        assert_eq!(queued(&database.client).await, expected, "{sql}");
        database.run("rollback").await;
    }
    database.run(ten_thousand).await;
    alice.hears(&["task INSERT 7/*"]).await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
}

#[tokio::test]
async fn nothing_is_appended_while_no_daemon_lives() {
    let database = silent().await;
    let write = async || {
        // several at once: none takes another for a daemon
        let writers = [connect(&database.url).await, connect(&database.url).await];
        for (place, writer) in writers.iter().enumerate() {
            writer
                .batch_execute(&format!("begin; update tasks set done = not done where id = {}", place + 1))
                .await
                .unwrap();
        }
        database
            .run("insert into tasks (project_id, title) values (7, 'x'); select pgherald.notify('report', 'a')")
            .await;
        let held = "select count(*) from pg_locks where locktype = 'advisory' and classid = 7434 and objid = 1 and mode = 'ShareLock' and granted
                    and database = (select oid from pg_database where datname = current_database())";
        assert_eq!(number(&database.client, held).await, 2, "who has told nobody can be seen");
        for writer in &writers {
            writer.batch_execute("commit").await.unwrap();
        }
        assert_eq!(number(&database.client, held).await, 0);
    };
    write().await;
    let idle = async || (queued(&database.client).await, dropped(&database.client).await);
    assert_eq!(idle().await, (0, 0), "before the first daemon");
    for signal in ["TERM", "KILL"] {
        let mut daemon = crate::relay_world::start(&Settings::new(&database.url)).await;
        let before = sent(&database.client).await;
        database.run("update tasks set done = true where id = 1").await;
        until("the queue to be empty", async || queued(&database.client).await == 0).await;
        assert_eq!(sent(&database.client).await, before + 1, "a daemon lives");
        daemon.signal(signal).await;
        daemon.exit_code().await;
        // the server notices when it next waits for that session
        let sessions = "select count(*) from pg_stat_activity where datname = current_database() and application_name ~ '^pgherald'";
        until("the daemon's sessions to end", async || number(&database.client, sessions).await == 0).await;
        write().await;
        assert_eq!(idle().await, (0, 0), "after SIG{signal}");
    }
}
