//! What the triggers cost the writers: pgbench with each variant of trigger and without, in pairs, on one server in one
//! run. `make bench-writes` prints tables and puts them into docs/benchmarks.md. `QUICK=1` takes three minutes;
//! `ONLY='no flush, of 1 row'` takes what has all these words in its name; `PAIRS=21` says how many pairs. These print
//! only. No Rust of pgherald's is measured, so any build will do.

mod cell;
mod kernel;
mod pgbench;
mod plan;
mod report;
mod server;
mod stats;
mod variant;
mod workload;

use std::time::Instant;

use anyhow::Result;

use crate::plan::Plan;
use crate::server::Server;

#[tokio::main]
async fn main() -> Result<()> {
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
    let text = report::text(&server, &measured, &starts).await?;
    server.stop().await?;
    println!("{text}");
    if plan.is_whole() {
        report::write(&text)?;
    }
    eprintln!("{:.0} min in all", began.elapsed().as_secs_f64() / 60.0);
    Ok(())
}
