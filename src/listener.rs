//! The one task that owns the LISTEN connection: listen, resync, receive; and again, for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_postgres::Notification;
use tracing::{info, warn};

use crate::access::Access;
use crate::backoff::Backoff;
use crate::config::{self, Config};
use crate::database::DatabaseError;
use crate::event::{Invalidation, Malformed, Ordinals};
use crate::hub::{Heard, Hub};
use crate::link::Link;
use crate::losses::Losses;
use crate::metrics as m;
use crate::protocol::Reason;
use crate::resource::ResourceNames;

/// A malformed payload is logged at most once in this time, with its first bytes.
const MALFORMED_LOG_INTERVAL: Duration = Duration::from_secs(60);
const MALFORMED_LOG_BYTES: usize = 200;

/// The listener, connected.
pub struct Listener {
    settings: config::Database,
    hub: Arc<Hub>,
    up: watch::Sender<bool>,
    ear: Ear,
    losses: Losses,
    link: Link,
}

/// Turns notifications into what the hub publishes.
struct Ear {
    hub: Arc<Hub>,
    access: Arc<Access>,
    names: ResourceNames,
    recheck_on: Vec<String>,
    channel: String,
    ordinals: Ordinals,
    malformed_logged: Option<Instant>,
}

impl Listener {
    /// Makes the first connection, and fails fast with the real error.
    pub async fn start(config: &Config, hub: &Arc<Hub>, access: &Arc<Access>) -> Result<Self, DatabaseError> {
        let mut losses = Losses::default();
        let link = Link::open(&config.database, &mut losses).await?;
        let ear = Ear {
            hub: Arc::clone(hub),
            access: Arc::clone(access),
            names: ResourceNames::new(config.resources.names.clone()),
            recheck_on: config.authorize.recheck_on.clone(),
            channel: config.database.channel.clone(),
            ordinals: Ordinals::default(),
            malformed_logged: None,
        };
        Ok(Self {
            settings: config.database.clone(),
            hub: Arc::clone(hub),
            up: watch::Sender::new(false),
            ear,
            losses,
            link,
        })
    }

    /// Whether the database is heard, for `/ready`.
    pub fn up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// Receives for ever, on this connection and then on whatever can be had.
    pub async fn run(self) {
        let Self { settings, hub, up, mut ear, mut losses, mut link } = self;
        let set_up = |now: bool| {
            up.send_replace(now);
            gauge!(m::LISTENING).set(f64::from(u8::from(now)));
        };
        loop {
            // LISTEN, then resync, then receive: what was sent in between is covered or heard.
            ear.access.forget();
            hub.reconnect_everyone(Reason::DatabaseReconnected);
            set_up(true);
            info!(channel = settings.channel, "hearing the database");
            let error = link.receive(&settings, &hub, &mut losses, |notes| ear.hear(notes)).await;
            set_up(false);
            link = connect_again(&settings, &mut losses, error).await;
            counter!(m::LISTENER_RECONNECTS).increment(1);
        }
    }
}

async fn connect_again(settings: &config::Database, losses: &mut Losses, mut error: DatabaseError) -> Link {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
    loop {
        let delay = backoff.next_delay();
        warn!(%error, delay_ms = delay.as_millis(), "lost the database, connecting again");
        sleep(delay).await;
        match Link::open(settings, losses).await {
            Ok(link) => return link,
            Err(failed) => error = failed,
        }
    }
}

impl Ear {
    fn hear(&mut self, notes: &[Notification]) {
        let received = Instant::now();
        let mut batch = Vec::with_capacity(notes.len());
        for note in notes {
            counter!(m::NOTIFICATIONS).increment(1);
            match Invalidation::parse(note.payload(), &self.names) {
                Ok(change) => {
                    if self.recheck_on.iter().any(|resource| **resource == *change.resource) {
                        self.access.forget();
                    }
                    let cursor = change.transaction.map(|transaction| self.ordinals.next(transaction));
                    batch.push(Heard { change, cursor });
                }
                Err(error) => self.ignore(note.payload(), &error),
            }
        }
        if !batch.is_empty() {
            self.hub.publish(&batch, received);
        }
    }

    fn ignore(&mut self, payload: &str, error: &Malformed) {
        counter!(m::MALFORMED).increment(1);
        if self.malformed_logged.is_none_or(|at| at.elapsed() >= MALFORMED_LOG_INTERVAL) {
            self.malformed_logged = Some(Instant::now());
            let start = &payload[..payload.floor_char_boundary(MALFORMED_LOG_BYTES)];
            warn!(%error, payload = start, channel = self.channel, "ignored a notification that can't be read");
        }
    }
}
