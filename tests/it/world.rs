//! What a test needs of the world: a database of its own, daemons beside it, tokens for people.

use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use jsonwebtoken::{EncodingKey, Header, encode};
use pgherald::scratch::{Options, Scratch};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::{OnceCell, watch};
use tokio_postgres::{Client, NoTls};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Request;

use crate::browser::Browser;
use crate::witness::Transport;

/// The longest that any fact is waited for. Far beyond what a slow machine needs, so that only a bug meets it.
pub const LIMIT: Duration = Duration::from_secs(30);
/// The secret of the daemons' tokens.
pub const SECRET: &str = "a secret of the tests, long enough";

/// Waits until `fact` is true; panics with `what` where it stays false.
pub async fn until(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(LIMIT, async {
        while !fact().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited {LIMIT:?} for {what}"));
}

/// A fresh database on the server of the tests, gone when dropped.
pub struct Database {
    /// For psql, for daemons.
    pub url: Url,
    /// A superuser's connection.
    pub client: Client,
}

/// The URL of a database that goes when the last copy is dropped.
#[derive(Clone)]
pub struct Url {
    text: String,
    _kept: Arc<Kept>,
}

impl Deref for Url {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

/// The server's URL: `PGHERALD_TEST_DATABASE_URL`, or that of a server which this process starts.
pub async fn server() -> String {
    static OWN: OnceCell<Scratch> = OnceCell::const_new();
    match std::env::var("PGHERALD_TEST_DATABASE_URL") {
        Ok(url) => url,
        Err(_) => OWN.get_or_init(async || Scratch::start(&options()).await.unwrap()).await.url(),
    }
}

/// A name that no other test of any run has.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}_{:016x}", rand::random::<u64>())
}

/// For servers of a test's own: their programs are those in `PGHERALD_TEST_PG_BIN`, or in `PATH`.
pub fn options() -> Options {
    let bin = std::env::var_os("PGHERALD_TEST_PG_BIN").map(Into::into);
    Options { bin, path: std::env::var_os("PATH"), ..Options::default() }
}

pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Database {
    /// An empty one.
    pub async fn empty() -> Self {
        Self::on(server().await).await
    }

    /// An empty one on `server`.
    pub async fn on(server: String) -> Self {
        Self::with(server, "").await
    }

    /// An empty one on `server`, with these options of CREATE DATABASE.
    pub async fn with(server: String, options: &str) -> Self {
        let name = unique("pgherald_test");
        connect(&server).await.batch_execute(&format!("create database {name} {options}")).await.unwrap();
        let mut url = reqwest::Url::parse(&server).unwrap();
        url.set_path(&name);
        let client = connect(url.as_str()).await;
        Self { url: Url { text: url.into(), _kept: Arc::new(Kept { name, server }) }, client }
    }

    /// One with the schema and the sample application.
    pub async fn sample() -> Self {
        Self::empty().await.with_sample().await
    }

    /// Installs the schema and the sample application.
    pub async fn with_sample(mut self) -> Self {
        pgherald::migrate::run(&mut self.client, |_| {}).await.unwrap();
        self.run(include_str!("../../sql/demo/sample.sql")).await;
        self
    }

    /// The same, after the server was away.
    pub async fn reconnected(mut self) -> Self {
        self.client = connect(&self.url).await;
        self
    }

    /// Runs statements.
    pub async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

struct Kept {
    name: String,
    server: String,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let (server, drop) = (self.server.clone(), format!("drop database if exists {} with (force)", self.name));
        // On a thread of its own: dropping happens inside a runtime, which must not be blocked on itself.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                // A server that the test has stopped takes its databases with it.
                let work = async {
                    if let Ok((client, connection)) = tokio_postgres::connect(&server, NoTls).await {
                        tokio::spawn(connection);
                        let _ = client.batch_execute(&drop).await;
                    }
                };
                let _ = tokio::time::timeout(LIMIT, work).await;
            });
        });
        let _ = dropped.join();
    }
}

/// A running `pgherald serve`; killed when dropped.
pub struct Daemon {
    /// `127.0.0.1:port`.
    pub address: String,
    log: Arc<Mutex<Vec<String>>>,
    child: Child,
}

/// How to start one.
pub struct Settings {
    variables: Vec<(String, String)>,
}

impl Settings {
    /// On a free port, with the tests' secret.
    pub fn new(database_url: &str) -> Self {
        let settings = Self { variables: Vec::new() };
        settings
            .set("database.url", database_url)
            .set("http.listen", "127.0.0.1:0")
            .set("auth.secret", SECRET)
            .set("log.format", "json")
            .set("database.heartbeat_interval", "500ms")
            .set("database.heartbeat_timeout", "2s")
            .set("limits.drain_spread", "200ms")
    }

    /// Sets `key`, such as `limits.sessions`.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        let name = format!("PGHERALD__{}", key.to_uppercase().replace('.', "__"));
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Takes a setting back.
    pub fn unset(mut self, key: &str) -> Self {
        let name = format!("PGHERALD__{}", key.to_uppercase().replace('.', "__"));
        self.variables.retain(|(known, _)| *known != name);
        self
    }

    /// Sets an environment variable that is no setting.
    #[cfg(target_os = "linux")]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `pgherald` with these settings and no others.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgherald"));
        command.args(arguments).env_clear().envs(self.variables.iter().cloned());
        command.current_dir(std::env::temp_dir()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    /// Starts the daemon and waits until it listens.
    pub async fn start(&self) -> Daemon {
        let mut child = self.command(&["serve"]).stdout(Stdio::null()).spawn().unwrap();
        let lines = std::fs::File::from(child.stderr.take().unwrap().into_owned_fd().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (found, mut address) = watch::channel(None);
        let keep = Arc::clone(&log);
        // beside the runtime: a test that panics shows all of it
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let fact: Value = serde_json::from_str(&line).unwrap_or_default();
                if fact["message"] == "listening" {
                    found.send_replace(fact["address"].as_str().map(str::to_owned));
                }
                keep.lock().unwrap().push(line);
            }
        });
        let listening = async { address.wait_for(Option::is_some).await.ok().and_then(|address| address.clone()) };
        let address = tokio::time::timeout(LIMIT, listening).await.ok().flatten();
        let address = address.unwrap_or_else(|| panic!("the daemon does not listen: {:#?}", log.lock().unwrap()));
        Daemon { address, log, child }
    }
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the daemon runs")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Sends a signal: "TERM", "STOP".
    pub async fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().await.unwrap();
        assert!(status.success());
    }

    /// Waits for its end; the exit code.
    pub async fn exit_code(&mut self) -> Option<i32> {
        tokio::time::timeout(LIMIT, self.child.wait()).await.expect("the daemon ends").unwrap().code()
    }

    /// GETs a path; status and body.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("http://{}{path}", self.address)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The value of a metric's first line that starts with `name`.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    /// Waits until writers of the relay transport know that it is there, and its sessions were told of it.
    pub async fn is_present(&self) {
        until("the daemon to be present", async || self.metric("pgherald_relay_present").await == 1.0).await;
    }

    /// Waits until it relays, and is "awake" or "asleep".
    pub async fn is_relay(&self, state: &str) {
        let metric = format!("pgherald_relay_state{{state=\"{state}\"}}");
        until(&format!("the relay to be {state}"), async || self.metric(&metric).await == 1.0).await;
    }

    /// A handshake that may still be changed.
    pub fn request(&self, path: &str) -> Request<()> {
        format!("ws://{}{path}", self.address).into_client_request().unwrap()
    }

    /// A session of `subject` on `project`, as an existing frontend opens it.
    pub async fn browser(&self, subject: &str, project: &str) -> Browser {
        let url = format!("ws://{}/api/v1/messages/ws?project_id={project}", self.address);
        Browser::open(&url, Some(&token(subject))).await.unwrap()
    }
}

/// A test that fails shows what its daemons have said.
impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon at {} has logged:\n{}", self.address, self.log());
        }
    }
}

/// A database with the sample application and a daemon beside it.
pub struct World {
    pub daemon: Daemon,
    pub database: Database,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|settings| settings).await
    }

    /// By this transport.
    pub async fn by(transport: Transport) -> Self {
        if transport == Transport::Notify {
            return Self::new().await;
        }
        let database = Database::sample().await;
        database.run("select pgherald.set_transport('relay')").await;
        let daemon = Settings::new(&database.url).start().await;
        daemon.is_present().await;
        Self { daemon, database }
    }

    pub async fn with(change: impl FnOnce(Settings) -> Settings) -> Self {
        let database = Database::sample().await;
        let daemon = change(Settings::new(&database.url)).start().await;
        Self { daemon, database }
    }

    /// Runs statements in the application's database.
    pub async fn run(&self, sql: &str) {
        self.database.run(sql).await;
    }
}

/// A good token of `subject`, for an hour.
pub fn token(subject: &str) -> String {
    token_with(&json!({ "sub": subject, "exp": now() + 3600 }))
}

/// A token with these claims.
pub fn token_with(claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}
