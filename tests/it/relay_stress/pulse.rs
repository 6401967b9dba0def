//! How slow the machine is at a moment: something goes through the server and back all the time, as a row does. Who is late
//! beyond the slowest of those around it was not merely waiting for a processor.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, NoTls};
use tokio_util::task::AbortOnDropHandle;

use crate::world::connect;

const PAUSE: Duration = Duration::from_millis(5);

pub struct Pulse {
    /// Of each beat when its pause began, and when it was back.
    beats: Arc<Mutex<Vec<(Instant, Instant)>>>,
    _heart: AbortOnDropHandle<()>,
}

impl Pulse {
    /// Of the server of this database.
    pub async fn new(url: &str) -> Self {
        let (listener, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let (sender, mut heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notification(_) = message {
                    let _ = sender.send(());
                }
            }
        });
        listener.batch_execute("listen pulse").await.unwrap();
        let ends = [connect(url).await, connect(url).await];
        let beats = Arc::<Mutex<Vec<_>>>::default();
        let keep = Arc::clone(&beats);
        let heart = async move {
            let _listener = listener;
            loop {
                let began = Instant::now();
                // within the beat: while the machine stands still there is none without one
                tokio::time::sleep(PAUSE).await;
                for end in &ends {
                    let sent = end.batch_execute("notify pulse").await.is_ok() && heard.recv().await.is_some();
                    if !sent {
                        return;
                    }
                }
                keep.lock().unwrap().push((began, Instant::now()));
            }
        };
        Self { beats, _heart: AbortOnDropHandle::new(tokio::spawn(heart)) }
    }

    /// The slowest beat of this time.
    pub fn slowest(&self, from: Instant, to: Instant) -> Duration {
        let beats = self.beats.lock().unwrap();
        // sorted, and each ends before the next begins
        let first = beats.partition_point(|(_, back)| *back < from);
        let around = beats[first..].iter().take_while(|(sent, _)| *sent <= to);
        around.map(|(sent, back)| (*back - *sent).saturating_sub(PAUSE)).max().unwrap_or_default()
    }
}
