//! `pgherald watch` and `pgherald unwatch`

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::Failure;
use crate::config::Config;
use crate::database::{self, DatabaseError};

#[derive(Debug, clap::Args)]
pub struct Watch {
    /// The table, as SQL spells it: public.tasks, app."Order Items"
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    tables: Vec<String>,
    /// Every table of a schema that has the project column, with a line for each
    #[arg(long, value_name = "SCHEMA", conflicts_with_all = ["id", "resource", "max_ids", "columns", "include", "mode", "always", "dry_run"])]
    all: Option<String>,
    /// With --all: tables to leave out, without their schema
    #[arg(long, value_delimiter = ',', value_name = "TABLE,...", requires = "all")]
    skip: Vec<String>,
    /// The column that holds the project, a path to it along foreign keys such as 'task_id->project_id', or * for a
    /// table that all projects share
    #[arg(long, default_value = "project_id")]
    project: String,
    /// The columns that identify a row [default: the primary key]
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,...")]
    id: Option<Vec<String>>,
    /// The resource's name in frames [default: the table's name in the singular]
    #[arg(long)]
    resource: Option<String>,
    /// Rows of one statement that are named one by one; more are told as the whole resource
    #[arg(long, value_name = "ROWS", default_value_t = 1000)]
    max_ids: i32,
    /// An UPDATE that changes none of these columns is silent [default: every UPDATE is told]
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,...")]
    columns: Option<Vec<String>>,
    /// Columns whose values travel along to the browsers, where they are small [default: none]
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,...")]
    include: Option<Vec<String>>,
    /// How often the triggers fire: row is for subscribers of logical replication (with --always) and for tables with
    /// foreign partitions
    #[arg(long, value_parser = ["statement", "row"], default_value = "statement")]
    mode: String,
    /// With --mode row: fire under session_replication_role = replica, too
    #[arg(long)]
    always: bool,
    /// Print the SQL that would run, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Watch {
    /// A call of `function` for `table`, and its parameters; with their types, as nothing is prepared: a pooler in
    /// transaction mode may be in between.
    fn call<'a>(&'a self, function: &str, table: &'a String) -> (String, [(&'a (dyn ToSql + Sync), Type); 9]) {
        let sql = format!(
            "pgherald.{function}($1::text::regclass, $2, $3::text[]::name[], $4, $5, $6::text[]::name[], $7::text[]::name[], $8, $9)"
        );
        let Watch { project, id, resource, max_ids, columns, include, mode, always, .. } = self;
        let (text, list) = (Type::TEXT, Type::TEXT_ARRAY);
        let parameters: [(&(dyn ToSql + Sync), Type); 9] = [
            (table, text.clone()),
            (project, text.clone()),
            (id, list.clone()),
            (resource, text.clone()),
            (max_ids, Type::INT4),
            (columns, list.clone()),
            (include, list),
            (mode, text),
            (always, Type::BOOL),
        ];
        (sql, parameters)
    }
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
    let settings = &config.database;
    database::with_client(&settings.server, settings.connect_timeout, async |client| {
        for table in &arguments.tables {
            if arguments.dry_run {
                dry_run(client, &arguments, table).await?;
                continue;
            }
            let (call, parameters) = arguments.call("watch", table);
            let row = client.query_typed_one(&format!("select {call}"), &parameters).await;
            println!("{table}: {}", row.map_err(|error| failure(table, &error))?.get::<_, String>(0));
        }
        Ok(())
    })
    .await
}

async fn dry_run(client: &Client, arguments: &Watch, table: &String) -> Result<(), Failure> {
    let (call, parameters) = arguments.call("plan", table);
    let rows = client.query_typed(&format!("select statement, reason from {call}"), &parameters).await;
    let rows = rows.map_err(|error| failure(table, &error))?;
    match rows.len() {
        0 => println!("-- {table}: nothing to do, it is watched like this already"),
        n => println!(
            "-- {table}: {n} steps in one transaction, the functions with the rights of schema pgherald's owner"
        ),
    }
    for row in rows {
        let reason = row.get::<_, Option<String>>(1);
        println!(
            "\n-- {}\n{}",
            reason.as_deref().unwrap_or("the numbers of the columns, to follow renamed ones"),
            row.get::<_, String>(0).trim_end()
        );
    }
    Ok(())
}

async fn watch_all(config: &Config, schema: &str, arguments: &Watch) -> Result<(), Failure> {
    let sql = "select relation::text, outcome, reason from pgherald.watch_all($1::text::name, $2, $3::text[]::name[])";
    let settings = &config.database;
    database::with_client(&settings.server, settings.connect_timeout, async |client| {
        let rows = client
            .query_typed(
                sql,
                &[(&schema, Type::TEXT), (&arguments.project, Type::TEXT), (&arguments.skip, Type::TEXT_ARRAY)],
            )
            .await;
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
            let row =
                client.query_typed_one("select pgherald.unwatch($1::text::regclass)", &[(table, Type::TEXT)]).await;
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
