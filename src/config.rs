//! Every setting: its key, its default, what it means. The only file that reads the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio_postgres::config::TargetSessionAttrs;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::conninfo::ConnInfo;
pub use crate::settings::File;
use crate::settings::{Problems, Secret, Settings};

/// How long the closing handshake of a session may take (RFC 6455, section 7.1.1).
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// The environment variables of this process. Names or values that are not UTF-8 are left out.
pub fn process_environment() -> BTreeMap<String, String> {
    let utf8 = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((key.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(utf8).collect()
}

/// The effective configuration; serializes with its secrets redacted.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// Where the data lives.
    pub database: Database,
    /// What the daemon serves on.
    pub http: Http,
    /// Whose tokens are believed.
    pub auth: Auth,
    /// Who may see which project.
    pub authorize: Authorize,
    /// From tables to resource names.
    pub resources: Resources,
    /// A bound for every queue, wait, size and count.
    pub limits: Limits,
    /// What is logged and how.
    pub log: Log,
}

/// `[database]`
#[derive(Clone, Debug, Serialize)]
pub struct Database {
    /// Any connection string that psql takes; empty = the PG* variables alone. `DATABASE_URL` sets it too.
    pub url: Secret,
    /// A direct connection for LISTEN where `url` goes through a pooler; empty = `url`.
    pub listen_url: Secret,
    /// `url`, understood.
    #[serde(skip)]
    pub server: ConnInfo,
    /// `listen_url`, understood, for a primary only: a standby refuses LISTEN.
    #[serde(skip)]
    pub listen_server: ConnInfo,
    /// The notification channel.
    pub channel: String,
    /// Connections of the query pool.
    pub pool_connections: usize,
    /// One attempt to connect, TLS and login included.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// One query, the wait for a pooled connection included.
    #[serde(with = "humantime_serde")]
    pub query_timeout: Duration,
    /// How often the listener's canary flies.
    #[serde(with = "humantime_serde")]
    pub heartbeat_interval: Duration,
    /// How long the canary may take to come back.
    #[serde(with = "humantime_serde")]
    pub heartbeat_timeout: Duration,
}

/// `[http]`
#[derive(Clone, Debug, Serialize)]
pub struct Http {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where WebSockets are accepted.
    pub websocket_paths: Vec<String>,
    /// Where event streams begin; empty = nowhere.
    pub event_paths: Vec<String>,
    /// `Origin` headers that may connect; empty = all (a token is needed in any case).
    pub allowed_origins: Vec<String>,
    /// Whether the page for developers is served at `/`.
    pub inspector: bool,
}

/// `[auth]`
#[derive(Clone, Debug, Serialize)]
pub struct Auth {
    /// Secret of HS256, HS384 or HS512, 32 bytes at least.
    pub secret: Option<Secret>,
    /// PEM file of a public key (RSA, P-256, P-384 or Ed25519).
    pub public_key_file: Option<PathBuf>,
    /// JWKS of the identity provider.
    pub jwks_url: Option<String>,
    /// An unknown key id makes the JWKS be fetched again, at most once in this time.
    #[serde(with = "humantime_serde")]
    pub jwks_refresh_floor: Duration,
    /// The JWKS is fetched again after this time, so that withdrawn keys go.
    #[serde(with = "humantime_serde")]
    pub jwks_max_age: Duration,
    /// Accepted algorithms; empty = HS256 for a secret, the one that fits a key file, those of a JWKS's keys.
    pub algorithms: Vec<String>,
    /// Required `iss`.
    pub issuer: Option<String>,
    /// Required `aud`, one of these.
    pub audience: Vec<String>,
    /// The scope whose tokens are an administrator's; none = there are no administrators.
    pub admin_scope: Option<String>,
    /// Clock difference that `exp` and `nbf` allow.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    /// Whether `?access_token=` is read. Query strings end up in the logs of proxies.
    pub query_token: bool,
}

/// `[authorize]`
#[derive(Clone, Debug, Serialize)]
pub struct Authorize {
    /// `$1` project, `$2` subject; a row = allowed.
    pub query: String,
    /// A claim that lists the subject's projects; replaces the query.
    pub claim: Option<String>,
    /// How long an answer of the query is believed.
    #[serde(with = "humantime_serde")]
    pub cache_ttl: Duration,
    /// Resources whose changes make the cached answers of their project void.
    pub recheck_on: Vec<String>,
    /// How often every subscription is judged again.
    #[serde(with = "humantime_serde")]
    pub recheck_interval: Duration,
}

/// `[resources]`
#[derive(Clone, Debug, Serialize)]
pub struct Resources {
    /// Table name -> resource name, before English is asked.
    pub names: BTreeMap<String, String>,
}

/// `[limits]`
#[derive(Clone, Debug, Serialize)]
pub struct Limits {
    /// HTTP connections at once; sessions are not among them.
    pub connections: usize,
    /// Requests for a session that are looked at in a second; twice as many at once. Probes and metrics are not counted.
    pub connects_per_second: u32,
    /// Sessions at once.
    pub sessions: usize,
    /// Sessions that have not authenticated yet.
    pub sessions_unauthenticated: usize,
    /// Sessions of one subject.
    pub sessions_per_subject: usize,
    /// Projects of one session.
    pub subscriptions_per_session: usize,
    /// Bytes of one message from a client.
    pub frame_bytes: usize,
    /// Bytes of a token.
    pub token_bytes: usize,
    /// Messages a second from one client, on average.
    pub requests_per_second: u32,
    /// Messages at once from one client.
    pub requests_burst: u32,
    /// Frames waiting for one session before they coarsen.
    pub mailbox_frames: usize,
    /// Changes kept for clients that come back.
    pub history_events: usize,
    /// Bytes of them, about.
    pub history_bytes: usize,
    /// Their age.
    #[serde(with = "humantime_serde")]
    pub history_age: Duration,
    /// From the upgrade to a valid token.
    #[serde(with = "humantime_serde")]
    pub auth_timeout: Duration,
    /// How long a send may make no progress.
    #[serde(with = "humantime_serde")]
    pub send_timeout: Duration,
    /// How long a session may be silent; it is pinged after half of it.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long the head of an HTTP request may take.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// Clients refetch within a random part of this after `reconnect`, where few are told.
    #[serde(with = "humantime_serde")]
    pub reconnect_spread: Duration,
    /// The most that it becomes where many are told at once.
    #[serde(with = "humantime_serde")]
    pub reconnect_spread_max: Duration,
    /// Refetches a second that the application takes when many are told at once.
    pub refetches_per_second: u32,
    /// Sessions are closed over this time when the daemon drains.
    #[serde(with = "humantime_serde")]
    pub drain_spread: Duration,
    /// All is over by then.
    #[serde(with = "humantime_serde")]
    pub drain_grace: Duration,
}

/// `[log]`
#[derive(Clone, Debug, Serialize)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A tracing filter: `info`, `debug`, `warn,pgherald=debug`.
    pub level: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

impl Config {
    /// Defaults < `file` < environment. Errors with every problem at once, each with its full key.
    pub fn load(file: File<'_>, environment: &BTreeMap<String, String>) -> Result<Self, Problems> {
        let mut s = Settings::read(file, environment)?;
        let url =
            s.secret("database.url").or_else(|| environment.get("DATABASE_URL").map(Secret::new)).unwrap_or_default();
        let listen_url = s.secret("database.listen_url").unwrap_or_else(|| url.clone());
        let server = s.server("database.url", &url, environment);
        let mut listen_server = s.server("database.listen_url", &listen_url, environment);
        listen_server.postgres.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let config = Self {
            database: Database {
                url,
                listen_url,
                server,
                listen_server,
                channel: s.text("database.channel", "cache_invalidate"),
                pool_connections: s.at_least(1, "database.pool_connections", 8),
                connect_timeout: s.duration("database.connect_timeout", "5s"),
                query_timeout: s.duration("database.query_timeout", "5s"),
                heartbeat_interval: s.duration("database.heartbeat_interval", "10s"),
                heartbeat_timeout: s.duration("database.heartbeat_timeout", "5s"),
            },
            http: Http {
                listen: s.parsed("http.listen", "127.0.0.1:8080", "an address and a port such as 0.0.0.0:8080"),
                websocket_paths: s.list("http.websocket_paths", &["/ws", "/api/v1/messages/ws"]),
                event_paths: s.list("http.event_paths", &["/events"]),
                allowed_origins: s.list("http.allowed_origins", &[]),
                inspector: s.boolean("http.inspector", false),
            },
            auth: Auth {
                secret: s.secret("auth.secret"),
                public_key_file: s.optional("auth.public_key_file").map(PathBuf::from),
                jwks_url: s.optional("auth.jwks_url"),
                jwks_refresh_floor: s.duration("auth.jwks_refresh_floor", "1m"),
                jwks_max_age: s.duration("auth.jwks_max_age", "1h"),
                algorithms: s.list("auth.algorithms", &[]),
                issuer: s.optional("auth.issuer"),
                audience: s.list("auth.audience", &[]),
                admin_scope: s.word("auth.admin_scope"),
                leeway: s.duration("auth.leeway", "30s"),
                query_token: s.boolean("auth.query_token", false),
            },
            authorize: Authorize {
                query: s
                    .text("authorize.query", "select 1 from project_members where project_id = $1 and user_id = $2"),
                claim: s.optional("authorize.claim"),
                cache_ttl: s.duration("authorize.cache_ttl", "10s"),
                recheck_on: s.list("authorize.recheck_on", &["project_members"]),
                recheck_interval: s.duration("authorize.recheck_interval", "1m"),
            },
            resources: Resources { names: s.map("resources.names", &[("project_members", "project_members")]) },
            limits: Limits {
                connections: s.at_least(1, "limits.connections", 2_000),
                connects_per_second: s.at_least(1, "limits.connects_per_second", 500),
                sessions: s.at_least(1, "limits.sessions", 20_000),
                sessions_unauthenticated: s.at_least(1, "limits.sessions_unauthenticated", 1_000),
                sessions_per_subject: s.at_least(1, "limits.sessions_per_subject", 100),
                subscriptions_per_session: s.at_least(1, "limits.subscriptions_per_session", 100),
                frame_bytes: s.at_least(256, "limits.frame_bytes", 16_384),
                token_bytes: s.at_least(256, "limits.token_bytes", 8_192),
                requests_per_second: s.at_least(1, "limits.requests_per_second", 20),
                requests_burst: s.at_least(1, "limits.requests_burst", 200),
                mailbox_frames: s.at_least(4, "limits.mailbox_frames", 256),
                history_events: s.at_least(0, "limits.history_events", 10_000),
                history_bytes: s.at_least(0, "limits.history_bytes", 16_777_216),
                history_age: s.duration("limits.history_age", "5m"),
                auth_timeout: s.duration("limits.auth_timeout", "10s"),
                send_timeout: s.duration("limits.send_timeout", "30s"),
                idle_timeout: s.duration("limits.idle_timeout", "90s"),
                header_timeout: s.duration("limits.header_timeout", "10s"),
                reconnect_spread: s.duration("limits.reconnect_spread", "2s"),
                reconnect_spread_max: s.duration("limits.reconnect_spread_max", "60s"),
                refetches_per_second: s.at_least(1, "limits.refetches_per_second", 1_000),
                drain_spread: s.duration("limits.drain_spread", "5s"),
                drain_grace: s.duration("limits.drain_grace", "25s"),
            },
            log: Log {
                format: match s.text("log.format", "text").as_str() {
                    "json" => LogFormat::Json,
                    "text" => LogFormat::Text,
                    _ => s.refuse("log.format", "must be text or json", LogFormat::Text),
                },
                level: s.text("log.level", "info"),
            },
        };
        config.check(&mut s);
        s.finish().map(|()| config)
    }

    /// What no single key can tell.
    fn check(&self, s: &mut Settings) {
        let keys = [self.auth.secret.is_some(), self.auth.public_key_file.is_some(), self.auth.jwks_url.is_some()];
        if keys.iter().filter(|set| **set).count() > 1 {
            s.refuse("auth", "set only one of auth.secret, auth.public_key_file and auth.jwks_url", ());
        }
        if self.auth.secret.as_ref().is_some_and(|secret| secret.expose().len() < 32) {
            s.refuse("auth.secret", "is shorter than 32 bytes: make one with `openssl rand -base64 48`", ());
        }
        if self.database.channel.is_empty() || self.database.channel.len() > 63 {
            s.refuse("database.channel", "must have 1 to 63 bytes, as PostgreSQL's identifiers", ());
        }
        if self.http.websocket_paths.is_empty() || self.http.websocket_paths.iter().any(|path| !path.starts_with('/')) {
            s.refuse("http.websocket_paths", "must name at least one path, each starting with /", ());
        }
        let known = |path: &String| self.http.websocket_paths.contains(path);
        if self.http.event_paths.iter().any(|path| !path.starts_with('/') || known(path)) {
            s.refuse("http.event_paths", "must each start with / and be none of http.websocket_paths", ());
        }
        let mut paths = self.http.websocket_paths.iter().chain(&self.http.event_paths);
        if self.http.inspector && paths.any(|path| path == "/" || path.starts_with("/inspector.")) {
            s.refuse("http.inspector", "lives at / and /inspector.*: take these from the other paths of http", ());
        }
        if self.limits.drain_spread + FAREWELL_TIMEOUT > self.limits.drain_grace {
            s.refuse("limits.drain_spread", "must be two seconds below limits.drain_grace: lower it", ());
        }
        if self.limits.reconnect_spread > self.limits.reconnect_spread_max {
            s.refuse(
                "limits.reconnect_spread",
                "is longer than limits.reconnect_spread_max: lower it, or raise that",
                (),
            );
        }
        if self.limits.token_bytes > self.limits.frame_bytes {
            s.refuse("limits.token_bytes", "is larger than limits.frame_bytes: the first frame must hold a token", ());
        }
        // A word that is no level is a target to tracing, and then nothing else is logged.
        let level = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
        if self.log.level.parse::<Targets>().is_err() || !self.log.level.split(',').all(level) {
            s.refuse("log.level", "is no filter: try info, debug or warn,pgherald=debug", ());
        }
    }

    /// The effective configuration as TOML, secrets redacted.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}
