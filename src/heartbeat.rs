//! The pulse of the LISTEN connection: a canary that must come back, and a look at what triggers lost.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics::histogram;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, SimpleQueryMessage};
use tracing::warn;

use crate::access::Access;
use crate::database::DatabaseError;
use crate::event::Scope;
use crate::hub::Hub;
use crate::losses::{Losses, Verdict};
use crate::metrics as m;
use crate::protocol::Reason;
use crate::writers::Writers;

/// NULL where the kit is not installed or nothing was ever lost. Simple queries only: an undrained extended
/// query on this connection would hold notifications back.
const LOOK: &str = "select pg_catalog.pg_sequence_last_value(pg_catalog.to_regclass('pgherald.dropped')), \
                    pg_catalog.pg_current_snapshot(), ";
/// A table follows a path to its project.
const FOLLOWS_PATHS: &str = "exists (select from pg_catalog.pg_proc p where p.pronamespace = pg_catalog.to_regnamespace('pgherald') \
                             and p.proname like '%\\_lookup\\_%')";
/// Somebody is writing: has a transaction id, which is more than a snapshot tells of the newest.
const WRITERS: &str = "exists (select from pg_catalog.pg_locks l where l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.granted \
                       and l.pid is distinct from pg_catalog.pg_backend_pid())";
/// Whether transactions are open that may have found no daemon: of their changes nobody tells (see [`crate::presence`]).
const SILENT: &str = "select exists (select from pg_catalog.pg_locks l \
                     where l.locktype = 'advisory' and l.classid = 7434 and l.objsubid = 2 and l.mode = 'ShareLock' \
                       and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()))";
const TRANSACTION_ID: &str = "select pg_catalog.pg_current_xact_id()";
const SNAPSHOT: &str = "select pg_catalog.pg_current_snapshot()";

/// A channel of this connection's own; what is sent on it must come back.
#[derive(Debug)]
pub struct Canary {
    /// The channel.
    pub channel: String,
    /// Rung by whoever reads the connection, when a notification of the channel arrives.
    pub landed: Notify,
    /// Counts the other notifications that arrive: while they do, the canary is only behind them.
    pub others: AtomicU64,
}

impl Default for Canary {
    /// On a channel that nobody else uses.
    fn default() -> Self {
        Self {
            channel: format!("pgherald_canary_{:016x}", rand::random::<u64>()),
            landed: Notify::new(),
            others: AtomicU64::new(0),
        }
    }
}

/// Who may still write of the time before LISTEN, when nobody heard anything. The resync comes too early for them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unheard {
    /// They may have looked a project up before a row moved.
    pub late: bool,
    /// They may tell nobody.
    pub silent: bool,
}

/// Looks for losses after LISTEN and before the resync that follows it, which tells of them.
pub async fn begin(client: &Client, losses: &mut Losses) -> Result<Unheard, DatabaseError> {
    let unheard = Unheard { late: is_true(client, &late()).await?, silent: is_true(client, SILENT).await? };
    let look = look(client).await?;
    losses.unfence();
    if losses.look(look.dropped, &look.writing) == Verdict::FenceAndTell {
        losses.fence(writers(client).await?);
    }
    Ok(unheard)
}

/// Beats every `interval` until one beat takes longer than `limit` or fails; tells why.
pub async fn run(
    client: &Client,
    canary: &Canary,
    losses: &mut Losses,
    hub: &Hub,
    access: &Access,
    interval: Duration,
    limit: Duration,
) -> DatabaseError {
    let beats = async {
        loop {
            sleep(interval).await;
            let mut beat = pin!(beat(client, canary, losses, hub, access));
            loop {
                let before = canary.others.load(Ordering::Relaxed);
                match timeout(limit, beat.as_mut()).await {
                    Ok(beaten) => break beaten?,
                    Err(_) if canary.others.load(Ordering::Relaxed) > before => {}
                    Err(_) => {
                        let why = "the canary did not come back within database.heartbeat_timeout";
                        return Err(DatabaseError::new(why));
                    }
                }
            }
        }
    };
    let ended: Result<Infallible, DatabaseError> = beats.await;
    match ended {
        Err(error) => error,
    }
}

async fn beat(
    client: &Client,
    canary: &Canary,
    losses: &mut Losses,
    hub: &Hub,
    access: &Access,
) -> Result<(), DatabaseError> {
    let sent = Instant::now();
    ask(client, &format!("notify {}", canary.channel)).await?;
    canary.landed.notified().await;
    histogram!(m::CANARY_SECONDS).record(sent.elapsed().as_secs_f64());
    let Look { dropped, writing, follows_paths } = look(client).await?;
    let verdict = losses.look(dropped, &writing);
    if verdict == Verdict::FenceAndTell {
        losses.fence(writers(client).await?);
    }
    if verdict != Verdict::Quiet {
        warn!(dropped, "triggers could not send notifications, telling every session to refetch");
        // before their end it is too early for more
        let late = verdict == Verdict::Tell && is_true(client, &late()).await?;
        tell_everyone(hub, access, late);
    }
    let wants_fence = hub.repeat(&writing, follows_paths, |scope, resource| {
        if resource.is_none_or(|resource| access.concerns(resource)) {
            access.doubt(hub, scope);
        }
    });
    if wants_fence {
        hub.fence(writers(client).await?);
    }
    Ok(())
}

/// Asks whether somebody may have looked a project up before a row moved, and still tell of it.
pub fn late() -> String {
    format!("select {FOLLOWS_PATHS} and {WRITERS}")
}

/// Something was lost, and nobody knows what. With `late`, somebody may still tell of what he found out before.
pub fn tell_everyone(hub: &Hub, access: &Access, late: bool) {
    if late {
        hub.lose();
    }
    hub.reconnect_everyone(Reason::NotificationDropped);
    // It may have been about members.
    access.doubt(hub, &Scope::EveryProject);
}

/// What there is to see at one moment.
struct Look {
    dropped: i64,
    writing: Writers,
    follows_paths: bool,
}

async fn look(client: &Client) -> Result<Look, DatabaseError> {
    let row = ask(client, &format!("{LOOK}{FOLLOWS_PATHS}")).await?;
    let text = |column: usize| row.get(column).and_then(Option::as_deref);
    Ok(Look {
        dropped: text(0).and_then(|text| text.parse().ok()).unwrap_or(0),
        writing: parsed(text(1))?,
        follows_paths: text(2) == Some("t"),
    })
}

/// Everyone who has a transaction id now, and maybe some who get one meanwhile.
async fn writers(client: &Client) -> Result<Writers, DatabaseError> {
    // Ids below one that has ended are all in a snapshot.
    ask(client, TRANSACTION_ID).await?;
    parsed(ask(client, SNAPSHOT).await?.first().and_then(Option::as_deref))
}

fn parsed(snapshot: Option<&str>) -> Result<Writers, DatabaseError> {
    snapshot.and_then(Writers::parse).ok_or_else(|| DatabaseError::new("the server told no snapshot"))
}

async fn is_true(client: &Client, sql: &str) -> Result<bool, DatabaseError> {
    Ok(ask(client, sql).await?.first().is_some_and(|answer| answer.as_deref() == Some("t")))
}

/// The first row's columns.
async fn ask(client: &Client, sql: &str) -> Result<Vec<Option<String>>, DatabaseError> {
    let messages = client.simple_query(sql).await.map_err(|error| DatabaseError::query(&error))?;
    let row = messages
        .into_iter()
        .find_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None });
    Ok(row.map(|row| (0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect()).unwrap_or_default())
}
