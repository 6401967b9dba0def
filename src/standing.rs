//! How triggers send now, and who relays: what people ask, of one row.

use tokio_postgres::{GenericClient, Row};

/// As a table that is not there can't be asked.
const INSTALLED: &str = "select pg_catalog.to_regclass('pgherald.transport') is not null
    and pg_catalog.to_regprocedure('pgherald.backlog()') is not null";
/// Of the session that relays another role than its own sees no more than that it is there.
const STANDING: &str = "with locks as (
        select l.objid, l.mode = 'ExclusiveLock' as exclusive, l.granted, l.pid from pg_catalog.pg_locks l
         where l.locktype = 'advisory' and l.classid = 7434 and l.objsubid = 2
           and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
    ), relay as (select r.pid from locks r where r.objid = 3 and r.exclusive and r.granted)
    select coalesce(t.transport, 'relay') as transport,
           coalesce(pg_catalog.date_trunc('second', t.changed_at)::text, 'never: its table is empty') as since,
           (select pg_catalog.count(*) from locks p where p.objid in (1, 11, 12, 13) and p.exclusive) as present,
           (select r.pid from relay r) as pid,
           (select pg_catalog.concat_ws(', ', a.usename, nullif(a.application_name, ''), a.client_addr)
              from relay r join pg_catalog.pg_stat_activity a on a.pid = r.pid) as who,
           exists (select from locks s join relay r on r.pid = s.pid where s.objid = 2 and s.exclusive and s.granted) as asleep,
           (select case when a.state is null then null when a.state like 'idle%'
                        then greatest(0, extract(epoch from pg_catalog.clock_timestamp() - a.state_change) * 1000) else 0 end::float8
              from relay r join pg_catalog.pg_stat_activity a on a.pid = r.pid) as idle_ms,
           b.waiting, b.percent,
           pg_catalog.pg_is_in_recovery() as standby,
           pg_catalog.current_setting('max_prepared_transactions')::int4 > 0 as two_phase,
           pg_catalog.has_function_privilege('pgherald.relay(integer, integer)', 'execute')
           and pg_catalog.has_function_privilege('pgherald.recycle(bigint)', 'execute') as may_relay,
           pg_catalog.quote_ident(current_user) as role,
           exists (select from locks s where not s.exclusive) as silent, pgherald.relay_wanted() as wanted, exists (select from pgherald.appending()) as appending
      from pgherald.backlog() b left join pgherald.transport t on true";

/// All that there is to know at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Whether triggers append to the queue; else they notify.
    pub relayed: bool,
    /// When that was set.
    pub since: String,
    /// Daemons that writers can see.
    pub present: i64,
    /// The session that relays.
    pub relay: Option<Session>,
    /// Committed rows in the queue.
    pub waiting: i64,
    /// How full it is, in percent of the bytes that it may have, with what is not committed.
    pub full_percent: i32,
    /// The server is a standby, which knows nothing of the primary's locks and queue.
    pub standby: bool,
    /// Transactions may be prepared, so the relay never sleeps.
    pub two_phase: bool,
    /// Who asks may relay.
    pub may_relay: bool,
    /// Who asks, quoted.
    pub role: String,
    /// Somebody has to relay: also after a return to `notify`, as long as something is left over.
    pub wanted: bool,
    /// There are triggers that append.
    pub appending: bool,
    /// Transactions are open that have appended or have found no daemon.
    pub silent: bool,
}

/// The session of a relay.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Its process.
    pub pid: i32,
    /// Role, application and address, as far as they can be seen.
    pub who: String,
    /// Writers have to wake it.
    pub asleep: bool,
    /// For how long it has not asked for anything, where that can be seen.
    pub idle_ms: Option<f64>,
}

impl Standing {
    /// Asks; nothing where the schema knows no transports (yet).
    pub async fn look(client: &impl GenericClient) -> Result<Option<Self>, tokio_postgres::Error> {
        let installed = client.query_typed(INSTALLED, &[]).await?;
        if !installed.first().is_some_and(|row| row.get(0)) {
            return Ok(None);
        }
        Ok(client.query_typed(STANDING, &[]).await?.first().map(Self::of))
    }

    fn of(row: &Row) -> Self {
        let relay = row.get::<_, Option<i32>>("pid").map(|pid| Session {
            pid,
            who: row.get::<_, Option<String>>("who").unwrap_or_default(),
            asleep: row.get("asleep"),
            idle_ms: row.get("idle_ms"),
        });
        Self {
            relayed: row.get::<_, &str>("transport") == "relay",
            since: row.get("since"),
            present: row.get("present"),
            relay,
            waiting: row.get("waiting"),
            full_percent: row.get("percent"),
            standby: row.get("standby"),
            two_phase: row.get("two_phase"),
            may_relay: row.get("may_relay"),
            role: row.get("role"),
            wanted: row.get("wanted"),
            appending: row.get("appending"),
            silent: row.get("silent"),
        }
    }

    /// As the database spells it.
    pub fn transport(&self) -> &'static str {
        if self.relayed { "relay" } else { "notify" }
    }
}

impl std::fmt::Display for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {} ({}), {}", self.pid, self.who, if self.asleep { "asleep" } else { "awake" })
    }
}
