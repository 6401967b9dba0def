//! Two daemons on one database.

use crate::world::{Daemon, Settings, connect, until};

use super::scene::locks;

pub struct Daemons {
    pub both: Vec<Daemon>,
    settings: Settings,
    url: String,
}

impl Daemons {
    pub async fn start(url: &str) -> Self {
        let settings = Settings::new(url).set("database.heartbeat_interval", "200ms");
        let settings = settings.set("database.heartbeat_timeout", "1s").set("limits.reconnect_spread", "1ms");
        let both = vec![settings.start().await, settings.start().await];
        let daemons = Self { both, settings, url: url.to_owned() };
        daemons.settle().await;
        daemons
    }

    /// Waits until both are present, and one is the relay.
    pub async fn settle(&self) {
        let client = connect(&self.url).await;
        until("two daemons with a lock each", async || {
            let mut present = 0;
            for key in pgherald::claim::PRESENT {
                present += locks(&client, key, "ExclusiveLock").await;
            }
            present >= 2 && locks(&client, 3, "ExclusiveLock").await == 1
        })
        .await;
        for daemon in &self.both {
            until("the daemon to be present", async || daemon.metric("pgherald_relay_present").await > 0.0).await;
        }
        self.relay().await;
    }

    /// Which of them relays.
    pub async fn relay(&self) -> usize {
        let mut found = None;
        until("a relay", async || {
            for place in 0..2 {
                if self.relays(place).await {
                    found = Some(place);
                }
            }
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Whether this one does.
    pub async fn relays(&self, place: usize) -> bool {
        let state = async |state| self.both[place].metric(&format!("pgherald_relay_state{{state=\"{state}\"}}")).await;
        state("awake").await + state("asleep").await > 0.0
    }

    pub async fn are_ready(&self) -> bool {
        self.both[0].get("/ready").await.0 == 200 && self.both[1].get("/ready").await.0 == 200
    }

    /// Ends one at once, and starts another in its place.
    pub async fn kill(&mut self, place: usize) {
        self.both[place].signal("KILL").await;
        self.both[place].exit_code().await;
        self.both[place] = self.settings.start().await;
    }

    /// Rows that those of them who live found without a bell.
    pub async fn late(&self) -> f64 {
        let mut late = 0.0;
        for daemon in &self.both {
            late += daemon.metric("pgherald_relay_late_rows_total").await;
        }
        late
    }
}
