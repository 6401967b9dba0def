//! How long to wait before the next attempt.

use std::time::Duration;

/// Exponential backoff with full jitter: the n-th wait is a random part of `min(cap, base * 2^n)`, so that a
/// thousand daemons do not come back at the same moment (AWS architecture blog, "Exponential backoff and jitter").
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    /// Waits grow from `base` to `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, attempts: 0 }
    }

    /// The longest that the next wait may be.
    pub fn ceiling(&self) -> Duration {
        self.base.saturating_mul(2_u32.saturating_pow(self.attempts)).min(self.cap)
    }

    /// The next wait; each call counts as one failed attempt.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.ceiling().mul_f64(rand::random::<f64>());
        self.attempts = self.attempts.saturating_add(1);
        delay
    }

    /// Back to the first wait, after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}
