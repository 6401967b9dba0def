//! The relay's protocol in a few lines, to be able to leave out a step. It never looks without a bell while it sleeps.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_postgres::{AsyncMessage, Client, NoTls};

/// What it does once it has the lock, before it waits for the bell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalDrain {
    Done,
    LeftOut,
}

/// Relays for ever.
pub async fn run(url: String, final_drain: FinalDrain, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let (client, mut connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let (sender, mut bell) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(_) = message {
                let _ = sender.send(());
            }
        }
    });
    client.batch_execute("set synchronous_commit = off; listen pgherald_bell").await.unwrap();
    client.batch_execute("select pg_advisory_lock(7434, 3)").await.unwrap();
    loop {
        let mut last_row = Instant::now();
        let linger = Duration::from_micros(random.random_range(0..5000));
        while last_row.elapsed() < linger {
            if drain(&client).await > 0 {
                last_row = Instant::now();
            }
            sleep(Duration::from_millis(1)).await;
        }
        if !holds(&client, "select pg_try_advisory_lock(7434, 2)").await {
            continue;
        }
        let left = final_drain == FinalDrain::Done && drain(&client).await > 0;
        if !left {
            let rung = bell.recv().await;
            assert!(rung.is_some(), "the server has gone");
            while bell.try_recv().is_ok() {}
            drain(&client).await;
        }
        assert!(holds(&client, "select pg_advisory_unlock(7434, 2)").await);
    }
}

async fn drain(client: &Client) -> i64 {
    client.query_one("select taken from pgherald.relay(0, 5000)", &[]).await.unwrap().get(0)
}

async fn holds(client: &Client, sql: &str) -> bool {
    client.query_one(sql, &[]).await.unwrap().get(0)
}
