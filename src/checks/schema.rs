//! Schema pgherald: is it there and current, may we read it, and what have its triggers lost?

use crate::database::{Database, DatabaseError};
use crate::migrate;
use crate::report::Finding;

/// The grants that the connected role lacks, as SQL. Everything here is open to PUBLIC unless somebody closed it.
const MISSING: &str = "select g.grant_ from (
    select 1, format('grant usage on schema pgherald to %I', current_user)
      from pg_namespace n where n.nspname = 'pgherald' and not has_schema_privilege(n.oid, 'usage')
    union all
    select 2, format('grant select on pgherald.%I to %I', c.relname, current_user)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'pgherald' and c.relname in ('migrations', 'functions', 'dropped', 'watched', 'transport', 'queue_slot')
       and not has_table_privilege(c.oid, 'select')
    ) g(position, grant_) order by g.position, g.grant_";
/// Which of the two tables and the view are there, and can be read.
const READABLE: &str = "select count(*)::int8,
        count(*) filter (where has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'))::int8
   from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'pgherald' and c.relname in ('migrations', 'functions', 'watched')";
const LOST: &str = "select coalesce(pg_sequence_last_value(c.oid), 0) from pg_class c
    join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'pgherald' and c.relname = 'dropped'";

/// How much of the schema can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// There is none.
    Missing,
    /// It is there, and the role may not read it.
    Closed,
    /// Its tables can be read, and there is no view yet.
    Incomplete,
    /// All of it.
    Readable,
}

/// Looks how much of it can be asked, as `queries` connects.
pub async fn look(queries: &Database) -> Result<Schema, DatabaseError> {
    let row = queries.ask_one(READABLE).await?;
    Ok(match (row.get::<_, i64>(0), row.get::<_, i64>(1)) {
        (0, _) => Schema::Missing,
        (there, readable) if readable < there => Schema::Closed,
        (3, _) => Schema::Readable,
        _ => Schema::Incomplete,
    })
}

/// Whether the connected roles, one or two, may read what the daemon reads of it.
pub async fn rights(schema: Schema, connections: &[&Database]) -> Result<Finding, DatabaseError> {
    if schema == Schema::Missing {
        return Ok(Finding::skipped("pgherald is not installed"));
    }
    let mut missing: Vec<String> = Vec::new();
    for database in connections {
        let grants = database.ask(MISSING).await?;
        missing
            .extend(grants.iter().map(|row| row.get(0)).filter(|grant| !missing.contains(grant)).collect::<Vec<_>>());
    }
    Ok(if missing.is_empty() {
        Finding::ok("the daemon's role can read schema pgherald")
    } else {
        Finding::error("the daemon's role may not read all of schema pgherald", missing.join("; "))
    })
}

/// Whether everything is installed and of this release.
pub async fn current(schema: Schema, database: &Database) -> Result<Finding, DatabaseError> {
    match schema {
        Schema::Missing => return Ok(Finding::error("pgherald is not installed in this database", "pgherald migrate")),
        Schema::Closed => return Ok(Finding::skipped("schema pgherald can't be read")),
        Schema::Incomplete | Schema::Readable => {}
    }
    let pending = database.read(async |transaction| Ok(migrate::pending(transaction).await)).await?;
    let todo = pending.map_err(|error| DatabaseError::new(error.to_string()))?;
    Ok(if todo.is_empty() {
        Finding::ok("current")
    } else {
        let (migrations, functions) = (todo.migrations.len(), todo.functions.len());
        let message = format!("not current: to apply are migrations: {migrations}, function files: {functions}");
        Finding::error(message, "pgherald migrate")
    })
}

/// How often a trigger could not send.
pub async fn losses(database: &Database) -> Result<Finding, DatabaseError> {
    let rows = database.ask(LOST).await?;
    Ok(match rows.first().map_or(0, |row| row.get::<_, i64>(0)) {
        0 => Finding::ok("no notification was ever lost"),
        lost => Finding::warning(
            format!("notifications lost since the installation: {lost}; browsers were told to refetch everything"),
            "the server's log says why (pgherald: notification ... lost); the count never goes back, so compare it with the last time",
        ),
    })
}
