//! A connection of its own that holds an advisory lock: how daemons agree on who does what, and how writers find out
//! whether anybody lives. `sql/functions/append.sql` tells what the locks mean.
//!
//! A lock is tried again and again rather than waited for: whoever waits holds a snapshot, which keeps VACUUM from its work.
//! Only behind writers a daemon waits ([`Claim::lock`]): they keep VACUUM from it themselves, and end.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use futures_util::stream;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client};

use crate::config;
use crate::database::{self, Database, DatabaseError};

/// The first half of the keys.
pub const LOCKS: i32 = 7434;

/// Somebody lives: each daemon has one of these. The second half of the key, as below.
pub const PRESENT: [i32; 4] = [1, 11, 12, 13];
/// The relay sleeps and must be woken.
pub const ASLEEP: i32 = 2;
/// The one daemon that relays.
pub const RELAY: i32 = 3;

/// Settings of the session that a role, a database or a server may have set otherwise. Those that the server does not
/// know are left out. Nothing of ours that commits here has to be on disk, so it holds NOTIFY's lock for microseconds.
const SETTINGS: &str = "select pg_catalog.set_config(s.name, v.value, false)
      from (values ('application_name', $1), ('synchronous_commit', 'off'), ('statement_timeout', '0'), ('lock_timeout', '0'),
                   ('idle_session_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'),
                   ('default_transaction_isolation', 'read committed'), ('default_transaction_read_only', 'off'), ('jit', 'off'), ('plan_cache_mode', 'force_generic_plan'), ('max_parallel_workers_per_gather', '0'), ('vacuum_cost_delay', '0'), ('client_min_messages', 'error'),
                   ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3'),
                   ('client_connection_check_interval', case when pg_catalog.version() ~ 'linux' then '1s' else '0' end)) v(name, value)
      join pg_catalog.pg_settings s on s.name = v.name";
/// Who holds a lock alone, and whether a session holds it or waits for it. By way of the pool: the session itself may be waiting.
const LOOK: &str =
    "select coalesce(pg_catalog.bool_or(l.pid = $2), false), pg_catalog.max(l.pid) filter (where l.granted), pg_catalog.count(*) = 0
      from pg_catalog.pg_locks l
     where l.locktype = 'advisory' and l.classid = 7434 and l.objid = $1 and l.objsubid = 2 and l.mode = 'ExclusiveLock'
       and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())";
/// Who is present for writers.
const HOLDERS: &str = "select l.pid from pg_catalog.pg_locks l
     where l.locktype = 'advisory' and l.classid = 7434 and l.objid in (1, 11, 12, 13) and l.objsubid = 2 and l.mode = 'ExclusiveLock'
       and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())";
/// How often it is asked whether a lock is waited for now.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The connection. It is driven as long as the work of [`with_claim`] runs.
pub struct Claim<'a> {
    /// For queries.
    pub client: Client,
    /// Rung by what is sent on a channel that the work listens on.
    pub bell: Notify,
    database: &'a Database,
    pid: i32,
    limit: Duration,
}

/// Connects and does `work`, which never ends but by an error; tells what it was.
pub async fn with_claim(
    settings: &config::Database,
    database: &Database,
    name: &str,
    work: impl AsyncFnOnce(&Claim<'_>) -> Result<Infallible, DatabaseError>,
) -> DatabaseError {
    let (client, mut connection) = match database::connect(&settings.listen_server, settings.connect_timeout).await {
        Ok(pair) => pair,
        Err(error) => return error,
    };
    let limit = settings.heartbeat_timeout;
    let mut claim = Claim { client, bell: Notify::new(), database, pid: 0, limit };
    let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx)).boxed();
    let pid = {
        let begin = claim.begin(name);
        tokio::pin!(begin);
        loop {
            tokio::select! {
                begun = &mut begin => break begun,
                message = messages.next() => if let Some(error) = ended(message.as_ref()) { break Err(error) },
            }
        }
    };
    claim.pid = match pid {
        Ok(pid) => pid,
        Err(error) => return error,
    };
    let work = work(&claim);
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => {
                // it may wait for a lock of somebody else
                database::cancel(&claim.client, &settings.listen_server).await;
                return match result { Err(error) => error };
            }
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(_))) => claim.bell.notify_one(),
                message => if let Some(error) = ended(message.as_ref()) { return error },
            },
        }
    }
}

fn ended(message: Option<&Result<AsyncMessage, tokio_postgres::Error>>) -> Option<DatabaseError> {
    match message {
        Some(Ok(_)) => None,
        Some(Err(error)) => Some(DatabaseError::query(error)),
        None => Some(DatabaseError::new("the server closed the connection")),
    }
}

impl Claim<'_> {
    async fn begin(&self, name: &str) -> Result<i32, DatabaseError> {
        self.within(self.client.query_typed(SETTINGS, &[(&name, Type::TEXT)])).await?;
        let row = self.within(self.client.query_typed_one("select pg_catalog.pg_backend_pid()", &[])).await?;
        Ok(row.get(0))
    }

    /// As if nobody had rung yet.
    pub fn forget_bell(&self) {
        let _ = self.bell.notified().now_or_never();
    }

    /// Takes a lock for the rest of the session, if nobody has it.
    pub async fn try_lock(&self, key: i32) -> Result<bool, DatabaseError> {
        let sql = format!("select pg_catalog.pg_try_advisory_lock({LOCKS}, {key})");
        Ok(self.within(self.client.query_typed_one(&sql, &[])).await?.get(0))
    }

    /// Gives it back.
    pub async fn unlock(&self, key: i32) -> Result<(), DatabaseError> {
        let sql = format!("select pg_catalog.pg_advisory_unlock({LOCKS}, {key})");
        self.within(self.client.batch_execute(&sql)).await
    }

    /// Waits for a lock that writers hold together, until their transactions have ended.
    pub async fn lock(&self, key: i32) -> Result<(), DatabaseError> {
        let sql = format!("select pg_catalog.pg_advisory_lock({LOCKS}, {key})");
        self.client.batch_execute(&sql).await.map_err(|error| DatabaseError::query(&error))
    }

    /// Waits until the lock is `held` or waited for here: from then on a writer's try fails. That it is held is believed
    /// where no answer comes, but not against one: then the pool leads to another server than this connection.
    pub async fn claimed(&self, key: i32, held: bool) -> Result<(), DatabaseError> {
        let mut denied = false;
        let asked = async {
            loop {
                match self.look(key).await {
                    Ok((true, ..)) => return,
                    Ok(_) => denied = true,
                    Err(_) => {}
                }
                sleep(LOOK_INTERVAL).await;
            }
        };
        match timeout(self.limit, asked).await {
            Ok(()) => Ok(()),
            Err(_) if held && !denied => Ok(()),
            Err(_) => Err(DatabaseError::new("the lock is not seen by way of database.url: is that the same server?")),
        }
    }

    /// Errors when the lock is neither held nor waited for, looking every `interval`: the server may have given up a
    /// connection that is still there on our side. Also where somebody has it alone for whom we would wait for ever.
    pub async fn watch(&self, key: i32, interval: Duration) -> Result<Infallible, DatabaseError> {
        loop {
            match self.look(key).await {
                Ok((true, Some(pid), _)) if pid != self.pid => return Err(DatabaseError::new("another was first")),
                Ok((false, ..)) => return Err(DatabaseError::new("the server has forgotten a lock of ours")),
                // where there is no answer nothing is known, and our own connection would end with the server
                Ok((true, ..)) | Err(_) => sleep(interval).await,
            }
        }
    }

    /// Whether the lock is held or waited for here, who holds it alone, and whether nobody does or waits to.
    async fn look(&self, key: i32) -> Result<(bool, Option<i32>, bool), DatabaseError> {
        let asked: [(&(dyn ToSql + Sync), Type); 2] = [(&key.unsigned_abs(), Type::OID), (&self.pid, Type::INT4)];
        let rows = self.database.query(LOOK, &asked).await?;
        let row = rows.first().ok_or_else(|| DatabaseError::new("the server sent no row"))?;
        Ok((row.get(0), row.get(1), row.get(2)))
    }

    /// Whether nobody has the lock alone, or waits to.
    pub async fn is_free(&self, key: i32) -> Result<bool, DatabaseError> {
        Ok(self.look(key).await?.2)
    }

    /// The sessions that hold one of [`PRESENT`] alone, or wait for it.
    pub async fn holders(&self) -> Result<BTreeSet<i32>, DatabaseError> {
        Ok(self.database.query(HOLDERS, &[]).await?.iter().map(|row| row.get(0)).collect())
    }

    /// Bounds a query that must not wait for anybody.
    pub async fn within<T>(
        &self,
        query: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DatabaseError> {
        match timeout(self.limit, query).await {
            Ok(result) => result.map_err(|error| DatabaseError::query(&error)),
            Err(_) => Err(DatabaseError::new("PostgreSQL did not answer within database.heartbeat_timeout")),
        }
    }
}
