//! `pgherald status`

use super::Failure;
use crate::config::Config;
use crate::database::{self, DatabaseError};
use crate::migrate;
use crate::standing::Standing;

/// One line a watched table; every column as text.
const WATCHED: &str = "select relation::text, project, array_to_string(id, ','), coalesce(resource, ''), \
                       case when enabled then 'yes' else 'no' end, coalesce(refresh_due, '') \
                       from pgherald.watched order by 1";

pub async fn run(config: Config) -> Result<(), Failure> {
    let settings = &config.database;
    database::with_client(&settings.server, settings.connect_timeout, async |client| {
        println!("database   {}", settings.server.redacted());
        let pending = migrate::pending(client).await.map_err(Failure::new)?;
        if !pending.is_empty() {
            println!("schema     not current: run `pgherald migrate`");
            return Ok(());
        }
        println!("schema     current");
        if let Some(standing) = Standing::look(client).await.map_err(|error| DatabaseError::query(&error))? {
            super::transport::show(&standing);
        }
        let rows = client.query_typed(WATCHED, &[]).await.map_err(|error| DatabaseError::query(&error))?;
        let mut lines = vec![["TABLE", "PROJECT", "ID", "RESOURCE", "ENABLED", "REFRESH DUE"].map(str::to_owned)];
        lines.extend(rows.iter().map(|row| std::array::from_fn(|column| row.get(column))));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        for line in &lines {
            let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            println!("{}", cells.join("  ").trim_end());
        }
        if rows.is_empty() {
            println!("no table is watched: pgherald watch public.tasks --project project_id");
        }
        Ok(())
    })
    .await
}
