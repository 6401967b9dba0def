//! The notification queue, one for the whole cluster, and the lock around it.

use crate::database::{Database, DatabaseError};
use crate::report::{Finding, some_of};

/// Triggers stop sending at 0.9 of it.
const USAGE_WARNING: f64 = 0.1;
const USAGE_ERROR: f64 = 0.5;

/// Who is likely to hold the queue's tail: PostgreSQL tells nowhere who it is. A listener reads between transactions, so
/// one that sleeps in a transaction reads nothing, in whichever database; and one whose client does not read its socket.
const SUSPECTS: &str = "select format('pid %s (%s)', a.pid, concat_ws(', ', a.usename, a.datname,
                nullif(a.application_name, ''), a.state, 'since ' || date_trunc('second', coalesce(a.xact_start, a.state_change))))
      from pg_stat_activity a
     where a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
       and (a.xact_start is not null or a.wait_event = 'ClientWrite')
     order by a.xact_start nulls last limit 3";
/// Sessions of others, of whom a role without pg_read_all_stats sees nothing but their existence.
const HIDDEN: &str = "select count(*)::int8, current_user::text from pg_stat_activity a
     where a.datid is not null and not pg_has_role(a.usesysid, 'usage') and not pg_has_role('pg_read_all_stats', 'usage')";

/// PostgreSQL takes this lock in every commit that notifies, from before it writes the commit until it is on disk:
/// <https://github.com/postgres/postgres/blob/master/src/backend/commands/async.c>, `PreCommit_Notify`.
const WAITING: &str = "select count(*) filter (where not l.granted)::int8,
           string_agg(format('pid %s%s', l.pid, ' (' || nullif(concat_ws(', ', a.usename, a.datname,
                nullif(a.application_name, ''), a.wait_event), '') || ')'), ', ') filter (where l.granted)
      from pg_locks l left join pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'object' and l.database = 0 and l.classid = 'pg_database'::regclass and l.objid = 0
       and l.mode = 'AccessExclusiveLock'";

/// How full the queue is, and who keeps it from being emptied.
pub async fn usage(database: &Database) -> Result<Finding, DatabaseError> {
    let usage: f64 = database.ask_one("select pg_notification_queue_usage()").await?.get(0);
    let used = format!("{:.1} % used", usage * 100.0);
    if usage <= USAGE_WARNING {
        return Ok(Finding::ok(used));
    }
    let mut suspects: Vec<String> = database.ask(SUSPECTS).await?.iter().map(|row| row.get(0)).collect();
    let row = database.ask_one(HIDDEN).await?;
    let (hidden, role): (i64, &str) = (row.get(0), row.get(1));
    if hidden > 0 {
        suspects.push(format!("{hidden} sessions that {role} can't see into (grant pg_read_all_stats)"));
    }
    if suspects.is_empty() {
        suspects.push("nobody is in a transaction now".to_owned());
    }
    let message = format!("{used}: a listener does not read; likely {}", some_of(&suspects));
    let advice = "end what is idle in a transaction with pg_terminate_backend(pid); at 90 % triggers stop sending";
    Ok(if usage > USAGE_ERROR { Finding::error(message, advice) } else { Finding::warning(message, advice) })
}

/// Whether commits wait for each other now.
pub async fn commits(database: &Database) -> Result<Finding, DatabaseError> {
    let row = database.ask_one(WAITING).await?;
    let (waiting, holder): (i64, Option<&str>) = (row.get(0), row.get(1));
    Ok(match waiting {
        0 => Finding::ok("none waits for the lock of NOTIFY now"),
        waiting => Finding::warning(
            format!("{waiting} waiting for the lock of NOTIFY now, held by {}", holder.unwrap_or("nobody any more")),
            "once is no harm; if it stays so, watch fewer busy tables or make commits faster (disk, synchronous standby)",
        ),
    })
}
