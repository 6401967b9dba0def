//! The relay: is there one, does it move, and does anything stand in its way?

use std::time::Duration;

use crate::config;
use crate::database::{Database, DatabaseError};
use crate::report::{Finding, Status, some_of};
use crate::standing::Standing;
use crate::transport::grants;

/// Of what it may hold, in percent.
const FULL_WARNING: i32 = 10;
const FULL_ERROR: i32 = 50;
/// The relay moves on to the next of four tables at 3 MB, and truncates what it has left.
const TABLES_BYTES_WARNING: i64 = 16 << 20;

const BYTES: &str =
    "select sum(pg_relation_size(c.oid))::int8 from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'pgherald' and c.relname like 'queue\\__'";
/// Who keeps them from being emptied: by a lock on them, as pg_dump, or by an old snapshot.
const SUSPECTS: &str = "select s.who from (
        select 1, min(coalesce(a.xact_start, '-infinity')), format('pid %s (%s)', l.pid, concat_ws(', ', a.usename,
               nullif(a.application_name, ''), a.state, 'has a lock on them since ' || date_trunc('second', a.xact_start)))
          from pg_locks l join pg_class c on c.oid = l.relation join pg_namespace n on n.oid = c.relnamespace
          join pg_stat_activity a on a.pid = l.pid
         where n.nspname = 'pgherald' and c.relname like 'queue\\__' and l.granted and l.pid <> pg_backend_pid()
           and a.xact_start < clock_timestamp() - interval '1 s'
         group by l.pid, a.usename, a.application_name, a.state, a.xact_start
        union all
        select 2, a.xact_start, format('pid %s (%s)', a.pid, concat_ws(', ', a.usename, a.datname,
               nullif(a.application_name, ''), a.state, 'has a snapshot since ' || date_trunc('second', a.xact_start)))
          from pg_stat_activity a
         where a.backend_xmin is not null and a.pid <> pg_backend_pid() and a.xact_start < clock_timestamp() - interval '1 s'
        union all
        select 2, null, format('pid %s (%s)', a.pid, concat_ws(', ', a.usename, nullif(a.application_name, ''),
               'a standby with hot_standby_feedback'))
          from pg_stat_activity a where a.backend_type = 'walsender' and a.backend_xmin is not null
        union all
        select 2, null, format('replication slot %s', r.slot_name) from pg_replication_slots r where r.xmin is not null
        union all
        select 3, x.prepared, format('prepared transaction %L (%s)', x.gid, x.owner) from pg_prepared_xacts x
         where x.prepared < clock_timestamp() - interval '1 s'
    ) s(kind, since, who) order by s.kind, s.since nulls last limit 3";

/// Sessions with a lock of ours that no daemon of ours has: an exclusive one, or a shared one outside of a transaction; and with the
/// one of `pgherald.set_transport` and `pgherald.watch` outside of a transaction.
/// What another role's session is called is not told to everybody; such are not accused.
const FOREIGN: &str = "select format('pid %s (%s) with (7434, %s)', l.pid,
           concat_ws(', ', a.usename, nullif(a.application_name, ''), a.state), l.objid)
      from pg_locks l join pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'advisory' and l.classid = 7434 and l.objsubid = 2 and l.objid in (1, 2, 3, 4, 11, 12, 13)
       and l.database = (select d.oid from pg_database d where d.datname = current_database())
       and case when l.objid = 4 then a.state = 'idle'
                when l.objid = 3 or l.mode = 'ExclusiveLock'
                then a.application_name <> case when l.objid not in (2, 3) then 'pgherald presence' else 'pgherald relay' end
                else a.state = 'idle' end
     order by l.objid, l.pid";

/// What is wrong, the worst of it, and what to do, one for the other.
#[derive(Default)]
struct Troubles {
    status: Option<Status>,
    messages: Vec<String>,
    advice: Vec<String>,
}

impl Troubles {
    fn add(&mut self, status: Status, message: impl Into<String>, advice: impl Into<String>) {
        self.status = self.status.max(Some(status));
        self.messages.push(message.into());
        self.advice.push(advice.into());
    }

    fn or(self, message: String) -> Finding {
        match self.status {
            None => Finding::ok(message),
            Some(status) => Finding { status, message: self.messages.join("; "), advice: Some(self.advice.join("; ")) },
        }
    }
}

/// Whether what triggers append is sent on. `hidden` are sessions that this role cannot see into.
pub async fn relay(
    database: &Database,
    settings: &config::Database,
    standing: Option<Standing>,
    hidden: Option<&str>,
) -> Result<Finding, DatabaseError> {
    let Some(standing) = standing else {
        return Ok(Finding::skipped("schema pgherald is not there, can't be read, or knows no relay"));
    };
    if !standing.relayed {
        return Ok(Finding::ok("not needed: triggers notify"));
    }
    if standing.standby {
        return Ok(Finding::error(
            "database.url leads to a standby, where nobody sees the locks and the queue of the primary: the daemon takes itself for \
             gone and tells everybody to refetch, again and again",
            "with the transport relay both database.url and database.listen_url are the primary's",
        ));
    }
    let mut troubles = Troubles::default();
    who(&standing, settings.heartbeat_timeout, &mut troubles);
    let percent = standing.full_percent;
    if percent >= FULL_WARNING {
        troubles.add(
            if percent >= FULL_ERROR { Status::Error } else { Status::Warning },
            format!("the queue is {percent} % full; rows that wait: {}", standing.waiting),
            "see what keeps the relay, and the check `queue`; when it is full triggers drop, and everybody refetches",
        );
    }
    let bytes = database.ask_one(BYTES).await?.get::<_, Option<i64>>(0).unwrap_or(0);
    if bytes > TABLES_BYTES_WARNING {
        let mut suspects: Vec<String> = database.ask(SUSPECTS).await?.iter().map(|row| row.get(0)).collect();
        suspects.extend(hidden.map(str::to_owned));
        if suspects.is_empty() {
            suspects.push("nobody who can be seen".to_owned());
        }
        troubles.add(
            Status::Warning,
            format!(
                "the queue's tables have {} MB and can't be emptied; likely because of {}",
                bytes >> 20,
                some_of(&suspects)
            ),
            "let it end, or end it with pg_terminate_backend(pid): the relay gets slower as long as it lasts",
        );
    }
    let foreign: Vec<String> = database.ask(FOREIGN).await?.iter().map(|row| row.get(0)).collect();
    if !foreign.is_empty() {
        troubles.add(
            Status::Warning,
            format!("sessions that are no daemon's hold or want its advisory locks: {}", some_of(&foreign)),
            "end them: select pg_terminate_backend(pid)",
        );
    }
    let awake = if standing.two_phase { "; it never sleeps, as max_prepared_transactions is above 0" } else { "" };
    let relay = standing.relay.as_ref().map(ToString::to_string).unwrap_or_default();
    let unseen = standing.relay.as_ref().is_some_and(|relay| relay.idle_ms.is_none());
    let unseen =
        if unseen { "; it is another role's, so whether it moves is seen with pg_read_all_stats only" } else { "" };
    Ok(troubles.or(format!(
        "{relay}, relays; daemons that are there: {}; rows that wait: {}; the queue is {percent} % full{awake}{unseen}",
        standing.present, standing.waiting
    )))
}

/// Whether somebody relays and is seen to live.
fn who(standing: &Standing, limit: Duration, troubles: &mut Troubles) {
    if !standing.may_relay {
        let role = &standing.role;
        troubles.add(
            Status::Error,
            format!("{role} may not relay"),
            format!("as the owner of schema pgherald: {}", grants(role)),
        );
    }
    let limit_ms = limit.as_secs_f64() * 1000.0;
    match &standing.relay {
        None if standing.present == 0 => troubles.add(
            Status::Error,
            "no daemon is there: triggers don't even append, and changes reach nobody",
            "pgherald serve: the daemon that comes tells everybody to refetch",
        ),
        None => troubles.add(
            Status::Error,
            format!("nobody relays, though daemons are there: {}; changes wait in the queue", standing.present),
            "see the daemons' logs: within seconds one of them becomes the relay",
        ),
        Some(relay) if relay.idle_ms.is_some_and(|idle| idle > limit_ms) => troubles.add(
            Status::Error,
            format!("the relay hangs: {relay}, has not moved for {:.0} s", relay.idle_ms.unwrap_or(0.0) / 1000.0),
            format!(
                "start another daemon, which ends that session and takes over; or select pg_terminate_backend({})",
                relay.pid
            ),
        ),
        Some(relay) if standing.present == 0 => troubles.add(
            Status::Error,
            format!("writers see no daemon, though there is a relay: {relay}; changes reach nobody"),
            "see the daemon's log: its session \"pgherald presence\" is missing",
        ),
        Some(_) => {}
    }
}
