//! Whose turn it is to relay: one daemon's at a time. The others try ten times a second whether it is theirs.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tokio::time::sleep;
use tokio_postgres::types::Type;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::claim::{RELAY, with_claim};
use crate::config;
use crate::database::Database;
use crate::metrics as m;
use crate::relay::{ASLEEP_INTERVAL_MAX, Pace, Relay, show_state};

/// How often a daemon tries whether it is its turn.
const TRY_INTERVAL: Duration = Duration::from_millis(100);
/// Between two attempts to get a connection that can relay.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Ends the session of a relay that has not asked for anything for `$1` milliseconds: its daemon was stopped, or its host
/// has vanished. A role sees and ends its own sessions, or has pg_read_all_stats and pg_signal_backend.
const END_HUNG: &str = "select a.pid, a.usename::text, pg_catalog.pg_terminate_backend(a.pid)
      from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'advisory' and l.classid = 7434 and l.objid = 3 and l.objsubid = 2 and l.granted
       and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
       and a.state like 'idle%' and a.state_change < pg_catalog.clock_timestamp() - $1 * interval '1 ms'";

/// Waits until it is its turn, then relays for ever; and again when the connection was lost. What is not relayed meanwhile
/// is the business of [`crate::backlog`].
pub async fn run(settings: &config::Database, database: &Database, pace: Pace) -> Infallible {
    let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
    loop {
        let mut moved = false;
        let error = with_claim(settings, database, "pgherald relay", async |claim| {
            let mut looked = Instant::now();
            while !claim.try_lock(RELAY).await? {
                sleep(TRY_INTERVAL).await;
                if looked.elapsed() >= settings.heartbeat_timeout / 2 {
                    end_hung(settings, database).await;
                    looked = Instant::now();
                }
            }
            counter!(m::RELAY_ELECTIONS).increment(1);
            info!("this daemon is the relay");
            Relay::new(claim, settings, pace).await?.run(&mut moved).await
        });
        let error = error.await;
        show_state("");
        gauge!(m::RELAY_WAITING).set(0.0);
        if moved {
            backoff.reset();
        }
        let delay = backoff.next_delay();
        warn!(%error, delay_ms = delay.as_millis(), "lost the relay's connection, connecting again");
        sleep(delay).await;
    }
}

/// While it is another's turn: makes sure that there is another. It may be set to other limits than we are: one that sleeps
/// looks every [`ASLEEP_INTERVAL_MAX`] at the latest.
async fn end_hung(settings: &config::Database, database: &Database) {
    let limit = settings.heartbeat_timeout.max(3 * ASLEEP_INTERVAL_MAX).as_millis();
    match database.query(END_HUNG, &[(&(limit as f64), Type::FLOAT8)]).await {
        Ok(ended) => {
            for row in ended {
                let (pid, role): (i32, Option<&str>) = (row.get(0), row.get(1));
                counter!(m::RELAY_ENDED).increment(1);
                warn!(pid, role, "the relay did not move for {limit} ms: its session is ended, another takes over");
            }
        }
        Err(error) => warn!(%error, "the relay may have stopped, and its session can't be ended from here"),
    }
}
