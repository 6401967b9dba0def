//! `pgherald migrate`

use super::Failure;
use crate::config::Config;
use crate::{database, migrate};

#[derive(Debug, clap::Args)]
pub struct Migrate {
    /// Print the whole installation as one script instead, for psql -X -1 -v ON_ERROR_STOP=1 -f
    #[arg(long)]
    print: bool,
}

pub async fn run(config: Config, arguments: Migrate) -> Result<(), Failure> {
    if arguments.print {
        print!("{}", migrate::script());
        return Ok(());
    }
    let settings = &config.database;
    let report = database::with_client(&settings.server, settings.connect_timeout, async |client| {
        migrate::run(client, |step| println!("{step}")).await.map_err(Failure::new)
    })
    .await?;
    if report.is_empty() {
        println!("nothing to do: the schema is current");
    } else {
        let (migrations, functions) = (report.migrations.len(), report.functions.len());
        println!(
            "done: {migrations} migrations, {functions} functions; next: pgherald watch public.tasks --project project_id"
        );
    }
    Ok(())
}
