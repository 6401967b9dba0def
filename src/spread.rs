//! Over which time clients refetch: the more of them are told at once, the longer.

use std::time::{Duration, Instant};

/// A leaky bucket of the refetches that are still expected: whoever is told fills it, the time that a database may take
/// for them empties it. Full is what drains within the longest spread; more would not make it longer.
#[derive(Clone, Debug)]
pub struct Spread {
    least: Duration,
    most: Duration,
    per_second: f64,
    expected: f64,
    at: Instant,
}

impl Spread {
    /// An empty one that drains `per_second`. Its answers are between `least` and `most`.
    pub fn new(least: Duration, most: Duration, per_second: u32, now: Instant) -> Self {
        Self { least, most, per_second: per_second.into(), expected: 0.0, at: now }
    }

    /// So many `sessions` are told to refetch now. Over which time they should.
    pub fn tell(&mut self, sessions: usize, now: Instant) -> Duration {
        let drained = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        let full = self.most.as_secs_f64() * self.per_second;
        #[allow(clippy::cast_precision_loss, reason = "far fewer sessions than a float counts")]
        let told = sessions as f64;
        self.expected = ((self.expected - drained).max(0.0) + told).min(full);
        self.at = self.at.max(now);
        Duration::from_secs_f64(self.expected / self.per_second).min(self.most).max(self.least)
    }
}
