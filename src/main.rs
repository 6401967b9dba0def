//! The storyboard: understand the command, do it, say how it ended.

use std::process::ExitCode;

use clap::Parser;
use pgherald::cli::{Cli, Failure};
use pgherald::config;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = config::process_environment();
    match pgherald::cli::run(cli, &environment) {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, message }) => {
            eprintln!("pgherald: {message}");
            ExitCode::from(code)
        }
    }
}
