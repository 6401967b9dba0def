//! A connection that listens, proven to hear.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::FutureExt;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, Notification};

use crate::access::Access;
use crate::config;
use crate::database::{self, DatabaseError};
use crate::heartbeat::{self, Canary, Unheard};
use crate::hub::Hub;
use crate::losses::Losses;

/// Notifications taken from the socket before their frames go out together.
const BATCH_MAX: usize = 256;

/// Where `pgherald.set_transport` tells of itself.
pub const TRANSPORT_CHANNEL: &str = "pgherald_transport";

/// The connection. It is driven by whoever awaits one of its methods.
pub struct Link {
    client: Client,
    canary: Canary,
    messages: Messages,
    /// Heard while something else was awaited. The resync covers it, but every daemon must count the same cursors.
    early: Vec<Notification>,
    /// Who wrote before it listened.
    pub unheard: Unheard,
}

type Messages = BoxStream<'static, Result<AsyncMessage, tokio_postgres::Error>>;

impl Link {
    /// Connects, listens, and makes sure that what another connection says is heard: a pooler in transaction
    /// mode takes LISTEN and then delivers nothing.
    pub async fn open(settings: &config::Database, losses: &mut Losses) -> Result<Self, DatabaseError> {
        let limit = settings.heartbeat_timeout;
        let (client, mut connection) = database::connect(&settings.listen_server, settings.connect_timeout).await?;
        let mut messages: Messages = stream::poll_fn(move |cx| connection.poll_message(cx)).boxed();
        let (canary, mut early) = (Canary::default(), Vec::new());
        let listen =
            format!("listen {}; listen {}; listen {TRANSPORT_CHANNEL}", quoted(&settings.channel), canary.channel);
        let listen = async { client.batch_execute(&listen).await.map_err(|error| DatabaseError::query(&error)) };
        during(&mut messages, &mut early, limit, &canary, listen).await?;
        during(&mut messages, &mut early, limit * 2 + settings.connect_timeout, &canary, probe(settings, &canary))
            .await?;
        let begin = heartbeat::begin(&client, losses);
        let unheard = during(&mut messages, &mut early, limit, &canary, begin).await;
        if unheard.is_err() {
            database::cancel(&client, &settings.listen_server).await;
        }
        Ok(Self { client, canary, messages, early, unheard: unheard? })
    }

    /// Hands every batch of notifications to `hear` until the connection is dead; tells why it is.
    pub async fn receive(
        self,
        settings: &config::Database,
        hub: &Hub,
        access: &Access,
        losses: &mut Losses,
        mut hear: impl FnMut(&[Notification]),
    ) -> DatabaseError {
        let Self { client, canary, mut messages, early, .. } = self;
        hear(&early);
        drop(early);
        let pulse = heartbeat::run(
            &client,
            &canary,
            losses,
            hub,
            access,
            settings.heartbeat_interval,
            settings.heartbeat_timeout,
        );
        tokio::pin!(pulse);
        let mut batch = Vec::new();
        loop {
            let first = tokio::select! {
                error = &mut pulse => {
                    database::cancel(&client, &settings.listen_server).await;
                    return error;
                }
                message = messages.next() => message,
            };
            // All that is there already goes out in one write a session.
            let ended = sort(first, &canary, &mut batch).err().or_else(|| {
                while batch.len() < BATCH_MAX {
                    let next = messages.next().now_or_never()?;
                    if let Err(error) = sort(next, &canary, &mut batch) {
                        return Some(error);
                    }
                }
                None
            });
            hear(&batch);
            batch.clear();
            if let Some(error) = ended {
                return error;
            }
        }
    }
}

/// Awaits `work` while driving the connection that it asks.
async fn during<T>(
    messages: &mut Messages,
    early: &mut Vec<Notification>,
    limit: Duration,
    canary: &Canary,
    work: impl Future<Output = Result<T, DatabaseError>>,
) -> Result<T, DatabaseError> {
    let driven = async {
        tokio::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return result,
                message = messages.next() => sort(message, canary, early)?,
            }
        }
    };
    timeout(limit, driven).await.unwrap_or_else(|_| {
        let limit = humantime::format_duration(limit);
        Err(DatabaseError::new(format!("PostgreSQL did not answer within {limit}: check the network to it")))
    })
}

/// One message from the server: a canary lands, a notification is kept, a notice is nothing, an end is an error.
fn sort(
    message: Option<Result<AsyncMessage, tokio_postgres::Error>>,
    canary: &Canary,
    heard: &mut Vec<Notification>,
) -> Result<(), DatabaseError> {
    match message {
        Some(Ok(AsyncMessage::Notification(note))) if note.channel() == canary.channel => canary.landed.notify_one(),
        Some(Ok(AsyncMessage::Notification(note))) => {
            canary.others.fetch_add(1, Ordering::Relaxed);
            heard.push(note);
        }
        Some(Ok(_)) => {}
        Some(Err(error)) => return Err(DatabaseError::query(&error)),
        None => return Err(DatabaseError::new("the server closed the connection")),
    }
    Ok(())
}

/// Says something from another connection and waits until it is heard on this one.
async fn probe(settings: &config::Database, canary: &Canary) -> Result<(), DatabaseError> {
    let (other, connection) = database::connect(&settings.listen_server, settings.connect_timeout).await?;
    let notify = format!("notify {}", canary.channel);
    tokio::select! {
        sent = timeout(settings.heartbeat_timeout, other.batch_execute(&notify)) => match sent {
            Ok(sent) => sent.map_err(|error| DatabaseError::query(&error))?,
            Err(_) => {
                database::cancel(&other, &settings.listen_server).await;
                return Err(DatabaseError::new("NOTIFY did not end within database.heartbeat_timeout: pg_locks tells what it waits for"));
            }
        },
        ended = connection => return Err(ended.err().map_or_else(|| DatabaseError::new("the server closed the connection"), |error| DatabaseError::query(&error))),
    }
    timeout(settings.heartbeat_timeout, canary.landed.notified()).await.map_err(|_| {
        DatabaseError::new(
            "LISTEN is not heard: a connection pooler in transaction mode stands between the daemon and PostgreSQL: \
             set database.listen_url to a direct connection",
        )
    })
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
