//! Writers that never stop, and what happens to the daemons meanwhile.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;

use super::daemons::Daemons;
use super::ear::Ear;
use super::judge::{Book, Verdict};
use super::scene::Scene;
use super::writers::{Ids, Writer};
use crate::world::{LIMIT, connect, until};

/// Whether they write just now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    On,
    Paused,
    Ended,
}

/// Writes while `trouble` goes on, which may have the writers pause; then everything must have been heard.
async fn beside(scene: &Scene, seed: u64, trouble: impl AsyncFnOnce(&Cell<Writing>)) -> Verdict {
    let ear = Ear::new(&scene.database.url).await;
    let (ids, writing) = (Ids::default(), Cell::new(Writing::On));
    let writers = join_all((0..3).map(async |place| {
        let mut writer = Writer::new(scene.connect().await, seed + place, &ids, false).await;
        while writing.get() != Writing::Ended {
            if writing.get() == Writing::Paused {
                sleep(Duration::from_millis(20)).await;
            } else if place == 0 {
                writer.long().await;
            } else {
                writer.burst().await;
            }
        }
        writer.book
    }));
    let troubled = async {
        trouble(&writing).await;
        writing.set(Writing::Ended);
    };
    let (books, ()) = tokio::join!(writers, troubled);
    let committed: Vec<i64> = books.iter().flat_map(Book::committed).collect();
    ear.hears(&committed, LIMIT).await;
    Verdict::new(books, &ear.heard.lock().unwrap(), None)
}

/// Relays are killed, and stopped for longer than others wait for them; awake and asleep. How many.
pub async fn ends_of_relays(scene: &Scene, seed: u64, length: Duration) -> (usize, Verdict) {
    let mut daemons = Daemons::start(&scene.database.url).await;
    let mut random = StdRng::seed_from_u64(seed);
    let (mut ends, until_when) = (0, Instant::now() + length);
    let verdict = beside(scene, seed, async |writing| {
        while Instant::now() < until_when || ends < 4 {
            sleep(Duration::from_millis(random.random_range(100..500))).await;
            let relay = daemons.relay().await;
            if ends % 4 >= 2 {
                writing.set(Writing::Paused);
                until("the relay to sleep", async || scene.locks(2, "ExclusiveLock").await == 1).await;
            }
            if ends % 2 == 0 {
                writing.set(Writing::On);
                daemons.kill(relay).await;
            } else {
                daemons.both[relay].signal("STOP").await;
                writing.set(Writing::On);
                let other = 1 - relay;
                until("the other one to take over", async || daemons.relays(other).await).await;
                sleep(Duration::from_millis(random.random_range(0..1000))).await;
                daemons.both[relay].signal("CONT").await;
            }
            daemons.settle().await;
            ends += 1;
        }
    })
    .await;
    assert_eq!(daemons.late().await, 0.0, "rows that nobody had rung for");
    (ends, verdict)
}

/// The transport is changed back and forth. How often.
pub async fn switches(scene: &Scene, seed: u64, length: Duration) -> (usize, Verdict) {
    let _daemons = Daemons::start(&scene.database.url).await;
    let (mut random, operator) = (StdRng::seed_from_u64(seed), connect(&scene.database.url).await);
    let (mut switches, until_when) = (0, Instant::now() + length);
    let verdict = beside(scene, seed, async |_| {
        while Instant::now() < until_when {
            sleep(Duration::from_millis(random.random_range(0..200))).await;
            let transport = if switches % 2 == 0 { "notify" } else { "relay" };
            operator.batch_execute(&format!("select pgherald.set_transport('{transport}')")).await.unwrap();
            switches += 1;
        }
    })
    .await;
    (switches, verdict)
}
