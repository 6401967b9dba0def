//! From the moment at which a writer knows that it has committed to the moment at which a session has the frame, by both
//! transports in turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::beside::{Beside, connect};
use crate::stats::Spread;

/// Writes a second, writers, seconds of each round.
const RATES: &[(u32, u32, u32)] = &[(2, 1, 10), (200, 4, 4), (5000, 4, 2)];

pub async fn table(beside: &Beside, rounds: usize) -> Result<String> {
    let mut table = "| commit to frame | notify | relay | median, relay minus notify |\n|---|---|---|---|\n".to_owned();
    let ids = Arc::new(AtomicI64::new(0));
    for &(rate, writers, seconds) in RATES {
        let mut samples = [Vec::new(), Vec::new()];
        let mut reached = [0.0, 0.0];
        for round in 0..rounds {
            for at in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                beside.set_transport(["notify", "relay"][at]).await?;
                eprintln!("        {rate} writes a second, {}", ["notify", "relay"][at]);
                let (more, per_second) = measure(beside, &ids, rate, writers, seconds).await?;
                samples[at].extend(more);
                reached[at] += per_second / rounds as f64;
            }
        }
        let [notify, relay] = samples;
        let difference = Spread::of(relay.iter().copied()).median - Spread::of(notify.iter().copied()).median;
        let text = |samples: &[f64], reached: f64| {
            let (half, most) = (Spread::of(samples.iter().copied()).median, quantile(samples, 0.99));
            format!("{half:.2} ms, p99 {most:.1}, {reached:.0}/s")
        };
        table += &format!(
            "| {rate} writes a second, {writers} writer{} | {} | {} | {difference:+.2} ms |\n",
            if writers == 1 { "" } else { "s" },
            text(&notify, reached[0]),
            text(&relay, reached[1])
        );
    }
    Ok(table)
}

/// Milliseconds of each write, and how many a second were reached.
async fn measure(
    beside: &Beside,
    ids: &Arc<AtomicI64>,
    rate: u32,
    writers: u32,
    seconds: u32,
) -> Result<(Vec<f64>, f64)> {
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for writer in 0..writers {
        let (client, ids) = (connect(&beside.url()).await?, Arc::clone(ids));
        let each = Duration::from_secs_f64(f64::from(writers) / f64::from(rate));
        tasks.spawn(async move {
            let insert = client.prepare("insert into told (id) values ($1)").await?;
            let mut written = Vec::new();
            let mut next = tokio::time::Instant::now() + each * writer / writers;
            let end = next + Duration::from_secs(u64::from(seconds));
            while next < end {
                sleep_until(next).await;
                // not in step with anything that has a period of its own
                next += each.mul_f64(0.5 + rand::random::<f64>());
                let id = ids.fetch_add(1, Ordering::Relaxed);
                client.execute(&insert, &[&id]).await?;
                written.push((id, Instant::now()));
                if tokio::time::Instant::now() > end {
                    break;
                }
            }
            Ok::<_, tokio_postgres::Error>(written)
        });
    }
    let mut written = Vec::new();
    while let Some(task) = tasks.join_next().await {
        written.extend(task??);
    }
    let per_second = written.len() as f64 / began.elapsed().as_secs_f64();
    let mut samples = Vec::with_capacity(written.len());
    for (id, committed) in written {
        let heard = beside.heard(id).await?;
        // The frame may be there before the writer has looked.
        let late = heard.saturating_duration_since(committed).as_secs_f64();
        let early = committed.saturating_duration_since(heard).as_secs_f64();
        samples.push((late - early) * 1000.0);
    }
    Ok((samples, per_second))
}

fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}
