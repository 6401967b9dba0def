//! A writer: random transactions of every kind, each row with an id of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;
use tokio_postgres::Client;

use super::judge::Book;

/// Where ids come from: those of all writers differ.
#[derive(Clone, Default)]
pub struct Ids(Arc<AtomicI64>);

impl Ids {
    pub fn next(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

pub struct Writer {
    pub client: Client,
    pub book: Book,
    random: StdRng,
    ids: Ids,
    /// Some of its transactions are prepared first.
    prepares: bool,
    /// What the transaction under way will have inserted, and what not.
    kept: Vec<i64>,
    undone: Vec<i64>,
}

impl Writer {
    pub async fn new(client: Client, seed: u64, ids: &Ids, prepares: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let naps = format!("select setseed({})", random.random_range(-1.0..1.0));
        client.batch_execute(&naps).await.unwrap();
        let (kept, undone) = (Vec::new(), Vec::new());
        Self { client, book: Book::default(), random, ids: ids.clone(), prepares, kept, undone }
    }

    /// Some transactions, soon; the ids that they have committed.
    pub async fn burst(&mut self) -> Vec<i64> {
        self.pause(6.0).await;
        let mut committed = Vec::new();
        for _ in 0..self.random.random_range(1..=2) {
            committed.extend(self.transact().await);
            self.pause(4.0).await;
        }
        committed
    }

    /// One that is open for up to a second.
    pub async fn long(&mut self) {
        self.run("begin").await;
        self.several().await;
        sleep(Duration::from_millis(self.random.random_range(200..1000))).await;
        if self.random.random_bool(0.3) {
            self.several().await;
        }
        self.end("commit", true).await;
    }

    /// One of any kind; what it has committed.
    pub async fn transact(&mut self) -> Vec<i64> {
        let kind = self.random.random_range(0..if self.prepares { 10 } else { 8 });
        if kind <= 2 {
            let insert = self.insert(true);
            return self.end(&insert, true).await;
        } else if kind == 3 {
            let (undone, kept) = (self.insert(false), self.insert(true));
            let caught = format!(
                "do $$ begin begin {undone}; raise exception 'no'; exception when raise_exception then {kept}; end; end $$"
            );
            return self.end(&caught, true).await;
        }
        self.run("begin").await;
        self.several().await;
        if kind >= 8 {
            let name = format!("stress_{}", self.ids.next());
            self.run(&format!("prepare transaction '{name}'")).await;
            self.pause(20.0).await;
            let verb = if kind == 8 { "commit" } else { "rollback" };
            return self.end(&format!("{verb} prepared '{name}'"), kind == 8).await;
        }
        self.end(if kind == 7 { "rollback" } else { "commit" }, kind != 7).await
    }

    /// Statements of a transaction, some of them in savepoints.
    async fn several(&mut self) {
        for _ in 0..self.random.random_range(1..=3) {
            let (savepoint, kept) = (self.random.random_bool(0.5), self.random.random_bool(0.5));
            if savepoint {
                self.run("savepoint s").await;
            }
            let insert = self.insert(!savepoint || kept);
            self.run(&insert).await;
            self.pause(4.0).await;
            if savepoint {
                self.run(if kept { "release s" } else { "rollback to s" }).await;
                self.pause(4.0).await;
            }
        }
    }

    /// One to three rows of one to three projects.
    fn insert(&mut self, kept: bool) -> String {
        let table = if self.random.random_bool(0.75) { "notes" } else { "letters" };
        let rows = if self.random.random_bool(0.7) { 1 } else { self.random.random_range(2..=3) };
        let ids: Vec<i64> = (0..rows).map(|_| self.ids.next()).collect();
        let projects = self.random.random_range(1..=3);
        let values: Vec<String> = ids.iter().map(|id| format!("({id}, {})", 7 + id % projects)).collect();
        if kept { &mut self.kept } else { &mut self.undone }.extend(ids);
        format!("insert into {table} values {}", values.join(", "))
    }

    async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The last statement; notes what became of the rows.
    async fn end(&mut self, sql: &str, committed: bool) -> Vec<i64> {
        self.run(sql).await;
        let (now, kept) = (Instant::now(), std::mem::take(&mut self.kept));
        self.book.0.extend(self.undone.drain(..).map(|id| (id, None)));
        self.book.0.extend(kept.iter().map(|id| (*id, committed.then_some(now))));
        if committed { kept } else { Vec::new() }
    }

    /// Up to so many milliseconds, short ones more often.
    async fn pause(&mut self, milliseconds_max: f64) {
        let share: f64 = self.random.random_range(0.0..1.0);
        sleep(Duration::from_secs_f64(milliseconds_max / 1000.0 * share * share)).await;
    }
}
