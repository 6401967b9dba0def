//! `pgherald check`

use super::{EXIT_CONFIGURATION, Failure};
use crate::config::Config;
use crate::keyring::{Keyring, KeyringError};

pub async fn run(config: Config) -> Result<(), Failure> {
    print!("{}", config.to_toml().map_err(Failure::new)?);
    println!("# database: {}", config.database.server.redacted());
    println!("# listener: {}", config.database.listen_server.redacted());
    match Keyring::open(&config).await {
        Ok(_) => Ok(()),
        // A provider that is away is no fault of the configuration; serve will say so.
        Err(KeyringError::Jwks(error)) => {
            eprintln!("pgherald: warning: {error}");
            Ok(())
        }
        Err(KeyringError::Settings(message)) => Err(Failure { code: EXIT_CONFIGURATION, message }),
    }
}
