//! The tables: those that nobody watches, and what the watched ones need.

use crate::database::{Database, DatabaseError};
use crate::report::{Finding, command_word, some_of};

/// Pages of a table from which on an index is worth its while: 1 MB.
pub const PAGES_MIN: i64 = 128;

/// Tables that have a project column, by its name elsewhere, and are not watched. Where the project column is the key
/// of its table it is the project's own, and every table may have one of that name.
const UNWATCHED: &str = "with project(name) as (
        select 'project_id'::name
        union
        select a.attname from pgherald.watched w
          join pg_attribute a on a.attrelid = w.relation and a.attname = w.project and not a.attisdropped
         where w.id is distinct from array[a.attname]
    )
    select distinct on (c.oid) c.oid::regclass::text, n.nspname::text, p.name::text
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      join project p on p.name = a.attname
     where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
       and n.nspname not in ('pgherald', 'information_schema') and not starts_with(n.nspname, 'pg_')
       and not exists (select from pgherald.watched w cross join pgherald.relations(w.relation) r where r = c.oid)
       and not exists (select from pg_depend d
                        where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
     order by c.oid, p.name <> 'project_id', p.name";

/// Tables whose triggers are all there, and were written for other columns than those of today.
const OUTDATED: &str =
    "select w.relation::text, replace(string_agg(r, '; '), 'cannot watch ' || w.relation || ': ', '')
      from pgherald.watched w cross join regexp_split_to_table(w.refresh_due, '; ') r
     where w.enabled and r !~ 'needs no more$' group by w.relation order by 1";

/// Watched tables with columns for a key that no unique index makes one.
const AMBIGUOUS: &str = "select w.relation::text, array_to_string(w.id, ', ') from pgherald.watched w
     where w.id is not null and not exists (
        select from pg_index i
         where i.indrelid = w.relation and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
           and not exists (
            select from generate_series(0, i.indnkeyatts - 1) k
             where not exists (select from pg_attribute a where a.attrelid = i.indrelid and a.attnum = i.indkey[k]
                                  and a.attname = any (w.id))))
     order by 1";

/// Watched tables, not tiny, in which a project's rows can't be looked up.
const UNINDEXED: &str = "select format('%s (%I)', w.relation, a.attname),
           case when exists (select from pg_class c where c.oid = w.relation and c.relkind = 'p')
                then 'create index on ' else 'create index concurrently on ' end
      from pgherald.watched w
      join pg_attribute a on a.attrelid = w.relation and a.attname = w.project and not a.attisdropped
     where (select sum(c.relpages) from pg_class c
             where c.oid = w.relation or c.oid in (select t.relid from pg_partition_tree(w.relation) t)) >= $1
       and not exists (select from pg_index i
                        where i.indrelid = w.relation and i.indisvalid and i.indpred is null and i.indkey[0] = a.attnum)
     order by 1";

/// Whether something was forgotten.
pub async fn unwatched(database: &Database) -> Result<Finding, DatabaseError> {
    let watched = database.ask_one("select count(*)::int8 from pgherald.watched").await?.get::<_, i64>(0);
    let rows = database.ask(UNWATCHED).await?;
    if rows.is_empty() && watched == 0 {
        let advice = "pgherald watch public.tasks --project project_id, for each table that browsers show";
        return Ok(Finding::warning("no table is watched", advice));
    } else if rows.is_empty() {
        return Ok(Finding::ok(format!("{watched} watched, and no other table has a project column")));
    }
    let mut names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    names.sort();
    let command = |row: &tokio_postgres::Row| match row.get(2) {
        "project_id" => format!("pgherald watch --all {}", command_word(row.get(1))),
        column => format!("pgherald watch --all {} --project {}", command_word(row.get(1)), command_word(column)),
    };
    let mut commands: Vec<String> = rows.iter().map(command).collect();
    commands.sort();
    commands.dedup();
    Ok(Finding::warning(
        format!("{}: {}", counted(&names), some_of(&names)),
        format!("{} (--skip leaves out what no browser shows)", some_of(&commands)),
    ))
}

/// Whether the triggers still find the columns that they read.
pub async fn columns(database: &Database) -> Result<Finding, DatabaseError> {
    let rows = database.ask(OUTDATED).await?;
    let wrong: Vec<String> =
        rows.iter().map(|row| format!("{}: {}", row.get::<_, &str>(0), row.get::<_, &str>(1))).collect();
    Ok(if wrong.is_empty() {
        Finding::ok("the watched tables have the columns that their triggers read")
    } else {
        Finding::error(
            format!("{}: where a trigger reads a column that is gone, every write counts as a loss", some_of(&wrong)),
            "as the tables' owner: select * from pgherald.refresh(), which follows renamed columns; \
             where one was dropped: pgherald watch TABLE --project ... --id ...",
        )
    })
}

/// Whether what names a row names one row.
pub async fn keys(database: &Database) -> Result<Finding, DatabaseError> {
    let rows = database.ask(AMBIGUOUS).await?;
    let row = |row: &tokio_postgres::Row| format!("{} ({})", row.get::<_, &str>(0), row.get::<_, &str>(1));
    let tables: Vec<String> = rows.iter().map(row).collect();
    Ok(if tables.is_empty() {
        Finding::ok("each key names one row")
    } else {
        Finding::warning(
            format!("no unique index on the key of {}: it may name several rows", some_of(&tables)),
            "create a unique index on it, or name other columns: pgherald watch ... --id ...",
        )
    })
}

/// Whether a refetch of a project can use an index.
pub async fn indexes(database: &Database) -> Result<Finding, DatabaseError> {
    let rows = database.ask_with(UNINDEXED, &[(&PAGES_MIN, tokio_postgres::types::Type::INT8)]).await?;
    let tables: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    Ok(if tables.is_empty() {
        Finding::ok("each watched table that is not small has one on its project column")
    } else {
        Finding::warning(
            format!("no index begins with the project column of {}", some_of(&tables)),
            format!("what browsers are told to fetch is read by project: {}{}", rows[0].get::<_, &str>(1), tables[0]),
        )
    })
}

fn counted(names: &[String]) -> String {
    match names.len() {
        1 => "1 table with a project column is not watched".to_owned(),
        several => format!("{several} tables with a project column are not watched"),
    }
}
