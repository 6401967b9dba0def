//! How often a client may ask.

use tokio::time::Instant;

/// A token bucket: `per_second` on average, `burst` at once.
#[derive(Debug)]
pub struct Quota {
    per_second: f64,
    burst: f64,
    left: f64,
    at: Instant,
}

impl Quota {
    /// A full one.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: per_second.into(), burst: burst.into(), left: burst.into(), at: Instant::now() }
    }

    /// Takes one request's share; false = too many.
    pub fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + earned).min(self.burst);
        self.at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}
