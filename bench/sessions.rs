//! What a session costs: memory while it is idle, CPU for each frame that it is sent, both beside a plain
//! tokio-tungstenite server on the same machine in the same run. `make bench-sessions` prints a table; only its
//! ratios mean anything elsewhere. `SESSIONS` (default 10000) says how many are idle, a fifth of them are sent to.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use jsonwebtoken::{EncodingKey, Header, encode};
use pgherald::alarms::{Alarm, Alarms};
use pgherald::migrate;
use pgherald::scratch::{Options, Scratch};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const SECRET: &str = "the secret of a benchmark, long enough";
const PAYLOAD: &str =
    r#"{"resource":"task","id":"1","action":"UPDATE","project_id":"7","timestamp":"2026-11-20T17:00:00.000000Z"}"#;
const EVENTS: usize = 200;
const EVENTS_PER_SECOND: u64 = 50;
const IDLE_SECONDS: u64 = 10;

/// One measured server.
struct Figures {
    idle_kilobytes: f64,
    microseconds: f64,
    burst_microseconds: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    if std::env::args().any(|argument| argument == "--plain-server") {
        return plain_server().await;
    }
    let sessions = std::env::var("SESSIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    raise_file_limit();
    let ours = measure(Server::pgherald().await?, sessions).await?;
    let plain = measure(Server::plain().await?, sessions).await?;
    println!("| {sessions} sessions | pgherald | tokio-tungstenite | ratio |\n|---|---|---|---|");
    let row = |name: &str, ours: f64, plain: f64| println!("| {name} | {ours:.2} | {plain:.2} | {:.2} |", ours / plain);
    row("KB of RSS an idle session", ours.idle_kilobytes, plain.idle_kilobytes);
    row("us of CPU a frame, 50 events a second", ours.microseconds, plain.microseconds);
    row("us of CPU a frame, 200 events at once", ours.burst_microseconds, plain.burst_microseconds);
    deadlines(sessions).await?;
    Ok(())
}

/// A server to measure, and how to make it send.
struct Server {
    address: String,
    child: Child,
    voice: Voice,
    _lines: Option<Lines<BufReader<tokio::process::ChildStdout>>>,
}

enum Voice {
    Postgres(Box<Scratch>, tokio_postgres::Client),
    Stdin(ChildStdin),
}

impl Server {
    async fn pgherald() -> Result<Self> {
        let scratch = Scratch::start(&Options { path: std::env::var_os("PATH"), ..Options::default() }).await?;
        let (mut client, connection) = tokio_postgres::connect(&scratch.url(), tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        migrate::run(&mut client, |_| {}).await?;
        client.batch_execute("create table project_members as select 7 as project_id, 'alice' as user_id").await?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_pgherald"))
            .arg("serve")
            .env("PGHERALD__DATABASE__URL", scratch.url())
            .env("PGHERALD__HTTP__LISTEN", "127.0.0.1:0")
            .env("PGHERALD__AUTH__SECRET", SECRET)
            .env("PGHERALD__LOG__FORMAT", "json")
            .env("PGHERALD__LIMITS__CONNECTS_PER_SECOND", "1000000")
            .env("PGHERALD__LIMITS__SESSIONS_PER_SUBJECT", "1000000")
            .env("PGHERALD__LIMITS__IDLE_TIMEOUT", "1h")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no log")?).lines();
        let address = loop {
            let line = lines.next_line().await?.ok_or("the daemon ended")?;
            let fact: serde_json::Value = serde_json::from_str(&line)?;
            if let ("listening", Some(address)) = (fact["message"].as_str().unwrap_or(""), fact["address"].as_str()) {
                break address.to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { address, child, voice: Voice::Postgres(Box::new(scratch), client), _lines: None })
    }

    async fn plain() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--plain-server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let voice = Voice::Stdin(child.stdin.take().ok_or("no input")?);
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let address = lines.next_line().await?.ok_or("the server ended")?;
        Ok(Self { address, child, voice, _lines: Some(lines) })
    }

    async fn send(&mut self, events: usize) -> Result<()> {
        match &mut self.voice {
            Voice::Postgres(_, client) => {
                // Postgres folds equal payloads of one transaction, so each gets an id of its own.
                let sql = format!(
                    "select count(pg_notify('cache_invalidate', replace('{PAYLOAD}', '\"id\":\"1\"', '\"id\":\"' || (1000 + n) || '\"'))) \
                     from generate_series(1, {events}) n"
                );
                client.batch_execute(&sql).await?;
            }
            Voice::Stdin(input) => input.write_all(format!("{events}\n").as_bytes()).await?,
        }
        Ok(())
    }

    async fn stop(mut self) -> Result<()> {
        self.child.kill().await?;
        if let Voice::Postgres(scratch, client) = self.voice {
            drop(client);
            scratch.shutdown().await?;
        }
        Ok(())
    }
}

async fn measure(mut server: Server, sessions: usize) -> Result<Figures> {
    let pid = server.child.id().ok_or("no server")?;
    let token = encode(
        &Header::default(),
        &json!({ "sub": "alice", "exp": 4_000_000_000_u64 }),
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )?;
    // The first hundred warm the server's own structures up and are not counted.
    let mut idle = connect(&server.address, &token, 100).await?;
    let before = resident_kilobytes(pid)?;
    idle.extend(connect(&server.address, &token, sessions).await?);
    let after = settled(pid).await?;
    let idle_kilobytes = (after - before) / sessions as f64;
    idle.truncate(sessions / 5);
    let listeners = idle.len();
    tokio::time::sleep(Duration::from_millis(500)).await;

    let (received, heard) = watch::channel(0_u64);
    let received = std::sync::Arc::new(received);
    for mut stream in idle {
        let received = std::sync::Arc::clone(&received);
        tokio::spawn(async move {
            let mut buffer = vec![0; 65_536];
            while let Ok(read) = stream.read(&mut buffer).await {
                if read == 0 {
                    return;
                }
                received.send_modify(|sum| *sum += read as u64);
            }
        });
    }
    server.send(1).await?;
    let frame = arrived(&heard, 0, listeners as u64, None).await?;
    let frame_bytes = frame / listeners as u64;

    let began = cpu_seconds(pid)?;
    let mut clock = tokio::time::interval(Duration::from_millis(1000 / EVENTS_PER_SECOND));
    for _ in 0..EVENTS {
        clock.tick().await;
        server.send(1).await?;
    }
    let total = arrived(&heard, frame, listeners as u64 * EVENTS as u64, Some(frame_bytes)).await?;
    let microseconds = (cpu_seconds(pid)? - began) * 1e6 / (listeners * EVENTS) as f64;

    let began = cpu_seconds(pid)?;
    server.send(EVENTS).await?;
    arrived(&heard, total, listeners as u64 * EVENTS as u64, Some(frame_bytes)).await?;
    let burst_microseconds = (cpu_seconds(pid)? - began) * 1e6 / (listeners * EVENTS) as f64;
    server.stop().await?;
    Ok(Figures { idle_kilobytes, microseconds, burst_microseconds })
}

/// Waits until `frames` frames have come since `before` bytes; the sum of bytes. Frames differ by a few bytes, so
/// what has come counts as all once it is near and no more comes.
async fn arrived(heard: &watch::Receiver<u64>, before: u64, frames: u64, frame_bytes: Option<u64>) -> Result<u64> {
    let mut heard = heard.clone();
    let least = before + frames * frame_bytes.unwrap_or(1) * 98 / 100;
    tokio::time::timeout(Duration::from_secs(120), heard.wait_for(|sum| *sum >= least)).await??;
    while tokio::time::timeout(Duration::from_millis(300), heard.changed()).await.is_ok() {}
    let sum = *heard.borrow();
    Ok(sum)
}

async fn connect(address: &str, token: &str, count: usize) -> Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(count);
    let request = format!(
        "GET /ws?project_id=7 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(String::from_utf8_lossy(&head).into());
        }
        streams.push(stream);
    }
    Ok(streams)
}

fn resident_kilobytes(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse()?)
}

/// RSS once it no longer changes.
async fn settled(pid: u32) -> Result<f64> {
    let mut last = resident_kilobytes(pid)?;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = resident_kilobytes(pid)?;
        if (now - last).abs() < 64.0 {
            return Ok(now);
        }
        last = now;
    }
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0_u64;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += schedstat.split_whitespace().next().ok_or("no schedstat")?.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Somebody with a deadline.
struct Sleeper {
    alarm: Alarm,
    wake: Notify,
}

/// What the deadlines of silent sessions cost: an alarm each and a sweep over all, beside a timer of tokio each. They
/// lie as those of sessions do, which are pinged after half of `limits.idle_timeout`.
async fn deadlines(sessions: usize) -> Result<()> {
    const EVERY: Duration = Duration::from_secs(45);
    let alarms: Arc<Alarms<Sleeper>> = Arc::default();
    let mut milliseconds = [0.0; 2];
    for (way, milliseconds) in milliseconds.iter_mut().enumerate() {
        let mut tasks = JoinSet::new();
        for place in 0..sessions {
            let sleeper = alarms.add(|alarm| Sleeper { alarm, wake: Notify::new() });
            let mut at = tokio::time::Instant::now() + EVERY.mul_f64(place as f64 / sessions as f64);
            tasks.spawn(async move {
                loop {
                    if way == 0 {
                        sleeper.alarm.set(at);
                        sleeper.wake.notified().await;
                    } else {
                        tokio::time::sleep_until(at).await;
                    }
                    at = tokio::time::Instant::now() + EVERY;
                }
            });
        }
        if way == 0 {
            let alarms = Arc::clone(&alarms);
            tasks.spawn(async move {
                let mut ticks = tokio::time::interval(Duration::from_millis(100));
                loop {
                    ticks.tick().await;
                    alarms.sweep(tokio::time::Instant::now(), |sleeper| sleeper.wake.notify_one());
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = cpu_seconds(std::process::id())?;
        tokio::time::sleep(Duration::from_secs(IDLE_SECONDS)).await;
        *milliseconds = (cpu_seconds(std::process::id())? - began) * 1e3 / IDLE_SECONDS as f64;
        tasks.shutdown().await;
    }
    let began = std::time::Instant::now();
    for _ in 0..100 {
        alarms.sweep(began.into(), |_| ());
    }
    let sweep = began.elapsed().as_secs_f64() * 1e6 / 100.0;
    let ours = size_of::<Alarm>() + size_of::<u64>() + size_of::<usize>();
    let bytes = [ours as f64, size_of::<tokio::time::Sleep>() as f64];
    println!("\n| deadlines of {sessions} silent sessions | alarms | timers of tokio | ratio |\n|---|---|---|---|");
    println!("| bytes a session | {} | {} | {:.2} |", bytes[0], bytes[1], bytes[0] / bytes[1]);
    let [alarms, timers] = milliseconds;
    println!("| ms of CPU a second | {alarms:.2} | {timers:.2} | {:.2} |", alarms / timers);
    println!("\nA sweep over {} alarms takes {sweep:.1} us.", 2 * sessions);
    Ok(())
}

/// What one writes first with tokio-tungstenite: a task a session, a broadcast channel, a small read buffer.
async fn plain_server() -> Result<()> {
    raise_file_limit();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let (events, _) = broadcast::channel::<Message>(1024);
    let source = events.clone();
    tokio::spawn(async move {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            for _ in 0..line.parse().unwrap_or(0) {
                let frame = format!(
                    r#"{{"type":"cache_invalidate","resource":"task","action":"UPDATE","project_id":"7","data":{PAYLOAD}}}"#
                );
                let _ = source.send(Message::text(frame));
            }
        }
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut events = events.subscribe();
        tokio::spawn(async move {
            let config = tokio_tungstenite::tungstenite::protocol::WebSocketConfig::default()
                .read_buffer_size(4096)
                .write_buffer_size(0);
            let Ok(mut socket) = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await else {
                return;
            };
            loop {
                tokio::select! {
                    event = events.recv() => match event {
                        Ok(message) => if socket.send(message).await.is_err() { return },
                        Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return,
                    },
                    message = socket.next() => if !matches!(message, Some(Ok(_))) { return },
                }
            }
        });
    }
}
