//! The membership query: does it run, and how?

use std::sync::Arc;

use serde_json::Value;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::Type;

use crate::access::Access;
use crate::config::Config;
use crate::database::{Database, DatabaseError};
use crate::report::Finding;

/// Bytes of a table that is read as fast as an index.
const TINY_BYTES: i64 = 1 << 20;

/// Columns of the table that the plan's condition names, in its order; and whether an index begins with one of them.
const COLUMNS: &str = "select pg_relation_size(c.oid), c.oid::regclass::text, named.columns,
        exists (select from pg_index i
                 where i.indrelid = c.oid and i.indisvalid and i.indpred is null and i.indkey[0] = any (named.numbers))
   from pg_class c
   join pg_namespace n on n.oid = c.relnamespace
  cross join lateral (
     select string_agg(quote_ident(a.attname), ', ' order by p.position), array_agg(a.attnum)
       from pg_attribute a
      cross join lateral (
         select position('.' || quote_ident(a.attname) || ' ' in translate($3, '()', '  ') || ' ')) p(position)
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and p.position > 0) named(columns, numbers)
  where n.nspname = $1 and c.relname = $2";

/// Whether a look-up of a member needs an index, and has it.
pub async fn membership(config: &Config, database: &Arc<Database>) -> Result<Finding, DatabaseError> {
    if let Some(claim) = &config.authorize.claim {
        return Ok(Finding::skipped(format!("authorize.claim = {claim:?}: the token tells, nothing is asked")));
    }
    // Once for nobody, as the daemon does when it starts. '' may be no value of the column's type, and then only the plan
    // tells whether the role may read.
    let run = match Access::open(config, Arc::clone(database)).await {
        Ok(_) => explain(database, &config.authorize.query).await.map_err(|error| error.context("authorize.query")),
        Err(error) => Err(error),
    };
    let plan = match run {
        Ok(plan) => plan,
        Err(error) => {
            let advice = "correct authorize.query, or grant the daemon's role what it reads (sql/operator/roles.sql)";
            return Ok(Finding::error(error.to_string(), advice));
        }
    };
    let mut scans = Vec::new();
    sequential_scans(&plan, &mut scans);
    for (schema, table, filter) in scans {
        let rows =
            database.ask_with(COLUMNS, &[(&schema, Type::TEXT), (&table, Type::TEXT), (&filter, Type::TEXT)]).await?;
        let Some(row) = rows.first() else { continue };
        let (bytes, name, columns, indexed): (i64, &str, Option<&str>, bool) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        if bytes < TINY_BYTES {
            continue;
        }
        let advice = match columns {
            Some(columns) if indexed => format!(
                "an index does not help it: compare the bare columns with $1 and $2, without a cast, and have one on {name} ({columns})"
            ),
            Some(columns) => format!("create index concurrently on {name} ({columns})"),
            None => "create an index that authorize.query can use".to_owned(),
        };
        let megabytes = bytes >> 20;
        return Ok(Finding::warning(
            format!("authorize.query reads all of {name} ({megabytes} MB) each time that somebody subscribes"),
            advice,
        ));
    }
    Ok(Finding::ok("authorize.query runs, and reads no large table from end to end"))
}

/// The plan for whatever values: with `null` for a value PostgreSQL would see that there is nothing to read.
async fn explain(database: &Database, query: &str) -> Result<Value, DatabaseError> {
    database
        .read(async |transaction| {
            // As the daemon finds its tables.
            let settings = "set local search_path to default; set local plan_cache_mode = force_generic_plan";
            transaction.batch_execute(settings).await?;
            transaction.batch_execute(&format!("prepare pgherald_doctor as {query}")).await?;
            transaction.batch_execute("savepoint prepared").await?;
            let sql = "explain (format json, verbose) execute pgherald_doctor(null, null)";
            let answer = transaction.simple_query(sql).await;
            // No rollback takes it away, and behind a pooler the connection is the next one's.
            transaction.batch_execute("rollback to savepoint prepared; deallocate pgherald_doctor").await?;
            let answer = answer?;
            let line = |message: &SimpleQueryMessage| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            };
            let plan: String = answer.iter().filter_map(line).collect();
            Ok(serde_json::from_str(&plan).unwrap_or_default())
        })
        .await
}

/// Schema, table and condition of every sequential scan.
fn sequential_scans(plan: &Value, found: &mut Vec<(String, String, String)>) {
    let text = |key: &str| plan[key].as_str().unwrap_or_default().to_owned();
    if plan["Node Type"] == "Seq Scan" {
        found.push((text("Schema"), text("Relation Name"), text("Filter")));
    }
    match plan {
        Value::Array(inner) => inner.iter().for_each(|inner| sequential_scans(inner, found)),
        Value::Object(inner) => inner.values().for_each(|inner| sequential_scans(inner, found)),
        _ => {}
    }
}
