//! Who may still see a project: one query for all its subscribers, whatever the query and the type of its subjects.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use pgherald::access::Access;
use pgherald::config::{Config, File};
use pgherald::database;
use pgherald::event::{ProjectId, Scope};
use pgherald::token::Claims;

use crate::pooler::Pooler;
use crate::proxy::Proxy;
use crate::world::{Database, Settings};

/// The rule of these settings, as the daemon opens it.
async fn open(url: &str, query: &str, more: &[(&str, &str)]) -> Result<Access, database::DatabaseError> {
    let settings = [("database.url", url), ("authorize.query", query), ("database.query_timeout", "20s")];
    let variable = |(key, value): &(&str, &str)| {
        (format!("PGHERALD__{}", key.to_uppercase().replace('.', "__")), (*value).to_owned())
    };
    let environment: BTreeMap<String, String> = settings.iter().chain(more).map(variable).collect();
    let config = Config::load(File::None, &environment).unwrap();
    Access::open(&config, Arc::new(database::Database::open(&config.database).unwrap())).await
}

async fn access(database: &Database, query: &str) -> Access {
    open(&database.url, query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error}"))
}

fn project(id: &str) -> ProjectId {
    ProjectId::parse(id).unwrap()
}

fn subjects(all: &[&str]) -> Vec<Arc<str>> {
    all.iter().map(|subject| Arc::from(*subject)).collect()
}

/// Who of `asked` may see project 7, sorted.
async fn members(access: &Access, asked: &[&str]) -> Vec<String> {
    let allowed = access.recheck(&project("7"), &subjects(asked)).await.unwrap();
    let sorted: BTreeSet<String> = allowed.iter().map(|subject| subject.to_string()).collect();
    sorted.into_iter().collect()
}

/// Counts what this thread asks.
fn count() -> (PrometheusRecorder, impl Fn(&str) -> u64) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let count = move |labels: &str| {
        let (text, name) = (handle.render(), format!("pgherald_access_queries_total{{{labels}"));
        let counts = text.lines().filter(|line| line.starts_with(&name)).map(|line| line.rsplit(' ').next().unwrap());
        counts.map(|count| count.parse::<u64>().unwrap()).sum()
    };
    (recorder, count)
}

#[tokio::test]
async fn subjects_are_of_any_type() {
    let database = Database::empty().await;
    database
        .run(
            "create schema \"Odd\";
             create domain \"Odd\".\"My number\" as int check (value > 0);
             create domain \"Odd\".\"Never null\" as text not null check (value <> '');
             create type \"Odd\".\"Em\" as enum ('a', 'b', 'c d');",
        )
        .await;
    let uuids = ["00000000-0000-4000-8000-000000000007", "00000000-0000-4000-8000-000000000008"];
    let types: &[(&str, [&str; 2])] = &[
        ("int", ["1", "2"]),
        ("bigint", ["9007199254740993", "9007199254740992"]),
        ("numeric(20, 2)", ["1.50", "2"]),
        ("text", ["al{i},\"c\\e", "bob"]),
        ("text collate \"C\"", ["Alice", "alice"]),
        ("varchar(20)", ["alice", "al"]),
        // Its name alone means character(1): a member's first letter would do.
        ("character(20)", ["alice", "a"]),
        ("\"char\"", ["x", "y"]),
        ("name", ["alice", "bob"]),
        ("uuid", uuids),
        ("inet", ["10.0.0.1", "10.0.0.2"]),
        ("timestamptz", ["2026-01-01 00:00:00+00", "2026-01-02 00:00:00+00"]),
        ("bit(4)", ["1010", "1000"]),
        ("\"Odd\".\"My number\"", ["1", "2"]),
        ("\"Odd\".\"Never null\"", ["alice", "bob"]),
        ("\"Odd\".\"Em\"", ["a", "c d"]),
    ];
    for (kind, [member, other]) in types {
        database.run(&format!("drop table if exists m; create table m (project int, subject {kind}, place int)")).await;
        database.client.execute(&format!("insert into m values (7, '{member}')"), &[]).await.unwrap();
        let bare = kind.split('(').next().unwrap().replace("character", "bpchar").replace(" collate \"C\"", "");
        // So does this one.
        let bare = if bare == "bit" { "pg_catalog.\"bit\"".to_owned() } else { bare };
        for query in [
            "select 1 from m where project = $1 and subject = $2".to_owned(),
            format!("select from m where $1 = project and subject = $2::{bare}"),
            format!("select subject from m where project = $1 and subject = cast($2 as {bare})"),
        ] {
            let access = access(&database, &query).await;
            assert_eq!(members(&access, &[other, member, member]).await, [*member], "{kind}: {query}");
            assert_eq!(members(&access, &[other, other]).await, [""; 0], "{kind}: {query}");
            assert_eq!(members(&access, &[member]).await, [*member], "{kind}: {query}");
            assert_eq!(members(&access, &[]).await, [""; 0], "{kind}: {query}");
        }
    }
}

#[tokio::test]
async fn queries_are_of_any_shape() {
    let database = Database::sample().await;
    database
        .run(
            "insert into project_members values (7, 'carol');
             create table admins (subject text, place int);
             insert into admins values ('root');
             create function is_member(integer, text) returns boolean language sql stable
                 as 'select exists (select from project_members where project_id = $1 and user_id = $2)';
             create function memberships(integer, text) returns setof project_members language sql stable
                 as 'select * from project_members where project_id = $1 and user_id = $2';
             create function must_be_member(integer, text) returns void language plpgsql stable as '
                 begin
                     if not is_member($1, $2) then raise data_exception; end if;
                 end'",
        )
        .await;
    for query in [
        "select 1 from project_members where project_id = $1 and user_id = $2",
        "select * from project_members where project_id = $1 and user_id = $2;",
        "select from project_members where project_id = $1 and user_id = $2 limit 1 -- the members",
        "table project_members intersect select $1::int, $2, role from project_members",
        "select 1 from projects p join project_members m on m.project_id = p.id where p.id = $1::int and m.user_id = $2",
        "select 1 from projects p left join project_members m on m.project_id = p.id and m.user_id = $2
          where p.id = $1 and m.user_id is not null",
        "select 1 from admins a where a.subject = $2 and $1 = '7' union all
         select 1 from project_members where project_id = $1::int and user_id = $2",
        "with mine as (select project_id from project_members where user_id = $2) select 1 from mine where project_id = $1",
        "with recursive up(id, n) as (select project_id, 1 from project_members where user_id = $2 union all
             select id, n + 1 from up where n < 3) select from up where id = $1 and n = 3",
        "with asked as materialized (select $2 as subject) select 1 from project_members m, asked a
          where m.user_id = a.subject::text and m.project_id = $1",
        "select 1 from projects p where id = $1 and exists (select from project_members m where m.project_id = p.id and m.user_id = $2)",
        "select 1 from projects where id = $1 and $2 in (select user_id from project_members where project_id = id)",
        "select 1 from (select array_agg(user_id) as users, project_id from project_members group by project_id) m
          where project_id = $1 and $2 = any (users)",
        "select 1 where is_member($1, $2)",
        "select from memberships($1, $2)",
        "select (memberships($1, $2)).role",
        "select must_be_member($1, $2)",
        "select 1 from project_members where project_id = $1 and lower(user_id) = lower($2)",
        "select 1 from project_members where project_id::text = $1 and coalesce($2, '') = user_id",
        "select 1 from project_members where project_id = $1 and user_id = nullif($2, '') for share",
        "select user_id from project_members where project_id = $1 group by user_id having bool_or(user_id = $2)",
        "select distinct on (user_id) 1 from project_members where project_id = $1 and user_id = $2 order by user_id",
        "select count(*) over () from project_members where project_id = $1 and user_id = $2",
        "select case when $2 = user_id then 1 else 2 end from project_members where project_id = $1 and user_id = $2",
        "select 1 from project_members, lateral (select $2 as place) s where project_id = $1 and user_id = s.place::text",
        "values (1) intersect select 1 from project_members where project_id = $1 and user_id = $2",
        "select 1 from project_members where project_id = $1 and user_id = $2 and current_setting('server_version') <> $$ $2 $$",
        "/* $2 */ select 1, 2, null as \"$2\" from project_members where project_id = $1 and user_id = $2 /* the end",
    ] {
        let query = if query.ends_with("the end") { format!("{query} */ ; -- $2") } else { query.to_owned() };
        let access = access(&database, &query).await;
        let asked = ["alice", "bob", "carol", "nobody", "al'\"ice", "alice"];
        assert_eq!(members(&access, &asked).await, ["alice", "carol"], "{query}");
    }
}

#[tokio::test]
async fn ten_thousand_subjects_are_one_query() {
    let database = Database::sample().await;
    database.run("insert into project_members select 7, 'user ' || i from generate_series(1, 10000, 2) i").await;
    let (recorder, count) = count();
    let _here = metrics::set_default_local_recorder(&recorder);
    let asked: Vec<Arc<str>> = (1..=10_000).map(|i| format!("user {i}").into()).collect();
    let expected: HashSet<Arc<str>> = asked.iter().step_by(2).cloned().collect();
    for select in ["1", "user_id"] {
        let query = format!("select {select} from project_members where project_id = $1 and user_id = $2");
        let access = access(&database, &query).await;
        let before = count("");
        assert!(access.recheck(&project("7"), &asked).await.unwrap() == expected, "{query}");
        assert!(access.recheck(&project("8"), &asked).await.unwrap().is_empty(), "{query}");
        assert_eq!(count("") - before, 2, "{query}");
        // Each is asked again: a recheck believes no answer, and leaves none.
        assert!(access.recheck(&project("7"), &asked).await.unwrap() == expected, "{query}");
        assert_eq!(count("") - before, 3, "{query}");
        assert!(access.recheck(&project("7"), &[]).await.unwrap().is_empty());
        assert_eq!(count("") - before, 3, "nobody: nothing to ask");
    }
    assert_eq!(count("kind=\"recheck\",result=\"denied\""), 6);
}

#[tokio::test]
async fn a_bad_value_is_nobody_and_costs_the_others_nothing() {
    let database = Database::empty().await;
    database
        .run(
            "create domain positive as int check (value > 0);
             create table m (project int, subject int);
             insert into m select 7, i from generate_series(1, 1000) i",
        )
        .await;
    let (recorder, count) = count();
    let _here = metrics::set_default_local_recorder(&recorder);
    for query in [
        "select 1 from m where project = $1 and subject = $2",
        "select 1 from m where project = $1 and subject = $2::positive",
        "select 1 from m where project = $1 and subject = $2 and 1 / ($2 - 500) <= 1",
    ] {
        let access = access(&database, query).await;
        let numbers: Vec<String> = (2..=1000).map(|i| i.to_string()).collect();
        let mut asked: Vec<&str> = numbers.iter().map(String::as_str).collect();
        for (at, bad) in [(0, "abc"), (500, "-1"), (1001, "1e9999"), (1002, "NULL"), (1003, ""), (7, "a\0b")] {
            asked.insert(at, bad);
        }
        let mut expected = numbers.clone();
        expected.sort();
        if query.contains('/') {
            // The value is good, but the query divides by zero.
            expected.retain(|subject| subject != "500");
        }
        let before = count("");
        assert_eq!(members(&access, &asked).await, expected, "{query}");
        let queries = count("") - before;
        assert!(queries < 120, "{queries} queries to find a few");
        let before = count("");
        assert!(access.recheck(&project("seven"), &subjects(&asked)).await.unwrap().is_empty(), "a bad project");
        assert_eq!(count("") - before, 2, "is seen at once");
        assert_eq!(members(&access, &["abc"]).await, [""; 0]);
    }
    assert_eq!(count("kind=\"recheck\",result=\"error\""), 0);
}

#[tokio::test]
async fn who_is_refused_by_an_error_is_not_allowed() {
    let database = Database::sample().await;
    database
        .run(
            "create function must_be_member(integer, text) returns boolean language plpgsql stable as '
                 begin
                     if $2 <> '''' and not exists (select from project_members where project_id = $1 and user_id = $2) then
                         raise ''% is no member'', $2;
                     end if;
                     return true;
                 end'",
        )
        .await;
    for query in [
        "select must_be_member($1, $2)",
        "select 1 from (select 1) one order by must_be_member($1, $2)",
        "select 1 from (select 1) one group by must_be_member($1, $2)",
        "select 1 where $1 = '7' and $2 = 'alice' union all select 2 where must_be_member($1::int, $2)",
        "select * from (select must_be_member($1, $2)) member",
        "with member as (select must_be_member($1, $2)) select * from member",
    ] {
        let access = access(&database, query).await;
        let asked = subjects(&["alice", "bob"]);
        assert!(access.recheck(&project("7"), &asked).await.is_err(), "{query}");
        assert_eq!(members(&access, &["alice", "alice"]).await, ["alice"], "{query}");
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_no_answer() {
    let database = Database::sample().await;
    let proxy = Proxy::start(&database.url).await;
    let query = "select 1 from project_members where project_id = $1 and user_id = $2";
    let access = open(&proxy.url(&database.url), query, &[("database.query_timeout", "2s")]).await.unwrap();
    assert_eq!(members(&access, &["alice", "bob"]).await, ["alice"]);
    let (recorder, count) = count();
    let _here = metrics::set_default_local_recorder(&recorder);
    proxy.silence();
    for asked in [&["alice", "bob"][..], &["alice"]] {
        assert!(access.recheck(&project("7"), &subjects(asked)).await.is_err());
    }
    assert_eq!(count("kind=\"recheck\",result=\"error\""), 2);
    proxy.speak();
    assert_eq!(members(&access, &["alice", "bob"]).await, ["alice"]);
    database.run("drop table project_members").await;
    assert!(access.recheck(&project("7"), &subjects(&["alice", "bob"])).await.is_err());
}

#[tokio::test]
async fn a_column_that_gets_another_type_is_followed() {
    let database = Database::empty().await;
    database.run("create table m (project int, subject int); insert into m values (7, 1)").await;
    let access = access(&database, "select 1 from m where project = $1 and subject = $2").await;
    assert_eq!(members(&access, &["1", "2"]).await, ["1"]);
    database.run("alter table m alter subject type text; insert into m values (7, 'alice')").await;
    assert_eq!(members(&access, &["1", "2", "alice"]).await, ["1", "alice"]);
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_no_hindrance() {
    let database = Database::sample().await;
    let pooler = Pooler::start(&database.url).await;
    let query = "select 1 from project_members where project_id = $1 and user_id = $2";
    let access = open(&pooler.url(&database.url), query, &[]).await.unwrap();
    for _ in 0..20 {
        let (one, two) = tokio::join!(members(&access, &["alice", "bob"]), members(&access, &["carol", "alice"]));
        assert_eq!((one, two), (vec!["alice".to_owned()], vec!["alice".to_owned()]));
    }
}

#[tokio::test]
async fn a_change_makes_only_the_answers_of_its_project_void() {
    let database = Database::sample().await;
    let query = "select 1 from project_members where project_id = $1 and user_id = $2";
    let access = open(&database.url, query, &[("authorize.cache_ttl", "1h")]).await.unwrap();
    let claims = Claims { subject: "alice".into(), expires_at: u64::MAX, projects: BTreeSet::new(), admin: false };
    let (recorder, count) = count();
    let _here = metrics::set_default_local_recorder(&recorder);
    let seven = project("7");
    let verdict = access.allowed(&claims, &seven).await.unwrap();
    assert!(verdict.allowed && verdict.generation == access.generation(&seven));
    // Few projects share their count of changes with another.
    let moved = (1000..1100).filter(|id| {
        let before = access.generation(&seven);
        access.forget(&Scope::Project(project(&id.to_string())));
        access.generation(&seven) != before
    });
    assert!(moved.count() < 50, "nearly every change is about another project");
    let verdict = access.allowed(&claims, &seven).await.unwrap();
    let asked = count("");
    assert_eq!(access.allowed(&claims, &seven).await.unwrap(), verdict);
    assert_eq!(count(""), asked, "from the cache");
    for scope in [Scope::Project(seven.clone()), Scope::EveryProject] {
        let before = access.generation(&seven);
        access.forget(&scope);
        assert!(access.generation(&seven) > before, "{scope:?}");
        let later = access.allowed(&claims, &seven).await.unwrap();
        assert!(later.allowed && later.generation > before, "{scope:?}");
    }
    assert_eq!(count("") - asked, 2, "each time anew");
}

#[tokio::test]
async fn a_claim_is_not_rechecked() {
    let database = Database::sample().await;
    let access = open(&database.url, "nonsense", &[("authorize.claim", "projects")]).await.unwrap();
    assert!(!access.rechecks());
    assert!(access.recheck(&project("7"), &subjects(&["alice", "bob"])).await.unwrap().is_empty());
    assert!(self::access(&database, "select 1 where $1 = $2").await.rechecks());
}

#[tokio::test]
async fn a_query_that_cannot_be_asked_about_many_stops_the_daemon() {
    let database = Database::sample().await;
    database.run("create table seen (project integer, subject text)").await;
    for (query, why) in [
        ("insert into seen values ($1, $2) returning 1", "syntax error"),
        (
            "with new as (insert into seen values ($1, $2) returning 1) select 1 from new",
            "containing a data-modifying statement must be at the top level",
        ),
        (
            "select user_id from project_members where project_id = $1 group by user_id having max($2) = 'a'",
            "aggregate",
        ),
    ] {
        let output =
            Settings::new(&database.url).set("authorize.query", query).command(&["serve"]).output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{query}: {text}");
        for word in ["authorize.query", "many at once", "rewrite", "docs/operations.md", why] {
            assert!(text.contains(word), "{query}: no {word:?} in {text}");
        }
    }
}
