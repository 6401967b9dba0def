//! The connection that listens: to the right database, to a primary, with nothing in between that loses LISTEN.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Client, GenericClient};

use crate::config;
use crate::conninfo::ConnInfo;
use crate::database::{self, Database, DatabaseError};
use crate::report::Finding;

/// The server behind an address, whatever its name there: a standby has its primary's identifier.
const SERVER: &str = "select system_identifier from pg_control_system()";
/// Milliseconds; the setting came with PostgreSQL 14.
const IDLE_TIMEOUT: &str =
    "select coalesce((select setting::int8 from pg_settings where name = 'idle_session_timeout'), 0)";
const CHANNEL: &str = "pgherald_doctor";

/// What is at `database.listen_url`.
pub struct Listener {
    /// A pool of one; it takes what it finds, a standby too.
    pub database: Database,
    /// The server that the daemon would take.
    server: ConnInfo,
}

impl Listener {
    /// Connects as the daemon does, or, where it would find no primary, to whatever is there.
    pub async fn open(settings: &config::Database) -> Result<Self, DatabaseError> {
        let mut settings = config::Database { pool_connections: 1, ..settings.clone() };
        settings.server = settings.listen_server.clone();
        let database = Database::open(&settings)?;
        let Err(refused) = database.ask_one("select 1").await else {
            return Ok(Self { database, server: settings.server });
        };
        settings.server.postgres.target_session_attrs(TargetSessionAttrs::Any);
        let database = Database::open(&settings)?;
        match database.ask_one("select pg_is_in_recovery()").await {
            Ok(row) if row.get(0) => Ok(Self { database, server: settings.server }),
            _ => Err(refused.context("database.listen_url")),
        }
    }

    /// Whether it is the database that `queries` asks, and lets an idle session live.
    pub async fn leads_home(&self, queries: &Database, settings: &config::Database) -> Result<Finding, DatabaseError> {
        let ((here, server), (there, other)) = (place(&self.database).await?, place(queries).await?);
        if here != there || server.zip(other).is_some_and(|(server, other)| server != other) {
            return Ok(Finding::error(
                format!("database.listen_url leads to database {here}, database.url to another one, {there}"),
                "give both the same database: a notification is heard in its own database only",
            ));
        }
        let idle_ms = self.database.ask_one(IDLE_TIMEOUT).await?.get::<_, i64>(0);
        let limit = Duration::from_millis(idle_ms.try_into().unwrap_or_default());
        if !limit.is_zero() && limit <= settings.heartbeat_interval {
            return Ok(Finding::warning(
                format!("idle_session_timeout is {idle_ms} ms: the server ends the listener between two heartbeats"),
                "alter role ... set idle_session_timeout = 0, or lower database.heartbeat_interval",
            ));
        }
        Ok(Finding::ok(self.server.redacted()))
    }

    /// Whether LISTEN is possible at all.
    pub async fn primary(&self) -> Result<Finding, DatabaseError> {
        let row = self.database.ask_one("select pg_is_in_recovery()").await?;
        Ok(if row.get(0) {
            let advice =
                "give database.listen_url the primary, or several hosts: the daemon takes the one that can write";
            Finding::error("a standby: nobody can LISTEN there", advice)
        } else {
            Finding::ok("a primary: LISTEN is possible")
        })
    }

    /// Whether a pooler in transaction mode stands in between. `database.url` may have one.
    pub async fn pooler(&self, settings: &config::Database) -> Result<Finding, DatabaseError> {
        if pooled(&self.server, settings).await? {
            return Ok(Finding::error(
                "a connection pooler in transaction mode stands in between, and LISTEN is lost in it",
                "set database.listen_url to a direct connection; database.url may keep the pooler",
            ));
        }
        let one = settings.url.expose() == settings.listen_url.expose();
        Ok(if !one && pooled(&settings.server, settings).await? {
            Finding::ok(
                "LISTEN goes past the pooler in transaction mode that database.url has, which is fine for queries",
            )
        } else {
            Finding::ok("none in transaction mode: a session keeps its LISTEN")
        })
    }
}

/// The database's name, and its server's identifier where everybody may know it.
async fn place(database: &Database) -> Result<(String, Option<i64>), DatabaseError> {
    let name = database.ask_one("select current_database()::text").await?.get(0);
    Ok((name, database.ask_one(SERVER).await.ok().map(|row| row.get(0))))
}

async fn pooled(server: &ConnInfo, settings: &config::Database) -> Result<bool, DatabaseError> {
    let limit = settings.connect_timeout;
    let looked = database::with_client(server, limit, async |one| {
        database::with_client(server, limit, async |other| Ok(changes_backend(one, other).await)).await
    });
    match timeout(limit * 2 + settings.query_timeout, looked).await {
        Ok(looked) => looked?.map_err(|error| DatabaseError::query(&error)),
        Err(_) => Err(DatabaseError::new("no answer within database.query_timeout, with a second transaction open")),
    }
}

/// A pooler gives the server connection of `one` away as soon as its transaction ends. So `other` begins one and keeps
/// it: what `one` does next happens elsewhere. Without `other` an idle pooler would look like a direct connection.
/// LISTEN is tried only where that found nothing: behind a pooler it would stay on a connection of somebody else's.
async fn changes_backend(one: &Client, other: &mut Client) -> Result<bool, tokio_postgres::Error> {
    let before = number(one, "select pg_catalog.pg_backend_pid()").await?;
    let kept = other.transaction().await?;
    let taken = number(&kept, "select pg_catalog.pg_backend_pid()").await?;
    let after = number(one, "select pg_catalog.pg_backend_pid()").await?;
    if before == taken || before != after {
        return Ok(true);
    }
    one.batch_execute(&format!("listen {CHANNEL}")).await?;
    let sql = format!("select count(*)::int4 from pg_catalog.pg_listening_channels() c where c = '{CHANNEL}'");
    let listening = number(one, &sql).await?;
    one.batch_execute(&format!("unlisten {CHANNEL}")).await?;
    Ok(listening == 0)
}

async fn number(client: &impl GenericClient, sql: &str) -> Result<i32, tokio_postgres::Error> {
    Ok(client.query_typed(sql, &[]).await?.first().map_or(0, |row| row.get(0)))
}
