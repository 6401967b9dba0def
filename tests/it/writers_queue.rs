//! A full notification queue of the cluster fails every COMMIT with a NOTIFY, where nobody can catch it: so the triggers
//! send nothing when it is nearly full, and tell that they did not.

use pgherald::scratch::Scratch;
use tokio_postgres::Client;

use crate::world::{Database, Settings, connect, options, until};

async fn usage(client: &Client) -> f64 {
    client.query_one("select pg_notification_queue_usage()", &[]).await.unwrap().get(0)
}

/// A daemon beside a server whose queue takes half a megabyte, and a listener that sleeps in its transaction.
#[tokio::test]
async fn a_write_commits_while_the_queue_is_full_since_17() {
    let server = Scratch::start(&options().setting("max_notify_queue_pages", "64")).await.unwrap();
    let database = Database::on(server.url()).await.with_sample().await;
    let daemon = Settings::new(&database.url).start().await;
    let mut alice = daemon.browser("alice", "7").await;
    let sleeper = connect(&server.url()).await;
    sleeper.batch_execute("listen anything").await.unwrap();
    sleeper.batch_execute("begin; select 1").await.unwrap();

    // a page each
    let filler = connect(&server.url()).await;
    let mut place = 0;
    while usage(&filler).await <= 0.91 {
        place += 1;
        assert!(place < 64, "the sleeper holds nothing");
        filler.batch_execute(&format!("select pg_notify('other', repeat('x', 7900) || {place})")).await.unwrap();
    }
    database.run("update tasks set done = true where id = 1").await;
    alice.hears(&["reconnect notification_dropped"]).await;
    // telling by hand, in a transaction with others
    database.run("begin; select pgherald.notify('task', '1', 'UPDATE', '7'); truncate tasks; commit").await;
    while alice.short().await != "reconnect notification_dropped" {}

    // until nothing is left of it
    let full = loop {
        place += 1;
        if let Err(error) =
            filler.batch_execute(&format!("select pg_notify('other', repeat('x', 7900) || {place})")).await
        {
            break error;
        }
    };
    assert!(full.as_db_error().unwrap().message().contains("too many notifications"), "{full:?}");
    database.run("insert into tasks (id, project_id, title) values (11, 7, 'full'), (12, 8, 'full')").await;
    let lost = "select pg_sequence_last_value('pgherald.dropped')";
    assert_eq!(database.client.query_one(lost, &[]).await.unwrap().get::<_, i64>(0), 4);

    // the listener is gone: what it held is free with the next look at it
    drop(sleeper);
    until("the queue to be empty", async || usage(&filler).await < 0.1).await;
    until("alice to be told of a row again", async || {
        database.run("update tasks set done = true where id = 11").await;
        let mut told = alice.short().await;
        while told.starts_with("reconnect") {
            told = alice.short().await;
        }
        told == "task UPDATE 7/11"
    })
    .await;
    drop((daemon, database, filler));
    server.shutdown().await.unwrap();
}

/// Somebody has the relay's locks and is none, from the first day on.
#[tokio::test]
async fn the_queue_of_a_relay_has_a_limit_before_anything_was_ever_taken_from_it() {
    let database = Database::sample().await;
    database.run("select pgherald.set_transport('relay')").await;
    let stranger = connect(&database.url).await;
    stranger.batch_execute("select pg_advisory_lock(7434, 1), pg_advisory_lock(7434, 3)").await.unwrap();
    let append = "select pgherald.append(array_agg('{}' || repeat(' ', 7900))) from generate_series(1, 4050)";
    database.run(append).await;
    database.run(&append.replace("4050", "100")).await;
    // a single row is appended without looking, but for one in 64
    let update = "do $$ begin
            for i in 1..5000 loop
                update tasks set done = not done where id = 1;
                exit when (select is_called from pgherald.dropped);
            end loop;
        end $$";
    database.run(update).await;
    let lost = "select coalesce(pg_sequence_last_value('pgherald.dropped'), 0)";
    assert_eq!(database.client.query_one(lost, &[]).await.unwrap().get::<_, i64>(0), 1);
    let more = database.client.batch_execute(append).await.unwrap_err();
    assert!(more.as_db_error().unwrap().message().contains("the queue of the relay is full"), "{more:?}");
}
