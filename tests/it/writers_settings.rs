//! No session of a writer is so odd that a write fails or goes untold.

use crate::browser::Browser;
use crate::witness::{MODES, TRANSPORTS, Transport, WAYS, Way, Witness, rows, told};
use crate::world::{Database, Settings, connect, server, unique};

const TABLES: &str = r#"create table tasks (id int primary key, project_id int, title text);
    create table words (id text primary key, project_id text);
    create table "Back\slash 'n ""quote""" (id text primary key, project_id int);
    select pgherald.watch('tasks'$mode), pgherald.watch('words'$mode), pgherald.watch('"Back\slash ''n ""quote"""'$mode);"#;

/// Every query of a trigger: one project, several, a moved row, no project, a long id, more rows than `max_ids`.
const WRITES: &str = r#"begin read write;
    insert into public.tasks (id, project_id) values (1, 7), (2, 7); insert into public.tasks values (3, 8), (4, null);
    update public.tasks set project_id = 9 where id operator(pg_catalog.=) 2; update public.tasks set id = 5 where id operator(pg_catalog.=) 3;
    insert into public.words values ('a', 'p'), ('b', 'p'), (pg_catalog.repeat('x', 9000), 'q');
    delete from public.tasks where id operator(pg_catalog.=) 1; truncate public.words;
    insert into public."Back\slash 'n ""quote""" values ('c:\', 7);
    insert into public.tasks select g, 8 from pg_catalog.generate_series(1001, 2500) g;
    commit"#;

/// What they change, as `told` has it, but for the last table, whose name has blanks.
fn changes(mode: &str) -> std::collections::BTreeSet<String> {
    let all = "tasks INSERT 7/1 7/2 8/3 */*, tasks UPDATE 7/2 9/2 8/3 8/5, words INSERT p/a p/b q/*, tasks DELETE 7/1, words DELETE */*";
    let mut all = rows(all, mode);
    all.insert(r#"Back\slash 'n "quote" INSERT 7/c:\"#.to_owned());
    if mode.contains("row") {
        all.extend((1001..=2500).map(|id| format!("tasks INSERT 8/{id}")));
    } else {
        all.insert("tasks INSERT 8/*".to_owned());
    }
    all
}

/// What a session may be set to.
const SETTINGS: &[&str] = &[
    "set lock_timeout = '1ms'; set statement_timeout = '60s'",
    "set standard_conforming_strings = off; set escape_string_warning = off; set backslash_quote = on",
    "set backslash_quote = off",
    "set quote_all_identifiers = on",
    "set row_security = off",
    "set default_transaction_read_only = on",
    "set default_transaction_isolation = serializable; set default_transaction_deferrable = on",
    "set plpgsql.variable_conflict = 'use_variable'; set plpgsql.extra_errors = 'all'",
    "set plpgsql.variable_conflict = 'error'; set plpgsql.extra_warnings = 'all'; set plpgsql.print_strict_params = on",
    "set check_function_bodies = off; set array_nulls = off; set transform_null_equals = on",
    "set client_encoding = 'LATIN1'",
    "set client_encoding = 'SQL_ASCII'",
    "set client_min_messages = log; set log_min_messages = debug1",
    "set search_path = ''",
    "set search_path = pg_temp",
    "set search_path = nowhere, \"$user\"",
    "set datestyle = 'German'; set timezone = 'Asia/Kathmandu'; set intervalstyle = 'iso_8601'; set bytea_output = 'escape'; set extra_float_digits = -15",
    "set plan_cache_mode = force_generic_plan; set jit_above_cost = 0; set jit_optimize_above_cost = -1; set jit_inline_above_cost = -1; set parallel_setup_cost = 0; set parallel_tuple_cost = 0",
    "set enable_hashagg = off; set enable_sort = off; set work_mem = '64kB'; set enable_seqscan = off; set jit = off",
    "set pgherald.nonsense = 'x'; set pgherald.origin = ''",
];

async fn settings_of_a_session(Way { mode, transport }: Way, all: impl Iterator<Item = &'static str>) {
    let mut witness = Witness::by(transport, "").await;
    for settings in all {
        witness.run(&TABLES.replace("$mode", mode)).await;
        witness.payloads().await;
        // a writer of its own: what is compiled and planned in this session was so under these settings
        let writer = connect(&witness.url).await;
        writer.batch_execute(settings).await.unwrap();
        // without standard strings a backslash needs another one
        let doubled = settings.contains("conforming");
        let writes = if doubled { WRITES.replace(r"'c:\'", r"'c:\\'") } else { WRITES.to_owned() };
        writer.batch_execute(&writes).await.unwrap_or_else(|error| panic!("{settings}: {error:?}"));
        assert_eq!(witness.covered().await, changes(mode), "{mode} {settings}");
        // watching and telling by hand, in such a session
        let calls = "begin read write; select pgherald.unwatch('public.words'), pgherald.watch('public.tasks', '*', resource => 'r'), pgherald.watch('public.words'), pgherald.notify('n', '1', 'UPDATE', '7'), pgherald.refresh(); insert into public.words values ('z', '7'); commit";
        writer.batch_execute(calls).await.unwrap_or_else(|error| panic!("{settings}: {error:?}"));
        assert_eq!(witness.covered().await, rows("n UPDATE 7/1, words INSERT 7/z", mode), "{settings}");
        assert_eq!(witness.dropped().await, 0, "{settings}");
        let drop = r#"drop table tasks, words, "Back\slash 'n ""quote"""; select pgherald.drop_unused()"#;
        witness.run(drop).await;
    }
}

#[tokio::test]
async fn settings_of_the_writers_session() {
    settings_of_a_session(Way { mode: MODES[0], transport: Transport::Notify }, SETTINGS.iter().copied()).await;
}

#[tokio::test]
async fn settings_of_the_writers_session_in_row_mode() {
    settings_of_a_session(Way { mode: MODES[1], transport: Transport::Notify }, SETTINGS.iter().copied()).await;
}

/// Each of them in one of the modes.
#[tokio::test]
async fn settings_of_the_writers_session_by_relay() {
    for (place, mode) in MODES.into_iter().enumerate() {
        let way = Way { mode, transport: Transport::Relay };
        settings_of_a_session(way, SETTINGS.iter().copied().skip(place).step_by(2)).await;
    }
}

#[tokio::test]
async fn origins_of_every_kind() {
    for &Way { mode, transport } in &WAYS[..3] {
        let mut witness = Witness::by(transport, &TABLES.replace("$mode", mode)).await;
        let long = "😀".repeat(250_000);
        for (origin, sent) in [
            ("a".to_owned(), "a".to_owned()),
            (long.clone(), long.chars().take(100).collect()),
            ("\u{1}\u{2}\n\t\r\"\\}],\u{7f}".to_owned(), "\u{1}\u{2}\n\t\r\"\\}],\u{7f}".to_owned()),
            (r#"","ids":null,"x":""#.to_owned(), r#"","ids":null,"x":""#.to_owned()),
            ("\u{1}".repeat(200), "\u{1}".repeat(100)),
            ("%s%I$1".to_owned(), "%s%I$1".to_owned()),
        ] {
            witness.client.query_one("select set_config('pgherald.origin', $1, false)", &[&origin]).await.unwrap();
            witness.run(WRITES).await;
            let payloads = witness.payloads().await;
            assert!(payloads.len() >= 12, "{payloads:?}");
            for payload in &payloads {
                let event: serde_json::Value = serde_json::from_str(payload).unwrap();
                assert_eq!(event["origin"].as_str(), Some(&*sent), "{payload}");
            }
            let clear = r#"delete from tasks; truncate words, "Back\slash 'n ""quote""""#;
            witness.covers(clear).await;
            assert_eq!(witness.covers(WRITES).await, changes(mode), "{sent}");
            witness.covers(clear).await;
        }
        assert_eq!(witness.dropped().await, 0);
    }
}

/// A schema with a trap in place of everything that PostgreSQL has: functions, aggregates, operators, types.
const TRAPS: &str = "create schema evil;
    do $$ declare f record; o record; t record; begin
        for f in select proname, oid::regprocedure as name, pg_get_function_identity_arguments(oid) as arguments, pg_get_function_result(oid) as result
                   from pg_proc where pronamespace = 'pg_catalog'::regnamespace and prokind in ('f', 'a', 'w') loop
            begin
                execute format('create function evil.%I(%s) returns %s language plpgsql as %L', f.proname, f.arguments,
                    coalesce(f.result, 'text'), format('begin raise %L; end', 'hijacked: ' || replace(f.name::text, '%', '')));
            exception when others then null; end;
        end loop;
        for o in select oprname, oprleft::regtype as l, oprright::regtype as r, oprresult::regtype as result, oid from pg_operator where oprkind = 'b' loop
            begin
                execute format('create function evil.%I(%s, %s) returns %s language plpgsql as %L', 'boom' || o.oid, o.l, o.r, o.result,
                    format('begin raise %L; end', 'hijacked: ' || replace(o.oprname, '%', 'mod') || ' of ' || o.l || ' and ' || o.r));
                execute format('create operator evil.%s (leftarg = %s, rightarg = %s, function = evil.%I)', o.oprname, o.l, o.r, 'boom' || o.oid);
            exception when others then null; end;
        end loop;
        for t in select typname from pg_type where typnamespace = 'pg_catalog'::regnamespace and typtype = 'b' and typelem = 0 loop
            execute format('create type evil.%I as enum (''x'')', t.typname);
        end loop;
    end $$;
    create table evil.pgherald_new (id int); create table evil.pgherald_old (id int); create table evil.pg_class (oid int);
    create table evil.pg_trigger (oid int); create table evil.pg_attribute (oid int); create table evil.tasks (id int);";

#[tokio::test]
async fn a_search_path_full_of_traps() {
    for Way { mode, transport } in WAYS {
        let mut witness = Witness::by(transport, &TABLES.replace("$mode", mode)).await;
        witness.run(TRAPS).await;
        let traps = "select (select count(*) from pg_proc where pronamespace = 'evil'::regnamespace) || ' ' ||
            (select count(*) from pg_operator where oprnamespace = 'evil'::regnamespace)";
        let traps: Vec<usize> = witness.get(traps).await.split(' ').map(|count| count.parse().unwrap()).collect();
        assert!(traps[0] > 2500 && traps[1] > 600, "{traps:?}");
        let writer = connect(&witness.url).await;
        let temporary = "create temporary table pgherald_new (id int, project_id int); create temporary table pgherald_old (id int);
            create temporary table pg_class (oid int); create temporary table pg_trigger (oid int); create temporary table tasks (id int);
            create function pg_temp.split(text[]) returns text[] language plpgsql as 'begin raise ''hijacked''; end';
            create function pg_temp.pg_notify(text, text) returns void language plpgsql as 'begin raise ''hijacked''; end';
            set search_path = evil, pg_temp, public, pg_catalog";
        writer.batch_execute(temporary).await.unwrap();
        writer.batch_execute(WRITES).await.unwrap();
        assert_eq!(witness.covered().await, changes(mode));
        let calls = "select pgherald.unwatch('public.words'), pgherald.watch('public.tasks', '*'), pgherald.watch('public.words'),
                pgherald.refresh(), pgherald.watch_all('public'), pgherald.notify('n', '1', 'UPDATE', '7');
            insert into public.words values ('z', '7')";
        writer.batch_execute(calls).await.unwrap();
        assert_eq!(witness.covered().await, rows("n UPDATE 7/1, words INSERT 7/z", mode));
        // a loss is counted in such a session too
        witness.run("alter table tasks rename id to key").await;
        writer.batch_execute("insert into public.tasks values (-1, 7)").await.unwrap();
        assert_eq!(witness.dropped().await, 1);
    }
}

#[tokio::test]
async fn writers_with_few_rights_and_tables_with_policies() {
    for Way { mode, transport } in WAYS {
        let (owner, writer) = (unique("owner"), unique("writer"));
        let mut witness = Witness::by(transport, "").await;
        let setup = format!(
            "create role {owner}; create role {writer}; grant create on schema public to {owner}; set role {owner};
             create table tasks (id int primary key, project_id int, title text, who text default current_user);
             insert into tasks select g, 7 + g % 2, 'x', case g when 4 then 'somebody' else '{writer}' end from generate_series(1, 4) g;
             alter table tasks enable row level security, force row level security;
             create policy own on tasks to {writer} using (who = current_user) with check (project_id > 0);
             create policy all_of_it on tasks to {owner} using (true) with check (project_id > 0);
             select pgherald.watch('tasks'{mode});
             grant insert (id, project_id), update (title, project_id), delete, select (id, who) on tasks to {writer};
             create function sweep(n int) returns void language sql security definer set search_path = '' as 'delete from public.tasks where id = n';
             create function put(n int) returns void language sql security definer as 'insert into public.tasks values (n, 9)';
             set role {writer}"
        );
        witness.run(&setup).await;
        for (sql, expected) in [
            ("insert into tasks (id, project_id) values (11, 7)", "tasks INSERT 7/11"),
            ("update tasks set title = 'y'", "tasks UPDATE 8/1 7/2 8/3 7/11"),
            ("update tasks set project_id = 9 where id = 1", "tasks UPDATE 8/1 9/1"),
            ("delete from tasks where id > 2", "tasks DELETE 8/3 7/11"),
            ("select sweep(4), put(12)", "tasks DELETE 7/4, tasks INSERT 9/12"),
        ] {
            assert_eq!(witness.covers(sql).await, rows(expected, mode), "{sql}");
        }
        // what a policy refuses is refused, and not told
        assert!(
            witness.fails("insert into tasks (id, project_id) values (13, -1)").await.contains("row-level security")
        );
        assert!(witness.fails("truncate tasks").await.contains("permission denied"));
        witness.run("reset role").await;
        assert!(witness.covered().await.is_empty());
        assert_eq!(witness.dropped().await, 0);
        witness.run(&format!("drop owned by {owner}, {writer} cascade; drop role {owner}, {writer}")).await;
    }
}

#[tokio::test]
async fn a_replica_is_silent() {
    told(
        TABLES,
        &[
            ("set session_replication_role = replica; insert into tasks values (1, 7); update tasks set project_id = 8; truncate words", ""),
            ("reset session_replication_role; delete from tasks", "tasks DELETE 8/1"),
        ],
    )
    .await;
}

#[tokio::test]
async fn event_triggers_of_the_application() {
    for Way { mode, transport } in WAYS {
        let schema = "create table ddl (id serial primary key, project_id int default 7, tag text);
            create function noted() returns event_trigger language plpgsql as
                'begin insert into public.ddl (tag) values (tg_tag); end';
            create event trigger noted_start on ddl_command_start execute function noted();
            create event trigger noted_end on ddl_command_end execute function noted();
            create event trigger noted_drop on sql_drop execute function noted();
            select pgherald.watch('ddl'$mode)";
        let mut witness = Witness::by(transport, &schema.replace("$mode", mode)).await;
        witness.payloads().await;
        let noted = witness.covers("create table tasks (id int primary key, project_id int)").await;
        assert_eq!(noted.len(), 2, "{noted:?}");
        // in the same mode: in between, functions are of the one and triggers of the other
        let calls = "select pgherald.watch('tasks'$mode), pgherald.unwatch('tasks'), pgherald.watch('tasks'$mode), pgherald.watch('ddl', '*'$mode), pgherald.refresh()";
        witness.run(&calls.replace("$mode", mode)).await;
        witness.payloads().await;
        assert_eq!(
            witness.covers("insert into tasks values (1, 7); update tasks set id = 2").await,
            rows("tasks INSERT 7/1, tasks UPDATE 7/1 7/2", mode)
        );
        assert!(witness.covers("drop table tasks").await.len() >= 2);
        assert_eq!(witness.dropped().await, 0);
    }
}

/// A database in `encoding`, its daemon and a session on project 7.
async fn world_in(encoding: &str) -> (crate::world::Daemon, Browser, Database) {
    let made = format!("encoding '{encoding}' lc_collate 'C' lc_ctype 'C' template template0");
    let database = Database::with(server().await, &made).await.with_sample().await;
    database.run("create table words (id text primary key, project_id text); select pgherald.watch('words')").await;
    let daemon = Settings::new(&database.url).start().await;
    let alice = daemon.browser("alice", "7").await;
    (daemon, alice, database)
}

#[tokio::test]
async fn a_database_in_another_encoding() {
    for encoding in ["LATIN1", "EUC_JP", "WIN1251"] {
        let (daemon, mut alice, database) = world_in(encoding).await;
        let (letter, latin) = match encoding {
            "LATIN1" => ("é", "set client_encoding = 'LATIN1'"),
            "EUC_JP" => ("表", "set client_encoding = 'SJIS'"),
            _ => ("ж", "set client_encoding = 'KOI8R'"),
        };
        database.run(&format!("insert into words values ('{letter}', '7')")).await;
        alice.hears(&[&format!("word INSERT 7/{letter}")]).await;
        // 2 bytes of UTF-8 and 1 of the server's: the server's count
        let writer = connect(&database.url).await;
        writer.batch_execute(&format!("{latin}; update words set id = repeat(id, 3900)")).await.unwrap();
        let told = [alice.short().await, alice.short().await];
        assert!(
            told.iter().any(|told| told == &format!("word UPDATE 7/{letter}"))
                || told.iter().any(|told| told == "word UPDATE 7/*"),
            "{encoding}"
        );
        drop(daemon);
    }
}

/// Bytes of any kind, and nobody who could turn them into a JSON text: the daemon is told that it missed something.
#[tokio::test]
async fn a_database_without_an_encoding() {
    let (daemon, mut alice, database) = world_in("SQL_ASCII").await;
    database.run("insert into words values ('é', '7')").await;
    alice.hears(&["word INSERT 7/é"]).await;
    let row = database.client.query_one(r"with w as (insert into words values (convert_from('\xff41'::bytea, 'SQL_ASCII'), '7') returning 1) select count(*) from w", &[]);
    row.await.unwrap();
    alice.hears(&["reconnect database_reconnected"]).await;
    database.run("insert into words values ('after', '7')").await;
    alice.hears(&["word INSERT 7/after"]).await;
    drop(daemon);
}

/// Types are looked for in pg_temp first, also under `set search_path = ''`: anybody who may make a temporary type runs
/// code with the rights of whoever installed pgherald.
#[tokio::test]
async fn functions_with_definer_rights_run_nothing_of_their_callers() {
    let role = crate::world::unique("low");
    for call in [
        "count_dropped(1, 'x')",
        "drop_unused()",
        "generate('tasks'::pg_catalog.regclass)",
        "watch('tasks'::pg_catalog.regclass)",
    ] {
        let witness =
            Witness::new("create table tasks (id int primary key, project_id int); create table ran_as (role text)")
                .await;
        let sql = format!(
            "create role {role}; grant all on schema public to {role}; alter table tasks owner to {role}; grant insert on ran_as to {role};
             set role {role};
             create function pg_temp.f(oid) returns bool language plpgsql as
                 'begin insert into public.ran_as values (current_user); return true; end';
             create domain pg_temp.regclass as oid check (pg_temp.f(value));
             create domain pg_temp.regrole as oid check (pg_temp.f(value));
             create domain pg_temp.regprocedure as oid check (pg_temp.f(value))"
        );
        witness.run(&sql).await;
        let called = witness.client.batch_execute(&format!("select pgherald.{call}")).await;
        witness.run("reset role; discard temp").await;
        let ran = witness.get("select string_agg(distinct role, ',') from ran_as").await;
        witness.run(&format!("drop owned by {role} cascade; drop role {role}")).await;
        assert_eq!(ran, "null", "{call}");
        called.unwrap();
    }
}

/// A temporary type of the writer's stands before PostgreSQL's own.
#[tokio::test]
async fn temporary_types_of_the_writer_cost_no_notification() {
    for transport in TRANSPORTS {
        let mut witness = Witness::by(transport, "create table words (id text primary key, project_id int); select pgherald.watch('words');
        create type pg_temp.text as enum ('x'); create type pg_temp.json as enum ('x'); create type pg_temp.regclass as enum ('x')").await;
        let told = witness.covers("insert into words values (repeat('x', 9000), 7)").await;
        assert_eq!(told, ["words INSERT 7/*".to_owned()].into());
    }
}
