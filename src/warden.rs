//! Judges subscriptions again: at once where the members of a project may have changed, and from time to time.
//! Nothing that a project was told since then leaves the hub before the answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tracing::{info, warn};

use crate::access::Access;
use crate::backoff::Backoff;
use crate::event::{ProjectId, Scope};
use crate::hub::Hub;

/// Questions at once. The pool has connections for others, too.
const QUESTIONS_MAX: usize = 4;

/// Projects of a sweep between two looks at those that are held.
const SWEEP_PROJECTS: usize = 32;

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
        if all {
            // What is held does not wait for all the others.
            for some in hub.doubtful(true).chunks(SWEEP_PROJECTS) {
                judge(&hub, &access, some).await;
                judge(&hub, &access, &hub.doubtful(false)).await;
            }
        }
        let answered = judge(&hub, &access, &hub.doubtful(false)).await;
        // Whoever is held stays held until there is an answer: what can't be asked is never allowed. Where members have
        // changed since, the hub has rung.
        again = (!answered).then(|| backoff.next_delay());
        match again {
            Some(delay) => {
                let retry_ms = delay.as_millis();
                warn!(retry_ms, "membership can't be checked now: the projects concerned are told nothing");
            }
            None => backoff.reset(),
        }
    }
}

/// Asks about each project once. Tells whether all were answered.
async fn judge(hub: &Hub, access: &Access, projects: &[ProjectId]) -> bool {
    let answers = stream::iter(projects.to_vec()).map(|project| async move {
        // Not earlier: an answer is not the last where the members have changed since.
        let doubt = hub.doubt(&project)?;
        // Where there is no answer, the reason is in the log.
        let allowed = access.recheck(&project, &doubt.subjects).await;
        Some((doubt, allowed))
    });
    let answers = answers.buffer_unordered(QUESTIONS_MAX);
    tokio::pin!(answers);
    let mut answered = true;
    while let Some(answer) = answers.next().await {
        // None: nobody is subscribed any more
        let Some((doubt, allowed)) = answer else { continue };
        let Ok(allowed) = allowed else {
            answered = false;
            continue;
        };
        if doubt.subjects.iter().any(|subject| !allowed.contains(subject)) {
            // An older answer must not let them in again.
            access.forget(&Scope::Project(doubt.project.clone()));
        }
        let revoked = hub.release(&doubt, &allowed);
        if revoked > 0 {
            info!(project = doubt.project.as_str(), sessions = revoked, "revoked");
        }
    }
    answered
}
