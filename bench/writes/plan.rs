//! What is measured in one run of the bench, and how often.

use crate::cell::Cell;
use crate::variant::{VARIANTS, Variant, When};
use crate::workload::{WORKLOADS, Workload};

/// How a commit reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Not at all (fsync off): the CPU that a transaction takes, without the disk's noise.
    None,
    /// As this machine's disk does it.
    Disk,
    /// As a disk does that takes two milliseconds longer.
    Slow,
}

impl Flush {
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "no flush",
            Self::Disk => "the disk as it is",
            Self::Slow => "a disk 2 ms slower",
        }
    }
}

pub struct Plan {
    quick: bool,
    only: Vec<String>,
    pairs: Option<usize>,
}

impl Plan {
    pub fn from_env() -> Self {
        let text = |name| std::env::var(name).unwrap_or_default();
        Self {
            quick: !text("QUICK").is_empty(),
            only: text("ONLY").split(',').map(|part| part.trim().to_owned()).collect(),
            pairs: text("PAIRS").parse().ok(),
        }
    }

    /// Whether it is everything, as often as it should be.
    pub fn is_whole(&self) -> bool {
        !self.quick && self.pairs.is_none() && self.only.iter().all(String::is_empty)
    }

    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for flush in [Flush::None, Flush::Disk, Flush::Slow] {
            for workload in WORKLOADS {
                for &clients in self.clients(flush) {
                    cells.push(Cell {
                        workload,
                        flush,
                        clients,
                        pairs: self.pairs(flush),
                        variants: variants(workload, flush),
                    });
                }
            }
        }
        cells.retain(|cell| self.only.iter().all(|part| cell.name().contains(part)));
        cells
    }

    /// Whether the second half is wanted: the transports beside each other.
    pub fn transports(&self) -> bool {
        self.only.iter().all(|part| "transports".contains(part.as_str()))
    }

    /// How often they take turns.
    pub fn rounds(&self) -> usize {
        self.pairs.unwrap_or(if self.quick { 1 } else { 4 })
    }

    /// The workloads of the cells.
    pub fn workloads(&self) -> Vec<&'static Workload> {
        let cells = self.cells();
        WORKLOADS.iter().filter(|workload| cells.iter().any(|cell| cell.workload.name == workload.name)).collect()
    }

    /// How often pgbench runs in all the cells.
    pub fn runs(&self) -> usize {
        self.cells().iter().map(Cell::runs).sum()
    }

    const fn clients(&self, flush: Flush) -> &'static [usize] {
        match flush {
            Flush::None => &[1],
            _ if self.quick => &[32],
            _ => &[1, 8, 32],
        }
    }

    /// The added CPU is judged without the disk: more pairs there.
    fn pairs(&self, flush: Flush) -> usize {
        let usual = match (flush, self.quick) {
            (Flush::None, false) => 11,
            (_, false) => 3,
            (Flush::None, true) => 3,
            (_, true) => 1,
        };
        self.pairs.unwrap_or(usual)
    }
}

/// Beside several clients the bare trigger only tells what could be reached at all.
fn variants(workload: &Workload, flush: Flush) -> Vec<&'static Variant> {
    let is_wanted = |variant: &Variant| match (flush, variant.when) {
        (Flush::None, _) | (_, When::Always) => true,
        (_, When::Yardstick) => workload.name == "UPDATE of 1 row",
        (_, When::Cpu) => false,
    };
    VARIANTS.iter().filter(|variant| is_wanted(variant)).collect()
}
