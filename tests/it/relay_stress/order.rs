//! The order of one row's versions, as a listener hears them.

use std::time::Duration;

use futures_util::future::join_all;
use pgherald::relay::Pace;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;

use super::ear::Ear;
use super::rounds::{Relay, spawn};
use super::scene::Scene;
use crate::world::until;

/// Who updates.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub updates: usize,
    /// A quick writer never rests. A slow one does so between two updates of a transaction, so that the queue's tables are
    /// changed meanwhile, and for longer after it, so that nobody holds the one that was left.
    pub slow: bool,
}

/// Six writers update five hot rows; how often a relay that slept was woken.
pub async fn updates(scene: &Scene, pace: Pace, load: Load, seed: u64) -> usize {
    let _relay = spawn(Relay::Product(pace), &scene.database.url, seed);
    scene.settle(true).await;
    let ear = Ear::new(&scene.database.url).await;
    join_all((0..6).map(async |place| write(scene, seed + place, load).await)).await;
    let last = "select id, version from hot order by id";
    let rows = scene.database.client.query(last, &[]).await.unwrap();
    until("every version to be heard", async || {
        let heard = ear.heard.lock().unwrap();
        rows.iter().all(|row| heard.versions.get(&row.get(0)).and_then(|all| all.iter().max()) >= Some(&row.get(1)))
    })
    .await;
    let heard = ear.heard.lock().unwrap();
    for row in rows {
        let (id, last): (i64, i64) = (row.get(0), row.get(1));
        let versions = &heard.versions[&id];
        let wrong = versions.windows(2).filter(|pair| pair[1] <= pair[0]).count();
        assert_eq!((wrong, versions.len() as i64), (0, last), "row {id}: out of order or twice, and how many versions");
    }
    assert_eq!(heard.odd, [""; 0]);
    heard.bells
}

/// One update a transaction, or many.
async fn write(scene: &Scene, seed: u64, load: Load) {
    let (mut random, client) = (StdRng::seed_from_u64(seed), scene.connect().await);
    let mut done = 0;
    while done < load.updates / 6 {
        let count = if random.random_bool(0.5) { 1 } else { random.random_range(2..20) };
        let mut rows: Vec<i64> = (0..count).map(|_| random.random_range(1..=5)).collect();
        rows.sort_unstable(); // nobody waits in a circle
        let update = |id| format!("update hot set version = version + 1 where id = {id};");
        if load.slow {
            let row = random.random_range(1..=5);
            client.batch_execute("begin").await.unwrap();
            for _ in 0..random.random_range(2..6) {
                client.batch_execute(&update(row)).await.unwrap();
                sleep(Duration::from_millis(random.random_range(0..6))).await;
                done += 1;
            }
            client.batch_execute("commit").await.unwrap();
            sleep(Duration::from_millis(random.random_range(0..60))).await;
        } else {
            client.batch_execute(&rows.into_iter().map(update).collect::<String>()).await.unwrap();
            done += count;
        }
    }
}
