//! Judges subscriptions again: at once where the members of a project may have changed, and from time to time.
//! Nothing that a project was told since then leaves the hub before the answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tracing::{info, warn};

use crate::access::Access;
use crate::backoff::Backoff;
use crate::doubts::Doubt;
use crate::hub::Hub;

/// Questions at once. The pool has connections for others, too.
const QUESTIONS_MAX: usize = 4;

/// Runs for ever. `every` is `authorize.recheck_interval`.
pub async fn run(hub: Arc<Hub>, access: Arc<Access>, every: Duration) {
    if !access.rechecks() {
        return std::future::pending().await;
    }
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut again = None;
    loop {
        let all = tokio::select! {
            () = hub.doubts.notified() => false,
            _ = ticks.tick() => true,
            () = sleep(again.unwrap_or_default()), if again.is_some() => false,
        };
        judge(&hub, &access, hub.doubtful(all)).await;
        // Whoever is held stays held until there is an answer: what can't be asked is never allowed.
        again = (!hub.doubtful(false).is_empty()).then(|| backoff.next_delay());
        match again {
            Some(delay) => {
                let retry_ms = delay.as_millis();
                warn!(retry_ms, "membership can't be checked now: the projects concerned are told nothing");
            }
            None => backoff.reset(),
        }
    }
}

/// Asks about each project once.
async fn judge(hub: &Hub, access: &Access, doubts: Vec<Doubt>) {
    let answers = stream::iter(doubts).map(|doubt| async move {
        let answer = access.recheck(&doubt.project, &doubt.subjects).await;
        (doubt, answer)
    });
    let answers = answers.buffer_unordered(QUESTIONS_MAX);
    tokio::pin!(answers);
    while let Some((doubt, answer)) = answers.next().await {
        // Where there is none, the reason is in the log.
        let Ok(allowed) = answer else { continue };
        let revoked = hub.release(&doubt, &allowed);
        if revoked > 0 {
            info!(project = doubt.project.as_str(), sessions = revoked, "revoked");
        }
    }
}
