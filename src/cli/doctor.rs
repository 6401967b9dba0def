//! `pgherald doctor`

use crate::config::Config;
use crate::doctor;
use crate::report::Status;

#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// The exit code tells the worst finding.
pub async fn run(config: Config, arguments: Doctor) -> u8 {
    let report = doctor::examine(&config).await;
    if arguments.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    match report.status() {
        Status::Skipped | Status::Ok => 0,
        Status::Warning => 1,
        Status::Error => 2,
    }
}
