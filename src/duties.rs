//! What a daemon does beside its sessions, for as long as it lives. A duty that panics is a bug, and a daemon without it
//! would lose hints in silence: so it has to stop.

use std::future::pending;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesUnordered;
use tokio_util::task::AbortOnDropHandle;

/// Running tasks; dropping it ends them.
#[derive(Debug, Default)]
pub struct Duties {
    ends: FuturesUnordered<BoxFuture<'static, &'static str>>,
}

impl Duties {
    /// Takes a task that was spawned. One that returns has nothing more to do.
    pub fn add(&mut self, name: &'static str, task: AbortOnDropHandle<()>) {
        let end = async move {
            match task.await {
                Err(error) if error.is_panic() => name,
                _ => pending().await,
            }
        };
        self.ends.push(end.boxed());
    }

    /// The name of one that has panicked, once there is one.
    pub async fn broken(&mut self) -> &'static str {
        match self.ends.next().await {
            Some(name) => name,
            None => pending().await,
        }
    }
}
