//! `pgherald watch` and `pgherald unwatch`

use tokio_postgres::types::ToSql;

use super::Failure;
use crate::config::Config;
use crate::database::{self, DatabaseError};

#[derive(Debug, clap::Args)]
pub struct Watch {
    /// The table, as SQL spells it: public.tasks, app."Order Items"
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    tables: Vec<String>,
    /// Every table of a schema that has the project column, with a line for each
    #[arg(long, value_name = "SCHEMA", conflicts_with_all = ["id", "resource", "max_ids"])]
    all: Option<String>,
    /// With --all: tables to leave out, without their schema
    #[arg(long, value_delimiter = ',', value_name = "TABLE,...", requires = "all")]
    skip: Vec<String>,
    /// The column that holds the project, or * for a table that all projects share
    #[arg(long, default_value = "project_id")]
    project: String,
    /// The columns that identify a row [default: the primary key]
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,...")]
    id: Option<Vec<String>>,
    /// The resource's name in frames [default: the table's name in the singular]
    #[arg(long)]
    resource: Option<String>,
    /// Rows of one statement and project that are named one by one; more are told as the whole resource
    #[arg(long, value_name = "ROWS")]
    max_ids: Option<i32>,
}

#[derive(Debug, clap::Args)]
pub struct Unwatch {
    /// The table, as SQL spells it
    #[arg(required = true)]
    tables: Vec<String>,
}

pub async fn watch(config: Config, arguments: Watch) -> Result<(), Failure> {
    if let Some(schema) = &arguments.all {
        return watch_all(&config, schema, &arguments).await;
    }
    let max_ids = if arguments.max_ids.is_some() { ", max_ids => $5" } else { "" };
    let sql = format!(
        "select pgherald.watch($1::text::regclass, project => $2, id => $3::text[]::name[], resource => $4{max_ids})"
    );
    let settings = &config.database;
    database::with_client(&settings.server, settings.connect_timeout, async |client| {
        for table in &arguments.tables {
            let Watch { project, id, resource, max_ids, .. } = &arguments;
            let parameters: [&(dyn ToSql + Sync); 5] = [table, project, id, resource, max_ids];
            let parameters = &parameters[..if max_ids.is_some() { 5 } else { 4 }];
            let row = client.query_one(&sql, parameters).await.map_err(|error| failure(table, &error))?;
            println!("{table}: {}", row.get::<_, String>(0));
        }
        Ok(())
    })
    .await
}

async fn watch_all(config: &Config, schema: &str, arguments: &Watch) -> Result<(), Failure> {
    let sql = "select relation::text, outcome, reason from pgherald.watch_all($1::text::name, $2, $3::text[]::name[])";
    let settings = &config.database;
    database::with_client(&settings.server, settings.connect_timeout, async |client| {
        let rows = client.query(sql, &[&schema, &arguments.project, &arguments.skip]).await;
        for row in rows.map_err(|error| failure(schema, &error))? {
            let reason: Option<String> = row.get(2);
            let (table, outcome): (String, String) = (row.get(0), row.get(1));
            println!("{table}: {outcome}{}", reason.map(|reason| format!(": {reason}")).unwrap_or_default());
        }
        Ok(())
    })
    .await
}

pub async fn unwatch(config: Config, arguments: Unwatch) -> Result<(), Failure> {
    let settings = &config.database;
    database::with_client(&settings.server, settings.connect_timeout, async |client| {
        for table in &arguments.tables {
            let row = client.query_one("select pgherald.unwatch($1::text::regclass)", &[table]).await;
            let was_watched: bool = row.map_err(|error| failure(table, &error))?.get(0);
            println!("{table} {}", if was_watched { "is silent now" } else { "was not watched" });
        }
        Ok(())
    })
    .await
}

fn failure(table: &str, error: &tokio_postgres::Error) -> Failure {
    let missing = error.code().is_some_and(|code| ["3F000", "42883"].contains(&code.code()));
    let advice = if missing { ": is the schema installed? run `pgherald migrate`" } else { "" };
    Failure::new(format!("{table}: {}{advice}", DatabaseError::query(error)))
}
