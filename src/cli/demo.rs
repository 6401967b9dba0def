//! `pgherald demo`

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use super::board::{self, Board};
use super::serve::Stop;
use super::{Failure, token};
use crate::app::App;
use crate::config::{Config, File};
use crate::database::{self, DatabaseError};
use crate::migrate;
use crate::scratch::{Options, Scratch};

/// Two projects, their members, sprints and tasks; the tests use the same.
const SAMPLE: &str = include_str!("../../sql/demo/sample.sql");
/// What the board needs besides.
const BOARD: &str = include_str!("../../sql/demo/board.sql");

#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Where the demo's daemon listens; a free port is taken where this one is in use
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// An empty database to use instead of a throwaway server
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    #[command(flatten)]
    board: board::Options,
}

pub async fn run(demo: Demo, environment: &BTreeMap<String, String>) -> Result<(), Failure> {
    let mut stop = Stop::new().map_err(Failure::new)?;
    let scratch = match demo.database_url {
        Some(_) => None,
        None => {
            println!("starting a throwaway PostgreSQL ...");
            let path = environment.get("PATH").map(Into::into);
            let starting = async { Scratch::start(&Options { path, ..Options::default() }).await };
            tokio::select! {
                scratch = starting => Some(scratch.map_err(Failure::new)?),
                () = stop.next() => return Ok(()),
            }
        }
    };
    let url = match (&scratch, demo.database_url) {
        (Some(scratch), _) => scratch.url(),
        (None, url) => url.unwrap_or_default(),
    };
    let result = play(&url, demo.listen, &demo.board, &mut stop).await;
    if let Some(scratch) = scratch {
        println!("removing the throwaway PostgreSQL ...");
        scratch.shutdown().await.map_err(Failure::new)?;
    }
    result
}

async fn play(url: &str, listen: SocketAddr, board: &board::Options, stop: &mut Stop) -> Result<(), Failure> {
    let config = configure(url, free(listen))?;
    println!("installing the schema pgherald and a sample application ...");
    database::with_client(&config.database.server, Duration::from_secs(10), async |client| {
        migrate::run(client, |_| {}).await.map_err(Failure::new)?;
        let query = |error| Failure::new(DatabaseError::query(&error));
        let known = client.query_one("select to_regclass('public.tasks') is not null", &[]).await.map_err(query)?;
        if !known.get::<_, bool>(0) {
            client.batch_execute(SAMPLE).await.map_err(query)?;
            client.batch_execute(BOARD).await.map_err(query)?;
        }
        Ok::<_, Failure>(())
    })
    .await?;
    super::log(&config);
    let (alice, bob) = (member(&config, "alice")?, member(&config, "bob")?);
    let board = Board::open(&config, board).await?;
    let app = App::start(config).await.map_err(Failure::new)?;
    let daemon = reachable(app.address().map_err(Failure::new)?);
    let page = reachable(board.address().map_err(Failure::new)?);
    print!("{}", invitation(url, page, daemon, &alice, &bob));
    tokio::select! {
        _ = app.run(stop.next()) => {}
        () = board.serve(daemon) => {}
    }
    Ok(())
}

fn configure(url: &str, listen: SocketAddr) -> Result<Config, Failure> {
    let secret: [u8; 32] = rand::random();
    let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let settings = [
        ("PGHERALD__DATABASE__URL", url.to_owned()),
        ("PGHERALD__HTTP__LISTEN", listen.to_string()),
        ("PGHERALD__HTTP__INSPECTOR", "true".to_owned()),
        ("PGHERALD__AUTH__SECRET", secret),
        // One clock signs and checks: a token ends when it says so.
        ("PGHERALD__AUTH__LEEWAY", "1s".to_owned()),
        ("PGHERALD__LIMITS__DRAIN_SPREAD", "200ms".to_owned()),
        // A few windows, and no warning about open files.
        ("PGHERALD__LIMITS__SESSIONS", "200".to_owned()),
    ];
    let settings = settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Ok(Config::load(File::None, &settings)?)
}

/// `listen` if it is free, else a free port beside it.
fn free(listen: SocketAddr) -> SocketAddr {
    match TcpListener::bind(listen) {
        Ok(_) => listen,
        Err(_) => SocketAddr::new(listen.ip(), 0),
    }
}

fn member(config: &Config, subject: &str) -> Result<String, Failure> {
    token::sign(config, &token::Mint::of(subject, Duration::from_secs(86_400)))
}

/// Where a browser on this machine finds what listens there.
fn reachable(address: SocketAddr) -> SocketAddr {
    let host = if address.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { address.ip() };
    SocketAddr::new(host, address.port())
}

fn invitation(url: &str, page: SocketAddr, address: SocketAddr, alice: &str, bob: &str) -> String {
    let program = std::env::current_exe().map_or_else(|_| "pgherald".to_owned(), |path| path.display().to_string());
    format!(
        "
The demo is running. Open this in two windows side by side, as alice in one and as carol in the other, and move a card:

  http://{page}

What their browsers hear, frame by frame, of project 7 as alice, one of its members:

  http://{address}/#token={alice}&project=7

Paste into a second terminal, to change a task, and look at the browsers:

  psql '{url}' -c 'update tasks set done = not done where id = 1'

The same frames in a third terminal:

  {program} tail --url ws://{address}/ws --project 7 --token {alice}

A token of bob, who is a member of project 8 and not of project 7:

  {bob}

Ctrl-C ends the demo.

"
    )
}
