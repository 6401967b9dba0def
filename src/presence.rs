//! Being there for writers of the relay transport: they append to the queue only while a daemon holds one of the locks
//! [`PRESENT`], or waits for it. Whoever wrote before that has told nobody, so everybody is told to refetch: at once, and
//! again whenever one of those who were still writing has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use metrics::gauge;
use tokio::time::sleep;
use tokio_postgres::types::{ToSql, Type};
use tracing::{info, warn};

use crate::access::Access;
use crate::backoff::Backoff;
use crate::claim::{Claim, PRESENT, with_claim};
use crate::config;
use crate::database::{Database, DatabaseError};
use crate::heartbeat::{self, tell_everyone};
use crate::hub::Hub;
use crate::metrics as m;

/// Transactions whose changes nobody may tell. They hold the lock that is ours, with others, until they end: so they had tried it
/// before. Those that were prepared hold that of a relay which is awake: what they appended is lost where PostgreSQL crashed
/// since, and that is not known; of these only those count that we have met when we came.
const SILENT: &str = "select l.virtualtransaction, pg_catalog.bool_or(l.objid = $1) from pg_catalog.pg_locks l
     where l.locktype = 'advisory' and l.classid = 7434 and l.objsubid = 2 and l.granted and l.mode = 'ShareLock'
       and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
       and (l.objid = $1 or l.objid = 2 and l.pid is null) group by 1";
/// How soon after each other it is asked whether they have ended.
const SILENT_INTERVAL_MIN: Duration = Duration::from_millis(20);
const SILENT_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Between two attempts to be present.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Each that fails tells everybody, so this is how late a daemon may be to tell.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// How often it is tried again where each of the locks is another daemon's. As long as they live, so do we for writers.
const TRY_INTERVAL: Duration = Duration::from_secs(1);

/// Is present for ever, on this connection and then on whatever can be had.
pub async fn run(settings: &config::Database, database: &Database, hub: &Hub, access: &Access) -> Infallible {
    let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
    loop {
        let mut claimed = false;
        let error = with_claim(settings, database, "pgherald presence", async |claim| {
            let (key, held) = take_at_last(claim, database, hub, access).await?;
            let here = async {
                access.set_complete(false);
                claim.claimed(key, held).await?;
                claimed = true;
                let silent = tell(key, database, hub, access).await;
                gauge!(m::RELAY_PRESENT).set(1.0);
                // at once: one of those may take hours
                let outlasted = async {
                    outlast(silent, key, database, hub, access).await;
                    access.set_complete(true);
                    pending::<Result<Infallible, DatabaseError>>().await
                };
                tokio::try_join!(outlasted, claim.watch(key, settings.heartbeat_interval)).map(|(never, _)| never)
            };
            let held = async {
                if !held {
                    claim.lock(key).await?;
                }
                pending::<Result<Infallible, DatabaseError>>().await
            };
            tokio::try_join!(here, held).map(|(never, _)| never)
        });
        let error = error.await;
        access.set_complete(false);
        gauge!(m::RELAY_PRESENT).set(0.0);
        if claimed {
            backoff.reset();
        }
        let delay = backoff.next_delay();
        warn!(%error, delay_ms = delay.as_millis(), "writers may take this daemon for gone, telling every session to refetch");
        tell_everyone(hub, access, true);
        sleep(delay).await;
    }
}

/// One of the locks, and whether it is held. It is not where writers hold all that are left: they began when nobody was
/// there, and only a lock that is waited for keeps more of them from it. None: each is another daemon's.
async fn take(claim: &Claim<'_>) -> Result<Option<(i32, bool)>, DatabaseError> {
    for key in PRESENT {
        if claim.try_lock(key).await? {
            return Ok(Some((key, true)));
        }
    }
    for key in PRESENT {
        if claim.is_free(key).await? {
            return Ok(Some((key, false)));
        }
    }
    Ok(None)
}

/// The same, however long it takes. Meanwhile writers see the others, and those who did not have told nobody, of our sessions neither.
async fn take_at_last(
    claim: &Claim<'_>,
    database: &Database,
    hub: &Hub,
    access: &Access,
) -> Result<(i32, bool), DatabaseError> {
    let [.., last] = PRESENT;
    loop {
        access.set_complete(false);
        if let Some(taken) = take(claim).await? {
            return Ok(taken);
        }
        let Ok(others) = claim.holders().await else {
            // an answer that does not come tells nothing
            sleep(TRY_INTERVAL).await;
            continue;
        };
        let told = async {
            let silent = tell(last, database, hub, access).await;
            outlast(silent, last, database, hub, access).await;
            access.set_complete(true);
            pending::<Infallible>().await
        };
        tokio::select! {
            taken = wait(claim, others) => if let Some(taken) = taken? { return Ok(taken) },
            never = told => match never {},
        }
    }
}

/// Waits for one of the locks. None: the others are not the same any more. In between a writer may have found nobody by the last of
/// the locks, who had got all others before, and so it has to be looked again who told nobody.
async fn wait(claim: &Claim<'_>, before: BTreeSet<i32>) -> Result<Option<(i32, bool)>, DatabaseError> {
    loop {
        sleep(TRY_INTERVAL).await;
        if let Some(taken) = take(claim).await? {
            return Ok(Some(taken));
        }
        if claim.holders().await.is_ok_and(|others| others != before) {
            return Ok(None);
        }
    }
}

/// Transactions, and whether they hold our lock.
type Silent = BTreeMap<String, bool>;

/// Tells what was written while nobody was there; gives back those who still write.
async fn tell(key: i32, database: &Database, hub: &Hub, access: &Access) -> Silent {
    let silent = loop {
        match silent(key, database).await {
            Ok(silent) => break silent,
            // nothing is lost meanwhile: writers see that we are there
            Err(_) => sleep(SILENT_INTERVAL_MAX).await,
        }
    };
    tell_everyone(hub, access, late(database).await);
    silent
}

/// Tells what they wrote, when they have ended.
async fn outlast(mut silent: Silent, key: i32, database: &Database, hub: &Hub, access: &Access) {
    if !silent.is_empty() {
        info!(transactions = silent.len(), "waiting for transactions that may have told nobody of their changes");
    }
    let mut interval = SILENT_INTERVAL_MIN;
    while !silent.is_empty() {
        sleep(interval).await;
        interval = (interval * 2).min(SILENT_INTERVAL_MAX);
        // an answer that does not come tells nothing
        let Ok(mut now) = self::silent(key, database).await else { continue };
        // not only after the last: one of them may take hours
        if silent.keys().any(|transaction| !now.contains_key(transaction)) {
            tell_everyone(hub, access, late(database).await);
        }
        // one that is prepared may go on by another name
        now.retain(|transaction, ours| *ours || silent.contains_key(transaction));
        silent = now;
    }
}

/// Whether somebody may have looked a project up before a row moved that nobody heard of.
async fn late(database: &Database) -> bool {
    let rows = database.query(&heartbeat::late(), &[]).await;
    rows.map_or(true, |rows| rows.first().is_none_or(|row| row.get(0)))
}

async fn silent(key: i32, database: &Database) -> Result<Silent, DatabaseError> {
    let key: [(&(dyn ToSql + Sync), Type); 1] = [(&key.unsigned_abs(), Type::OID)];
    Ok(database.query(SILENT, &key).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
}
