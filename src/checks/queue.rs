//! The notification queue, one for the whole cluster.

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

/// How full the queue is, and who keeps it from being emptied.
pub async fn usage(database: &Database, hidden: Option<&str>) -> Result<Finding, DatabaseError> {
    let usage: f64 = database.ask_one("select pg_notification_queue_usage()").await?.get(0);
    let used = format!("{:.1} % used", usage * 100.0);
    if usage <= USAGE_WARNING {
        return Ok(Finding::ok(used));
    }
    let mut suspects: Vec<String> = database.ask(SUSPECTS).await?.iter().map(|row| row.get(0)).collect();
    suspects.extend(hidden.map(str::to_owned));
    if suspects.is_empty() {
        suspects.push("nobody is in a transaction now".to_owned());
    }
    let message = format!("{used}: a listener does not read; likely {}", some_of(&suspects));
    let advice = "end what is idle in a transaction with pg_terminate_backend(pid); at 90 % triggers stop sending";
    Ok(if usage > USAGE_ERROR { Finding::error(message, advice) } else { Finding::warning(message, advice) })
}

/// What a list of suspects has to leave out, in words.
pub async fn hidden(database: &Database) -> Result<Option<String>, DatabaseError> {
    let row = database.ask_one(HIDDEN).await?;
    let (hidden, role): (i64, &str) = (row.get(0), row.get(1));
    Ok((hidden > 0).then(|| format!("{hidden} sessions that {role} can't see into (grant pg_read_all_stats)")))
}
