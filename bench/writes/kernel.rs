//! What Linux tells about processes, and where it is told to run them.

use std::fs;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// Cores as `taskset` takes them.
pub struct Cores {
    pub count: usize,
    pub all: String,
    pub first: String,
    /// All but the first, where there are more.
    pub others: String,
}

impl Cores {
    pub fn allowed() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let all =
            status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).context("no list of cores")?;
        let all = all.trim().to_owned();
        let mut cores = Vec::new();
        for range in all.split(',') {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            cores.extend(from.parse::<u32>()?..=to.parse()?);
        }
        let list = |cores: &[u32]| cores.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let (first, others) = cores.split_at(1);
        Ok(Self {
            count: cores.len(),
            first: list(first),
            others: list(if others.is_empty() { first } else { others }),
            all,
        })
    }
}

/// Keeps a process, and whatever it forks from now on, on these cores.
pub async fn pin(process: u32, cores: &str) -> Result<()> {
    let mut command = Command::new("taskset");
    command.args(["--all-tasks", "--pid", "--cpu-list", cores, &process.to_string()]);
    let output = command.output().await.context("taskset is missing (Linux: util-linux)")?;
    ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

pub fn children(process: u32) -> Result<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

/// The CPU of a process' children that have ended: what the kernel adds to the parent's account when one is reaped, as
/// exact as the scheduler's clock. Only the reading is in ticks of 10 ms.
pub fn children_cpu_us(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // After the name in brackets. cutime and cstime are the fields 16 and 17 of proc(5), in hundredths of a second.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(13).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(ticks * 10_000.0)
}

/// The CPU of a process that is asleep; of one that runs, up to the last tick.
pub fn cpu_us(process: u32) -> Result<f64> {
    let schedstat = fs::read_to_string(format!("/proc/{process}/schedstat"))?;
    let nanoseconds: f64 = schedstat.split_whitespace().next().context("no schedstat")?.parse()?;
    Ok(nanoseconds / 1000.0)
}
