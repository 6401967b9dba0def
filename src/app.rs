//! The house: start everything, serve, drain. The only file that spawns.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{error, info, warn};

use crate::access::Access;
use crate::admin::Admin;
use crate::config::Config;
use crate::database::{Database, DatabaseError};
use crate::dialogue::Context;
use crate::duties::Duties;
use crate::gate::Gate;
use crate::hub::Hub;
use crate::inspector::Inspector;
use crate::keyring::{Keyring, KeyringError};
use crate::line::Line;
use crate::listener::Listener;
use crate::metrics as m;
use crate::presence;
use crate::routes::{self, Doors};
use crate::transport;
use crate::warden;

/// The largest head of an HTTP request. hyper's least is 8 KiB, a token may have as much.
const HTTP_BUFFER_BYTES: usize = 32 * 1024;
/// What the kernel holds for a client that does not read, inherited by every connection. Left alone it grows to
/// 4 MB each, and a slow reader would be told late what its mailbox would have told coarser.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;
/// Where the triggers of `pgherald.watch` send.
const TRIGGER_CHANNEL: &str = "cache_invalidate";
/// Connections that wait to be accepted: a thousand browsers come back at once.
const BACKLOG: u32 = 4096;
/// A connection that is no session ends after so many times `limits.header_timeout`: one that does not read its answers
/// would hold its place for ever.
const HTTP_HEAD_TIMES_MAX: u32 = 6;
/// How late a session may notice that a deadline of its own has passed: all are looked at so often.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// How often the histograms' memory is tidied.
const METRICS_UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Why the daemon did not start: what, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is unusable.
    #[error("{0}")]
    Settings(String),
    /// The database can't be used.
    #[error("{0}")]
    Database(#[from] DatabaseError),
    /// The identity provider can't be reached.
    #[error("{0}")]
    Keys(String),
    /// The address can't be served on.
    #[error("cannot listen on {address}: {error}: choose another http.listen, or stop what uses it")]
    Bind {
        /// `http.listen`.
        address: SocketAddr,
        /// The system's word.
        error: std::io::Error,
    },
    /// Another recorder is installed in this process.
    #[error("metrics: {0}")]
    Metrics(String),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every session was told and has gone.
    Whole,
    /// `limits.drain_grace` ran out first.
    Short {
        /// Sessions still open.
        sessions: usize,
    },
    /// It did not stop because it was asked to: a part of it has panicked.
    Broken {
        /// Which.
        duty: &'static str,
    },
}

/// A daemon that listens to the database and is bound to its address.
pub struct App {
    config: Config,
    context: Arc<Context>,
    doors: Arc<Doors>,
    listener: Listener,
    database: Arc<Database>,
    socket: TcpListener,
    sessions: TaskTracker,
    prometheus: PrometheusHandle,
}

impl App {
    /// Opens all that a daemon needs, and fails fast with the real error.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let keyring = Keyring::open(&config).await.map_err(|error| match error {
            KeyringError::Settings(text) => StartError::Settings(text),
            error @ KeyringError::Jwks(_) => StartError::Keys(error.to_string()),
        })?;
        let prometheus = record_metrics()?;
        raise_file_limit(&config);
        let socket = bind(config.http.listen)?;
        let database = Arc::new(Database::open(&config.database)?);
        if config.database.channel != TRIGGER_CHANNEL {
            warn!(
                channel = config.database.channel,
                "the triggers of pgherald.watch send on {TRIGGER_CHANNEL} and are not heard here"
            );
        }
        let settings = &config.database;
        let heartbeat = settings.heartbeat_interval + settings.heartbeat_timeout;
        let hub = Hub::new(&config.limits, heartbeat.max(presence::BACKOFF_MAX + settings.connect_timeout));
        let access = Arc::new(Access::open(&config, Arc::clone(&database)).await?);
        let listener = Listener::start(&config, &hub, &access).await?;
        let context = Arc::new(Context {
            hub,
            access,
            keyring: Arc::new(keyring),
            limits: config.limits.clone(),
            leeway_seconds: config.auth.leeway.as_secs(),
            drain: CancellationToken::new(),
        });
        let sessions = TaskTracker::new();
        let spawn = {
            let sessions = sessions.clone();
            Box::new(move |session| drop(sessions.spawn(session)))
        };
        let doors = Arc::new(Doors {
            websocket_paths: config.http.websocket_paths.clone(),
            event_paths: config.http.event_paths.clone(),
            gate: Gate::new(&config, &context, &database, listener.up()),
            admin: Admin::new(&config, &context),
            inspector: Inspector::new(&config),
            context: Arc::clone(&context),
            prometheus: prometheus.clone(),
            spawn,
        });
        Ok(Self { config, context, doors, listener, database, socket, sessions, prometheus })
    }

    /// Where it serves; the real port where 0 was asked for.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` resolves, then drains.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Drained {
        let Self { config, context, doors, listener, database, socket, sessions, prometheus } = self;
        let limits = config.limits;
        match socket.local_addr() {
            Ok(address) => info!(%address, "listening"),
            Err(error) => warn!(%error, "listening on an unknown address"),
        }
        // Dropping them ends the tasks: nothing outlives this function.
        let mut duties = Duties::default();
        let mut begin =
            |name, duty: BoxFuture<'static, ()>| duties.add(name, AbortOnDropHandle::new(tokio::spawn(duty)));
        let (changed, hears) = (listener.transport(), listener.up());
        begin("listener", Box::pin(listener.run()));
        let (hub, access, settings) = (Arc::clone(&context.hub), Arc::clone(&context.access), config.database);
        begin(
            "transport",
            Box::pin(
                async move { match transport::run(&settings, &database, &hub, &access, &changed, &hears).await {} },
            ),
        );
        let (hub, access) = (Arc::clone(&context.hub), Arc::clone(&context.access));
        begin("warden", Box::pin(warden::run(hub, access, config.authorize.recheck_interval)));
        let keyring = Arc::clone(&context.keyring);
        begin("keys", Box::pin(async move { keyring.keep_fresh().await }));
        begin("deadlines", Box::pin(sweep(Arc::clone(&context.hub))));
        begin("metrics", Box::pin(tidy(prometheus)));
        begin("connections", Box::pin(accept(socket, doors, limits.connections, limits.header_timeout)));
        let broken = tokio::select! {
            () = stop => None,
            duty = duties.broken() => Some(duty),
        };
        if let Some(duty) = broken {
            error!(duty, "a part of the daemon has panicked, which is a bug: it stops, and should be started again");
        }
        info!(sessions = context.hub.sessions(), "draining");
        context.drain.cancel();
        sessions.close();
        let began = Instant::now();
        let leave = async {
            tokio::select! {
                () = sessions.wait() => {}
                // it may be this that has panicked, and sessions leave by it
                () = sweep(Arc::clone(&context.hub)), if broken.is_some() => {}
            }
        };
        let left = match timeout(limits.drain_grace, leave).await {
            Ok(()) => 0,
            Err(_) => sessions.len(),
        };
        if left > 0 {
            warn!(sessions = left, "sessions were still open when limits.drain_grace ended");
        } else {
            info!(took_ms = began.elapsed().as_millis(), "drained");
        }
        match (broken, left) {
            (Some(duty), _) => Drained::Broken { duty },
            (None, 0) => Drained::Whole,
            (None, sessions) => Drained::Short { sessions },
        }
    }
}

async fn sweep(hub: Arc<Hub>) {
    let mut ticks = interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        hub.sweep();
    }
}

async fn tidy(prometheus: PrometheusHandle) {
    let mut ticks = interval(METRICS_UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        prometheus.run_upkeep();
    }
}

/// Serves HTTP on every connection, `connections_max` at once, until it is aborted.
async fn accept(socket: TcpListener, doors: Arc<Doors>, connections_max: usize, header_timeout: Duration) {
    let room = Arc::new(Semaphore::new(connections_max));
    let service = TowerToHyperService::new(warp::service(routes::all(doors)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(HTTP_BUFFER_BYTES);
    let connections = TaskTracker::new();
    loop {
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: those who wait are served when others leave.
                warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            turn_away(&stream);
            continue;
        };
        // Sessions inherit it. Without it, small frames wait for the client's acknowledgement: five messages took 40 ms, not 10.
        let _ = stream.set_nodelay(true);
        let (line, handle) = Line::new(stream);
        let (service, known) = (service.clone(), handle.clone());
        let service = service_fn(move |mut request| {
            request.extensions_mut().insert(known.clone());
            service.call(request)
        });
        let connection = http.serve_connection(line, service).with_upgrades();
        connections.spawn(async move {
            let mut connection = pin!(connection);
            let served = async {
                if timeout(header_timeout * HTTP_HEAD_TIMES_MAX, connection.as_mut()).await.is_err() {
                    connection.as_mut().graceful_shutdown();
                    let _ = timeout(header_timeout, connection.as_mut()).await;
                }
            };
            tokio::select! {
                () = served => {}
                // What is left of hyper goes; its socket has become a session's.
                () = handle.taken() => {}
            }
            drop(permit);
        });
    }
}

/// A 503 without reading the request; lost where the client is not quick, which is fair when full.
fn turn_away(stream: &TcpStream) {
    const BODY: &str = r#"{"error":"full","message":"this daemon has no room for more connections: come back later"}"#;
    let head =
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-type: application/json";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
    metrics::counter!(m::REFUSED, "reason" => "connections").increment(1);
    let socket = socket2::SockRef::from(stream);
    let _ = socket.send(answer.as_bytes());
    let _ = socket.shutdown(std::net::Shutdown::Write);
}

fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| StartError::Bind { address, error })
}

fn record_metrics() -> Result<PrometheusHandle, StartError> {
    let builder = PrometheusBuilder::new().set_buckets(m::BUCKETS_SECONDS);
    let handle = builder
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| StartError::Metrics(error.to_string()))?;
    m::describe();
    Ok(handle)
}

/// A session is a file descriptor; most systems allow 1024 until asked.
fn raise_file_limit(config: &Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = (config.limits.sessions + config.limits.connections + 100) as u64;
    if current.is_some_and(|now| now < wanted) {
        let target = maximum.map_or(wanted, |most| most.min(wanted));
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(target), maximum }) {
            warn!(%error, "cannot raise the limit of open files");
        }
        if target < wanted {
            warn!(
                allowed = target,
                wanted,
                "the system allows fewer open files than limits.sessions needs: raise it (ulimit -n, LimitNOFILE=)"
            );
        }
    }
}
