//! A connection of its own that waits for an advisory lock and then holds it: how daemons agree on who does what, and
//! how writers find out whether anybody lives. `sql/functions/append.sql` tells what the locks mean.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client};

use crate::config;
use crate::database::{self, Database, DatabaseError};

/// The first half of the keys.
pub const LOCKS: i32 = 7434;

/// What is claimed: the second half of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Somebody lives who will hear of what is in the queue: every daemon holds it or waits for it.
    Present = 1,
    /// The relay sleeps and must be woken.
    Asleep = 2,
    /// The one daemon that relays.
    Relay = 3,
}

/// Settings of the session that a role, a database or a server may have set otherwise. Those that the server does not
/// know are left out. Nothing of ours that commits here has to be on disk, so it holds NOTIFY's lock for microseconds.
const SETTINGS: &str = "select pg_catalog.set_config(s.name, v.value, false)
      from (values ('application_name', $1), ('synchronous_commit', 'off'), ('statement_timeout', '0'), ('lock_timeout', '0'),
                   ('idle_session_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'),
                   ('default_transaction_isolation', 'read committed'), ('default_transaction_read_only', 'off'), ('jit', 'off'), ('client_min_messages', 'error'),
                   ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3'),
                   ('client_connection_check_interval', case when pg_catalog.version() ~ 'linux' then '1s' else '0' end)) v(name, value)
      join pg_catalog.pg_settings s on s.name = v.name";
/// Who holds a lock, and whether a session holds it or waits for it. By way of the pool: the session itself may be waiting.
const CLAIMED: &str =
    "select coalesce(pg_catalog.bool_or(l.pid = $2), false), pg_catalog.max(l.pid) filter (where l.granted)
      from pg_catalog.pg_locks l
     where l.locktype = 'advisory' and l.classid = 7434 and l.objid = $1 and l.objsubid = 2 and l.mode = 'ExclusiveLock'
       and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())";
/// Whoever waits for a lock holds a snapshot, which keeps VACUUM from its work, and CREATE INDEX CONCURRENTLY waits for it:
/// so it is given up and waited for anew. Shorter than the usual deadlock_timeout, after which log_lock_waits tells of it.
const TURN: Duration = Duration::from_millis(900);
/// When in a turn it is asked who holds the lock.
const TURN_LOOK: Duration = Duration::from_millis(600);
/// How often it is asked whether a new claim is in the queue.
const CLAIM_INTERVAL: Duration = Duration::from_millis(5);

/// The connection. It is driven as long as the work of [`with_claim`] runs.
pub struct Claim<'a> {
    /// For queries.
    pub client: Client,
    /// Rung by what is sent on a channel that the work listens on.
    pub bell: Notify,
    database: &'a Database,
    lock: Lock,
    pid: i32,
    limit: Duration,
}

/// Connects and does `work`, which never ends but by an error; tells what it was.
pub async fn with_claim(
    settings: &config::Database,
    database: &Database,
    lock: Lock,
    name: &str,
    work: impl AsyncFnOnce(&Claim<'_>) -> Result<Infallible, DatabaseError>,
) -> DatabaseError {
    let (client, mut connection) = match database::connect(&settings.listen_server, settings.connect_timeout).await {
        Ok(pair) => pair,
        Err(error) => return error,
    };
    let limit = settings.heartbeat_timeout;
    let mut claim = Claim { client, bell: Notify::new(), database, lock, pid: 0, limit };
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
            result = &mut work => return match result { Err(error) => error },
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(_))) => claim.bell.notify_one(),
                message => if let Some(error) = ended(message.as_ref()) { return error },
            },
        }
    }
}

/// What is to be seen of the lock.
pub struct Look {
    /// We hold it or wait for it.
    ours: bool,
    /// The process that holds it.
    holder: Option<i32>,
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

    /// Waits for the lock, however long, with short breaks in which it is not waited for.
    pub async fn lock(&self) -> Result<(), DatabaseError> {
        while !self.lock_in_a_turn().await? {}
        Ok(())
    }

    /// The same, and errors where the lock may have been free in such a break: it was not where one session has held it
    /// before and after. Behind writers, who hold it together, there are no breaks.
    pub async fn lock_without_gap(&self) -> Result<(), DatabaseError> {
        let mut held_by = None;
        let mut turns = 0;
        loop {
            let (mut turn, mut locked) = (pin!(self.lock_in_a_turn()), None);
            let mut waiting = pin!(self.claimed());
            let now = loop {
                tokio::select! {
                    now = &mut waiting => break now?.holder,
                    ended = &mut turn, if locked.is_none() => locked = Some(ended?),
                }
            };
            if turns > 0 && (now.is_none() || now != held_by) {
                return Err(DatabaseError::new("who held the lock is gone, and nobody may have waited for it"));
            }
            held_by = now;
            let mut looks = 0;
            while locked.is_none() {
                tokio::select! {
                    ended = &mut turn => locked = Some(ended?),
                    () = sleep(TURN_LOOK) => {
                        held_by = self.look().await?.holder;
                        looks += 1;
                        if looks > 2 && held_by.is_some() {
                            return Err(DatabaseError::new("another waits for the lock as well, and was first"));
                        }
                    }
                }
            }
            if locked == Some(true) {
                return Ok(());
            }
            turns += 1;
        }
    }

    /// Whether it is ours at the end. An error that PL/pgSQL catches is in no log.
    async fn lock_in_a_turn(&self) -> Result<bool, DatabaseError> {
        let (turn_ms, lock, present) = (TURN.as_millis(), self.lock as i32, self.lock == Lock::Present);
        let sql = format!(
            "do $$ begin
                 if not ({present} and exists (
                     select from pg_catalog.pg_locks l
                      where l.locktype = 'advisory' and l.classid = {LOCKS} and l.objid = {lock} and l.objsubid = 2
                        and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
                        and l.granted and l.mode = 'ShareLock'))
                 then
                     perform pg_catalog.set_config('lock_timeout', '{turn_ms}ms', true);
                 end if;
                 perform pg_catalog.pg_advisory_lock({LOCKS}, {lock});
                 perform pg_catalog.set_config('pgherald.locked', 'yes', false);
             exception when lock_not_available then
                 perform pg_catalog.set_config('pgherald.locked', 'no', false);
             end $$"
        );
        self.client.batch_execute(&sql).await.map_err(|error| DatabaseError::query(&error))?;
        let locked = "select pg_catalog.current_setting('pgherald.locked') = 'yes'";
        Ok(self.within(self.client.query_typed_one(locked, &[])).await?.get(0))
    }

    /// Waits until the lock is held or waited for: from then on a writer's try fails.
    pub async fn claimed(&self) -> Result<Look, DatabaseError> {
        let asked = async {
            loop {
                let look = self.look().await?;
                if look.ours {
                    return Ok(look);
                }
                sleep(CLAIM_INTERVAL).await;
            }
        };
        timeout(self.limit, asked).await.unwrap_or_else(|_| Err(DatabaseError::new("the lock could not be waited for")))
    }

    /// Errors when the lock is neither held nor waited for, looking every `interval`: the server may have given up a
    /// connection that is still there on our side.
    pub async fn watch(&self, interval: Duration) -> Result<Infallible, DatabaseError> {
        loop {
            sleep(interval).await;
            // between two turns it is not waited for
            if !self.look().await?.ours && self.claimed().await.is_err() {
                return Err(DatabaseError::new("the server has forgotten a lock of ours"));
            }
        }
    }

    async fn look(&self) -> Result<Look, DatabaseError> {
        let asked: [(&(dyn ToSql + Sync), Type); 2] = [(&(self.lock as u32), Type::OID), (&self.pid, Type::INT4)];
        let rows = self.database.query(CLAIMED, &asked).await?;
        let row = rows.first().ok_or_else(|| DatabaseError::new("the server sent no row"))?;
        Ok(Look { ours: row.get(0), holder: row.get(1) })
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
