//! Who is writing at a moment, and which of them have ended since: what they did before becomes visible when they end.

use std::collections::BTreeSet;

/// Transactions that have an id and have not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writers(BTreeSet<u64>);

impl Writers {
    /// Reads a snapshot as PostgreSQL writes it: `xmin:xmax:xip,xip`. None where it is something else. A snapshot does not show
    /// a transaction that is younger than all that have ended; it shows all whose id is below that of one that has.
    pub fn parse(snapshot: &str) -> Option<Self> {
        let [xmin, xmax, running] = <[&str; 3]>::try_from(snapshot.split(':').collect::<Vec<_>>()).ok()?;
        let id = |text: &str| text.parse::<u64>().ok();
        id(xmin).and(id(xmax))?;
        running.split(',').filter(|text| !text.is_empty()).map(id).collect::<Option<_>>().map(Self)
    }

    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets those who are not writing `now`, on the same server; whether there were any.
    pub fn forget_ended(&mut self, now: &Self) -> bool {
        let before = self.0.len();
        self.0.retain(|id| now.0.contains(id));
        self.0.len() < before
    }
}
