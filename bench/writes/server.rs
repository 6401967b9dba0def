//! The server that is written to, and a listener, without whom NOTIFY would cost less.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, stream};
use pgherald::config::{Config, File};
use pgherald::database::Database;
use pgherald::migrate;
use pgherald::pgprograms;
use pgherald::relay::Pace;
use pgherald::scratch::{Options, Scratch};
use pgherald::turn;
use tokio_postgres::{AsyncMessage, Client, NoTls};
use tokio_util::task::AbortOnDropHandle;

use crate::disk;
use crate::kernel::{self, Cores};
use crate::plan::Flush;
use crate::variant::FUNCTIONS;

const PATIENCE: Duration = Duration::from_secs(10);

pub struct Server {
    scratch: Scratch,
    admin: Client,
    /// The program.
    pub pgbench: PathBuf,
    pub postmaster: u32,
    /// The listener's backend.
    pub listener: u32,
    /// The relay's backend.
    pub relay: u32,
    pub cores: Cores,
    heard: Arc<AtomicU64>,
    _listens: Client,
    _present: Client,
    _relays: AbortOnDropHandle<()>,
}

impl Server {
    pub async fn start() -> Result<Self> {
        let path = std::env::var_os("PATH");
        let bin = pgprograms::find(None, path.as_deref()).unwrap_or_default();
        let pgbench = beside_initdb(&bin, "pgbench");
        // Nothing happens by itself during a run: no vacuum, no checkpoint, and no full pages in the WAL after one.
        let options = Options { path, ..Options::default() }
            .setting("shared_buffers", "512MB")
            .setting("max_wal_size", "8GB")
            .setting("min_wal_size", "1GB")
            .setting("checkpoint_timeout", "1d")
            .setting("bgwriter_lru_maxpages", "0")
            .setting("autovacuum", "off");
        let scratch = Scratch::start(&options).await?;
        let (mut admin, connection) = tokio_postgres::connect(&scratch.url(), NoTls).await?;
        tokio::spawn(connection);
        migrate::run(&mut admin, |_| {}).await?;
        admin.batch_execute(FUNCTIONS).await?;
        let heard = Arc::new(AtomicU64::new(0));
        let listens = listen(&scratch.url(), Arc::clone(&heard)).await?;
        let listener: i32 = listens.query_one("select pg_backend_pid()", &[]).await?.get(0);
        let file = fs::read_to_string(scratch.data_dir().join("postmaster.pid"))?;
        let postmaster = file.lines().next().context("postmaster.pid is empty")?.parse()?;
        let (listener, cores) = (listener.try_into()?, Cores::allowed()?);
        let present = present(&scratch.url()).await?;
        let relays = AbortOnDropHandle::new(tokio::spawn(relays(scratch.url())));
        let relay = wait_for_relay(&admin).await?;
        Ok(Self {
            scratch,
            admin,
            pgbench,
            postmaster,
            listener,
            relay,
            cores,
            heard,
            _listens: listens,
            _present: present,
            _relays: relays,
        })
    }

    pub async fn stop(self) -> Result<()> {
        Ok(self.scratch.shutdown().await?)
    }

    pub fn socket_dir(&self) -> &Path {
        self.scratch.socket_dir()
    }

    pub fn port(&self) -> u16 {
        self.scratch.port()
    }

    /// How many notifications have come so far.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Statements, each in a transaction of its own, as VACUUM needs it.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        for statement in sql.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
            self.admin.batch_execute(statement).await.with_context(|| statement.to_owned())?;
        }
        Ok(())
    }

    pub async fn is(&self, question: &str) -> Result<bool> {
        Ok(self.admin.query_one(question, &[]).await?.get(0))
    }

    pub async fn setting(&self, name: &str) -> Result<String> {
        Ok(self.admin.query_one("select current_setting($1)", &[&name]).await?.get(0))
    }

    /// From now on commits reach the disk so. fsync is the whole server's; a session that sees its new value was told
    /// by the postmaster, who has it by then.
    ///
    /// Without flushes a transaction takes so little that it matters where it runs: a client and its backend on two
    /// cores wake each other up across them, which doubles the time and the CPU of both, and nothing keeps them there
    /// or here. So they share one core then, and the listener has the others.
    pub async fn flush(&self, flush: Flush) -> Result<()> {
        let (fsync, writers, listener) = match flush {
            Flush::None => ("off", &self.cores.first, &self.cores.others),
            Flush::Disk | Flush::Slow => ("on", &self.cores.all, &self.cores.all),
        };
        disk::set_slow(flush == Flush::Slow)?;
        kernel::pin(self.postmaster, writers).await?;
        kernel::pin(self.listener, listener).await?;
        kernel::pin(self.relay, listener).await?;
        kernel::pin(std::process::id(), listener).await?;
        self.execute(&format!("alter system set fsync = {fsync}; select pg_reload_conf()")).await?;
        let deadline = Instant::now() + PATIENCE;
        while self.setting("fsync").await? != fsync {
            ensure!(Instant::now() < deadline, "fsync does not become {fsync}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// Where initdb really is (it may be a link to the packages' own folder), or else wherever the PATH has it.
fn beside_initdb(bin: &Path, program: &str) -> PathBuf {
    let beside = bin.join("initdb").canonicalize().unwrap_or_default().with_file_name(program);
    if beside.is_file() { beside } else { program.into() }
}

/// Listens as the daemon does: a connection of its own that always reads.
async fn listen(url: &str, heard: Arc<AtomicU64>) -> Result<Client> {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(|context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if matches!(message, AsyncMessage::Notification(_)) {
                heard.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    client.batch_execute("listen cache_invalidate").await?;
    Ok(client)
}

/// Tells writers that somebody lives, as a daemon does.
async fn present(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("select pg_advisory_lock(7434, 1)").await?;
    Ok(client)
}

/// The daemon's own relay, in this process. It sleeps while the triggers notify.
async fn relays(url: String) {
    let environment = [("DATABASE_URL".to_owned(), url)].into();
    let Ok(config) = Config::load(File::None, &environment) else { return };
    let Ok(database) = Database::open(&config.database) else { return };
    turn::run(&config.database, &database, Pace::default()).await;
}

async fn wait_for_relay(admin: &Client) -> Result<u32> {
    let sql = "select pid from pg_locks where locktype = 'advisory' and classid = 7434 and objid = 3 and granted";
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(row) = admin.query_opt(sql, &[]).await? {
            return Ok(row.get::<_, i32>(0).try_into()?);
        }
        ensure!(Instant::now() < deadline, "the relay does not begin");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
