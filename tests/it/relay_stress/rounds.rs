//! Writers write a little, all at once, and fall silent: then every row must be heard at once, though nobody else comes
//! who would wake the relay for it. And again.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pgherald::config::{Config, File};
use pgherald::relay::Pace;
use pgherald::turn;
use tokio_util::task::AbortOnDropHandle;

use super::ear::Ear;
use super::judge::{LATE, LATE_ROTATING, Verdict};
use super::pulse::Pulse;
use super::scene::Scene;
use super::sketch::{self, FinalDrain};
use super::writers::{Ids, Writer};
use crate::world::LIMIT;

/// A row that was not heard for so long is lying: after what is late, and before the relay looks without a bell.
const SILENCE: Duration = Duration::from_secs(1);

/// Who relays.
#[derive(Clone, Copy, Debug)]
pub enum Relay {
    Product(Pace),
    Sketch(FinalDrain),
}

#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    pub relay: Relay,
    /// There are prepared transactions among those of the writers.
    pub prepares: bool,
    /// Another writer is in a long transaction, always.
    pub long: bool,
    /// Ends early after so many rounds with a lying row.
    pub lying_max: usize,
}

impl Rounds {
    pub fn of(relay: Relay) -> Self {
        Self { relay, prepares: false, long: false, lying_max: usize::MAX }
    }

    /// Plays them, and says how many there were.
    pub async fn play(&self, scene: &Scene, pulse: &Pulse, seed: u64, length: Duration) -> (usize, Verdict) {
        let _relay = spawn(self.relay, &scene.database.url, seed);
        scene.settle(!self.prepares).await;
        let ear = Ear::new(&scene.database.url).await;
        let ids = Ids::default();
        let mut writers = Vec::new();
        for place in 0..4 {
            writers.push(Writer::new(scene.connect().await, seed + place, &ids, self.prepares).await);
        }
        let mut last = writers.pop().unwrap();
        let ends = Instant::now() + length;
        let (mut rounds, mut lying) = (0, 0);
        let short = async {
            while Instant::now() < ends && lying < self.lying_max {
                rounds += 1;
                let committed = join_all(writers.iter_mut().map(Writer::burst)).await.concat();
                if !ear.hears(&committed, SILENCE).await {
                    lying += 1;
                    self.ring(scene).await;
                }
            }
        };
        let long = async {
            while self.long && Instant::now() < ends {
                last.long().await;
            }
        };
        tokio::join!(short, long);
        writers.push(last);
        let books: Vec<_> = writers.into_iter().map(|writer| writer.book).collect();
        let committed: Vec<i64> = books.iter().flat_map(|book| book.committed()).collect();
        if !ear.hears(&committed, SILENCE).await {
            self.ring(scene).await;
            ear.hears(&committed, LIMIT).await;
        }
        let verdict = Verdict::new(books, &ear.heard.lock().unwrap(), Some((pulse, self.late())));
        (rounds, verdict)
    }

    fn late(&self) -> Duration {
        match self.relay {
            Relay::Product(pace) if pace.table_bytes_max == 0 => LATE_ROTATING,
            _ => LATE,
        }
    }

    /// So that the next round begins as the others did.
    async fn ring(&self, scene: &Scene) {
        scene.database.run("notify pgherald_bell").await;
    }
}

pub fn spawn(relay: Relay, url: &str, seed: u64) -> AbortOnDropHandle<()> {
    let url = url.to_owned();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let pace = match relay {
            Relay::Sketch(final_drain) => return sketch::run(url, final_drain, seed).await,
            Relay::Product(pace) => pace,
        };
        let environment = [("PGHERALD__DATABASE__URL".to_owned(), url)].into();
        let settings = Config::load(File::None, &environment).unwrap().database;
        let database = pgherald::database::Database::open(&settings).unwrap();
        turn::run(&settings, &database, pace).await;
    }))
}
