//! A throwaway PostgreSQL in a temporary folder, for the demo and the tests. However this process
//! ends, [`crate::supervisor`] leaves neither the server nor the folder behind.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::error::SqlState;

use crate::pgprograms::{self, User};
use crate::supervisor::Supervisor;

/// Below the ports that the kernel hands out by itself, so that a stopped server finds its own
/// still free when it starts again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const PORT_TRIES_MAX: usize = 20;
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A running server. Dropping it stops the server and removes its folder, soon after; to wait for
/// that, use [`Scratch::shutdown`]. It stays with the runtime that started it, for all but its
/// address.
///
/// The superuser is `postgres`, without a password, over 127.0.0.1 and over a socket in the folder.
#[derive(Debug)]
pub struct Scratch {
    supervisor: Supervisor,
    user: Option<User>,
    port: u16,
}

/// How to start a [`Scratch`]. The default finds a server in the usual places.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The folder of `initdb`, `pg_ctl` and `postgres`, searched instead of all others.
    pub bin: Option<PathBuf>,
    /// The value of `PATH`, searched before the usual places.
    pub path: Option<OsString>,
    /// Where to make the temporary folder; `/tmp` by default. A socket's path may have 107 bytes
    /// at most, and as root the server's user must be able to write here.
    pub parent: Option<PathBuf>,
    /// The port to try first; a random one by default, or where this one is taken.
    pub port: Option<u16>,
    /// Settings for `postgresql.conf`; they win over ours, except for the port and the socket.
    pub settings: Vec<(String, String)>,
    /// Files for the data folder (name, contents), readable to the server only: certificates, a
    /// `pg_hba.conf`.
    pub files: Vec<(String, String)>,
}

impl Options {
    /// The same options with one more setting for `postgresql.conf`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same options with one more file in the data folder.
    #[must_use]
    pub fn file(mut self, name: &str, contents: &str) -> Self {
        self.files.push((name.to_owned(), contents.to_owned()));
        self
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// No folder has the three programs that are needed.
    #[error(
        "PostgreSQL's server programs were not found: no folder has initdb, pg_ctl and postgres \
         (looked in {searched}); install the server (Debian, Ubuntu: apt-get install postgresql; \
         Fedora: dnf install postgresql-server; macOS: brew install postgresql) or name the folder"
    )]
    NotInstalled {
        /// The folders that were looked at.
        searched: String,
    },
    /// PostgreSQL refuses to run as root, and there is nobody else.
    #[error("cannot start PostgreSQL as root: {0}; make one (useradd --system postgres), or run as an ordinary user")]
    NoUser(String),
    /// A setting that `postgresql.conf` cannot hold.
    #[error("setting {0:?}: a name has letters, digits, _ and . and a value is one line; correct it")]
    Setting(String),
    /// The supervisor could not be started or talked to.
    #[error("cannot {what}: {error}; see that /bin/sh runs and that the temporary folder is writable")]
    Supervisor {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// The server, or `initdb`, did not do it.
    #[error("PostgreSQL could not {what}; the end of its log says:\n{log}")]
    Server {
        /// What it was asked to do.
        what: &'static str,
        /// The last lines of the log.
        log: String,
    },
}

impl Scratch {
    /// A new server that answers, in about two seconds. As root it runs as the user `postgres`
    /// (or `nobody`), because PostgreSQL refuses root.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or it does not start: then with the end of its log.
    pub async fn start(options: &Options) -> Result<Self, ScratchError> {
        let conf = conf(&options.settings)?;
        let bin = pgprograms::find(options.bin.as_deref(), options.path.as_deref()).map_err(|folders| {
            let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            ScratchError::NotInstalled { searched: folders.join(", ") }
        })?;
        let user = pgprograms::server_user().map_err(ScratchError::NoUser)?;
        let parent = options.parent.as_deref().unwrap_or(Path::new("/tmp"));
        let supervisor = Supervisor::start(&bin, parent, user).await;
        let supervisor = supervisor.map_err(|error| unsupervised("make a temporary folder", error))?;
        let mut scratch = Self { supervisor, user, port: options.port.unwrap_or_else(free_port) };
        scratch.step("initdb", "make a data folder").await?;
        let socket = quoted(&scratch.socket_dir().to_string_lossy());
        scratch.write("postgresql.conf", &format!("{conf}unix_socket_directories = {socket}\n"), true)?;
        for (name, contents) in &options.files {
            scratch.write(name, contents, false)?;
        }
        for _ in 1..PORT_TRIES_MAX {
            let log_before = scratch.log().len();
            match scratch.start_again().await {
                Err(_) if port_was_taken(&scratch.log(), log_before) => scratch.port = free_port(),
                done => return done.map(|()| scratch),
            }
        }
        scratch.start_again().await.map(|()| scratch)
    }

    /// `postgresql://postgres@127.0.0.1:PORT/postgres`; the same after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The TCP port on 127.0.0.1, also a part of the socket's name.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the unix socket, and of everything else; it is removed at the end.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        self.supervisor.folder()
    }

    /// The data folder, where relative file names in settings begin.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.socket_dir().join("data")
    }

    /// All that `initdb` and the server have logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.socket_dir().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Stops the server and starts it on the same port.
    ///
    /// # Errors
    /// As [`Scratch::stop`] and [`Scratch::start_again`].
    pub async fn restart(&mut self) -> Result<(), ScratchError> {
        self.stop().await?;
        self.start_again().await
    }

    /// Stops the server (a fast shutdown: sessions are ended) and keeps its data.
    ///
    /// # Errors
    /// It was not running, or did not end within a minute.
    pub async fn stop(&mut self) -> Result<(), ScratchError> {
        self.step("stop", "stop").await
    }

    /// Starts a stopped server and waits until it answers on its socket.
    ///
    /// # Errors
    /// It does not start, or does not answer within a minute.
    pub async fn start_again(&mut self) -> Result<(), ScratchError> {
        self.step("start", "start").await?;
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.socket_dir()).port(self.port).user("postgres").dbname("postgres");
        let answered = async {
            while let Err(error) = config.connect(tokio_postgres::NoTls).await {
                // A refusal by a pg_hba.conf of the caller's is an answer too.
                if error.code().is_some_and(|code| *code != SqlState::CANNOT_CONNECT_NOW) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(ANSWER_MAX, answered).await.map_err(|_| self.failed("answer within a minute"))
    }

    /// Stops the server at once and waits until no process and no folder is left.
    ///
    /// # Errors
    /// They are still there after two minutes.
    pub async fn shutdown(self) -> Result<(), ScratchError> {
        let ended = self.supervisor.end().await;
        ended.map_err(|error| unsupervised("remove the temporary folder", error))
    }

    async fn step(&mut self, verb: &str, what: &'static str) -> Result<(), ScratchError> {
        match self.supervisor.step(verb, self.port).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.failed(what)),
            Err(error) => Err(unsupervised(what, error)),
        }
    }

    fn failed(&self, what: &'static str) -> ScratchError {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let log = lines[lines.len().saturating_sub(20)..].join("\n");
        ScratchError::Server { what, log }
    }

    fn write(&self, name: &str, text: &str, append: bool) -> Result<(), ScratchError> {
        let path = self.data_dir().join(name);
        let mut options = std::fs::OpenOptions::new();
        options.create(true).write(true).append(append).truncate(!append).mode(0o600);
        let written = options.open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
        let owned = written.and_then(|()| match self.user {
            Some(User { uid, gid }) => chown(&path, Some(uid), Some(gid)),
            None => Ok(()),
        });
        owned.map_err(|error| unsupervised("write PostgreSQL's files", error))
    }
}

fn unsupervised(what: &'static str, error: std::io::Error) -> ScratchError {
    ScratchError::Supervisor { what, error }
}

/// Small and quick rather than safe: the data is thrown away anyway.
const DEFAULTS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "16MB"),
    ("max_connections", "200"),
    ("log_line_prefix", "%m [%p] %d "),
];

fn conf(settings: &[(String, String)]) -> Result<String, ScratchError> {
    let mut lines = String::new();
    let defaults = DEFAULTS.iter().copied();
    for (name, value) in defaults.chain(settings.iter().map(|(name, value)| (&**name, &**value))) {
        let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._".contains(c));
        if !named || value.contains(['\n', '\r', '\0']) {
            return Err(ScratchError::Setting(name.to_owned()));
        }
        lines += &format!("{name} = {}\n", quoted(value));
    }
    Ok(lines)
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// A port that nobody listens on, just now: somebody may still be quicker, so a start that finds
/// it taken is tried again with another.
fn free_port() -> u16 {
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut drawn = std::iter::repeat_with(|| rand::random_range(PORTS)).take(1000);
    drawn.find(free).unwrap_or(PORTS.start)
}

fn port_was_taken(log: &str, log_before: usize) -> bool {
    log.get(log_before..).is_some_and(|new| new.contains("could not bind"))
}
