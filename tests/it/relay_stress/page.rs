//! A browser that keeps what it was told, and when.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio_util::task::AbortOnDropHandle;

use crate::world::Daemon;

/// What is to be asked again: one row, or everything.
type Told = (Instant, Option<i64>);

pub struct Page {
    told: Arc<Mutex<Vec<Told>>>,
    _reader: AbortOnDropHandle<()>,
}

impl Page {
    pub async fn open(daemon: &Daemon) -> Self {
        let mut browser = daemon.browser("alice", "7").await;
        let told = Arc::<Mutex<Vec<Told>>>::default();
        let keep = Arc::clone(&told);
        let reader = async move {
            loop {
                let frame = browser.frame().await;
                let row = frame["data"]["id"].as_str().map(|id| id.parse().unwrap());
                if frame["type"] == "cache_invalidate" || frame["type"] == "reconnect" {
                    keep.lock().unwrap().push((Instant::now(), row));
                }
            }
        };
        Self { told, _reader: AbortOnDropHandle::new(tokio::spawn(reader)) }
    }

    /// Whether it knows of a row that was committed after `began`.
    pub fn knows(&self, id: i64, began: Instant) -> bool {
        self.told.lock().unwrap().iter().any(|(at, row)| match row {
            Some(row) => *row == id,
            None => *at >= began,
        })
    }

    /// How often it was told of everything.
    pub fn refetches(&self) -> usize {
        self.told.lock().unwrap().iter().filter(|(_, row)| row.is_none()).count()
    }
}
