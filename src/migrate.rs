//! Brings a database up to date: numbered migrations once, function files whenever they changed.
//!
//! Everything happens in one transaction under one advisory lock, so any number of daemons may start at once.

use std::fmt::Write as _;

use tokio_postgres::{Client, GenericClient, error::SqlState};

use crate::migrations::{FUNCTIONS, File, MIGRATIONS};

/// `pgherald` in ASCII: the advisory lock's key.
const LOCK: i64 = 0x7067_6865_7261_6c64;

/// The settings of the transaction. A second `migrate` waits for the first, but not for ever.
const PREPARE: &str = "set local search_path = '';
set local check_function_bodies = off;
set local client_min_messages = warning;
set local lock_timeout = '60s';
";

/// Whoever owns the schema owns all that is in it, also where a superuser migrates: so the rest is done in its name.
/// Nobody unknown may be that: it could lay traps for whoever calls `pgherald.watch`.
/// Created only where it is missing, so that a DBA may create it for a role that has no right to do so.
const SCHEMA: &str = "do $$
declare
    owner name := (select pg_get_userbyid(n.nspowner) from pg_catalog.pg_namespace n where n.nspname = 'pgherald');
begin
    if owner is null then
        create schema pgherald;
    -- from 16 on a member may lack the right to act in the role's name
    elsif not pg_has_role(owner, case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end) then
        raise exception 'schema pgherald belongs to %', owner
            using errcode = 'object_not_in_prerequisite_state',
                  hint = format('migrate as that role, grant %s to %s, or drop the schema if it is not pgherald''s', quote_ident(owner), quote_ident(current_user));
    elsif owner <> current_user then
        execute format('set local role %I', owner);
    end if;
end $$;
";

/// Not `to_regclass`, which fails where a schema of that name is closed to us.
const INSTALLED: &str = "select exists (select from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname = 'pgherald' and c.relname = 'migrations')";

/// What a database lacks, or, returned by [`run`], what was applied. File names, in order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Files of `migrations/`.
    pub migrations: Vec<&'static str>,
    /// Files of `sql/functions/`.
    pub functions: Vec<&'static str>,
}

impl Report {
    /// Nothing to do, or nothing done.
    pub fn is_empty(&self) -> bool {
        self.migrations.is_empty() && self.functions.is_empty()
    }
}

/// Why a database could not be brought up to date. Nothing has changed in it then.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A released file was edited, or the database was migrated by another build.
    #[error(
        "migration {name} differs from the one applied here: this pgherald has checksum {ours}, the database {theirs}; use the pgherald that applied it, or restore the file"
    )]
    Changed {
        /// The file.
        name: String,
        /// Its SHA-256 in this binary.
        ours: String,
        /// Its SHA-256 when it was applied.
        theirs: String,
    },
    /// The database was migrated by a later release.
    #[error("the database is at migration {theirs}, this pgherald knows them up to {ours}: use a newer pgherald")]
    Newer {
        /// The last version in this binary.
        ours: i32,
        /// The last version in the database.
        theirs: i32,
    },
    /// The role may not create what has to be created.
    #[error(
        "not allowed to migrate: {reason}; as a superuser or the database's owner: grant create on database {database} to {role}"
    )]
    Forbidden {
        /// What PostgreSQL said.
        reason: String,
        /// The database, quoted for SQL where it must be.
        database: String,
        /// The connected role, quoted likewise.
        role: String,
    },
    /// Another migration held the lock for a minute.
    #[error(
        "another migration is running in this database since a minute: try again when it is done, pg_locks shows who holds the advisory lock"
    )]
    Busy,
    /// A file failed.
    #[error("{file} failed: {reason}")]
    Failed {
        /// The file that was being applied.
        file: String,
        /// What PostgreSQL said, with its detail and hint.
        reason: String,
    },
    /// The connection broke, or the server refused an ordinary query.
    #[error("cannot migrate: {}", describe(.0))]
    Postgres(#[from] tokio_postgres::Error),
}

/// Applies what is missing, all or nothing, and says so line by line.
pub async fn run(client: &mut Client, mut progress: impl FnMut(&str)) -> Result<Report, MigrateError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(PREPARE).await?;
    if let Err(error) = transaction.execute("select pg_advisory_xact_lock($1)", &[&LOCK]).await {
        return Err(match error.code() {
            Some(&SqlState::LOCK_NOT_AVAILABLE) => MigrateError::Busy,
            _ => error.into(),
        });
    }
    let todo = pending(&transaction).await?;
    if !todo.is_empty()
        && let Err(error) = transaction.batch_execute(SCHEMA).await
    {
        transaction.rollback().await?;
        return Err(forbidden_or(client, "schema pgherald", error).await);
    }
    let migrations = MIGRATIONS.iter().map(|file| (file, "migration", record_migration(file)));
    let functions = FUNCTIONS.iter().map(|file| (file, "function", record_function(file)));
    for (file, kind, record) in migrations.chain(functions) {
        if !todo.migrations.contains(&file.name) && !todo.functions.contains(&file.name) {
            continue;
        }
        progress(&format!("{kind} {}", file.name));
        if let Err(error) = transaction.batch_execute(&format!("{}\n{record}", file.text)).await {
            transaction.rollback().await?;
            return Err(forbidden_or(client, file.name, error).await);
        }
    }
    transaction.commit().await?;
    Ok(todo)
}

/// What [`run`] would apply; refuses what it would refuse. Reads two tables that every role may read.
pub async fn pending(client: &impl GenericClient) -> Result<Report, MigrateError> {
    let installed = client.query_typed_one(INSTALLED, &[]).await?.get::<_, bool>(0);
    if !installed {
        return Ok(Report {
            migrations: MIGRATIONS.iter().map(|file| file.name).collect(),
            functions: FUNCTIONS.iter().map(|file| file.name).collect(),
        });
    }
    let mut todo = Report::default();
    let applied = client.query_typed("select version, checksum from pgherald.migrations order by version", &[]).await?;
    let ours = MIGRATIONS.last().map_or(0, File::version);
    if let Some(theirs) = applied.last().map(|row| row.get(0)).filter(|theirs| *theirs > ours) {
        return Err(MigrateError::Newer { ours, theirs });
    }
    for file in MIGRATIONS {
        let theirs = applied.iter().find(|row| row.get::<_, i32>(0) == file.version());
        match theirs.map(|row| row.get::<_, String>(1)) {
            None => todo.migrations.push(file.name),
            Some(theirs) if theirs == file.checksum() => {}
            Some(theirs) => {
                let (name, ours) = (file.name.to_owned(), file.checksum());
                return Err(MigrateError::Changed { name, ours, theirs });
            }
        }
    }
    let applied = client.query_typed("select name, checksum from pgherald.functions", &[]).await?;
    for file in FUNCTIONS {
        let current =
            |row: &tokio_postgres::Row| row.get::<_, &str>(0) == file.name && row.get::<_, &str>(1) == file.checksum();
        if !applied.iter().any(current) {
            todo.functions.push(file.name);
        }
    }
    Ok(todo)
}

/// The whole installation as one script for `psql -X -1 -v ON_ERROR_STOP=1 -f`, for DBAs who read before they run.
/// Running it twice equals once, and [`run`] finds nothing left to do.
pub fn script() -> String {
    let mut script = format!(
        "-- pgherald {}: run with psql -X -1 -v ON_ERROR_STOP=1 -f\n{PREPARE}do $$ begin perform pg_catalog.pg_advisory_xact_lock({LOCK}); end $$;\n{SCHEMA}",
        env!("CARGO_PKG_VERSION")
    );
    for file in MIGRATIONS {
        let version = file.version();
        let missing = match version {
            1 => "pg_catalog.to_regclass('pgherald.migrations') is null".to_owned(),
            _ => format!("not exists (select from pgherald.migrations where version = {version})"),
        };
        let _ = write!(
            script,
            "\n-- {}\nselect {missing} as pgherald_missing \\gset\n\\if :pgherald_missing\n{}\n{}\\endif\n",
            file.name,
            file.text,
            record_migration(file)
        );
    }
    for file in FUNCTIONS {
        let _ = write!(script, "\n-- {}\n{}\n{}", file.name, file.text, record_function(file));
    }
    script
}

fn record_migration(file: &File) -> String {
    format!(
        "insert into pgherald.migrations (version, name, checksum) values ({}, '{}', '{}');\n",
        file.version(),
        file.name,
        file.checksum()
    )
}

fn record_function(file: &File) -> String {
    format!(
        "insert into pgherald.functions (name, checksum) values ('{}', '{}')\n    on conflict (name) do update set checksum = excluded.checksum, applied_at = default;\n",
        file.name,
        file.checksum()
    )
}

/// Turns a missing right into the grant that is needed.
async fn forbidden_or(client: &Client, file: &str, error: tokio_postgres::Error) -> MigrateError {
    let reason = describe(&error);
    if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return match error.as_db_error() {
            Some(_) => MigrateError::Failed { file: file.to_owned(), reason },
            None => error.into(),
        };
    }
    let whoami = "select quote_ident(current_database()), quote_ident(current_user)";
    match client.query_one(whoami, &[]).await {
        Ok(row) => MigrateError::Forbidden { reason, database: row.get(0), role: row.get(1) },
        Err(error) => error.into(),
    }
}

/// The server's message with its detail and hint, which `Display` leaves out.
fn describe(error: &tokio_postgres::Error) -> String {
    let Some(db) = error.as_db_error() else {
        return error.to_string();
    };
    let more = [db.detail(), db.hint()].into_iter().flatten();
    std::iter::once(db.message()).chain(more).collect::<Vec<_>>().join(": ")
}
