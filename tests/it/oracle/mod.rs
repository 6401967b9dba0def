//! A coverage oracle over random histories: for every committed change of a project, every session that is subscribed
//! to it is told, in commit order, by a frame that covers the change; and nobody is told what they may not see.
//!
//! A failure names its seed; `PGHERALD_ORACLE_SEED` replays it, `PGHERALD_ORACLE_CASES` says how many are run.

mod application;
mod client;
mod history;
mod journal;
mod model;
mod run;

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::{FutureExt, StreamExt, stream};

use self::history::History;

/// In a normal run, of each kind.
const CASES: u64 = 12;
/// Histories at once; most of their time is waiting.
const AT_ONCE: usize = 3;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_everybody_is_told_and_nobody_else() {
    play(History::of).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_everybody_is_told_by_way_of_a_relay() {
    play(|seed| History::of(seed).by_relay()).await;
}

async fn play(history: impl Fn(u64) -> History) {
    let history = &history;
    let (first, cases) = match number("PGHERALD_ORACLE_SEED") {
        Some(seed) => (seed, number("PGHERALD_ORACLE_CASES").unwrap_or(1)),
        None => (rand::random::<u64>() >> 16, number("PGHERALD_ORACLE_CASES").unwrap_or(CASES)),
    };
    let began = Instant::now();
    let cases = stream::iter(first..first + cases).map(|seed| async move {
        let history = history(seed);
        let told = AssertUnwindSafe(run::run(&history)).catch_unwind().await;
        let told = told.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            panic!("PGHERALD_ORACLE_SEED={seed} replays this history.\n{}", text.unwrap_or_default())
        });
        (history.steps.len(), told)
    });
    let (mut histories, mut steps, mut total) = (0, 0, model::Told::default());
    let mut cases = std::pin::pin!(cases.buffer_unordered(AT_ONCE));
    while let Some((count, told)) = cases.next().await {
        (histories, steps) = (histories + 1, steps + count);
        total.add(&told);
    }
    println!("{histories} histories, {steps} steps from seed {first} on in {:.0?}: {total:?}", began.elapsed());
}
