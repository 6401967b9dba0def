//! The triggers: all there, none too many, and none where PostgreSQL would refuse the write.

use crate::database::{Database, DatabaseError};
use crate::report::{Finding, some_of};

const INCOMPLETE: &str = "select coalesce(w.refresh_due, 'a trigger of ' || w.relation || ' is disabled')
      from pgherald.watched w where not w.enabled order by w.relation::text";

/// A partition keeps its triggers when it is detached, and sends on in its parent's name.
const STRAYS: &str = "select distinct t.tgrelid::regclass::text
      from pg_trigger t join pgherald.generated() g on g.function = t.tgfoid and g.role <> 'moved'
     where not exists (select from pgherald.watched w cross join pgherald.relations(w.relation) r where r = t.tgrelid)
     order by 1";

/// Below a watched table, as partitions or by inheritance.
const FOREIGN: &str = "with recursive below(root, oid) as (
        select w.relation, h.inhrelid from pgherald.watched w join pg_inherits h on h.inhparent = w.relation
         where w.mode = 'statement'
        union
        select b.root, h.inhrelid from below b join pg_inherits h on h.inhparent = b.oid
    )
    select c.oid::regclass::text, b.root::text from below b join pg_class c on c.oid = b.oid
     where c.relkind = 'f' order by 2, 1";

/// Left by tables that were dropped.
const UNUSED: &str = "select g.name::text from pgherald.generated() g
     where g.role <> 'lookup' and not exists (select from pg_trigger t where t.tgfoid = g.function) order by 1";

/// Whether every watched table has its triggers, enabled, on every partition and child.
pub async fn triggers(database: &Database) -> Result<Finding, DatabaseError> {
    let tables = names(database, INCOMPLETE).await?;
    Ok(if tables.is_empty() {
        Finding::ok("all there and enabled, on every partition")
    } else {
        Finding::error(
            format!("{}: such changes reach no browser", some_of(&tables)),
            "as the tables' owner: select * from pgherald.refresh(), which also enables what is disabled",
        )
    })
}

/// Whether a table sends that is not watched.
pub async fn strays(database: &Database) -> Result<Finding, DatabaseError> {
    let tables = names(database, STRAYS).await?;
    Ok(if tables.is_empty() {
        Finding::ok("no table sends that is not watched")
    } else {
        Finding::warning(
            format!("not watched, and yet with our triggers, as a detached partition keeps them: {}", some_of(&tables)),
            "pgherald watch each of them, or pgherald unwatch it",
        )
    })
}

/// Whether PostgreSQL refuses the application's writes because of our transition tables.
pub async fn foreign_tables(database: &Database) -> Result<Finding, DatabaseError> {
    let rows = database.ask(FOREIGN).await?;
    let below = |row: &tokio_postgres::Row| format!("{} below {}", row.get::<_, &str>(0), row.get::<_, &str>(1));
    let tables: Vec<String> = rows.iter().map(below).collect();
    Ok(if tables.is_empty() {
        Finding::ok("none below a watched table")
    } else {
        Finding::error(
            format!(
                "{}: updates, deletes and what is inserted there fail: cannot collect transition tuples from child foreign tables",
                some_of(&tables)
            ),
            "from PostgreSQL 16 on watch the parent with --mode row; else unwatch it, and watch its other partitions or \
             children one by one",
        )
    })
}

/// Whether functions are left that nothing calls.
pub async fn leftovers(database: &Database) -> Result<Finding, DatabaseError> {
    let functions = names(database, UNUSED).await?;
    Ok(if functions.is_empty() {
        Finding::ok("no trigger function is left of a dropped table")
    } else {
        Finding::warning(
            format!("{} trigger functions of dropped tables are left: {}", functions.len(), some_of(&functions)),
            "they do no harm; to drop them: select * from pgherald.refresh()",
        )
    })
}

async fn names(database: &Database, sql: &str) -> Result<Vec<String>, DatabaseError> {
    Ok(database.ask(sql).await?.iter().map(|row| row.get(0)).collect())
}
