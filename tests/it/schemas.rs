//! Schemas that nobody here wrote (`tests/schemas`) are watched whole and written to: every write ends as it does in a
//! twin that is not watched, every change is told, and the server's log stays silent.

use std::collections::BTreeSet;
use std::path::Path;

use pgherald::scratch::Scratch;

use crate::twins::{Twins, named};
use crate::witness::{Transport, Witness};
use crate::world::options;

/// Further arguments of `pgherald.watch`, and the transport: each schema is played through in each of these ways, the two
/// large ones in some of them.
const WAYS: [(&str, Transport); 3] =
    [("", Transport::Notify), (", mode => 'row'", Transport::Notify), ("", Transport::Relay)];

/// A schema, and what its application does first.
struct Schema {
    name: &'static str,
    /// The schema of PostgreSQL that it lives in.
    within: &'static str,
    application: &'static [&'static str],
    /// How many tables it has, partitions not counted, and how many of them must have been written to.
    tables: usize,
    written: usize,
}

/// Watches everything, first plainly and then with projects; how many tables that is.
async fn watch(witness: &Witness, schema: &Schema, mode: &str) -> usize {
    let all = format!("select relation::text, outcome, reason from pgherald.watch_all('{}', '*')", schema.within);
    for row in witness.client.query(&all, &[]).await.unwrap() {
        let (relation, outcome): (&str, &str) = (row.get(0), row.get(1));
        let reason = row.get::<_, Option<&str>>(2).unwrap_or_default();
        let explained = ["it has no primary key", "it is a view"].iter().any(|known| reason.contains(known));
        assert!(outcome == "watched" || explained, "{relation}: {outcome}, {reason}");
    }
    let watch = "select relation::text, outcome from play.watch($1)";
    let watched = witness.client.query(watch, &[&mode]).await.unwrap();
    for row in witness.client.query(watch, &[&mode]).await.unwrap() {
        assert_eq!(row.get::<_, &str>(1), "unchanged", "{}", row.get::<_, &str>(0));
    }
    watched.len()
}

/// What there is in a database besides the rows.
async fn catalog(witness: &Witness) -> BTreeSet<String> {
    let rows = witness.client.query("select entry from play.catalog", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn play(schema: &Schema, ways: &[(&str, Transport)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/schemas").join(schema.name).with_extension("sql");
    let install = match schema.name {
        "manual" => include_str!("../schemas/manual.sql").to_owned(),
        _ => std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}: run make tools", path.display())),
    };
    // Without the name of the database, which contains pgherald's.
    let server = Scratch::start(&options().setting("log_line_prefix", "%m [%p] ")).await.unwrap();
    for &(mode, transport) in ways {
        let mut twins = Twins::new(&server, transport, &install).await;
        let before = server.log().len();

        let watched = watch(&twins.watched, schema, mode).await;
        assert_eq!(watched, schema.tables, "{}", schema.name);
        twins.begin().await;
        for call in schema.application {
            for twin in [&twins.watched, &twins.plain] {
                twin.run(&named(call, &twin.url)).await;
            }
        }
        twins.told("application").await;
        twins.watched.run("select pgherald.refresh()").await;
        for n in 1..=3 {
            twins.write("insert", n).await;
        }
        for what in ["update", "delete one", "delete"] {
            twins.write(what, 0).await;
        }
        for n in 4..=5 {
            twins.write("insert", n).await;
        }
        for what in ["update", "truncate"] {
            twins.write(what, 0).await;
        }
        let (written, run, succeeded) = (twins.written.len(), twins.run, twins.succeeded);
        println!("{}{mode} {transport:?}: {written} of {watched} tables, {succeeded} of {run} statements", schema.name);
        assert!(written >= schema.written, "{written} tables were written to: {:?}", twins.written);

        twins.watched.run("select pgherald.unwatch(relation) from pgherald.watched").await;
        let (left, known) = (catalog(&twins.watched).await, catalog(&twins.plain).await);
        assert_eq!(left.symmetric_difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "left after unwatch");
        let log = server.log();
        let loud = ["pgherald", "ERROR", "WARNING", "FATAL", "PANIC"];
        let loud: Vec<_> = log[before..].lines().filter(|line| loud.iter().any(|word| line.contains(word))).collect();
        assert!(loud.is_empty(), "{}", loud.join("\n"));
    }
    server.shutdown().await.unwrap();
}

/// Job queues: partitions that come while it runs, a composite key.
#[tokio::test]
async fn pg_boss() {
    let application = &[
        "select pgboss.create_queue('mail', '{}'), pgboss.create_queue('video', '{\"policy\": \"short\"}')",
        "insert into pgboss.job (name, data) select 'mail', '{\"to\": 1}' from generate_series(1, 5)",
        "update pgboss.job set state = 'active' where name = 'mail'",
        "select pgboss.delete_queue('video')",
    ];
    play(&Schema { name: "pg-boss", within: "pgboss", application, tables: 6, written: 6 }, &WAYS).await;
}

/// Job queues: generated columns, arrays, functions that write to several tables.
#[tokio::test]
async fn graphile_worker() {
    let application = &[
        "select graphile_worker.add_job('mail', '{\"to\": 1}', queue_name => 'q', job_key => 'k', flags => '{a,b}')",
        "select graphile_worker.add_job('mail', '{\"to\": 2}', queue_name => 'q', job_key => 'k')",
        "select graphile_worker.add_job('video') from generate_series(1, 5)",
        "select graphile_worker.reschedule_jobs(array(select id from graphile_worker._private_jobs), priority => 3)",
        "select graphile_worker.permanently_fail_jobs(array(select id from graphile_worker._private_jobs limit 1))",
        "select graphile_worker.complete_jobs(array(select id from graphile_worker._private_jobs limit 2))",
        "select graphile_worker.remove_job('k')",
    ];
    play(&Schema { name: "graphile-worker", within: "graphile_worker", application, tables: 5, written: 5 }, &WAYS)
        .await;
}

/// Job queues: row triggers of its own that write to other tables and NOTIFY, enums, composite types.
#[tokio::test]
async fn procrastinate() {
    let application = &[
        "select procrastinate_defer_jobs_v1(array[row('q', 'mail', 0, 'l', null, '{}', null), row('q', 'video', 1, null, 'u', '{}', null)]::procrastinate_job_to_defer_v1[])",
        "select procrastinate_defer_periodic_job_v2('q', null, null, 'clock', 0, 'p', at, '{}') from unnest(array[1, 2]) at",
        "insert into procrastinate_workers default values",
        "select procrastinate_fetch_job_v2(null, 1) from generate_series(1, 2)",
        "select procrastinate_finish_job_v1(id, 'succeeded', false) from procrastinate_jobs where status = 'doing' order by id limit 1",
        "select procrastinate_retry_job_v1(id, now(), null, null, null) from procrastinate_jobs where status = 'doing' limit 1",
        "select procrastinate_cancel_job_v1(id, true, false) from procrastinate_jobs where status = 'todo' limit 1",
    ];
    play(&Schema { name: "procrastinate", within: "public", application, tables: 4, written: 4 }, &WAYS).await;
}

/// Identities of many tenants: row security, grants, composite keys, checks that call functions, own triggers.
const LOGTO: Schema = Schema {
    name: "logto",
    within: "public",
    application: &[
        "insert into tenants (id, db_user) values ('t', 'logto_tenant_${database}'), ('u', 'nobody')",
        "insert into users (tenant_id, id) values ('u', 'hidden')",
        "set role logto_tenant_${database}",
        "insert into users (id, username) values ('ann', 'Ann'), ('bob', 'Bob')",
        "update users set name = 'N.' where id <> 'bob'",
        "delete from users where id <> 'ann'",
        "reset role",
    ],
    tables: 79,
    written: 70,
};

#[tokio::test]
async fn logto() {
    play(&LOGTO, &WAYS[..1]).await;
}

#[tokio::test]
async fn logto_by_relay() {
    play(&LOGTO, &WAYS[2..]).await;
}

/// Names in quotes and in camelCase, of tables, projects and keys; a table that is called "user".
#[tokio::test]
async fn better_auth() {
    let application = &[
        r#"insert into "user" (id, name, email, "emailVerified") values ('ann', 'Ann', 'a@example.com', true)"#,
        r#"insert into organization values ('o', 'O.', 'o', null, now(), null), ('p', 'P.', 'p', null, now(), null)"#,
        r#"insert into member values ('m', 'o', 'ann', 'owner', now()), ('n', 'p', 'ann', 'member', now())"#,
        r#"update member set "organizationId" = 'p' where id = 'm'"#,
        r#"update "user" set id = 'bob' where not exists (select from member where "userId" = "user".id)"#,
        r#"delete from organization where id = 'p'"#,
    ];
    play(&Schema { name: "better-auth", within: "public", application, tables: 11, written: 11 }, &WAYS).await;
}

/// Names in quotes, arrays, enums, composite keys, the migrations of years.
#[tokio::test]
async fn litellm() {
    play(&Schema { name: "litellm", within: "public", application: &[], tables: 101, written: 100 }, &WAYS[..1]).await;
}

/// Every kind of partition, on two levels; generated columns, domains, composite types, triggers with transition tables.
#[tokio::test]
async fn manual() {
    let application = &[
        "create table measurement_y2006m04 partition of measurement for values from ('2006-04-01') to ('2006-05-01')",
        "insert into measurement values (1, '2006-02-03', 1, 1), (1, '2006-03-03', 2, 2), (2, '2006-04-03', 3, 3)",
        "update measurement set logdate = '2006-02-04' where city_id = 2",
        "insert into measurement_year_month values ('2015-01-01', 1, 1), ('2016-11-05', 2, 2)",
        "insert into cities (name, population) values ('Aachen', 20000), ('Zwolle', 20000)",
        "insert into people (name, height_cm) values ('Ann', 180)",
        "insert into us_snail_addy (street1, city, postal) values ('s', 'c', '12345')",
        "insert into emp (empname, salary) values ('Ann', 1), ('Bob', 2)",
        "update emp set salary = salary + 1",
        "delete from emp where empname = 'Bob'",
    ];
    play(&Schema { name: "manual", within: "public", application, tables: 20, written: 20 }, &WAYS).await;
}
