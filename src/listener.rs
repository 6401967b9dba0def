//! The one task that owns the LISTEN connection: listen, resync, receive; and again, for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_postgres::Notification;
use tracing::{info, warn};

use crate::access::Access;
use crate::backoff::Backoff;
use crate::config::{self, Config};
use crate::cursor::{Cursor, Ordinals};
use crate::database::DatabaseError;
use crate::event::{Invalidation, Malformed, Scope};
use crate::heartbeat::Unheard;
use crate::history::Heard;
use crate::hub::Hub;
use crate::link::{Link, TRANSPORT_CHANNEL};
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
    link: Option<Link>,
}

/// Turns notifications into what the hub publishes.
struct Ear {
    hub: Arc<Hub>,
    access: Arc<Access>,
    names: ResourceNames,
    channel: String,
    transport: Arc<Notify>,
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
            channel: config.database.channel.clone(),
            transport: Arc::default(),
            ordinals: Ordinals::default(),
            malformed_logged: None,
        };
        let (settings, hub, up) = (config.database.clone(), Arc::clone(hub), watch::Sender::new(false));
        let unheard = link.unheard;
        let listener = Self { settings, hub, up, ear, losses, link: Some(link) };
        listener.resync(unheard);
        Ok(listener)
    }

    /// Whether the database is heard, for `/ready`.
    pub fn up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// Rung when the transport has been set.
    pub fn transport(&self) -> Arc<Notify> {
        Arc::clone(&self.ear.transport)
    }

    /// Receives for ever, on this connection and then on whatever can be had.
    pub async fn run(mut self) {
        while let Some(link) = self.link.take() {
            let Self { settings, hub, ear, losses, .. } = &mut self;
            let access = Arc::clone(&ear.access);
            // It ends with this call, before another is sought: a connection that nobody reads fills the server's queue.
            let error = link.receive(settings, hub, &access, losses, |notes| ear.hear(notes)).await;
            self.set_up(false);
            let link = connect_again(&self.settings, &mut self.losses, error).await;
            counter!(m::LISTENER_RECONNECTS).increment(1);
            self.resync(link.unheard);
            self.link = Some(link);
        }
    }

    /// LISTEN, then resync, then receive: what was sent in between is covered or heard. The first time too, before
    /// anybody can be there, so that a session's first frame is never one about the past.
    fn resync(&self, unheard: Unheard) {
        if unheard.late {
            self.hub.lose();
        }
        if unheard.silent {
            // a transport that was set meanwhile, and set back, was not heard of either
            self.ear.transport.notify_one();
        }
        self.hub.unfence();
        self.hub.reconnect_everyone(Reason::DatabaseReconnected);
        self.ear.access.doubt(&self.hub, &Scope::EveryProject);
        self.set_up(true);
        info!(channel = self.settings.channel, "hearing the database");
    }

    fn set_up(&self, up: bool) {
        self.up.send_replace(up);
        gauge!(m::LISTENING).set(f64::from(u8::from(up)));
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
            if note.channel() == TRANSPORT_CHANNEL {
                self.transport.notify_one();
                // A change of members that lies in the queue is overtaken by what no longer goes there.
                self.tell(&mut batch, received);
                self.access.doubt(&self.hub, &Scope::EveryProject);
                continue;
            }
            counter!(m::NOTIFICATIONS).increment(1);
            match Invalidation::parse(note.payload(), &self.names) {
                Ok(change) => {
                    if self.access.concerns(&change.resource) {
                        // What was committed before may still be seen by those who could see it then. A relay sends
                        // in the order in which rows were written: what comes first may have been committed later.
                        let mine = |heard: &Heard| {
                            change.ordinal.is_some()
                                || change.transaction.is_some() && heard.change.transaction == change.transaction
                        };
                        let same = batch.split_off(batch.iter().position(mine).unwrap_or(batch.len()));
                        self.tell(&mut batch, received);
                        self.access.doubt(&self.hub, &change.scope);
                        batch = same;
                    } else if change.ordinal.is_some() && !self.access.is_complete() {
                        // members may have changed before, and nobody have told of it
                        self.access.doubt(&self.hub, &change.scope);
                    }
                    let cursor = change.transaction.map(|transaction| match change.ordinal {
                        Some(ordinal) => Cursor { transaction, ordinal, place: 0 },
                        None => self.ordinals.next(transaction),
                    });
                    let (change, bytes) = (Arc::new(change), note.payload().len());
                    batch.push(Heard { change, cursor, bytes, repeated: false });
                }
                Err(error) => self.ignore(note.payload(), &error),
            }
        }
        self.tell(&mut batch, received);
    }

    fn tell(&self, batch: &mut Vec<Heard>, received: Instant) {
        if !batch.is_empty() {
            self.hub.publish(batch, received);
            batch.clear();
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
