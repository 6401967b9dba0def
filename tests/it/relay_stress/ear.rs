//! A plain listener: what it has heard, and when.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, NoTls};

#[derive(Default)]
pub struct Heard {
    /// When each id was inserted, each time.
    pub inserted: HashMap<i64, Vec<Instant>>,
    /// The versions of each row that was updated, in order.
    pub versions: HashMap<i64, Vec<i64>>,
    /// Times that a writer woke the relay.
    pub bells: usize,
    /// What names no rows, or was dropped.
    pub odd: Vec<String>,
}

pub struct Ear {
    pub heard: Arc<Mutex<Heard>>,
    changed: Arc<Notify>,
    _listener: Client,
}

impl Ear {
    pub async fn new(url: &str) -> Self {
        let (listener, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let (heard, changed) = (Arc::<Mutex<Heard>>::default(), Arc::<Notify>::default());
        let (keep, rung) = (Arc::clone(&heard), Arc::clone(&changed));
        tokio::spawn(async move {
            let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notification(told) = message {
                    keep.lock().unwrap().note(told.channel(), told.payload(), Instant::now());
                    rung.notify_one();
                }
            }
        });
        listener.batch_execute("listen cache_invalidate; listen pgherald_bell").await.unwrap();
        Self { heard, changed, _listener: listener }
    }

    /// Waits until all of these were heard, and says whether they were within `limit`.
    pub async fn hears(&self, ids: &[i64], limit: Duration) -> bool {
        let all = async {
            while !ids.iter().all(|id| self.heard.lock().unwrap().inserted.contains_key(id)) {
                self.changed.notified().await;
            }
        };
        timeout(limit, all).await.is_ok()
    }
}

impl Heard {
    fn note(&mut self, channel: &str, payload: &str, now: Instant) {
        if channel == "pgherald_bell" {
            self.bells += 1;
            return;
        }
        let event: Value = serde_json::from_str(payload).unwrap_or_else(|error| panic!("{payload}: {error}"));
        let Some(ids) = event["ids"].as_array() else { return self.odd.push(payload.to_owned()) };
        for (place, id) in ids.iter().enumerate() {
            let id = id.as_str().unwrap().parse().unwrap();
            match (event["action"].as_str(), event["rows"][place]["version"].as_i64()) {
                (Some("INSERT"), None) => self.inserted.entry(id).or_default().push(now),
                (Some("UPDATE"), Some(version)) => self.versions.entry(id).or_default().push(version),
                _ => self.odd.push(payload.to_owned()),
            }
        }
    }
}
