//! The keys that verify tokens, wherever they live: in the configuration, in a file, or at an identity provider.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::JwkSet;
use metrics::counter;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use crate::config::Config;
use crate::keyset::KeySet;
use crate::metrics as m;
use crate::token::{Claims, KeyError, Rules, TokenError};

/// A JWKS is a few kilobytes; more is somebody's mistake or attack.
const JWKS_BYTES_MAX: usize = 1 << 20;
const JWKS_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the daemon has no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A setting is wrong.
    #[error("{0}")]
    Settings(String),
    /// The JWKS could not be fetched at start-up.
    #[error("auth.jwks_url: {0}: check the address, and that this machine reaches it")]
    Jwks(String),
}

/// Verifies tokens.
pub struct Keyring {
    keys: ArcSwap<KeySet>,
    remote: Option<Remote>,
}

struct Remote {
    url: String,
    client: reqwest::Client,
    rules: Rules,
    floor: Duration,
    max_age: Duration,
    /// A token came with an unknown key id.
    wanted: Notify,
    fetch: watch::Sender<Fetch>,
}

/// The newest fetch of the JWKS.
#[derive(Clone, Copy)]
struct Fetch {
    began: Instant,
    running: bool,
}

impl Keyring {
    /// Reads the secret or the key file, or fetches the JWKS: a daemon that could verify nobody does not start.
    pub async fn open(config: &Config) -> Result<Self, KeyringError> {
        let settings = |error: KeyError| KeyringError::Settings(error.to_string());
        let rules = Rules::new(config).map_err(settings)?;
        let auth = &config.auth;
        if let Some(secret) = &auth.secret {
            return Ok(Self::fixed(KeySet::from_secret(secret, rules).map_err(settings)?));
        }
        if let Some(file) = &auth.public_key_file {
            let refuse =
                |why: String| KeyringError::Settings(format!("auth.public_key_file: {}: {why}", file.display()));
            let pem = std::fs::read(file).map_err(|error| refuse(error.to_string()))?;
            return Ok(Self::fixed(KeySet::from_public_pem(&pem, rules).map_err(|error| refuse(error.to_string()))?));
        }
        let Some(url) = auth.jwks_url.clone() else {
            let message = "auth: no key to verify tokens with: set auth.secret, auth.public_key_file or auth.jwks_url";
            return Err(KeyringError::Settings(message.into()));
        };
        let client =
            reqwest::Client::builder().timeout(JWKS_TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| KeyringError::Jwks(chain(&error)))?;
        let (floor, max_age) = (auth.jwks_refresh_floor, auth.jwks_max_age);
        let fetch = watch::Sender::new(Fetch { began: Instant::now(), running: false });
        let remote = Remote { url, client, rules, floor, max_age, wanted: Notify::new(), fetch };
        let keys = remote.fetch().await.map_err(KeyringError::Jwks)?;
        Ok(Self { keys: ArcSwap::from_pointee(keys), remote: Some(remote) })
    }

    fn fixed(keys: KeySet) -> Self {
        Self { keys: ArcSwap::from_pointee(keys), remote: None }
    }

    /// The claims of a good token. An unknown key id waits for a fetch of the JWKS, if one is due.
    pub async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let mut verdict = self.keys.load().verify(token);
        if let (Err(TokenError::UnknownKey), Some(remote)) = (&verdict, &self.remote)
            && remote.fetched().await
        {
            verdict = self.keys.load().verify(token);
        }
        if let Err(error) = &verdict {
            counter!(m::AUTH_FAILURES, "reason" => error.as_str()).increment(1);
        }
        verdict
    }

    /// Fetches the JWKS for ever: when a token with an unknown key id asks for it, not more often than
    /// `auth.jwks_refresh_floor`, and when it has aged. A task of its own: a client that hangs up while it waits must
    /// not take the fetch with it. An unreachable provider leaves the keys as they are.
    pub async fn keep_fresh(&self) {
        let Some(remote) = &self.remote else { return };
        let mut aged_at = Instant::now() + remote.max_age.max(remote.floor);
        loop {
            tokio::select! {
                () = remote.wanted.notified() => {}
                () = sleep_until(aged_at) => {}
            }
            let began = Instant::now();
            if began - remote.fetch.borrow().began < remote.floor {
                continue;
            }
            remote.fetch.send_replace(Fetch { began, running: true });
            aged_at = match remote.fetch().await {
                Ok(keys) => {
                    self.keys.store(Arc::new(keys));
                    began + remote.max_age.max(remote.floor)
                }
                Err(error) => {
                    warn!(%error, url = remote.url, "could not fetch the JWKS, keeping the keys at hand");
                    began + remote.floor
                }
            };
            remote.fetch.send_replace(Fetch { began, running: false });
        }
    }
}

impl Remote {
    /// Waits for a fetch that begins now or is under way; false where it is too early for one.
    async fn fetched(&self) -> bool {
        let mut fetch = self.fetch.subscribe();
        let Fetch { began, running } = *fetch.borrow_and_update();
        if !running {
            if began.elapsed() < self.floor {
                return false;
            }
            self.wanted.notify_one();
        }
        let over = fetch.wait_for(|now| !now.running && (running || now.began != began));
        timeout(JWKS_TIMEOUT * 2, over).await.is_ok_and(|over| over.is_ok())
    }

    async fn fetch(&self) -> Result<KeySet, String> {
        let result = self.download().await;
        counter!(m::JWKS_FETCHES, "result" => if result.is_ok() { "ok" } else { "error" }).increment(1);
        let set: JwkSet = serde_json::from_slice(&result?).map_err(|_| "the answer is no JWKS".to_owned())?;
        let keys = KeySet::from_jwks(&set, self.rules.clone());
        if keys.is_empty() {
            return Err("the JWKS holds no usable signing key".into());
        }
        info!(keys = keys.len(), url = self.url, "fetched the JWKS");
        Ok(keys)
    }

    async fn download(&self) -> Result<Vec<u8>, String> {
        let request = self.client.get(&self.url).send().await.and_then(reqwest::Response::error_for_status);
        let mut response = request.map_err(|error| chain(&error))?;
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| chain(&error))? {
            body.extend_from_slice(&part);
            if body.len() > JWKS_BYTES_MAX {
                return Err("the answer is larger than 1 MiB".into());
            }
        }
        Ok(body)
    }
}

/// An error with its causes: reqwest's own text stops before the one that tells.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
