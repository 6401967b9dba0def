//! The schema comes, once, whole, and with little right.

use std::process::{Command, Stdio};

use pgherald::migrate::{self, MigrateError};
use tokio_postgres::Client;

use crate::world::{Database, connect, unique};

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(&format!("select count(*) from {sql}"), &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_fresh_database_is_migrated_once() {
    let Database { url: _url, mut client } = Database::empty().await;
    let mut lines = Vec::new();
    let all = migrate::pending(&client).await.unwrap();
    assert_eq!(all, migrate::run(&mut client, |line| lines.push(line.to_owned())).await.unwrap());
    assert_eq!(lines[0], "migration 0001_pgherald.sql");
    assert_eq!(lines.len(), all.migrations.len() + all.functions.len());
    assert!(migrate::pending(&client).await.unwrap().is_empty());
    assert!(migrate::run(&mut client, |line| panic!("{line}")).await.unwrap().is_empty());
}

#[tokio::test]
async fn twenty_migrations_at_once_are_one() {
    let Database { url, client } = Database::empty().await;
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { migrate::run(&mut connect(&url).await, |_| {}).await })
        })
        .collect();
    let mut busy = 0;
    for task in tasks {
        busy += i32::from(!task.await.unwrap().unwrap().is_empty());
    }
    assert_eq!(busy, 1);
    assert_eq!(count(&client, "pgherald.migrations where version = 1").await, 1);
}

#[tokio::test]
async fn a_changed_migration_is_refused_with_both_checksums() {
    let Database { url: _url, mut client } = Database::empty().await;
    migrate::run(&mut client, |_| {}).await.unwrap();
    client.batch_execute("update pgherald.migrations set checksum = 'abc'").await.unwrap();
    let error = migrate::run(&mut client, |_| {}).await.unwrap_err();
    assert!(
        matches!(&error, MigrateError::Changed { name, ours, theirs }
            if name == "0001_pgherald.sql" && ours.len() == 64 && theirs == "abc"),
        "{error}"
    );
}

#[tokio::test]
async fn a_newer_database_is_refused_with_both_versions() {
    let Database { url: _url, mut client } = Database::empty().await;
    migrate::run(&mut client, |_| {}).await.unwrap();
    client.batch_execute("insert into pgherald.migrations values (9000, 'from_tomorrow', 'x')").await.unwrap();
    let error = migrate::run(&mut client, |_| {}).await.unwrap_err();
    assert!(matches!(error, MigrateError::Newer { ours: 1.., theirs: 9000 }), "{error}");
    assert!(matches!(migrate::pending(&client).await, Err(MigrateError::Newer { .. })));
}

#[tokio::test]
async fn a_changed_function_file_is_applied_again() {
    let Database { url: _url, mut client } = Database::empty().await;
    migrate::run(&mut client, |_| {}).await.unwrap();
    client
        .batch_execute(
            "update pgherald.functions set checksum = 'old' where name = 'notify.sql';
             drop function pgherald.notify(text, text, text, text)",
        )
        .await
        .unwrap();
    let report = migrate::run(&mut client, |_| {}).await.unwrap();
    assert_eq!((report.migrations, report.functions), (vec![], vec!["notify.sql"]));
    client.batch_execute("select pgherald.notify('task', '1')").await.unwrap();
}

#[tokio::test]
async fn an_older_schema_whose_functions_return_less_is_brought_up_to_date() {
    let Database { url: _url, mut client } = Database::empty().await;
    migrate::run(&mut client, |_| {}).await.unwrap();
    let older = "delete from pgherald.migrations where version = 3;
        update pgherald.functions set checksum = 'old' where name in ('parts.sql', 'column_text.sql');
        drop function pgherald.parts(regclass, jsonb, text, text, text);
        drop function pgherald.column_text(regclass, name, text);
        create function pgherald.parts(regclass, jsonb, text, text, text, out id text) language sql as 'select null';
        create function pgherald.column_text(regclass, name, text default 'r', out expression text) language sql as 'select null'";
    client.batch_execute(older).await.unwrap();
    let report = migrate::run(&mut client, |_| {}).await.unwrap();
    assert_eq!(report.migrations, ["0003_parts.sql"]);
    assert_eq!(report.functions, ["column_text.sql", "parts.sql"]);
    client.batch_execute("create table tasks (id int primary key, project_id int)").await.unwrap();
    client.batch_execute("select pgherald.watch('tasks')").await.unwrap();
}

#[tokio::test]
async fn a_role_without_rights_is_told_the_grant_and_the_grant_is_enough() {
    let Database { url, client: admin } = Database::empty().await;
    let role = unique("migrator");
    let name: String = admin.query_one("select current_database()", &[]).await.unwrap().get(0);
    admin.batch_execute(&format!("create role {role}")).await.unwrap();
    let mut client = connect(&url).await;
    client.batch_execute(&format!("set role {role}")).await.unwrap();
    let error = migrate::run(&mut client, |_| {}).await.unwrap_err().to_string();
    let grant = format!("grant create on database {name} to {role}");
    assert!(error.ends_with(&grant), "{error}");
    assert!(!migrate::pending(&client).await.unwrap().is_empty());
    admin.batch_execute(&grant).await.unwrap();
    migrate::run(&mut client, |_| {}).await.unwrap();
    admin.batch_execute(&format!("drop owned by {role}; drop role {role}")).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_somebody_else_made_is_refused() {
    let Database { url, client: admin } = Database::empty().await;
    let (role, other) = (unique("migrator"), unique("other"));
    let name: String = admin.query_one("select current_database()", &[]).await.unwrap().get(0);
    admin
        .batch_execute(&format!(
            "create role {role}; create role {other}; grant create on database {name} to {role};
             create schema pgherald authorization {other}"
        ))
        .await
        .unwrap();
    let mut client = connect(&url).await;
    client.batch_execute(&format!("set role {role}")).await.unwrap();
    let error = migrate::run(&mut client, |_| {}).await.unwrap_err().to_string();
    assert!(error.contains(&format!("belongs to {other}")), "{error}");
    // the schema alone is enough where a DBA gave it to the role
    admin
        .batch_execute(&format!("alter schema pgherald owner to {role}; revoke create on database {name} from {role}"))
        .await
        .unwrap();
    migrate::run(&mut client, |_| {}).await.unwrap();
    admin.batch_execute(&format!("drop owned by {role}, {other}; drop role {role}, {other}")).await.unwrap();
}

#[tokio::test]
async fn the_script_equals_the_runner_and_twice_equals_once() {
    let Database { url, mut client } = Database::empty().await;
    for _ in 0..2 {
        let mut psql = Command::new("psql")
            .args(["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", "-", &*url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = psql.stdin.take().unwrap();
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, migrate::script().as_bytes()));
        let output = psql.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
    assert!(migrate::run(&mut client, |line| panic!("{line}")).await.unwrap().is_empty());
}

#[tokio::test]
async fn everything_has_a_comment_and_nothing_is_open_that_need_not_be() {
    let Database { url: _url, mut client } = Database::empty().await;
    migrate::run(&mut client, |_| {}).await.unwrap();
    let bare = "(select oid::regclass::text as name, obj_description(oid, 'pg_class') as comment
          from pg_class where relnamespace = 'pgherald'::regnamespace and relkind in ('r', 'v', 'S')
         union all
        select oid::regprocedure::text, obj_description(oid, 'pg_proc')
          from pg_proc where pronamespace = 'pgherald'::regnamespace) o where comment is null";
    assert_eq!(count(&client, bare).await, 0);
    let unpinned = "pg_proc where pronamespace = 'pgherald'::regnamespace
        and not coalesce('search_path=pg_catalog, pg_temp' = any (proconfig), false)";
    assert_eq!(count(&client, unpinned).await, 0);
    let writable = "pg_class where relnamespace = 'pgherald'::regnamespace and relkind in ('r', 'v', 'S')
        and (relacl is null or relacl::text ~ '[{,]=[^r/]')";
    assert_eq!(count(&client, writable).await, 0);
    // what writers need for the relay: to add a payload
    let columns = "pg_attribute where attrelid::regclass::text like 'pgherald.%' and attacl is not null
        and not (attname = 'payload' and attacl::text ~ '^{=a/[^,]*}$' and attrelid::regclass::text ~ 'queue_[0-3]$')";
    assert_eq!(count(&client, columns).await, 0);
    let creatable = "pg_namespace where nspname = 'pgherald' and nspacl::text ~ '[{,]=[^/]*C'";
    assert_eq!(count(&client, creatable).await, 0);
}

#[tokio::test]
async fn a_superuser_who_migrates_leaves_everything_to_the_schemas_owner() {
    let Database { url: _url, mut client } = Database::empty().await;
    let role = unique("installer");
    client.batch_execute(&format!("create role {role}; create schema pgherald authorization {role}")).await.unwrap();
    migrate::run(&mut client, |_| {}).await.unwrap();
    let others = format!(
        "(select proowner as owner from pg_proc where pronamespace = 'pgherald'::regnamespace union all
          select relowner from pg_class where relnamespace = 'pgherald'::regnamespace) o where owner <> '{role}'::regrole"
    );
    assert_eq!(count(&client, &others).await, 0);
    client
        .batch_execute("create table tasks (id int primary key, project_id int); select pgherald.watch('tasks')")
        .await
        .unwrap();
    assert_eq!(count(&client, &others).await, 0);
    client.batch_execute(&format!("drop table tasks; drop owned by {role}; drop role {role}")).await.unwrap();
}
