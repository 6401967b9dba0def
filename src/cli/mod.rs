//! The commands, one file each.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, File, LogFormat};
use crate::database::DatabaseError;
use crate::settings::Problems;

mod board;
mod check;
mod demo;
mod doctor;
mod migrate;
mod serve;
mod status;
mod tail;
mod token;
mod transport;
mod watch;

/// Bad configuration (`EX_USAGE` of sysexits).
pub const EXIT_CONFIGURATION: u8 = 64;

/// Tells every browser, within milliseconds, which of its cached PostgreSQL data is stale.
#[derive(Debug, Parser)]
#[command(name = "pgherald", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Settings: defaults < pgherald.toml < PGHERALD__SECTION__KEY; DATABASE_URL and PG* are understood.\n\
    Exit codes: 0 done or drained, 1 could not start, finish or drain, 64 bad configuration, 2 bad arguments;\n\
    of doctor: 1 warnings, 2 errors.\n\
    Start here: pgherald migrate; pgherald watch public.tasks --project project_id; pgherald serve"
)]
pub struct Cli {
    /// Configuration file [default: pgherald.toml in the working directory, if there is one]
    #[arg(long, short, global = true, value_name = "FILE", env = "PGHERALD_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    ///
    /// Listens to the database and serves WebSockets, probes and metrics on http.listen. SIGTERM or Ctrl-C drains:
    /// every session is told to come back elsewhere. A second signal ends it at once.
    Serve,
    /// Install or update the schema pgherald in the database
    ///
    /// Everything goes into the schema pgherald, in one transaction; running it again does nothing. The role needs
    /// CREATE on the database. Existing tables are not touched: `pgherald watch` does that, one by one.
    #[command(after_help = "To read before you run:\n  pgherald migrate --print > install.sql\n  \
        psql -X -1 -v ON_ERROR_STOP=1 -f install.sql")]
    Migrate(migrate::Migrate),
    /// Make a table tell of its changes
    ///
    /// Puts four triggers on the table, its partitions and children (and one on each table along a path). The role must
    /// own the table. Writers wait only while the triggers are created, need no rights, and never fail because of them.
    #[command(after_help = "Examples:\n  pgherald watch public.tasks --project project_id\n  \
        pgherald watch projects --project id\n  pgherald watch countries --project '*'\n  \
        pgherald watch comments --project 'task_id->project_id'\n  \
        pgherald watch app.order_items --id order_id,line --resource order_line\n  \
        pgherald watch tasks --columns title,state,project_id --include title --dry-run\n  \
        pgherald watch --all public --skip audit_log")]
    Watch(watch::Watch),
    /// Make a table silent again
    ///
    /// Drops what `pgherald watch` has created on the table and on its partitions, and nothing else.
    Unwatch(watch::Unwatch),
    /// Show what is installed and which tables are watched
    ///
    /// Reads only. Says which tables need `select * from pgherald.refresh()`, and why.
    Status,
    /// Show how triggers send their notifications, or choose the other way
    ///
    /// notify: NOTIFY in the writer's transaction, whose commits wait for one another. relay: an append to a queue, which
    /// one daemon sends on; no writer waits for another. Setting it rewrites the trigger functions of every watched
    /// table and locks no table. The role must own schema pgherald.
    #[command(
        after_help = "Examples:\n  pgherald transport\n  pgherald transport relay\n  pgherald transport notify\n\
        When to switch: `pgherald doctor`, check commits. docs/relay.md explains both."
    )]
    Transport(transport::Transport),
    /// Look for everything that could keep browsers from hearing, and say what to do
    ///
    /// A line for each check: connections, poolers, rights, the schema, tables and triggers, the notification queue.
    /// Reads only, as the role that is configured: run it where the daemon runs.
    #[command(after_help = "Exit codes: 0 all is well, 1 there are warnings, 2 there are errors, 64 bad configuration")]
    Doctor(doctor::Doctor),
    /// Print the frames of a project, one a line
    ///
    /// Connects to a daemon as a browser does, and comes back after a lost connection. Frames go to standard
    /// output, everything else to standard error.
    #[command(after_help = "Example:\n  pgherald tail --project 7 --token \"$(pgherald token --subject alice)\"")]
    Tail(tail::Tail),
    /// Mint a token for a test or a script
    ///
    /// Signs with auth.secret, or with a private key. iss and aud are set as [auth] requires them.
    #[command(after_help = "Example:\n  pgherald token --subject alice --ttl 1h --claims '{\"projects\":[\"7\"]}'")]
    Token(token::Mint),
    /// Check the configuration and print the effective one, secrets redacted
    ///
    /// Names every problem at once, each with its key, and exits with 64 if there is one. Connects to nothing but
    /// a JWKS.
    Check,
    /// Start a throwaway PostgreSQL, a sample application and a daemon, to play with
    ///
    /// Prints the link of a task board, to open in two windows side by side, and what to paste into a terminal.
    ///
    /// Needs PostgreSQL's programs (initdb, postgres), and no rights. Ctrl-C takes everything down and leaves
    /// nothing behind.
    Demo(demo::Demo),
    /// Print a completion script for a shell
    ///
    /// For bash: pgherald completions bash > /etc/bash_completion.d/pgherald. For zsh, fish and others see their
    /// manuals.
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// Why a command failed, and with which exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What, why, and what to do.
    pub message: String,
}

impl Failure {
    /// A failure with exit code 1.
    pub fn new(message: impl ToString) -> Self {
        Self { code: 1, message: message.to_string() }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self { code: EXIT_CONFIGURATION, message: problems.to_string() }
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        Self::new(error)
    }
}

/// Does what the command line says; the exit code of what was done. `environment` is the process's.
pub fn run(cli: Cli, environment: &BTreeMap<String, String>) -> Result<u8, Failure> {
    let load = || Config::load(cli.config.as_deref().map_or(File::Usual, File::Named), environment);
    let done = match cli.command {
        Command::Doctor(arguments) => return block_on(async { Ok(doctor::run(load()?, arguments).await) }),
        Command::Serve => block_on(serve::run(load()?)),
        Command::Migrate(arguments) => block_on(migrate::run(load()?, arguments)),
        Command::Watch(arguments) => block_on(watch::watch(load()?, arguments)),
        Command::Unwatch(arguments) => block_on(watch::unwatch(load()?, arguments)),
        Command::Status => block_on(status::run(load()?)),
        Command::Transport(arguments) => block_on(transport::run(load()?, arguments)),
        Command::Tail(arguments) => block_on(tail::run(load()?, arguments)),
        Command::Token(arguments) => token::run(&load()?, &arguments),
        Command::Check => block_on(check::run(load()?)),
        Command::Demo(arguments) => block_on(demo::run(arguments, environment)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "pgherald", &mut std::io::stdout());
            Ok(())
        }
    };
    done.map(|()| 0)
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::new)?;
    let result = runtime.block_on(work);
    // What still sits in a blocking call (a name look-up) is not waited for.
    runtime.shutdown_background();
    result
}

/// Sends the log to standard error, as `[log]` says.
fn log(config: &Config) {
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::prelude::*;
    let filter: Targets = config.log.level.parse().unwrap_or_default();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let set = match config.log.format {
        LogFormat::Text => {
            registry.with(layer.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))).try_init()
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    if let Err(error) = set {
        eprintln!("pgherald: no log: {error}");
    }
}
