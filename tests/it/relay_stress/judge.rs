//! Whether what was committed was heard: all of it, once, in time, and nothing else.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::ear::Heard;
use super::pulse::Pulse;

/// After the commit.
pub const LATE: Duration = Duration::from_millis(100);
/// The same where tables are recycled every few rows: on a busy machine that took up to 177 ms, truncating most likely.
pub const LATE_ROTATING: Duration = Duration::from_millis(500);
/// How much slower than the slowest beat a row may be, as it takes more steps.
const STEPS: u32 = 3;

/// What writers have written: ids of rows, and when their commit was known; none for those that were rolled back.
#[derive(Default)]
pub struct Book(pub HashMap<i64, Option<Instant>>);

impl Book {
    pub fn committed(&self) -> impl Iterator<Item = i64> {
        self.0.iter().filter(|(_, committed)| committed.is_some()).map(|(id, _)| *id)
    }
}

/// What is wrong with it, and figures.
#[derive(Default)]
pub struct Verdict {
    pub committed: usize,
    pub rolled_back: usize,
    pub bells: usize,
    pub lost: Vec<i64>,
    pub doubled: Vec<i64>,
    pub phantoms: Vec<i64>,
    pub odd: Vec<String>,
    /// With how long after the commit.
    pub late: Vec<(i64, Duration)>,
    delays: Vec<Duration>,
}

impl Verdict {
    /// Late is who comes so long after the commit, beyond what the pulse explains; nobody where there is none.
    pub fn new(books: impl IntoIterator<Item = Book>, heard: &Heard, pulse: Option<(&Pulse, Duration)>) -> Self {
        let mut verdict = Self { bells: heard.bells, odd: heard.odd.clone(), ..Self::default() };
        for (id, committed) in books.into_iter().flat_map(|book| book.0) {
            let times = heard.inserted.get(&id).map_or(&[][..], Vec::as_slice);
            let Some(committed) = committed else {
                verdict.rolled_back += 1;
                verdict.phantoms.extend((!times.is_empty()).then_some(id));
                continue;
            };
            verdict.committed += 1;
            verdict.doubled.extend((times.len() > 1).then_some(id));
            let Some(&first) = times.first() else {
                verdict.lost.push(id);
                continue;
            };
            let delay = first.saturating_duration_since(committed);
            verdict.delays.push(delay);
            if pulse.is_some_and(|(pulse, late)| delay > late + STEPS * pulse.slowest(committed, first)) {
                verdict.late.push((id, delay));
            }
        }
        verdict.delays.sort_unstable();
        verdict
    }

    /// None lost, none twice, none that was rolled back.
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.phantoms.is_empty() && self.odd.is_empty()
    }

    fn delay_ms(&self, thousandth: usize) -> f64 {
        let place = self.delays.len().saturating_sub(1) * thousandth / 1000;
        self.delays.get(place).map_or(0.0, |delay| delay.as_secs_f64() * 1000.0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, slow, worst] = [500, 990, 1000].map(|thousandth| self.delay_ms(thousandth));
        let Self { committed, rolled_back, bells, lost, doubled, phantoms, odd, late, .. } = self;
        write!(f, "{committed} rows committed, {rolled_back} rolled back, {bells} bells; ")?;
        write!(f, "after the commit in ms: median {median:.1}, 99 % {slow:.1}, worst {worst:.1}; ")?;
        write!(f, "lost {lost:?}, doubled {doubled:?}, rolled back and heard {phantoms:?}, odd {odd:?}, late {late:?}")
    }
}
