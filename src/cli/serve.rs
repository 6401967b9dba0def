//! `pgherald serve`

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use super::{EXIT_CONFIGURATION, Failure};
use crate::app::{App, Drained, StartError};
use crate::config::Config;

pub async fn run(config: Config) -> Result<(), Failure> {
    super::log(&config);
    let warnings = [&config.database.server.warnings, &config.database.listen_server.warnings];
    warnings.into_iter().flatten().for_each(|text| warn!("{text}"));
    let mut stop = Stop::new().map_err(Failure::new)?;
    let app = tokio::select! {
        app = App::start(config) => app.map_err(|error| match error {
            StartError::Settings(message) => Failure { code: EXIT_CONFIGURATION, message },
            other => Failure::new(other),
        })?,
        () = stop.next() => return Ok(()),
    };
    let (asked, drain) = tokio::sync::oneshot::channel();
    let run = app.run(async { drop(drain.await) });
    let signals = async {
        stop.next().await;
        let _ = asked.send(());
        stop.next().await;
    };
    tokio::select! {
        drained = run => match drained {
            Drained::Whole => Ok(()),
            Drained::Short { sessions } => Err(Failure::new(format!("{sessions} sessions did not leave within limits.drain_grace"))),
            Drained::Broken { duty } => Err(Failure::new(format!("stopped because its {duty} panicked: report it, with the log"))),
        },
        () = signals => Err(Failure::new("stopped at once by a second signal, sessions were cut off")),
    }
}

/// SIGTERM and SIGINT, however often.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
