//! A watched database that is dumped, restored or replicated: nothing fails, and nothing is told that nobody did.

use std::path::{Path, PathBuf};

use pgherald::migrate;
use pgherald::scratch::{Options, Scratch};
use tokio::process::Command;
use tokio_postgres::Client;

use crate::witness::{TRANSPORTS, Transport, WAYS, Way, Witness, rows};
use crate::world::{Database, Settings, connect, options, server, until};

/// Runs a program of PostgreSQL's that must succeed; what it printed.
async fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("PGOPTIONS", "").kill_on_drop(true).output().await;
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{} {arguments:?}: {said}", program.display());
    said
}

/// A dump is made by programs as new as the server, or newer. Those beside it are taken, or else the ones in PATH; where
/// these are too old for the server of the tests, one of their own version is started, so that the test is never left out.
async fn dumpable() -> (PathBuf, String, Option<Scratch>) {
    let beside = std::env::var_os("PGHERALD_TEST_PG_BIN").map(|bin| PathBuf::from(bin).join("pg_dump"));
    let program = beside.filter(|program| program.is_file()).unwrap_or_else(|| "pg_dump".into());
    let version = run(&program, &["--version"]).await;
    let number = version.split(' ').find_map(|word| word.trim().split('.').next()?.parse::<i32>().ok()).unwrap();
    let url = server().await;
    let row = connect(&url).await.query_one("select current_setting('server_version_num')::int / 10000", &[]).await;
    if row.unwrap().get::<_, i32>(0) <= number {
        return (program, url, None);
    }
    let own = Options { bin: None, ..options() };
    let scratch = Scratch::start(&own).await.unwrap();
    ("pg_dump".into(), scratch.url(), Some(scratch))
}

/// What is watched, and how; and every function of ours.
async fn kit(client: &Client) -> Vec<String> {
    let sql = "select w::text from pgherald.watched w union all select transport from pgherald.transport union all
        select concat(oid::regprocedure, md5(prosrc), proconfig, prosecdef,
                array(select a::text from aclexplode(coalesce(proacl, acldefault('f', proowner))) a order by 1)) from pg_proc where pronamespace = 'pgherald'::regnamespace
        order by 1";
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

const MORE: &str = "create table days (id int, project_id int, day int, primary key (id, day)) partition by list (day);
    create table day1 partition of days for values in (1); create table day2 partition of days default;
    create schema \"Other.Schema\"; create table \"Other.Schema\".\"Odd \"\"%s' $1 ☃\" (id text primary key, project_id int);
    create table stamps (id timestamptz primary key, project_id int);
    insert into days select g, 7 + g % 2, g % 3 from generate_series(1, 5000) g;
    insert into stamps values ('2026-02-01 00:00:00+00', 7);
    insert into \"Other.Schema\".\"Odd \"\"%s' $1 ☃\" values ('a', 7);
    select pgherald.watch('days'$days), pgherald.watch('stamps', resource => 'st\"amp'$mode);
    select pgherald.watch('\"Other.Schema\".\"Odd \"\"%s'' $1 ☃\"', '*'$mode);
    select pgherald.count_dropped(null, 'a test')";

#[tokio::test]
async fn a_dump_is_restored_in_silence_and_watched() {
    let (pg_dump, url, scratch) = dumpable().await;
    let beside = |name: &str| pg_dump.with_file_name(name);
    for Way { mode, transport } in WAYS {
        let source = Database::on(url.clone()).await.with_sample().await;
        let few = format!("{}, max_ids => 5", mode.replace(", max_ids => 10000", ""));
        source.run(&MORE.replace("$days", &few).replace("$mode", mode)).await;
        let formats: &[&str] = match transport {
            Transport::Notify => &["custom", "directory", "plain"],
            Transport::Relay => &["custom", "plain"],
        };
        if transport == Transport::Relay {
            source.run("select pgherald.set_transport('relay')").await;
        }
        let expected = kit(&source.client).await;
        assert!(expected.len() > 35, "{expected:?}");
        let folder = tempfile::tempdir().unwrap();
        for format in formats {
            let file = folder.path().join(format);
            let file = file.to_str().unwrap();
            run(&pg_dump, &[&format!("--format={format}"), "--file", file, &source.url]).await;
            let mut witness = Witness::of(Database::on(url.clone()).await).await;
            if *format == "plain" {
                run(&beside("psql"), &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, &witness.url]).await;
            } else {
                run(&beside("pg_restore"), &["--exit-on-error", "--jobs=2", "--dbname", &witness.url, file]).await;
            }
            witness.begin_to_relay().await;
            assert_eq!(witness.payloads().await, [""; 0], "{format}");
            assert_eq!(kit(&witness.client).await, expected, "{format}");
            assert_eq!(
                witness.get("(select count(*) from days) || ' ' || (select count(*) from tasks)").await,
                "5000 3"
            );
            let writes =
                "update tasks set done = true where id = 1; insert into day1 values (0, 8, 1); truncate stamps";
            let told = rows("tasks UPDATE 7/1, days INSERT 8/0:1, st\"amp DELETE */*", mode);
            assert_eq!(witness.covers(writes).await, told, "{format}");
            let outcomes = witness.get("(select string_agg(distinct outcome, ',') from pgherald.refresh())").await;
            assert_eq!((outcomes.as_str(), witness.dropped().await), ("unchanged", 1));
            // nothing is left to be installed, and a later version finds its way
            let report = migrate::run(&mut connect(&witness.url).await, |_| {}).await.unwrap();
            assert!(report.functions.is_empty(), "{report:?}");
        }
        // rows that come into a watched database are told, unless whoever brings them asks for silence
        let file = folder.path().join("custom");
        let file = file.to_str().unwrap();
        let mut witness = Witness::of(Database::on(url.clone()).await).await;
        run(&beside("pg_restore"), &["--exit-on-error", "--dbname", &witness.url, file]).await;
        witness.begin_to_relay().await;
        let url = witness.url.clone();
        let data = ["--exit-on-error", "--data-only", "--table=stamps", "--dbname", &url, file];
        witness.covers("truncate stamps").await;
        run(&beside("pg_restore"), &[&data[..], &["--disable-triggers"]].concat()).await;
        assert_eq!(witness.payloads().await, [""; 0]);
        witness.covers("truncate stamps").await;
        run(&beside("pg_restore"), &data).await;
        let told: Vec<_> = witness.covered().await.into_iter().collect();
        assert_eq!(told, ["st\"amp INSERT 7/2026-02-01 00:00:00+00"]);
    }
    if let Some(scratch) = scratch {
        scratch.shutdown().await.unwrap();
    }
}

/// As for a development server: with the functions of triggers that append, and without the row that says so.
#[tokio::test]
async fn a_dump_without_data_is_watched_by_the_transport_that_its_triggers_have() {
    let (pg_dump, url, scratch) = dumpable().await;
    for transport in TRANSPORTS {
        let source = Database::on(url.clone()).await.with_sample().await;
        if transport == Transport::Relay {
            source.run("select pgherald.set_transport('relay')").await;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("schema");
        let file = file.to_str().unwrap();
        run(&pg_dump, &["--schema-only", "--file", file, &source.url]).await;
        let restored = Database::on(url.clone()).await;
        let psql = pg_dump.with_file_name("psql");
        run(&psql, &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, &restored.url]).await;
        restored.run("insert into projects values (7, 'p'); insert into project_members values (7, 'alice')").await;
        let daemon = Settings::new(&restored.url).start().await;
        daemon.is_present().await;
        let mut alice = daemon.browser("alice", "7").await;
        let insert = "insert into tasks (id, project_id, title) overriding system value values";
        restored.run(&format!("{insert} (1, 7, 'a')")).await;
        alice.hears(&["task INSERT 7/1"]).await;
        // what is written anew fits the daemons, and so does whatever somebody chooses
        restored.run(&format!("select pgherald.refresh(); {insert} (2, 7, 'b')")).await;
        alice.hears(&["task INSERT 7/2"]).await;
        for (n, chosen) in ["relay", "notify"].into_iter().enumerate() {
            restored.run(&format!("select pgherald.set_transport('{chosen}')")).await;
            restored.run(&format!("{insert} ({}, 7, 'c')", 3 + n)).await;
            alice.hears(&[&format!("task INSERT 7/{}", 3 + n)]).await;
        }
    }
    if let Some(scratch) = scratch {
        scratch.shutdown().await.unwrap();
    }
}

const REPLICATED: &str = "create table tasks (id int primary key, project_id int, title text); create table words (id text primary key, project_id int);";

/// Apply fires row triggers, and those of TRUNCATE, and of either only what is enabled "always": so a subscriber that is
/// watched by statement says nothing of rows, and its writes succeed.
#[tokio::test]
async fn a_subscriber_applies_what_it_is_sent() {
    let scratch = Scratch::start(&options().setting("wal_level", "logical")).await.unwrap();
    for (number, Way { mode, transport }) in WAYS.into_iter().enumerate() {
        let publisher = Database::on(scratch.url()).await;
        publisher.run(&format!("{REPLICATED} insert into tasks values (1, 7); insert into words values ('a', 7); create publication p for table tasks, words")).await;
        let slot = format!("select pg_create_logical_replication_slot('slot{number}', 'pgoutput')");
        publisher.run(&slot).await;
        let setup = format!(
            "{REPLICATED} select pgherald.watch('tasks'{mode}), pgherald.watch('words'{mode});
             do $$ declare t name; begin for t in select tgname from pg_trigger where tgrelid = 'words'::regclass and tgname like 'pgherald%' loop
                 execute format('alter table words enable always trigger %I', t); end loop; end $$"
        );
        let mut subscriber = Database::on(scratch.url()).await;
        migrate::run(&mut subscriber.client, |_| {}).await.unwrap();
        subscriber.run(&setup).await;
        if transport == Transport::Relay {
            subscriber.run("select pgherald.set_transport('relay')").await;
        }
        let mut witness = Witness::of(subscriber).await;
        let from = publisher.url.replace("postgresql://postgres@", "").replace('/', ":");
        let [host, port, name] = from.split(':').collect::<Vec<_>>()[..] else { panic!("{from}") };
        witness
            .run(&format!("create subscription s{number} connection 'host={host} port={port} user=postgres dbname={name}' publication p with (create_slot = false, slot_name = 'slot{number}')"))
            .await;
        let applied = async |witness: &Witness, fact: &str| {
            until(fact, async || witness.get(fact).await == "true").await;
        };
        applied(&witness, "(select count(*) = 1 from tasks) and (select count(*) = 1 from words)").await;
        applied(&witness, "(select bool_and(srsubstate = 'r') from pg_subscription_rel)").await;
        // the first copy is a COPY, and fires what is enabled always
        assert_eq!(witness.covered().await, rows("words INSERT 7/a", mode));

        publisher.run("insert into tasks values (2, 8); insert into words values ('b', 8), (repeat('x', 9000), 8); update words set project_id = 9 where id = 'a'; delete from words where id = 'b'; delete from tasks where id = 1; update tasks set title = 'last'").await;
        applied(&witness, "exists (select from tasks where title = 'last')").await;
        assert_eq!(witness.get("select count(*) from words").await, "2");
        let expected = " | words INSERT 8/b 8/*, words UPDATE 7/a 9/a, words DELETE 8/b";
        assert_eq!(witness.covered().await, rows(expected, mode));

        publisher.run("truncate tasks, words; insert into tasks values (3, 8)").await;
        applied(&witness, "exists (select from tasks where id = 3)").await;
        assert_eq!(witness.covered().await, rows("words DELETE */*", mode));
        // who writes on the subscriber itself is heard
        assert_eq!(witness.covers("insert into tasks values (4, 7)").await, rows("tasks INSERT 7/4", mode));
        assert_eq!(witness.dropped().await, 0);
        witness.run(&format!("drop subscription s{number}")).await;
    }
    scratch.shutdown().await.unwrap();
}
