//! Notifications that triggers could not send. They are counted in the sequence `pgherald.dropped`, which is
//! visible before the writing transaction commits: so clients are told at once, and again when every
//! transaction of that time has ended.

/// Watches the sequence's value from one look to the next, across connections. Pure; the heartbeat asks and tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Losses {
    dropped: i64,
    /// A loss was seen and no fence taken for it yet: the connection may break in between.
    unfenced: bool,
    /// A transaction id taken after a loss was seen: the loser's own id is below it.
    fence: Option<u64>,
}

/// What to do after a look at the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Quiet,
    /// Tell every session, take a transaction id and hand it to [`Losses::fence`].
    TellAndFence,
    /// Tell every session once more: the writers of that time have ended.
    Tell,
}

impl Losses {
    /// Looks at the sequence's value and at the oldest transaction id still running.
    pub fn look(&mut self, dropped: i64, oldest_running: u64) -> Verdict {
        if dropped != self.dropped {
            self.dropped = dropped;
            self.unfenced = true;
        }
        if self.unfenced {
            return Verdict::TellAndFence;
        }
        match self.fence {
            Some(fence) if oldest_running > fence => {
                self.fence = None;
                Verdict::Tell
            }
            _ => Verdict::Quiet,
        }
    }

    /// The connection is another: maybe to a server that counts its transactions anew. A later fence is always safe.
    pub fn unfence(&mut self) {
        self.unfenced |= self.fence.take().is_some();
    }

    /// Notes the transaction id taken after the loss was seen.
    pub fn fence(&mut self, transaction: u64) {
        self.fence = Some(transaction);
        self.unfenced = false;
    }
}
