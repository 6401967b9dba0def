//! When a token ends, on a clock that nobody sets.

use std::time::Duration;

/// The end of a session's token. The wall clock is asked once for each token; from then on the time counts that has
/// really gone by. A clock that is set forward ends no session early, and one that is set back prolongs none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expiry {
    /// What the token says, and when that is on the steady clock.
    known: Option<(u64, Duration)>,
}

impl Expiry {
    /// How long the token that ends at `ends_at` (seconds since 1970, the leeway included) is still good. Another
    /// `ends_at` than before is a renewed token. `steady` is the time on a clock that never jumps and goes on while the
    /// machine is suspended; `wall` reads the time since 1970.
    pub fn left(&mut self, ends_at: u64, steady: Duration, wall: impl FnOnce() -> Duration) -> Duration {
        let at = match self.known {
            Some((known, at)) if known == ends_at => at,
            _ => steady.saturating_add(Duration::from_secs(ends_at).saturating_sub(wall())),
        };
        self.known = Some((ends_at, at));
        at.saturating_sub(steady)
    }
}
