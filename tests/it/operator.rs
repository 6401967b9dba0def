//! The scripts for a DBA: two roles that may little, and a way out that leaves nothing.

use std::collections::BTreeSet;
use std::process::{Output, Stdio};

use pgherald::migrate;
use pgherald::scratch::Scratch;
use tokio::process::Command;
use tokio_postgres::Client;

use crate::world::{Database, Settings, World, connect, options, unique, until};

/// Runs a script of `sql/operator` as a DBA does.
async fn psql(script: &str, url: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-f"]).arg(format!("{}/sql/operator/{script}", env!("CARGO_MANIFEST_DIR")));
    for (name, value) in variables {
        command.arg("-v").arg(format!("{name}={value}"));
    }
    command.arg(url).env("PGOPTIONS", "").stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap()
}

/// The same; what it printed, where it succeeded.
async fn runs(script: &str, url: &str, variables: &[(&str, &str)]) -> String {
    let output = psql(script, url, variables).await;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{script}: {said}");
    said
}

/// The same, of a script that fails.
async fn fails(script: &str, url: &str, variables: &[(&str, &str)]) -> String {
    let output = psql(script, url, variables).await;
    assert!(!output.status.success(), "{script} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

/// Every row of every catalog of this database. Left out is what the server changes by itself at any time: statistics,
/// and in `pg_class` its estimates and `relhastriggers`, which a table keeps until VACUUM.
async fn catalog(client: &Client) -> BTreeSet<String> {
    let tables = "select oid::regclass::text, relisshared from pg_class
         where relnamespace = 'pg_catalog'::regnamespace and relkind = 'r'
           and (not relisshared or oid = 'pg_shdepend'::regclass) and relname not like 'pg_statistic%'";
    let mut rows = BTreeSet::new();
    for table in client.query(tables, &[]).await.unwrap() {
        let (name, shared): (String, bool) = (table.get(0), table.get(1));
        let sql = format!(
            "select (to_jsonb(t) - '{{relhastriggers,relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid}}'::text[])::text
               from {name} t {}",
            if shared { "where dbid = (select oid from pg_database where datname = current_database())" } else { "" }
        );
        for row in client.query(&sql, &[]).await.unwrap() {
            rows.insert(format!("{name} {}", row.get::<_, String>(0)));
        }
    }
    assert!(rows.len() > 5000, "{} rows of the catalog were found", rows.len());
    rows
}

fn assert_same(before: &BTreeSet<String>, after: &BTreeSet<String>) {
    let more: Vec<_> = after.difference(before).collect();
    let less: Vec<_> = before.difference(after).collect();
    assert!(more.is_empty() && less.is_empty(), "more: {more:#?}\nless: {less:#?}");
}

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(&format!("select count(*) from {sql}"), &[]).await.unwrap().get(0)
}

/// Sessions that relay.
const RELAY: &str = "pg_locks where locktype = 'advisory' and classid = 7434 and objid = 3 and granted
    and database = (select oid from pg_database where datname = current_database())";
const TRIGGERS: &str = "pg_trigger where tgname like 'pgherald%'";

/// An application with triggers, comments and default rights of its own.
const APPLICATION: &str = r#"
    create schema "Other.Schema";
    alter default privileges in schema public grant select on tables to public;
    create table plain (id int primary key, project_id int, parent int references plain on delete cascade);
    create table bonds (a int, b uuid, project_id int, primary key (a, b));
    create table "Other.Schema"."Odd ""%s' $1 ☃" ("the ""id""" text primary key, project_id int);
    create table days (id int, project_id int, day int, primary key (id, day)) partition by list (day);
    create table day1 partition of days for values in (1);
    create table day23 partition of days for values in (2, 3) partition by list (day);
    create table day2 partition of day23 for values in (2);
    create table mother (id int primary key, project_id int); create table child () inherits (mother);
    create table leaves (id int primary key, plain_id int references plain);
    create function own() returns trigger language plpgsql as 'begin return null; end';
    create trigger pgherald_of_the_application after insert on plain for each statement execute function own();
    comment on trigger pgherald_of_the_application on plain is 'not pgherald''s';
    comment on table plain is 'a table';
    grant select on plain to public;
"#;

#[tokio::test]
async fn uninstall_leaves_the_catalog_as_it_was_and_twice_is_fine() {
    let Database { url, mut client } = Database::empty().await;
    client.batch_execute(APPLICATION).await.unwrap();
    let before = catalog(&client).await;
    migrate::run(&mut client, |_| {}).await.unwrap();
    client
        .batch_execute(
            r#"select pgherald.watch(t) from unnest(array['plain', 'bonds', '"Other.Schema"."Odd ""%s'' $1 ☃"']::regclass[]) t;
               select pgherald.watch('days', '*', max_ids => 5), pgherald.watch('mother', resource => 'mum');
               select pgherald.watch('leaves', 'plain_id->project_id'), pgherald.watch('bonds', mode => 'row', always => true),
                      pgherald.watch('days', '*', max_ids => 5, mode => 'row', columns => array['project_id'], include => array['day']);
               create table gone (id int primary key, project_id int); select pgherald.watch('gone'); drop table gone;
               create table day4 partition of days for values in (4); select pgherald.watch('days', '*');
               alter table days detach partition day4;
               select pgherald.set_transport('relay');
               insert into plain values (1, 7, null); insert into days values (1, 7, 1)"#,
        )
        .await
        .unwrap();
    assert!(catalog(&client).await.len() > before.len() + 100);
    let said = runs("uninstall.sql", &url, &[]).await;
    for line in [
        "plain: dropped pgherald_delete, pgherald_insert, pgherald_moved_",
        "public.day2: dropped pgherald_",
        "public.day4: dropped pgherald_",
        "\"Other.Schema\".\"Odd \"\"%s' $1 ☃\": dropped pgherald_delete",
        "dropped view pgherald.watched",
        " of them generated for tables",
        "dropped the queue of the relay",
        "dropped schema pgherald",
    ] {
        assert!(said.contains(line), "{line} is not in {said}");
    }
    client.batch_execute("drop table day4").await.unwrap();
    assert_same(&before, &catalog(&client).await);
    let said = runs("uninstall.sql", &url, &[]).await;
    assert!(said.contains("nothing to do"), "{said}");
    assert_same(&before, &catalog(&client).await);
    client.batch_execute("insert into plain values (2, 7, 1); delete from plain; truncate days").await.unwrap();
    // and in again
    migrate::run(&mut client, |_| {}).await.unwrap();
    client.batch_execute("select pgherald.watch('plain')").await.unwrap();
}

#[tokio::test]
async fn uninstall_stops_at_what_is_not_pgheralds_and_changes_nothing() {
    let Database { url, client } = Database::sample().await;
    for (made, named, unmade) in [
        ("create view report as select relation from pgherald.watched", "view public.report", "drop view report"),
        ("create table pgherald.mine (id int)", "table pgherald.mine", "drop table pgherald.mine"),
        (
            "create function pgherald.mine() returns int language sql as 'select 1'",
            "function pgherald.mine()",
            "drop function pgherald.mine()",
        ),
    ] {
        client.batch_execute(made).await.unwrap();
        let before = catalog(&client).await;
        let error = fails("uninstall.sql", &url, &[]).await;
        assert!(error.contains(named) && error.contains("Nothing was changed"), "{error}");
        assert_same(&before, &catalog(&client).await);
        client.batch_execute(unmade).await.unwrap();
    }
    runs("uninstall.sql", &url, &[]).await;
    assert_eq!(count(&client, TRIGGERS).await, 0);
    // somebody else's schema of that name
    client
        .batch_execute(
            "create schema pgherald; create function pgherald.f() returns trigger language plpgsql as 'begin return null; end';
             create trigger pgherald_insert after insert on tasks execute function pgherald.f()",
        )
        .await
        .unwrap();
    let error = fails("uninstall.sql", &url, &[]).await;
    assert!(error.contains("pgherald.f()"), "{error}");
    assert_eq!(count(&client, TRIGGERS).await, 1);
}

#[tokio::test]
async fn uninstall_gives_up_where_a_table_is_in_use_and_nobody_waits_behind_it() {
    let Database { url, client } = Database::sample().await;
    let reader = connect(&url).await;
    reader.batch_execute("begin; select from tasks").await.unwrap();
    let error = fails("uninstall.sql", &url, &[("wait", "200ms")]).await;
    assert!(error.contains("in use") && error.contains("\"public.tasks\"") && error.contains("Try again"), "{error}");
    let waiting = tokio::spawn({
        let url = url.clone();
        async move { runs("uninstall.sql", &url, &[("wait", "30s")]).await }
    });
    until("the script to try", async || {
        count(&client, "pg_stat_activity where datname = current_database() and query like 'do $$%'").await > 0
    })
    .await;
    client.batch_execute("set statement_timeout = '5s'; update tasks set done = true").await.unwrap();
    reader.batch_execute("commit").await.unwrap();
    waiting.await.unwrap();
    assert_eq!(count(&client, TRIGGERS).await, 0);
}

/// Else all the watched tables would be locked until he ends.
#[tokio::test]
async fn uninstall_gives_up_where_somebody_has_told_and_not_committed() {
    let Database { url, client } = Database::sample().await;
    let teller = connect(&url).await;
    teller.batch_execute("begin; select pgherald.notify('task', '1', 'UPDATE', '7')").await.unwrap();
    let before = catalog(&client).await;
    let error = fails("uninstall.sql", &url, &[("wait", "300ms")]).await;
    assert!(error.contains("pgherald's own are in use") && error.contains("pg_locks"), "{error}");
    assert_same(&before, &catalog(&client).await);
    teller.batch_execute("commit").await.unwrap();
    let said = runs("uninstall.sql", &url, &[]).await;
    assert_eq!(said.matches("dropped tables").count(), 1, "{said}");
    assert_eq!(count(&client, TRIGGERS).await, 0);
}

#[tokio::test]
async fn uninstall_takes_the_queue_from_a_relay_and_from_writers() {
    let World { daemon, database } = World::new().await;
    let Database { url, client } = &database;
    client.batch_execute("select pgherald.set_transport('relay')").await.unwrap();
    until("a relay", async || count(client, RELAY).await == 1).await;
    // else writers append nothing
    daemon.is_present().await;
    // In flight, with a lock on the queue alone.
    let teller = connect(url).await;
    let payload = r#"{"table":"tasks","action":"UPDATE","project_id":"7","ids":null}"#;
    let append = format!("begin; insert into pgherald.queue_0 (payload) values ('{payload}')");
    teller.batch_execute(&append).await.unwrap();
    let error = fails("uninstall.sql", url, &[("wait", "300ms")]).await;
    assert!(error.contains("pgherald's own are in use") && error.contains("Nothing was changed"), "{error}");
    assert_eq!(count(client, TRIGGERS).await, 16);
    let waiting = tokio::spawn({
        let url = url.clone();
        async move { runs("uninstall.sql", &url, &[("wait", "30s")]).await }
    });
    until("the script to try", async || {
        count(client, "pg_stat_activity where datname = current_database() and query like 'do $$%'").await > 0
    })
    .await;
    // No deadlock: it wants what the script has, and the script what it has.
    teller
        .batch_execute("set local deadlock_timeout = '10s'; update tasks set done = true where id = 1")
        .await
        .unwrap();
    teller.batch_execute("commit").await.unwrap();
    let busy = tokio::spawn({
        let url = url.clone();
        async move {
            let writer = connect(&url).await;
            loop {
                writer.batch_execute("update tasks set done = not done where id = 2").await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        }
    });
    assert!(waiting.await.unwrap().contains("dropped schema pgherald"));
    assert!(!busy.is_finished(), "a writer has failed");
    busy.abort();
    assert_eq!(count(client, TRIGGERS).await, 0);
    drop(daemon);
}

/// A cluster's roles: a DBA who is no superuser, the owner of the application's tables, a writer, and the script's two.
struct Roles {
    dba: String,
    application: String,
    writer: String,
    owner: String,
    daemon: String,
}

impl Roles {
    async fn new(client: &Client) -> Roles {
        let roles = Roles {
            dba: unique("dba"),
            application: unique("application"),
            writer: unique("writer"),
            owner: unique("Owner of"),
            daemon: unique("daemon"),
        };
        let (Roles { dba, application, writer, .. }, database) = (&roles, database(client).await);
        client
            .batch_execute(&format!(
                "create role {application}; create role {writer} login; create role {dba} login createrole;
                 grant {application} to {dba}; alter database {database} owner to {dba};
                 revoke all on database {database} from public; grant connect on database {database} to {writer};
                 create schema app authorization {application}; grant usage on schema app to {writer};
                 set role {application};
                 create table app.members (project_id int, user_id text, primary key (project_id, user_id));
                 create table app.tasks (id int primary key, project_id int);
                 insert into app.members values (7, 'alice');
                 grant insert, update on app.tasks to {writer};
                 reset role"
            ))
            .await
            .unwrap();
        roles
    }

    fn variables(&self) -> [(&str, &str); 3] {
        [("owner", &self.owner), ("daemon", &self.daemon), ("membership", "app.members")]
    }

    async fn drop(self, client: &Client) {
        let database = database(client).await;
        let Roles { dba, application, writer, owner, daemon } = self;
        client.batch_execute(&format!("alter database {database} owner to current_user")).await.unwrap();
        let all = format!(r#""{owner}", {daemon}, {application}, {writer}, {dba}"#);
        client.batch_execute(&format!("drop owned by {all} cascade; drop role {all}")).await.unwrap();
    }
}

async fn database(client: &Client) -> String {
    client.query_one("select current_database()", &[]).await.unwrap().get(0)
}

/// The same database as somebody else.
fn url_of(url: &str, role: &str) -> String {
    let mut url = reqwest::Url::parse(url).unwrap();
    url.set_username(role).unwrap();
    url.into()
}

#[tokio::test]
async fn the_owner_installs_the_daemon_serves_and_a_writer_needs_nothing() {
    let Database { url, client } = Database::empty().await;
    let roles = Roles::new(&client).await;
    let dba = url_of(&url, &roles.dba);
    let first = runs("roles.sql", &dba, &roles.variables()).await;
    assert!(first.contains("not yet: pgherald migrate") && !first.contains(" no: "), "{first}");
    let before = catalog(&client).await;
    assert_eq!(runs("roles.sql", &dba, &roles.variables()).await, first);
    assert_same(&before, &catalog(&client).await);

    migrate::run(&mut connect(&dba).await, |_| {}).await.unwrap();
    let others = format!(
        "(select nspowner as owner from pg_namespace where nspname = 'pgherald' union all
          select proowner from pg_proc where pronamespace = 'pgherald'::regnamespace union all
          select relowner from pg_class where relnamespace = 'pgherald'::regnamespace) o
         where pg_get_userbyid(owner) <> '{}'",
        roles.owner
    );
    assert_eq!(count(&client, &others).await, 0);
    let application = connect(&url_of(&url, &roles.dba)).await;
    let watch = format!("set role {}; select pgherald.watch('app.tasks')", roles.application);
    application.batch_execute(&watch).await.unwrap();
    assert_eq!(count(&client, &others).await, 0);

    let served = Settings::new(&url_of(&url, &roles.daemon))
        .set("authorize.query", "select from app.members where project_id = $1 and user_id = $2");
    let daemon = served.start().await;
    let mut alice = daemon.browser("alice", "7").await;
    let writer = connect(&url_of(&url, &roles.writer)).await;
    writer.batch_execute("insert into app.tasks values (1, 7)").await.unwrap();
    while alice.short().await != "task INSERT 7/1" {}
    // the daemon's look at the counter of losses needs no more than the role has
    client.batch_execute("select pgherald.count_dropped(null, 'a test')").await.unwrap();
    while alice.short().await != "reconnect notification_dropped" {}

    let intruder = connect(&url_of(&url, &roles.daemon)).await;
    for sql in [
        "select from app.tasks",
        "insert into app.members values (8, 'alice')",
        "create schema x",
        "create temporary table x (id int)",
        "create function pgherald.x() returns int language sql as 'select 1'",
        "select nextval('pgherald.dropped')",
        "delete from pgherald.functions",
        "select pgherald.unwatch('app.tasks')",
    ] {
        let error = intruder.batch_execute(sql).await.expect_err(sql);
        assert_eq!(error.code().unwrap().code(), "42501", "{sql}: {error:?}");
    }
    let third = runs("roles.sql", &dba, &roles.variables()).await;
    assert_eq!(third.matches(" yes").count(), 5, "{third}");

    drop(daemon);
    // the DBA needs no superuser to take it all out again
    let said = runs("uninstall.sql", &dba, &[]).await;
    assert!(said.contains("app.tasks: dropped pgherald_delete"), "{said}");
    writer.batch_execute("update app.tasks set project_id = 8").await.unwrap();
    roles.drop(&client).await;
}

#[tokio::test]
async fn the_daemons_role_relays_once_the_script_ran_after_the_installation() {
    let server = Scratch::start(&options()).await.unwrap();
    let Database { url, client } = Database::on(server.url()).await;
    let roles = Roles::new(&client).await;
    let dba = url_of(&url, &roles.dba);
    let said = runs("roles.sql", &dba, &roles.variables()).await;
    assert!(said.contains("not yet: pgherald migrate, then run this again"), "{said}");
    let mut installer = connect(&dba).await;
    migrate::run(&mut installer, |_| {}).await.unwrap();
    let watch = format!("set role {}; select pgherald.watch('app.tasks'); reset role", roles.application);
    installer.batch_execute(&watch).await.unwrap();
    let daemon = Settings::new(&url_of(&url, &roles.daemon))
        .set("authorize.query", "select from app.members where project_id = $1 and user_id = $2")
        .start()
        .await;
    let mut alice = daemon.browser("alice", "7").await;
    installer.batch_execute("select pgherald.set_transport('relay')").await.unwrap();
    // Coarser, as long as it may not.
    alice.hears(&["reconnect notification_dropped"]).await;
    let said = runs("roles.sql", &dba, &roles.variables()).await;
    assert_eq!(said.matches(" yes").count(), 5, "{said}");
    until("the daemon to relay", async || count(&client, RELAY).await == 1).await;
    daemon.is_present().await;
    let writer = connect(&url_of(&url, &roles.writer)).await;
    writer.batch_execute("insert into app.tasks values (1, 7)").await.unwrap();
    while alice.short().await != "task INSERT 7/1" {}
    // Enough for the relay to tidy up. It may not VACUUM, and does not fill the server's log with that. Where somebody looks at
    // the queue just then, it is left for the next time.
    let append =
        "select pgherald.append(array_agg('{\"a\":\"' || repeat('a', 100) || '\"}')) from generate_series(1, 6000)";
    until("a table to be left", async || {
        writer.batch_execute(append).await.unwrap();
        daemon.metric("pgherald_relay_rotations_total").await > 0.0
    })
    .await;
    assert!(!server.log().contains("vacuum"), "{}", server.log());
    // What it may does not let it read along.
    let intruder = connect(&url_of(&url, &roles.daemon)).await;
    for sql in ["select from pgherald.queue", "delete from pgherald.queue_0", "select pgherald.set_transport('notify')"]
    {
        let error = intruder.batch_execute(sql).await.expect_err(sql);
        assert_eq!(error.code().unwrap().code(), "42501", "{sql}: {error:?}");
    }
    drop((daemon, intruder, writer, installer, client, url));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_a_superuser_installed_is_handed_over_to_the_owner() {
    let Database { url, mut client } = Database::empty().await;
    let roles = Roles::new(&client).await;
    migrate::run(&mut client, |_| {}).await.unwrap();
    client.batch_execute("select pgherald.watch('app.tasks')").await.unwrap();
    let said = runs("roles.sql", &url, &roles.variables()).await;
    assert_eq!(said.matches(" yes").count(), 5, "{said}");
    let kept = "(select proowner as owner from pg_proc where pronamespace = 'pgherald'::regnamespace union all
          select relowner from pg_class where relnamespace = 'pgherald'::regnamespace) o where owner = current_user::regrole";
    assert_eq!(count(&client, kept).await, 0);
    client.batch_execute("update pgherald.functions set checksum = '' where name = 'watched.sql'").await.unwrap();
    let report = migrate::run(&mut client, |_| {}).await.unwrap();
    assert_eq!(report.functions, ["watched.sql"]);
    client
        .batch_execute(&format!(
            "set role {}; select pgherald.watch('app.tasks', '*'), pgherald.unwatch('app.tasks'); reset role",
            roles.application
        ))
        .await
        .unwrap();
    runs("uninstall.sql", &url, &[]).await;
    roles.drop(&client).await;
}

#[tokio::test]
async fn roles_tell_what_the_dba_may_not_do() {
    let Database { url, client } = Database::empty().await;
    let roles = Roles::new(&client).await;
    let (dba, [owner, daemon, _]) = (url_of(&url, &roles.dba), roles.variables());
    // without a members table, in a name that has no table, in one that is somebody else's
    for name in ["project_members", "nowhere.members"] {
        let said = runs("roles.sql", &dba, &[owner, daemon, ("membership", name)]).await;
        assert!(said.contains("no: there is no such table here"), "{said}");
    }
    client.batch_execute(&format!("revoke {} from {}", roles.application, roles.dba)).await.unwrap();
    client.batch_execute(&format!("grant usage on schema app to {}", roles.dba)).await.unwrap();
    let said = runs("roles.sql", &dba, &roles.variables()).await;
    let hint = format!("no: as {}: grant usage on schema app to {}", roles.application, roles.daemon);
    assert!(said.contains(&hint), "{said}");
    // somebody else's schema of that name stays his
    client
        .batch_execute(&format!(
            "drop schema pgherald; create schema pgherald authorization {0}; alter table app.members enable row level security",
            roles.application
        ))
        .await
        .unwrap();
    let said = runs("roles.sql", &url, &roles.variables()).await;
    assert!(said.contains(&format!("no: to {}, and it is not pgherald's", roles.application)), "{said}");
    assert!(said.contains("the rows that its policies show"), "{said}");
    roles.drop(&client).await;
}

#[tokio::test]
async fn status_tells_what_a_dba_asks_first() {
    let Database { url, mut client } = Database::empty().await;
    let said = runs("status.sql", &url, &[]).await;
    assert!(said.contains("pgherald is not installed") && said.contains("used_percent"), "{said}");
    migrate::run(&mut client, |_| {}).await.unwrap();
    client.batch_execute(include_str!("../../sql/demo/sample.sql")).await.unwrap();
    client
        .batch_execute(
            "alter table sprints disable trigger pgherald_update; select pgherald.count_dropped(null, 'a test');
             create table p (id int primary key, project_id int) partition by range (id);
             create table p1 partition of p default; select pgherald.watch('p'); alter table p detach partition p1",
        )
        .await
        .unwrap();
    let daemon = Settings::new(&url).start().await;
    let said = runs("status.sql", &url, &[]).await;
    let row = |cells: &[&str]| {
        let found = said.lines().any(|line| line.split('|').map(str::trim).collect::<Vec<_>>().starts_with(cells));
        assert!(found, "{cells:?} is not in {said}");
    };
    row(&["1", "0001_pgherald.sql"]);
    row(&["notify"]);
    row(&["tasks", "project_id", "{id}", "", "t", "1", "4"]);
    row(&["sprints", "project_id", "{id}", "", "f", "1", "4"]);
    row(&["p1"]);
    row(&["lost"]);
    row(&["1"]);
    assert!(said.contains("primary") && said.contains("0.00"), "{said}");
    let (_, daemons) = said.split_once("== Daemons").unwrap();
    assert!(daemons.contains("127.0.0.1"), "{daemons}");

    client.batch_execute("select pgherald.set_transport('relay')").await.unwrap();
    until("a relay", async || count(&client, RELAY).await == 1).await;
    daemon.is_present().await;
    let said = runs("status.sql", &url, &[]).await;
    let (_, transport) = said.split_once("== Transport").unwrap();
    let cells: Vec<Vec<&str>> = transport.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    assert!(cells.iter().any(|row| row[0] == "relay" && row[2..5] == ["0", "0", "0"]), "{said}");
    assert!(
        cells.iter().any(|row| row.len() > 4 && row[3] == "relay" && ["awake", "asleep"].contains(&row[4])),
        "{said}"
    );
    assert!(cells.iter().any(|row| row.len() > 4 && row[3] == "present"), "{said}");
    drop(daemon);
}
