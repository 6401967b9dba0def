//! The lock of NOTIFY: do commits wait for one another?

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_postgres::types::Type;

use crate::config;
use crate::database::{Database, DatabaseError};
use crate::report::{Finding, some_of};

/// Looks at the lock within about a second, fewer where half of `database.query_timeout` has passed before.
const LOOKS: u32 = 20;
const MEASURE_MAX: Duration = Duration::from_secs(1);
/// Looks with commits that wait, up to which nobody needs to do anything.
const HARMLESS_MAX: u32 = 1;

/// PostgreSQL takes this lock in every commit that notifies, from before it writes the commit until it is on disk:
/// <https://github.com/postgres/postgres/blob/master/src/backend/commands/async.c>, `PreCommit_Notify`.
const LOOK: &str = "select count(*) filter (where not l.granted)::int8, array_agg(l.pid) filter (where l.granted),
           coalesce(bool_or(a.datname = current_database()), false)
      from pg_locks l left join pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'object' and l.database = 0 and l.classid = 'pg_database'::regclass and l.objid = 0
       and l.mode = 'AccessExclusiveLock'";
const WHO: &str = "select coalesce(string_agg(distinct concat_ws(', ', 'pid ' || p.pid, a.usename, a.datname,
                nullif(a.application_name, ''), a.wait_event), '; '), '')
      from unnest($1::int4[]) p(pid) left join pg_stat_activity a on a.pid = p.pid";

/// What was seen of it.
#[derive(Default)]
struct Seen {
    looks: u32,
    busy: u32,
    waiting: i64,
    /// One of those who wait or are waited for uses this database; the lock is the cluster's.
    here: bool,
    holders: BTreeMap<i32, u32>,
    who: Vec<String>,
}

/// Whether commits wait for each other, how often and how many.
pub async fn commits(
    database: &Database,
    settings: &config::Database,
    relayed: bool,
) -> Result<Finding, DatabaseError> {
    let seen = look(database, settings.query_timeout / 2).await?;
    let share = format!("in {} of {} looks", seen.busy, seen.looks);
    if seen.busy <= HARMLESS_MAX {
        return Ok(Finding::ok(format!("commits waited for the lock of NOTIFY {share}")));
    }
    let mean = seen.waiting as f64 / f64::from(seen.looks);
    let message = format!(
        "commits waited for the lock of NOTIFY {share}, {mean:.1} on average; most often it was held by {}",
        some_of(&seen.who)
    );
    let advice = if !seen.here {
        "all of them are in other databases of the cluster, and use NOTIFY there: the transport of this one makes no difference"
    } else if relayed {
        "other users of NOTIFY, most likely: the triggers of pgherald take it only where they have to wake the relay"
    } else {
        "pgherald transport relay: triggers then append to a queue, and no writer takes that lock (docs/relay.md)"
    };
    Ok(Finding::warning(message, advice))
}

async fn look(database: &Database, limit: Duration) -> Result<Seen, DatabaseError> {
    let looking = async |transaction: &tokio_postgres::Transaction<'_>| {
        let mut seen = Seen::default();
        let began = Instant::now();
        while seen.looks < LOOKS && (seen.looks == 0 || began.elapsed() < limit) {
            seen.looks += 1;
            if let Some(row) = transaction.query_typed(LOOK, &[]).await?.first() {
                let (waiting, holders): (i64, Option<Vec<i32>>) = (row.get(0), row.get(1));
                if waiting > 0 {
                    seen.here |= row.get::<_, bool>(2);
                    seen.busy += 1;
                    seen.waiting += waiting;
                    for pid in holders.into_iter().flatten() {
                        *seen.holders.entry(pid).or_default() += 1;
                    }
                }
            }
            sleep(MEASURE_MAX.min(limit) / LOOKS).await;
        }
        let mut often: Vec<_> = seen.holders.iter().map(|(pid, looks)| (*looks, *pid)).collect();
        often.sort_unstable_by(|one, other| other.cmp(one));
        for (_, pid) in often.into_iter().take(3) {
            let rows = transaction.query_typed(WHO, &[(&vec![pid], Type::INT4_ARRAY)]).await?;
            seen.who.extend(rows.first().map(|row| row.get::<_, String>(0)));
        }
        Ok(seen)
    };
    let mut seen = database.read(looking).await?;
    if seen.who.is_empty() {
        seen.who.push("nobody any more".to_owned());
    }
    Ok(seen)
}
