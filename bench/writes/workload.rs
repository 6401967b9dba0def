//! The transactions that are measured, and the tables that they write. No table grows from run to run: what is inserted
//! is truncated, what is deleted is filled again, and updates find room in their own pages (HOT).

use anyhow::Result;

use crate::pgbench;
use crate::server::Server;

pub struct Workload {
    pub name: &'static str,
    /// pgbench's script, or None for its own TPC-B.
    pub script: Option<&'static str>,
    pub tables: &'static [Watched],
    make: &'static str,
    /// Before each run, without triggers.
    pub reset: &'static str,
    /// After each run: true where the rows did not last, and the rest of the run wrote nothing.
    pub spent: Option<&'static str>,
}

/// A table and how it is watched.
pub struct Watched {
    pub name: &'static str,
    pub project: &'static str,
    /// None for the primary key.
    pub id: Option<&'static str>,
}

/// One branch each for 32 clients, as pgbench's documentation asks for.
const SCALE: &str = "32";

const INSERTED: &[Watched] = &[Watched { name: "inserted", project: "project_id", id: None }];
const UPDATED: &[Watched] = &[Watched { name: "updated", project: "project_id", id: None }];
const MAKE_INSERTED: &str = "create table if not exists inserted (id bigint generated always as identity primary key, \
    project_id integer not null, title text not null)";
/// 10,000 rows for each of 32 clients, in 100 projects, in pages that are two thirds empty.
const MAKE_UPDATED: &str = "create table if not exists updated (id integer primary key, project_id integer not null, \
    title text not null, version integer not null) with (fillfactor = 33); \
    insert into updated select n, n % 100, 'a task to do', 0 from generate_series(0, 319999) n on conflict do nothing";

pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "INSERT of 1 row",
        script: Some("\\set p random(1, 100)\ninsert into inserted (project_id, title) values (:p, 'a task to do');\n"),
        tables: INSERTED,
        make: MAKE_INSERTED,
        reset: "truncate inserted",
        spent: None,
    },
    Workload {
        name: "UPDATE of 1 row",
        script: Some("\\set id random(0, 319999)\nupdate updated set version = version + 1 where id = :id;\n"),
        tables: UPDATED,
        make: MAKE_UPDATED,
        reset: "vacuum updated",
        spent: None,
    },
    Workload {
        name: "DELETE of 1 row",
        script: Some("delete from deleted where id = (select nextval('deleted_next'));\n"),
        tables: &[Watched { name: "deleted", project: "project_id", id: None }],
        make: "create table deleted (id bigint primary key, project_id integer not null, title text not null); \
            create sequence deleted_next",
        reset: "truncate deleted; \
            insert into deleted select n, n % 100, 'a task to do' from generate_series(1, 100000) n; \
            alter sequence deleted_next restart; vacuum deleted",
        spent: Some("select last_value > 100000 from deleted_next"),
    },
    Workload {
        name: "INSERT of 100 rows, 1 project",
        script: Some(
            "insert into inserted (project_id, title) select 7, 'a task to do' from generate_series(1, 100);\n",
        ),
        tables: INSERTED,
        make: MAKE_INSERTED,
        reset: "truncate inserted",
        spent: None,
    },
    Workload {
        name: "INSERT of 100 rows, 10 projects",
        script: Some(
            "insert into inserted (project_id, title) select n % 10, 'a task to do' from generate_series(1, 100) n;\n",
        ),
        tables: INSERTED,
        make: MAKE_INSERTED,
        reset: "truncate inserted",
        spent: None,
    },
    Workload {
        name: "UPDATE of 10,000 rows, 100 projects",
        script: Some(
            "update updated set version = version + 1 \
             where id between :client_id * 10000 and :client_id * 10000 + 9999;\n",
        ),
        tables: UPDATED,
        make: MAKE_UPDATED,
        reset: "vacuum updated",
        spent: None,
    },
    Workload {
        name: "TPC-B of pgbench",
        script: None,
        tables: &[
            Watched { name: "pgbench_accounts", project: "bid", id: None },
            Watched { name: "pgbench_branches", project: "bid", id: None },
            Watched { name: "pgbench_tellers", project: "bid", id: None },
            Watched { name: "pgbench_history", project: "bid", id: Some("aid") },
        ],
        make: "",
        reset: "truncate pgbench_history; vacuum pgbench_branches; vacuum pgbench_tellers; vacuum pgbench_accounts",
        spent: None,
    },
];

impl Workload {
    pub async fn make(&self, server: &Server) -> Result<()> {
        if self.script.is_none() {
            return pgbench::initialize(server, SCALE).await;
        }
        server.execute(self.make).await
    }
}
