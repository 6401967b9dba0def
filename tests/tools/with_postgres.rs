//! Runs a command beside a throwaway PostgreSQL, whose URL it finds in `PGHERALD_TEST_DATABASE_URL`:
//! `cargo run --example with-postgres -- cargo nextest run`. A server that is already named there is used instead. The
//! programs are those in `PGHERALD_TEST_PG_BIN` where it is set. The server's version chooses nextest's profile.

use std::process::ExitCode;

use pgherald::scratch::{Options, Scratch};
use tokio_postgres::NoTls;

const VARIABLE: &str = "PGHERALD_TEST_DATABASE_URL";

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let mut command = tokio::process::Command::new(arguments.next().ok_or("which command?")?);
    command.args(arguments);
    let (url, scratch) = match std::env::var(VARIABLE) {
        Ok(url) => (url, None),
        Err(_) => {
            let bin = std::env::var_os("PGHERALD_TEST_PG_BIN").map(Into::into);
            let options = Options { bin, path: std::env::var_os("PATH"), ..Options::default() };
            let scratch = Scratch::start(&options.setting("max_connections", "300")).await?;
            (scratch.url(), Some(scratch))
        }
    };
    command.env(VARIABLE, &url).env("NEXTEST_PROFILE", profile(&url).await?);
    let status = command.status().await?;
    if let Some(scratch) = scratch {
        scratch.shutdown().await?;
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The profile of .config/nextest.toml; a version that it does not know yet is taken for the newest that it knows.
async fn profile(url: &str) -> Result<String, Box<dyn std::error::Error>> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let row = client.query_one("select current_setting('server_version_num')::int / 10000", &[]).await?;
    Ok(format!("postgres-{}", row.get::<_, i32>(0).clamp(13, 18)))
}
