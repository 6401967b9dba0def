//! Connections to PostgreSQL: the pool for queries, single ones for the listener and the commands.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, TimeoutType};
use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::timeout;
use tokio_postgres::error::{DbError, Severity, SqlState};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Connection, Row, Socket, Transaction};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

use crate::config;
use crate::conninfo::ConnInfo;
use crate::tls;

/// The TLS stream of a connection.
pub type Tls = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;

/// What went wrong between us and PostgreSQL: where, why, and what to do. Never holds a password.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct DatabaseError {
    text: String,
    code: Option<SqlState>,
}

impl DatabaseError {
    /// One with just a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: None }
    }

    /// From a query's error, with PostgreSQL's own message, detail and hint.
    pub fn query(error: &tokio_postgres::Error) -> Self {
        error.as_db_error().map_or_else(|| Self { text: chain(error), code: None }, Self::said)
    }

    fn said(db: &DbError) -> Self {
        let more = [db.detail().map(|detail| format!(" ({detail})")), db.hint().map(|hint| format!(": {hint}"))];
        let text = more.into_iter().flatten().fold(db.message().to_owned(), |text, part| text + &part);
        Self { text, code: Some(db.code().clone()) }
    }

    /// The same, said of `what`.
    pub fn context(self, what: &str) -> Self {
        Self { text: format!("{what}: {}", self.text), code: self.code }
    }

    /// A value did not fit its type (SQLSTATE class 22), such as text where an integer is asked for, or its domain.
    pub fn is_bad_value(&self) -> bool {
        let domain = [SqlState::CHECK_VIOLATION, SqlState::NOT_NULL_VIOLATION];
        self.code.as_ref().is_some_and(|code| code.code().starts_with("22") || domain.contains(code))
    }

    /// The query does not fit what is in the database (SQLSTATE classes 42 and 3F): a column or a schema is gone, or has another type.
    pub fn is_bad_query(&self) -> bool {
        self.code.as_ref().is_some_and(|code| ["42", "3F"].iter().any(|class| code.code().starts_with(class)))
    }

    fn connecting(server: &ConnInfo, error: &tokio_postgres::Error) -> Self {
        let code = error.code().cloned();
        let advice = match &code {
            Some(code) if *code == SqlState::INVALID_PASSWORD => {
                "check the password in database.url, PGPASSWORD or the password file"
            }
            Some(code) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                "check the user in database.url and the server's pg_hba.conf"
            }
            Some(code) if *code == SqlState::INVALID_CATALOG_NAME => "check the database's name in database.url",
            Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => {
                "raise max_connections or lower database.pool_connections"
            }
            Some(code) if *code == SqlState::CANNOT_CONNECT_NOW => "the server is starting or stopping: try again",
            Some(_) => "see the server's log",
            None => "check database.url, and that the server listens there",
        };
        let why = error.as_db_error().map_or_else(|| chain(error), |db| db.message().to_owned());
        Self { text: format!("cannot connect to {}: {why}: {advice}", server.redacted()), code }
    }
}

/// By how much longer than its limit a query takes that is not answered, so that the server ends it as well.
const CANCEL_MAX: Duration = Duration::from_secs(1);

/// The pool, with a bound on every wait.
pub struct Database {
    pool: Pool,
    server: ConnInfo,
    query_timeout: Duration,
}

impl Database {
    /// A pool; it connects when first asked.
    pub fn open(settings: &config::Database) -> Result<Self, DatabaseError> {
        let connector = tls::connector(&settings.server.tls)
            .map_err(|error| DatabaseError::new(format!("database.url: {error}")))?;
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(settings.server.postgres.clone(), connector, manager_config);
        let pool = Pool::builder(manager)
            .max_size(settings.pool_connections)
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .wait_timeout(Some(settings.query_timeout))
            .create_timeout(Some(settings.connect_timeout))
            .recycle_timeout(Some(settings.query_timeout))
            .build()
            .map_err(|error| DatabaseError::new(error.to_string()))?;
        Ok(Self { pool, server: settings.server.clone(), query_timeout: settings.query_timeout })
    }

    /// The rows of `sql`, within `database.query_timeout`. A connection that did not answer in time is thrown away: behind a
    /// silent network it would never answer again.
    pub async fn query(&self, sql: &str, with: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, DatabaseError> {
        let client = self.pool.get().await.map_err(|error| self.no_connection(&error))?;
        match timeout(self.query_timeout, client.query_typed(sql, with)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(DatabaseError::query(&error)),
            Err(_) => {
                self.abandon(client).await;
                Err(DatabaseError::new("no answer within database.query_timeout"))
            }
        }
    }

    /// Does `work` in a transaction that only reads and sees no name but the server's own, within
    /// `database.query_timeout`; a second later the server gives up too.
    pub async fn read<T>(
        &self,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, DatabaseError> {
        let mut client = self.pool.get().await.map_err(|error| self.no_connection(&error))?;
        let milliseconds = (self.query_timeout.as_millis() + 1000).min(i32::MAX as u128);
        let settings = format!("set local search_path = ''; set local statement_timeout = {milliseconds}");
        let reading = async {
            let transaction = client.build_transaction().read_only(true).start().await?;
            transaction.batch_execute(&settings).await?;
            let result = work(&transaction).await?;
            transaction.rollback().await?;
            Ok(result)
        };
        match timeout(self.query_timeout, reading).await {
            Ok(result) => result.map_err(|error: tokio_postgres::Error| DatabaseError::query(&error)),
            Err(_) => {
                self.abandon(client).await;
                let why =
                    "no answer within database.query_timeout: pg_stat_activity and pg_locks tell what it waits for";
                Err(DatabaseError::new(why))
            }
        }
    }

    /// Does `work` in a transaction and commits it, within `database.query_timeout`. Whether a write that took longer was
    /// committed is not known.
    pub async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, DatabaseError> {
        let mut client = self.pool.get().await.map_err(|error| self.no_connection(&error))?;
        let writing = async {
            let transaction = client.transaction().await?;
            let result = work(&transaction).await?;
            transaction.commit().await?;
            Ok(result)
        };
        match timeout(self.query_timeout, writing).await {
            Ok(result) => result.map_err(|error: tokio_postgres::Error| DatabaseError::query(&error)),
            Err(_) => {
                self.abandon(client).await;
                Err(DatabaseError::new("no answer within database.query_timeout"))
            }
        }
    }

    /// The rows of one query, read so.
    pub async fn ask(&self, sql: &str) -> Result<Vec<Row>, DatabaseError> {
        self.ask_with(sql, &[]).await
    }

    /// The same, with parameters.
    pub async fn ask_with(&self, sql: &str, with: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, DatabaseError> {
        self.read(async |transaction| transaction.query_typed(sql, with).await).await
    }

    /// The one row of a query that always has one.
    pub async fn ask_one(&self, sql: &str) -> Result<Row, DatabaseError> {
        let row = self.ask(sql).await?.into_iter().next();
        row.ok_or_else(|| DatabaseError::new("the server sent no row"))
    }

    /// Throws a connection away on which a query was not answered in time, in [`CANCEL_MAX`].
    async fn abandon(&self, client: Object) {
        // first, so that whoever is not waited for either does not give it back
        let client = Object::take(client);
        let ended = async {
            cancel(&client, &self.server).await;
            // a pooler forgets the request of a client that is gone
            client.simple_query("").await
        };
        let _ = timeout(CANCEL_MAX, ended).await;
    }

    fn no_connection(&self, error: &PoolError) -> DatabaseError {
        match error {
            PoolError::Backend(error) => DatabaseError::connecting(&self.server, error),
            PoolError::Timeout(TimeoutType::Wait) => {
                DatabaseError::new("every pooled connection is busy: raise database.pool_connections")
            }
            other => DatabaseError::new(format!("cannot connect to {}: {}", self.server.redacted(), chain(other))),
        }
    }

    /// Whether the pool answers a query now.
    pub async fn answers(&self) -> bool {
        self.query("select 1", &[]).await.is_ok()
    }
}

/// Has the server end what a connection waits for that is thrown away. Else a query behind a lock would go on waiting, and while
/// somebody holds that the server would fill with such sessions. Takes a second at most, where the network is silent.
pub async fn cancel(client: &Client, server: &ConnInfo) {
    if let Ok(connector) = tls::connector(&server.tls)
        && let Ok(Err(error)) = timeout(CANCEL_MAX, client.cancel_token().cancel_query(connector)).await
    {
        debug!(%error, "a query that was given up could not be cancelled");
    }
}

/// One connection of one's own, within `limit`; the caller drives the second half.
pub async fn connect(server: &ConnInfo, limit: Duration) -> Result<(Client, Connection<Socket, Tls>), DatabaseError> {
    let connector = tls::connector(&server.tls).map_err(|error| DatabaseError::new(error.to_string()))?;
    // tokio-postgres's own connect_timeout covers the TCP part only.
    match timeout(limit, server.postgres.connect(connector)).await {
        Ok(Ok(pair)) => Ok(pair),
        Ok(Err(error)) => Err(DatabaseError::connecting(server, &error)),
        Err(_) => {
            let limit = humantime::format_duration(limit);
            Err(DatabaseError::new(format!(
                "cannot connect to {}: no answer within {limit}: check database.url and the network",
                server.redacted()
            )))
        }
    }
}

/// An error with its causes: the last one tells.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Does `work` on one connection of its own.
pub async fn with_client<T, E: From<DatabaseError>>(
    server: &ConnInfo,
    limit: Duration,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, E>,
) -> Result<T, E> {
    with_warnings(server, limit, |_| {}, work).await
}

/// The same; hands what the server warns of meanwhile to `warned`, with its hint.
pub async fn with_warnings<T, E: From<DatabaseError>>(
    server: &ConnInfo,
    limit: Duration,
    mut warned: impl FnMut(&DatabaseError),
    work: impl AsyncFnOnce(&mut Client) -> Result<T, E>,
) -> Result<T, E> {
    let (mut client, mut connection) = connect(server, limit).await?;
    let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx)).boxed();
    let work = work(&mut client);
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notice(notice))) if notice.parsed_severity() == Some(Severity::Warning) => {
                    warned(&DatabaseError::said(&notice));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(DatabaseError::query(&error).into()),
                None => return Err(DatabaseError::new("the server closed the connection").into()),
            },
        }
    }
}
