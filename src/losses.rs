//! Notifications that triggers could not send. They are counted in the sequence `pgherald.dropped`, which is
//! visible before the writing transaction commits: so clients are told at once, and again whenever one of the
//! transactions of that time has ended. Not only when all have: one that lasts hours must not keep the end of another from them.

use crate::writers::Writers;

/// Watches the sequence's value from one look to the next, across connections. Pure; the heartbeat asks and tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Losses {
    dropped: i64,
    /// A loss was seen and no fence taken for it yet: the connection may break in between.
    unfenced: bool,
    /// Who wrote when the fence was taken and has not ended yet. The losers are among them, or had ended when clients were told.
    fence: Writers,
}

/// What to do after a look at the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Quiet,
    /// See who is writing, hand that to [`Losses::fence`], and then tell every session.
    FenceAndTell,
    /// Tell every session once more: writers of that time have ended.
    Tell,
}

impl Losses {
    /// Looks at the sequence's value and at who is writing.
    pub fn look(&mut self, dropped: i64, writing: &Writers) -> Verdict {
        if dropped != self.dropped {
            self.dropped = dropped;
            self.unfenced = true;
        }
        if self.unfenced {
            Verdict::FenceAndTell
        } else if self.fence.forget_ended(writing) {
            Verdict::Tell
        } else {
            Verdict::Quiet
        }
    }

    /// The connection is another: maybe to a server that counts its transactions anew. A later fence is always safe.
    pub fn unfence(&mut self) {
        self.unfenced |= !self.fence.is_empty();
        self.fence = Writers::default();
    }

    /// Notes who is writing after the loss was seen: everyone with a transaction id below one that was taken since.
    pub fn fence(&mut self, writing: Writers) {
        self.fence = writing;
        self.unfenced = false;
    }
}
