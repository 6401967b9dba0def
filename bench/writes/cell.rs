//! One workload at one number of clients: the variants, round by round.

use std::collections::HashMap;

use anyhow::{Result, ensure};

use crate::pgbench::{self, Length, Load, Run};
use crate::plan::{Flush, Plan};
use crate::server::Server;
use crate::variant::{VARIANTS, Variant};
use crate::workload::Workload;

const SECONDS: u32 = 1;
/// What many sessions do in their first moments, while each compiles and plans, is not what they do all day.
const SECONDS_OF_MANY: u32 = 4;
const START_CLIENTS: usize = 32;
const START_RUNS: u32 = 2;

pub struct Cell {
    pub workload: &'static Workload,
    pub flush: Flush,
    pub clients: usize,
    pub pairs: usize,
    pub variants: Vec<&'static Variant>,
}

/// Of one run, in microseconds a transaction.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// What a client waits for it.
    pub time: f64,
    pub cpu: f64,
    pub listener: f64,
    /// What one tick of 10 ms, in which the CPU is read, is worth.
    pub tick: f64,
}

pub struct Measured {
    pub workload: &'static str,
    pub flush: Flush,
    pub clients: usize,
    /// The samples of each variant, round by round; the first is the one without triggers.
    pub samples: Vec<(&'static str, Vec<Sample>)>,
}

/// The CPU of a session and its first transaction in microseconds, by workload and variant.
pub type Starts = HashMap<(&'static str, &'static str), f64>;

/// A session forks, fills its caches, compiles the triggers: it is counted apart, else it would weigh on the few
/// transactions of 32 clients on a slow disk and on nothing else.
pub async fn starts(server: &Server, plan: &Plan) -> Result<Starts> {
    server.flush(Flush::None).await?;
    let mut starts = Starts::new();
    for workload in plan.workloads() {
        eprintln!("sessions that begin: {}", workload.name);
        for variant in VARIANTS {
            let mut cpu_us = 0.0;
            for _ in 0..START_RUNS {
                let load = Load { clients: START_CLIENTS, length: Length::Transactions(1), flush: Flush::None };
                cpu_us += pgbench::run(server, workload, variant, load).await?.cpu_us;
            }
            let sessions = f64::from(START_RUNS) * START_CLIENTS as f64;
            starts.insert((workload.name, variant.name), cpu_us / sessions);
        }
    }
    Ok(starts)
}

impl Cell {
    pub fn name(&self) -> String {
        let s = if self.clients == 1 { "" } else { "s" };
        format!("{}, {} client{s}, {}", self.workload.name, self.clients, self.flush.name())
    }

    const fn seconds(&self) -> u32 {
        if self.clients == 1 { SECONDS } else { SECONDS_OF_MANY }
    }

    pub fn runs(&self) -> usize {
        self.pairs * self.variants.len()
    }

    /// Every second round runs backwards, so that what drifts weighs on both sides of a pair.
    pub async fn measure(&self, server: &Server, starts: &Starts) -> Result<Measured> {
        server.flush(self.flush).await?;
        let mut samples: Vec<_> = self.variants.iter().map(|variant| (variant.name, Vec::new())).collect();
        let load = Load { clients: self.clients, length: Length::Seconds(self.seconds()), flush: self.flush };
        for round in 0..self.pairs {
            let mut order: Vec<usize> = (0..self.variants.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for at in order {
                let variant = self.variants[at];
                let run = pgbench::run(server, self.workload, variant, load).await?;
                samples[at].1.push(self.sample(&run, starts[&(self.workload.name, variant.name)])?);
            }
        }
        Ok(Measured { workload: self.workload.name, flush: self.flush, clients: self.clients, samples })
    }

    fn sample(&self, run: &Run, start_us: f64) -> Result<Sample> {
        let (clients, transactions) = (self.clients as f64, run.transactions as f64);
        ensure!(transactions > clients, "{}: {transactions} transactions are too few", self.name());
        Ok(Sample {
            time: clients * 1e6 / run.transactions_per_second,
            cpu: (run.cpu_us - clients * start_us) / (transactions - clients),
            listener: run.listener_us / transactions,
            tick: 10_000.0 / transactions,
        })
    }
}
