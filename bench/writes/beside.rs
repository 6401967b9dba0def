//! A server with a real daemon beside it, and a session that hears every frame.

use std::collections::HashMap;
use std::fs;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use jsonwebtoken::{EncodingKey, Header, encode};
use pgherald::migrate;
use pgherald::scratch::{Options, Scratch};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_postgres::{Client, NoTls};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const SECRET: &str = "the secret of a benchmark, long enough";
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Beside {
    scratch: Scratch,
    pub admin: Client,
    daemon: Child,
    /// When the frame of an id came.
    heard: Arc<Mutex<HashMap<i64, Instant>>>,
}

impl Beside {
    /// The transport is relay at first, so that the daemon has begun to relay.
    pub async fn start() -> Result<Self> {
        let options = Options { path: std::env::var_os("PATH"), ..Options::default() }
            .setting("fsync", "on")
            .setting("shared_buffers", "256MB")
            .setting("max_wal_size", "8GB")
            .setting("checkpoint_timeout", "1d");
        let scratch = Scratch::start(&options).await?;
        let mut admin = connect(&scratch.url()).await?;
        migrate::run(&mut admin, |_| {}).await?;
        let tables = "create table told (id bigint primary key, project_id integer not null default 7);
             create table updated (id integer primary key, project_id integer not null default 8, version integer not null default 0);
             insert into updated select n from generate_series(1, 1000) n;
             select pgherald.watch('told'), pgherald.watch('updated')";
        admin.batch_execute(tables).await?;
        let (daemon, address) = daemon(&scratch.url()).await?;
        let heard = session(&address).await?;
        let beside = Self { scratch, admin, daemon, heard };
        beside.set_transport("relay").await?;
        Ok(beside)
    }

    pub async fn stop(mut self) -> Result<()> {
        self.daemon.kill().await?;
        Ok(self.scratch.shutdown().await?)
    }

    pub fn url(&self) -> String {
        self.scratch.url()
    }

    /// Also waits until the daemon relays, which it does for ever once it has begun.
    pub async fn set_transport(&self, transport: &str) -> Result<()> {
        self.admin.execute("select pgherald.set_transport($1)", &[&transport]).await?;
        self.until("the relay begins", &format!("exists ({RELAY})")).await
    }

    /// Waits until the relay sleeps.
    pub async fn asleep(&self) -> Result<()> {
        let sql = "exists (select from pg_locks where locktype = 'advisory' and classid = 7434 and objid = 2 and mode = 'ExclusiveLock')";
        self.until("the relay falls asleep", sql).await
    }

    async fn until(&self, what: &str, fact: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.admin.query_one(&format!("select {fact}"), &[]).await?.get::<_, bool>(0) {
            ensure!(Instant::now() < deadline, "waited too long until {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// When the frame of this id came; waits for it.
    pub async fn heard(&self, id: i64) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.heard.lock().ok().and_then(|heard| heard.get(&id).copied()) {
                return Ok(at);
            }
            ensure!(Instant::now() < deadline, "the frame of {id} does not come");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The share of a core that the relay takes for a time: its backend and the daemon.
    pub async fn cpu_share(&self, time: Duration) -> Result<f64> {
        let backend = u32::try_from(self.admin.query_one(RELAY, &[]).await?.get::<_, i32>(0))?;
        let daemon = self.daemon.id().context("the daemon has ended")?;
        let before = ticks(backend)? + ticks(daemon)?;
        tokio::time::sleep(time).await;
        Ok((ticks(backend)? + ticks(daemon)? - before) / 100.0 / time.as_secs_f64())
    }
}

const RELAY: &str = "select pid from pg_locks where locktype = 'advisory' and classid = 7434 and objid = 3 and granted";

pub async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// utime and stime of proc(5), in hundredths of a second.
fn ticks(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    Ok(fields.skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?)
}

async fn daemon(url: &str) -> Result<(Child, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgherald"));
    command.arg("serve").env_clear().env("DATABASE_URL", url).env("PGHERALD__HTTP__LISTEN", "127.0.0.1:0");
    command.env("PGHERALD__AUTH__SECRET", SECRET).env("PGHERALD__AUTHORIZE__CLAIM", "projects");
    command.env("PGHERALD__LOG__FORMAT", "json").stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("no standard error")?).lines();
    let mut address = None;
    while address.is_none() {
        let line = lines.next_line().await?.context("the daemon does not start")?;
        let fact: Value = serde_json::from_str(&line).unwrap_or_default();
        if fact["message"] == "listening" {
            address = fact["address"].as_str().map(str::to_owned);
        }
    }
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, address.unwrap_or_default()))
}

/// Subscribes to project 7 and notes when each frame comes.
async fn session(address: &str) -> Result<Arc<Mutex<HashMap<i64, Instant>>>> {
    let claims = json!({ "sub": "bench", "exp": jsonwebtoken::get_current_timestamp() + 36_000, "projects": ["7"] });
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes()))?;
    let mut request = format!("ws://{address}/ws?project_id=7").into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
    let heard = Arc::new(Mutex::new(HashMap::new()));
    let noted = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Some(Ok(message)) = socket.next().await {
            let now = Instant::now();
            let frame: Value = serde_json::from_slice(&message.into_data()).unwrap_or_default();
            if let (Some(id), Ok(mut heard)) =
                (frame["data"]["id"].as_str().and_then(|id| id.parse().ok()), noted.lock())
            {
                heard.insert(id, now);
            }
        }
    });
    Ok(heard)
}
