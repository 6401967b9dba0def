//! Watches that what is in the queue moves, whoever has to relay it: where nobody does, everybody is told to refetch.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

use crate::config;
use crate::database::{Database, DatabaseError};
use crate::metrics as m;

/// What waits, and who has the lock of the relay. Of another role's session there is no more to see than its process.
const LOOK: &str = "select b.oldest::text, b.waiting, b.percent,
       (select pg_catalog.concat_ws(' ', 'pid', l.pid, a.usename, a.application_name, a.client_addr)
          from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
         where l.locktype = 'advisory' and l.classid = 7434 and l.objid = 3 and l.objsubid = 2 and l.granted
           and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()) limit 1)
      from pgherald.backlog() b";
/// How often everybody is told at the least where nothing is known of the queue.
const UNKNOWN_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// A daemon may be left running after the schema was uninstalled.
const HAS_QUEUE: &str = "select pg_catalog.to_regclass('pgherald.queue') is not null";

/// What a look has found.
struct Look {
    /// The place of the row that waits longest.
    oldest: Option<String>,
    waiting: i64,
    holder: Option<String>,
}

/// Looks twice within `database.heartbeat_timeout`, for ever. What two looks have found has waited too long: then it calls
/// `tell`, and again, not more often than every `database.heartbeat_interval`, while more is added; with true where nothing is known
/// of what will not be told. Where it gets no answer while the listener `hears`, it tells as well.
pub async fn watch(
    settings: &config::Database,
    database: &Database,
    hears: &watch::Receiver<bool>,
    tell: impl Fn(bool),
) -> Infallible {
    let mut before: Option<Look> = None;
    let mut told: Option<(Instant, i64)> = None;
    let (mut failures, mut was_stuck) = (0, false);
    loop {
        sleep(settings.heartbeat_timeout / 2).await;
        let due = |rows| told.is_none_or(|(at, then)| then != rows && at.elapsed() >= settings.heartbeat_interval);
        match look(database).await {
            Ok(now) => {
                failures = 0;
                let stuck = now.oldest.is_some() && before.is_some_and(|before| before.oldest == now.oldest);
                if stuck || was_stuck {
                    gauge!(m::RELAY_WAITING).set(if stuck { now.waiting as f64 } else { 0.0 });
                }
                was_stuck = stuck;
                if stuck && due(now.waiting) {
                    let relay = now.holder.as_deref().unwrap_or("nobody");
                    warn!(
                        rows = now.waiting,
                        relay, "the queue does not move, telling every session to refetch: see `pgherald doctor`"
                    );
                    counter!(m::RELAY_STALLS).increment(1);
                    // what is in it will be told yet
                    tell(false);
                    told = Some((Instant::now(), now.waiting));
                } else if !stuck {
                    told = None;
                }
                before = Some(now);
            }
            // where nobody is heard either, all are told as soon as somebody is
            Err(error) if *hears.borrow() && (!error.is_bad_query() || has_queue(database).await) => {
                failures += 1;
                // the less often the longer: it may be busy, and who is told asks it again
                let interval = (settings.heartbeat_interval * failures).min(UNKNOWN_INTERVAL_MAX);
                if failures > 1 && told.is_none_or(|(at, _)| at.elapsed() >= interval) {
                    warn!(%error, "cannot see what is in the queue, telling every session to refetch");
                    tell(true);
                    told = Some((Instant::now(), -1));
                }
            }
            Err(_) => {}
        }
    }
}

async fn look(database: &Database) -> Result<Look, DatabaseError> {
    let rows = database.query(LOOK, &[]).await?;
    let row = rows.first().ok_or_else(|| DatabaseError::new("the server sent no row"))?;
    gauge!(m::RELAY_FULL).set(f64::from(row.get::<_, i32>(2)) / 100.0);
    Ok(Look { oldest: row.get(0), waiting: row.get(1), holder: row.get(3) })
}

/// Unless it is known that there is none.
async fn has_queue(database: &Database) -> bool {
    let found = database.query(HAS_QUEUE, &[]).await;
    found.map_or(true, |rows| rows.first().is_none_or(|row| row.get(0)))
}
