//! Whatever a writer's transaction is like, its write commits, and is told or counted.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::relay_world::{dropped, hears_nothing_but_a_mark, number, queued, relayed};
use crate::world::{World, connect, until};

#[tokio::test]
async fn every_isolation_level_is_told() {
    let World { daemon, database } = relayed().await;
    let mut alice = daemon.browser("alice", "7").await;
    for level in ["read committed", "repeatable read", "serializable"] {
        let writer = connect(&database.url).await;
        writer.batch_execute(&format!("begin isolation level {level}; select count(*) from tasks")).await.unwrap();
        // the relay works beside it, on the tables that it appends to
        for _ in 0..20 {
            hears_nothing_but_a_mark(&mut alice, &database).await;
        }
        for _ in 0..3 {
            writer.batch_execute("update tasks set done = not done where id = 1; select pgherald.notify('report', 'a', 'UPDATE', '7')").await.unwrap();
        }
        writer.batch_execute("commit").await.unwrap();
        // equal payloads of one transaction arrive once, as NOTIFY has it
        alice.hears(&["task UPDATE 7/1", "report UPDATE 7/a"]).await;
        hears_nothing_but_a_mark(&mut alice, &database).await;
    }
    assert_eq!(dropped(&database.client).await, 0);
}

/// Two that would wait for each other on the application's tables still end as PostgreSQL has it: of two serializable
/// transactions that conflict one fails, and tells nothing.
#[tokio::test]
async fn what_fails_at_commit_is_not_told() {
    let World { daemon, database } = relayed().await;
    let mut alice = daemon.browser("alice", "7").await;
    let [one, two] = [connect(&database.url).await, connect(&database.url).await];
    for (writer, id) in [(&one, 1), (&two, 2)] {
        writer
            .batch_execute("begin isolation level serializable; select count(*) from tasks where done")
            .await
            .unwrap();
        writer.batch_execute(&format!("update tasks set done = true where id = {id}")).await.unwrap();
    }
    one.batch_execute("commit").await.unwrap();
    two.batch_execute("commit").await.unwrap_err();
    alice.hears(&["task UPDATE 7/1"]).await;
    // a constraint that is looked at when the transaction ends
    database.run("alter table tasks add constraint late foreign key (project_id) references projects deferrable initially deferred").await;
    let refused = connect(&database.url).await;
    refused.batch_execute("begin; insert into tasks (id, project_id, title) values (2000, 7, 'x')").await.unwrap();
    refused.batch_execute("alter table tasks add unique (title) deferrable initially deferred").await.unwrap_err();
    refused.batch_execute("rollback").await.unwrap();
    database.run("create table words (id int primary key, project_id int, word text unique deferrable initially deferred); select pgherald.watch('words')").await;
    let refused =
        database.client.batch_execute("begin; insert into words values (1, 7, 'a'), (2, 7, 'a'); commit").await;
    assert!(refused.is_err());
    database.run("rollback; begin; insert into words values (1, 7, 'a'), (2, 7, 'a'); update words set word = 'b' where id = 2; commit").await;
    alice.hears(&["word INSERT 7/1", "word INSERT 7/2", "word UPDATE 7/2"]).await;
    hears_nothing_but_a_mark(&mut alice, &database).await;
}

/// What happens at COMMIT is told as well: a trigger of a constraint that writes.
#[tokio::test]
async fn cascades_and_deferred_triggers_are_told() {
    let World { daemon, database } = relayed().await;
    database
        .run(
            "create table notes (id int primary key, project_id int); select pgherald.watch('notes');
             create function noted() returns trigger language plpgsql as $$ begin insert into notes values (new.id, 7); return null; end $$;
             create constraint trigger noted after insert on tasks deferrable initially deferred for each row execute function noted()",
        )
        .await;
    let mut alice = daemon.browser("alice", "7").await;
    let mut told = async |sql: &str, expected: &[&str]| {
        database.run(sql).await;
        let mut frames = Vec::new();
        for _ in expected {
            frames.push(alice.short().await);
        }
        frames.sort();
        assert_eq!(frames, expected, "{sql}");
    };
    told(
        "begin; insert into tasks (id, project_id, title) values (2000, 7, 'x'); commit",
        &["note INSERT 7/2000", "task INSERT 7/2000"],
    )
    .await;
    told(
        "delete from sprints where project_id = 7",
        &["sprint DELETE 7/00000000-0000-4000-8000-000000000007", "task UPDATE 7/1"],
    )
    .await;
    told("delete from tasks where project_id = 7", &["task DELETE 7/1", "task DELETE 7/2", "task DELETE 7/2000"]).await;
    assert_eq!(dropped(&database.client).await, 0);
}

/// As the relay does for some milliseconds when it truncates.
#[tokio::test]
async fn a_writer_that_meets_a_locked_queue_waits_or_is_counted() {
    let World { daemon, database } = relayed().await;
    let mut alice = daemon.browser("alice", "7").await;
    // functions are compiled, and nobody waits for more than the lock
    hears_nothing_but_a_mark(&mut alice, &database).await;
    let holder = connect(&database.url).await;
    let lock = "begin; lock table pgherald.queue_0 in access exclusive mode";

    // a lock_timeout ends the append and not the write
    holder.batch_execute(lock).await.unwrap();
    let began = Instant::now();
    database.run("set lock_timeout = '100ms'; update tasks set title = 'kept' where id = 1; reset lock_timeout").await;
    assert!(began.elapsed() >= Duration::from_millis(100), "it has met the lock");
    holder.batch_execute("commit").await.unwrap();
    assert_eq!(number(&database.client, "select count(*) from tasks where title = 'kept'").await, 1);
    assert_eq!(dropped(&database.client).await, 1);
    while alice.short().await != "reconnect notification_dropped" {}

    // one who has time tells
    holder.batch_execute(lock).await.unwrap();
    let writer = connect(&database.url).await;
    let written = async {
        writer
            .batch_execute("set statement_timeout = '20s'; update tasks set title = 'told' where id = 1")
            .await
            .unwrap();
    };
    let held = async {
        sleep(Duration::from_millis(300)).await;
        holder.batch_execute("commit").await.unwrap();
    };
    tokio::join!(written, held);
    let mut frame = alice.short().await;
    while frame.starts_with("reconnect") {
        frame = alice.short().await;
    }
    assert_eq!(frame, "task UPDATE 7/1");
    assert_eq!(dropped(&database.client).await, 1);

    // a statement that is cancelled is meant to fail, and nothing of it is told
    holder.batch_execute(lock).await.unwrap();
    let cancelled =
        writer.batch_execute("set statement_timeout = '100ms'; update tasks set title = 'never' where id = 1").await;
    assert!(cancelled.is_err());
    holder.batch_execute("commit").await.unwrap();
    assert_eq!(number(&database.client, "select count(*) from tasks where title = 'never'").await, 0);
    until("a change to be told as such", async || {
        database.run("select pgherald.notify('report', 'a', 'UPDATE', '7')").await;
        let mut frame = alice.short().await;
        while frame.starts_with("reconnect") {
            frame = alice.short().await;
        }
        frame == "report UPDATE 7/a"
    })
    .await;
    until("the queue to be empty", async || queued(&database.client).await == 0).await;
}
