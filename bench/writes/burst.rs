//! Sixteen writers who begin at the same moment, after a pause: what they wait together, with triggers and without.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::beside::{Beside, connect};
use crate::disk;
use crate::stats::Spread;

const WRITERS: usize = 16;
const UPDATES: usize = 2;
const WARM_UP: usize = 4;
/// Shorter than the relay stays awake.
const PAUSE: Duration = Duration::from_millis(150);

pub async fn table(beside: &Beside, rounds: usize) -> Result<String> {
    let mut clients = Vec::new();
    for _ in 0..WRITERS {
        clients.push(connect(&beside.url()).await?);
    }
    disk::set_slow(true)?;
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        for (at, times) in times.iter_mut().enumerate() {
            let alter = |what: &str| format!("alter table updated {what} trigger user");
            beside.set_transport(if at == 1 { "notify" } else { "relay" }).await?;
            beside.admin.batch_execute(&alter(if at == 0 { "disable" } else { "enable" })).await?;
            // the sessions compile their triggers, and settle for a plan after the fifth time; the relay has just been busy
            for _ in 0..WARM_UP {
                burst(&mut clients).await?;
            }
            if at == 3 {
                beside.asleep().await?
            } else {
                sleep(PAUSE).await
            }
            times.push(burst(&mut clients).await?.as_secs_f64() * 1000.0);
        }
    }
    disk::set_slow(false)?;
    let [none, notify, relay, asleep] = &times;
    let ratio = |times: &Vec<f64>| Spread::of(times.iter().zip(none).map(|(with, without)| with / without)).ratio();
    Ok(format!(
        "| {WRITERS} writers after a pause, {UPDATES} updates each | time |\n|---|---|\n| no triggers | {:.1} ms |\n\
         | notify | {} |\n| relay, {} ms after the last row | {} |\n| relay asleep | {} |\n",
        Spread::of(none.iter().copied()).median,
        ratio(notify),
        PAUSE.as_millis(),
        ratio(relay),
        ratio(asleep)
    ))
}

async fn burst(clients: &mut Vec<tokio_postgres::Client>) -> Result<Duration> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (at, client) in clients.drain(..).enumerate() {
        tasks.spawn(async move {
            for update in 0..UPDATES {
                let id = at * UPDATES + update + 1;
                client.batch_execute(&format!("update updated set version = version + 1 where id = {id}")).await?;
            }
            Ok::<_, tokio_postgres::Error>(client)
        });
    }
    while let Some(task) = tasks.join_next().await {
        clients.push(task??);
    }
    Ok(began.elapsed())
}
