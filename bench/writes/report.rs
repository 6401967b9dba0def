//! The tables, and their place in docs/benchmarks.md.

use std::path::Path;

use anyhow::{Context, Result};

use crate::cell::{Measured, Sample, Starts};
use crate::plan::Flush;
use crate::server::Server;
use crate::stats::{Spread, microseconds};

const BEGIN: &str = "<!-- writes:begin -->\n";
const END: &str = "<!-- writes:end -->";

/// A line of progress: each variant beside the first.
pub fn brief(measured: &Measured) -> String {
    let against = |(name, samples): &(&str, Vec<Sample>)| {
        format!("{name}: {}, {}", time(measured, samples).ratio(), cpu(measured, samples).added())
    };
    measured.samples.iter().skip(1).map(against).collect::<Vec<_>>().join("; ")
}

pub async fn text(server: &Server, measured: &[Measured], starts: &Starts) -> Result<String> {
    let mut text = format!(
        "PostgreSQL {} on {} cores, which pgbench and a listener share with it; `pgbench --protocol prepared`, \
         runs of one second, of four where there are several clients; synchronous_commit {}, full_page_writes {}. Each figure is a median over the pairs, its \
         quartiles in brackets. What a session costs to begin is not in them: {} of CPU, and {} more for the first \
         transaction of a kind with triggers, which it compiles then.\n",
        server.setting("server_version").await?.split(' ').next().unwrap_or_default(),
        server.cores.count,
        server.setting("synchronous_commit").await?,
        server.setting("full_page_writes").await?,
        milliseconds(start(starts, "none")),
        milliseconds(start(starts, "statement") - start(starts, "none")),
    );
    for flush in [Flush::None, Flush::Disk, Flush::Slow] {
        let of: Vec<_> = measured.iter().filter(|cell| cell.flush == flush).collect();
        let Some(first) = of.first() else { continue };
        let pairs = first.samples.first().map_or(0, |(_, samples)| samples.len());
        let title = match flush {
            Flush::None => "One client, no flush (fsync off)",
            Flush::Disk => "The disk as it is",
            Flush::Slow => "A disk that takes 2 ms longer for each flush",
        };
        text += &format!("\n**{title}**, pairs: {pairs}\n\n");
        text += &if flush == Flush::None { one_client(&of) } else { by_clients(&of) };
    }
    Ok(text)
}

fn start(starts: &Starts, wanted: &str) -> f64 {
    Spread::of(starts.iter().filter(|((_, variant), _)| *variant == wanted).map(|(_, start)| *start)).median
}

fn milliseconds(us: f64) -> String {
    format!("{:.1} ms", us / 1000.0)
}

/// Between the marks of docs/benchmarks.md.
pub fn write(text: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
    let page = std::fs::read_to_string(&path)?;
    let marks = || format!("{} has no marks {BEGIN} and {END}", path.display());
    let (before, rest) = page.split_once(BEGIN).with_context(marks)?;
    let (_, after) = rest.split_once(END).with_context(marks)?;
    Ok(std::fs::write(&path, format!("{before}{BEGIN}{text}{END}{after}"))?)
}

fn one_client(cells: &[&Measured]) -> String {
    let mut table =
        "| transaction | triggers | time | CPU | CPU added | listener's CPU |\n|---|---|---|---|---|---|\n".to_owned();
    for cell in cells {
        for (at, (name, samples)) in cell.samples.iter().enumerate() {
            let listener = microseconds(median(samples, |sample| sample.listener));
            table += &if at == 0 {
                let (time, cpu) = (median(samples, |sample| sample.time), median(samples, |sample| sample.cpu));
                format!("| {} | {name} | {} us | {} us | | |\n", cell.workload, microseconds(time), microseconds(cpu))
            } else {
                let share = Spread::of(pairs(cell, samples).map(|(without, with)| with.cpu / without.cpu));
                let (time, cpu) = (time(cell, samples).ratio(), cpu(cell, samples).added());
                format!("| | {name} | {time} | {:.2} | {cpu} | {listener} us |\n", share.median)
            };
        }
    }
    table
}

fn by_clients(cells: &[&Measured]) -> String {
    let mut counts: Vec<usize> = cells.iter().map(|cell| cell.clients).collect();
    counts.sort_unstable();
    counts.dedup();
    let heads = counts.iter().map(|&count| if count == 1 { "1 client".into() } else { format!("{count} clients") });
    let mut table = format!("| transaction | triggers | {} |\n", heads.collect::<Vec<String>>().join(" | "));
    table += &format!("|---|---|{}\n", "---|".repeat(counts.len()));
    for row in cells.chunk_by(|one, next| one.workload == next.workload) {
        for at in 0..row[0].samples.len() {
            let label = if at == 0 { row[0].workload } else { "" };
            table += &format!("| {label} | {} ", row[0].samples[at].0);
            for cell in row {
                let samples = &cell.samples[at].1;
                table += &if at == 0 {
                    let (time, cpu) = (median(samples, |sample| sample.time), median(samples, |sample| sample.cpu));
                    format!("| {} us, CPU {} us ", microseconds(time), microseconds(cpu))
                } else {
                    format!("| {}{} ", time(cell, samples).ratio(), certain_cpu(cell, samples))
                };
            }
            table += "|\n";
        }
    }
    table
}

/// How much longer a transaction takes than without triggers.
fn time(cell: &Measured, samples: &[Sample]) -> Spread {
    Spread::of(pairs(cell, samples).map(|(without, with)| with.time / without.time))
}

/// The CPU that the triggers add to a transaction.
fn cpu(cell: &Measured, samples: &[Sample]) -> Spread {
    Spread::of(pairs(cell, samples).map(|(without, with)| with.cpu - without.cpu))
}

/// Nothing where so few transactions ran that a tick is more than a quarter of it.
fn certain_cpu(cell: &Measured, samples: &[Sample]) -> String {
    let added = cpu(cell, samples);
    let certain = median(samples, |sample| sample.tick) * 4.0 < added.median.abs();
    if certain { format!(", CPU {}", added.added()) } else { String::new() }
}

fn pairs<'a>(cell: &'a Measured, samples: &'a [Sample]) -> impl Iterator<Item = (&'a Sample, &'a Sample)> {
    cell.samples[0].1.iter().zip(samples)
}

fn median(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> f64 {
    Spread::of(samples.iter().map(figure)).median
}
