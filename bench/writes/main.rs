//! What the triggers cost the writers: pgbench with each variant of trigger and without, in pairs, on one server in one
//! run; then both transports beside each other: how long a frame takes, and what a burst costs. `make bench-writes` prints
//! tables and puts them into docs/benchmarks.md. `QUICK=1` takes five minutes; `ONLY='no flush, of 1 row'` takes what has
//! all these words in its name (`ONLY=transports` the second half); `PAIRS=21` says how many pairs. These print only.

mod beside;
mod burst;
mod cell;
mod disk;
mod kernel;
mod latency;
mod pgbench;
mod plan;
mod report;
mod server;
mod stats;
mod variant;
mod workload;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::beside::Beside;
use crate::plan::Plan;
use crate::server::Server;

/// How long a relay with nothing to do is watched.
const IDLE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<()> {
    if !disk::is_there() {
        return disk::run_again().await;
    }
    let plan = Plan::from_env();
    let began = Instant::now();
    eprintln!("starting a server and filling its tables");
    let server = Server::start().await?;
    for workload in plan.workloads() {
        workload.make(&server).await?;
    }
    let starts = cell::starts(&server, &plan).await?;
    let (cells, runs) = (plan.cells(), plan.runs());
    let (mut measured, mut runs_done) = (Vec::new(), 0);
    let clock = Instant::now();
    for (at, cell) in cells.iter().enumerate() {
        let left = clock.elapsed().as_secs_f64() / runs_done.max(1) as f64 * (runs - runs_done) as f64 / 60.0;
        let left = if runs_done == 0 { String::new() } else { format!("; {left:.0} min left") };
        eprintln!("[{:>2}/{}] {}{left}", at + 1, cells.len(), cell.name());
        let result = cell.measure(&server, &starts).await?;
        eprintln!("        {}", report::brief(&result));
        runs_done += cell.runs();
        measured.push(result);
    }
    let mut text = if measured.is_empty() { String::new() } else { report::text(&server, &measured, &starts).await? };
    server.stop().await?;
    if plan.transports() {
        text += &transports(&plan).await?;
    }
    println!("{text}");
    if plan.is_whole() {
        report::write(&text)?;
    }
    eprintln!("{:.0} min in all", began.elapsed().as_secs_f64() / 60.0);
    Ok(())
}

/// What the two transports differ in besides: a real daemon, a real session.
async fn transports(plan: &Plan) -> Result<String> {
    eprintln!("both transports beside each other");
    disk::set_slow(false)?;
    let beside = Beside::start().await?;
    let latency = latency::table(&beside, plan.rounds()).await?;
    let burst = burst::table(&beside, plan.rounds() * 8).await?;
    beside.asleep().await?;
    let asleep = beside.cpu_share(IDLE).await?;
    // as a writer does who has seen it awake, and does not commit
    beside.admin.batch_execute("insert into told (id) values (-1)").await?;
    beside.heard(-1).await?;
    beside.admin.batch_execute("select pg_advisory_lock_shared(7434, 2)").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let awake = beside.cpu_share(IDLE).await?;
    beside.stop().await?;
    Ok(format!(
        "\n**Both transports, a daemon and a session**, rounds in turns: {}\n\n{latency}\n{burst}\n\
         | relay without anything to do, with its daemon | of a core |\n|---|---|\n| asleep | {:.1} % |\n| awake | {:.1} % |\n",
        plan.rounds(),
        asleep * 100.0,
        awake * 100.0
    ))
}
