//! Runs a command beside a throwaway PostgreSQL, whose URL it finds in `PGHERALD_TEST_DATABASE_URL`:
//! `cargo run --example with-postgres -- cargo nextest run`. A server that is already named there is used instead.

use std::process::ExitCode;

use pgherald::scratch::{Options, Scratch};

const VARIABLE: &str = "PGHERALD_TEST_DATABASE_URL";

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let mut command = tokio::process::Command::new(arguments.next().ok_or("which command?")?);
    command.args(arguments);
    let scratch = match std::env::var_os(VARIABLE) {
        Some(_) => None,
        None => {
            let path = std::env::var_os("PATH");
            Some(Scratch::start(&Options { path, ..Options::default() }.setting("max_connections", "300")).await?)
        }
    };
    if let Some(scratch) = &scratch {
        command.env(VARIABLE, scratch.url());
    }
    let status = command.status().await?;
    if let Some(scratch) = scratch {
        scratch.shutdown().await?;
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
