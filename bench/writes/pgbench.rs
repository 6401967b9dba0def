//! One run of pgbench, and what it took.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::kernel;
use crate::plan::Flush;
use crate::server::Server;
use crate::variant::Variant;
use crate::workload::Workload;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
pub enum Length {
    Seconds(u32),
    /// Transactions of each client.
    Transactions(u32),
}

#[derive(Clone, Copy)]
pub struct Load {
    pub clients: usize,
    pub length: Length,
    pub flush: Flush,
}

pub struct Run {
    pub transactions: u64,
    pub transactions_per_second: f64,
    /// Of all its backends together, from their fork to their end.
    pub cpu_us: f64,
    /// Of the backends of the listener and of the relay.
    pub listener_us: f64,
}

/// Runs a workload once, with the triggers of a variant.
pub async fn run(server: &Server, workload: &Workload, variant: &Variant, load: Load) -> Result<Run> {
    server.execute(workload.reset).await?;
    server.execute(&variant.on(workload.tables)).await?;
    server.execute("checkpoint").await?;
    let heard = server.heard();
    let run = measured(server, workload, load).await?;
    let deadline = Instant::now() + PATIENCE;
    while variant.tells && server.heard() - heard < run.transactions {
        ensure!(Instant::now() < deadline, "the listener heard too little: the triggers did not work");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.execute(&variant.off(workload.tables)).await?;
    if let Some(spent) = workload.spent {
        ensure!(!server.is(spent).await?, "{}: its rows did not last for a run; give it more", workload.name);
    }
    Ok(run)
}

/// The CPU is that of all the server's processes that end during the run: its backends, no other process does. So
/// nothing that a backend does is left out.
async fn measured(server: &Server, workload: &Workload, Load { clients, length, flush }: Load) -> Result<Run> {
    let mut script = tempfile::NamedTempFile::new()?;
    script.write_all(workload.script.unwrap_or_default().as_bytes())?;
    let mut command = command(server, flush);
    command.args(["--no-vacuum", "--protocol", "prepared"]);
    command.args(["--client", &clients.to_string(), "--jobs", &clients.min(2).to_string()]);
    match length {
        Length::Seconds(seconds) => command.args(["--time", &seconds.to_string()]),
        Length::Transactions(count) => command.args(["--transactions", &count.to_string()]),
    };
    match workload.script {
        Some(_) => command.arg("--file").arg(script.path()),
        None => command.args(["--builtin", "tpcb-like"]),
    };
    let residents = kernel::children(server.postmaster)?;
    let (cpu_us, listener_us) = (kernel::children_cpu_us(server.postmaster)?, others(server)?);
    let text = output(command).await?;
    let deadline = Instant::now() + PATIENCE;
    while kernel::children(server.postmaster)?.iter().any(|child| !residents.contains(child)) {
        ensure!(Instant::now() < deadline, "pgbench's backends do not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(Run {
        transactions: number(&text, "number of transactions actually processed: ")?,
        transactions_per_second: number(&text, "tps = ")?,
        cpu_us: kernel::children_cpu_us(server.postmaster)? - cpu_us,
        listener_us: others(server)? - listener_us,
    })
}

fn others(server: &Server) -> Result<f64> {
    Ok(kernel::cpu_us(server.listener)? + kernel::cpu_us(server.relay)?)
}

/// Makes the tables of TPC-B.
pub async fn initialize(server: &Server, scale: &str) -> Result<()> {
    let mut command = command(server, Flush::None);
    command.args(["--initialize", "--quiet", "--fillfactor", "90", "--scale", scale]);
    output(command).await.map(drop)
}

fn command(server: &Server, flush: Flush) -> Command {
    let cores = if flush == Flush::None { &server.cores.first } else { &server.cores.all };
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", cores]).arg(&server.pgbench);
    command.env("PGHOST", server.socket_dir()).env("PGPORT", server.port().to_string());
    command.env("PGUSER", "postgres").env("PGDATABASE", "postgres").env_remove("PGOPTIONS");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn output(mut command: Command) -> Result<String> {
    let output = command.output().await?;
    if !output.status.success() {
        bail!(
            "pgbench failed (where it is missing, Debian: postgresql, Fedora: postgresql-contrib): {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The number after `name`. Of pgbench's two tps (up to 13) the last leaves the connecting out; later there is one.
fn number<T: std::str::FromStr>(text: &str, name: &str) -> Result<T> {
    let line = text.lines().rev().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|rest| rest.split(|sign: char| !sign.is_ascii_digit() && sign != '.').next());
    word.and_then(|word| word.parse().ok()).with_context(|| format!("pgbench printed no '{name}':\n{text}"))
}
