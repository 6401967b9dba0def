//! Whatever keeps browsers from hearing is found, and nothing else is complained of.

use serde_json::Value;

use crate::proxy::Proxy;
use crate::world::{Database, LIMIT, SECRET, Settings, connect, unique};

const CHECKS: [&str; 22] = [
    "connection",
    "version",
    "clock",
    "listener",
    "primary",
    "pooler",
    "rights",
    "schema",
    "membership",
    "queue",
    "commits",
    "relay",
    "two_phase",
    "unwatched",
    "columns",
    "keys",
    "indexes",
    "triggers",
    "strays",
    "foreign",
    "leftovers",
    "losses",
];

/// What `pgherald doctor --json` said, and with which exit code.
pub struct Report {
    pub code: i32,
    json: Value,
}

async fn run(settings: &Settings, arguments: &[&str]) -> (i32, String) {
    let output = settings.command(arguments).output();
    let output = tokio::time::timeout(LIMIT, output).await.expect("the doctor ends").unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!said.contains(SECRET) && !said.contains("pass-word"), "a secret is told: {said}");
    (output.status.code().unwrap(), said)
}

pub async fn examine(settings: &Settings) -> Report {
    let (code, said) = run(settings, &["doctor", "--json"]).await;
    let json: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let names: Vec<&str> =
        json["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(names, CHECKS);
    let worst = ["ok", "warning", "error"][usize::try_from(code).unwrap()];
    assert_eq!(json["status"], worst);
    Report { code, json }
}

/// The same, of a database as its superuser.
pub async fn of(database: &Database) -> Report {
    examine(&Settings::new(&database.url)).await
}

impl Report {
    pub fn check(&self, name: &str) -> &Value {
        self.json["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()
    }

    /// Asserts the status of a check and that message and advice have all of `words`.
    #[track_caller]
    pub fn says(&self, name: &str, status: &str, words: &[&str]) {
        let check = self.check(name);
        assert_eq!(check["status"], status, "{check}");
        let text = format!("{} | {}", check["message"].as_str().unwrap(), check["advice"].as_str().unwrap_or_default());
        for word in words {
            assert!(text.contains(word), "{name} does not say {word:?}: {text}");
        }
    }

    /// Asserts that nothing but these is a warning or an error.
    #[track_caller]
    pub fn complains_of(&self, names: &[&str]) {
        let all = self.json["checks"].as_array().unwrap();
        let bad = all.iter().filter(|check| check["status"] == "warning" || check["status"] == "error");
        assert_eq!(bad.map(|check| check["name"].as_str().unwrap()).collect::<Vec<_>>(), names, "{:#}", self.json);
    }
}

#[tokio::test]
async fn a_sound_installation_is_a_screen_of_ok_and_exit_code_0() {
    let database = Database::sample().await;
    let report = of(&database).await;
    assert_eq!((report.code, &report.json["status"]), (0, &"ok".into()), "{:#}", report.json);
    for name in CHECKS {
        report.says(name, "ok", &[]);
    }
    report.says("unwatched", "ok", &["4 watched"]);
    let (code, screen) = run(&Settings::new(&database.url), &["doctor"]).await;
    assert_eq!(code, 0);
    for (line, name) in screen.lines().zip(CHECKS) {
        assert!(line.starts_with(&format!("ok       {name:10}  ")), "{line:?}");
    }
    assert_eq!(screen.lines().count(), CHECKS.len(), "{screen}");
}

#[tokio::test]
async fn a_warning_is_exit_code_1_and_its_advice_stands_below_it() {
    let database = Database::sample().await;
    database.run("create table todos (id int primary key, project_id int)").await;
    let (code, screen) = run(&Settings::new(&database.url), &["doctor"]).await;
    assert_eq!(code, 1);
    let expected = "warning  unwatched   1 table with a project column is not watched: public.todos\n                     pgherald watch --all public";
    assert!(screen.contains(expected), "{screen}");
    // A name can't forge a line or send colours to the terminal.
    database.run("create table \"a\nerror \u{1b}[31m\" (id int primary key, project_id int)").await;
    let (_, screen) = run(&Settings::new(&database.url), &["doctor"]).await;
    assert!(screen.contains(r"a\nerror \u{1b}[31m") && !screen.contains('\u{1b}'), "{screen}");
}

#[tokio::test]
async fn bad_configuration_stays_64() {
    let (code, said) = run(&Settings::new("").set("database.query_timeout", "5"), &["doctor"]).await;
    assert_eq!(code, 64);
    assert!(said.contains("database.query_timeout"), "{said}");
}

#[tokio::test]
async fn without_a_server_all_else_is_skipped() {
    let report = examine(&Settings::new("postgresql://app:pass-word@127.0.0.1:9/shop")).await;
    assert_eq!(report.code, 2);
    report.complains_of(&["connection"]);
    report.says("connection", "error", &["127.0.0.1:9", "refused", "database.url"]);
    for name in &CHECKS[1..] {
        report.says(name, "skipped", &["no connection"]);
    }
}

#[tokio::test]
async fn without_the_schema_it_says_migrate() {
    let database = Database::empty().await;
    let report = of(&database).await;
    assert_eq!(report.code, 2);
    report.complains_of(&["schema", "membership"]);
    report.says("schema", "error", &["not installed", "pgherald migrate"]);
    report.says("membership", "error", &["project_members", "does not exist", "authorize.query"]);
    report.says("rights", "skipped", &[]);
    report.says("losses", "skipped", &[]);
}

#[tokio::test]
async fn a_schema_of_another_release_is_an_error() {
    let database = Database::sample().await;
    database.run("update pgherald.functions set checksum = '' where name = 'watched.sql'").await;
    let report = of(&database).await;
    report.complains_of(&["schema"]);
    report.says("schema", "error", &["function files: 1", "pgherald migrate"]);
    database.run("update pgherald.migrations set version = 9999 where version = 1").await;
    of(&database).await.says("schema", "error", &["9999", "newer pgherald"]);
}

/// A role that may log in, and its URL.
pub async fn role(database: &Database) -> (String, String) {
    let name = unique("pgherald_doctor");
    database.run(&format!("create role {name} login")).await;
    (name.clone(), database.url.replace("postgres@", &format!("{name}@")))
}

pub async fn drop_role(database: &Database, name: &str) {
    database.run(&format!("drop owned by {name}; drop role {name}")).await;
}

#[tokio::test]
async fn the_daemons_role_needs_no_more_than_membership() {
    let database = Database::sample().await;
    let (name, url) = role(&database).await;
    let report = examine(&Settings::new(&url)).await;
    report.complains_of(&["membership"]);
    report.says("membership", "error", &["permission denied for table project_members", "grant"]);
    database.run(&format!("grant select on project_members to {name}")).await;
    // Nor what some providers close.
    database.run("revoke execute on function pg_control_system() from public").await;
    let report = examine(&Settings::new(&url)).await;
    report.complains_of(&[]);
    report.says("connection", "ok", &[&name]);
    drop_role(&database, &name).await;
}

#[tokio::test]
async fn missing_rights_are_told_as_the_grants_that_mend_them() {
    let database = Database::sample().await;
    let (name, url) = role(&database).await;
    database
        .run(&format!(
            "revoke usage on schema pgherald from public; revoke select on pgherald.dropped from public;
             revoke select on pgherald.migrations from public; grant select on project_members to {name}"
        ))
        .await;
    let report = examine(&Settings::new(&url)).await;
    report.complains_of(&["rights"]);
    report.says("schema", "skipped", &[]);
    report.says("columns", "skipped", &[]);
    let advice = report.check("rights")["advice"].as_str().unwrap();
    assert_eq!(advice.split("; ").count(), 3, "{advice}");
    // The role of the listener is another one: it looks at the losses.
    let listener = Settings::new(&database.url).set("database.listen_url", &url);
    examine(&listener).await.says("rights", "error", &[&format!("grant select on pgherald.dropped to {name}")]);
    database.run(advice).await;
    examine(&Settings::new(&url)).await.complains_of(&[]);
    examine(&listener).await.complains_of(&[]);
    drop_role(&database, &name).await;
}

#[tokio::test]
async fn tables_that_nobody_watches_are_named_and_others_are_not() {
    let database = Database::sample().await;
    database
        .run(
            "create table plain (id int primary key); create view v as select * from tasks;
             create schema app; create table app.teams (id int primary key, team_id int);
             create temporary table temporary (project_id int);
             create table days (id int, project_id int) partition by range (id);
             create table day1 partition of days default",
        )
        .await;
    let report = of(&database).await;
    report.complains_of(&["unwatched"]);
    report.says("unwatched", "warning", &["1 table ", "not watched: public.days", "pgherald watch --all public ("]);
    database
        .run(
            "select pgherald.watch('days', id => array['id']); select pgherald.watch('app.teams', 'team_id');
             create table app.\"It's\" (id int primary key, team_id int); create unique index on days (id)",
        )
        .await;
    let report = of(&database).await;
    report.complains_of(&["unwatched"]);
    report.says("unwatched", "warning", &["app.\"It's\"", "pgherald watch --all app --project team_id"]);
    database.run("drop table app.\"It's\"; select pgherald.unwatch(relation) from pgherald.watched; alter table tasks rename project_id to p; alter table sprints rename project_id to p; alter table project_members rename project_id to p; alter table days rename project_id to p").await;
    of(&database).await.says("unwatched", "warning", &["no table is watched"]);
}

#[tokio::test]
async fn columns_that_are_gone_are_errors() {
    let database = Database::sample().await;
    database
        .run(
            "create table a (id int primary key, project_id int, code int unique);
             select pgherald.watch('a', id => array['code'])",
        )
        .await;
    of(&database).await.complains_of(&[]);
    database.run("alter table a rename code to number").await;
    let report = of(&database).await;
    report.complains_of(&["columns", "keys"]);
    report.says("columns", "error", &["public.a: ", "pgherald.refresh()"]);
    database.run("insert into a values (1, 7, 1)").await;
    of(&database).await.says("losses", "warning", &["installation: 1;", "server's log"]);
    database.run("select * from pgherald.refresh()").await;
    of(&database).await.says("columns", "ok", &[]);
    database.run("drop table a; select pgherald.drop_unused()").await;

    database.run("alter table sprints drop column project_id").await;
    of(&database).await.says("columns", "error", &["public.sprints: it has no column project_id"]);
    database.run("alter table sprints drop constraint sprints_pkey cascade").await;
    of(&database).await.says("columns", "error", &["public.sprints: it has no primary key"]);
}

#[tokio::test]
async fn a_path_that_leads_nowhere_is_an_error() {
    let database = Database::sample().await;
    database
        .run(
            "create table notes (id int primary key, task_id int references tasks);
             select pgherald.watch('notes', project => 'task_id->project_id')",
        )
        .await;
    of(&database).await.complains_of(&[]);
    database.run("alter table notes drop constraint notes_task_id_fkey").await;
    of(&database).await.says("columns", "error", &["there is no foreign key on public.notes(task_id)"]);
    database.run("alter table notes drop column task_id").await;
    of(&database).await.says("columns", "error", &["public.notes: it has no column task_id"]);
}

#[tokio::test]
async fn keys_and_project_columns_want_an_index() {
    let database = Database::sample().await;
    database
        .run(
            "create table a (id int primary key, project_id int, code int, part int);
             select pgherald.watch('a', id => array['code', 'part'])",
        )
        .await;
    let report = of(&database).await;
    report.complains_of(&["keys"]);
    report.says("keys", "warning", &["public.a (code, part)", "unique index"]);
    database.run("create unique index on a (part) where part > 5").await;
    of(&database).await.says("keys", "warning", &[]);
    database.run("create unique index on a (part)").await;
    of(&database).await.complains_of(&[]);

    // A small table needs none.
    database.run("insert into a select i, i % 10, i, i from generate_series(1, 50000) i; analyze a").await;
    let report = of(&database).await;
    report.complains_of(&["indexes"]);
    report.says("indexes", "warning", &["create index concurrently on public.a (project_id)"]);
    database.run("create index on a (code, project_id)").await;
    of(&database).await.complains_of(&["indexes"]);
    database.run("create index on a (project_id, code)").await;
    of(&database).await.complains_of(&[]);

    database
        .run(
            "create table days (id int, project_id int, primary key (id)) partition by range (id);
             create table day1 partition of days default; select pgherald.watch('days');
             insert into days select i, 7 from generate_series(1, 50000) i; analyze days",
        )
        .await;
    of(&database).await.says("indexes", "warning", &["create index on public.days (project_id)"]);
    database.run("create index on days (project_id)").await;
    of(&database).await.complains_of(&[]);
}

#[tokio::test]
async fn triggers_that_are_disabled_or_missing_are_errors_until_the_refresh() {
    let database = Database::sample().await;
    database
        .run(
            "create table days (id int primary key, project_id int) partition by range (id);
             create table day1 partition of days for values from (0) to (10); select pgherald.watch('days');
             alter table sprints disable trigger pgherald_update;
             create table day2 partition of days for values from (10) to (20)",
        )
        .await;
    let report = of(&database).await;
    report.complains_of(&["triggers"]);
    let words =
        ["public.day2 has no trigger", "trigger pgherald_update of public.sprints is disabled", "pgherald.refresh()"];
    report.says("triggers", "error", &words);
    database.run("select * from pgherald.refresh()").await;
    of(&database).await.complains_of(&[]);
}

#[tokio::test]
async fn what_was_left_behind_is_told() {
    let database = Database::sample().await;
    database
        .run(
            "create table days (id int primary key, project_id int) partition by range (id);
             create table day1 partition of days default; select pgherald.watch('days');
             create table gone (id int primary key, project_id int); select pgherald.watch('gone')",
        )
        .await;
    of(&database).await.complains_of(&[]);
    database.run("alter table days detach partition day1; drop table gone").await;
    let report = of(&database).await;
    report.complains_of(&["unwatched", "strays", "leftovers"]);
    report.says("strays", "warning", &["public.day1", "pgherald unwatch"]);
    report.says("leftovers", "warning", &["4 trigger functions"]);
    // The advice, as it stands there.
    let advice = report.check("leftovers")["advice"].as_str().unwrap();
    database.run(advice.split_once(": ").unwrap().1).await;
    database.run("select pgherald.watch('day1')").await;
    of(&database).await.complains_of(&[]);
}

#[tokio::test]
async fn a_foreign_table_below_a_watched_one_is_an_error() {
    let database = Database::sample().await;
    database
        .run(
            "create table mother (id int primary key, project_id int); select pgherald.watch('mother');
             create table daughter () inherits (mother);
             create foreign data wrapper nothing; create server nowhere foreign data wrapper nothing",
        )
        .await;
    of(&database).await.says("foreign", "ok", &[]);
    database.run("create foreign table abroad () inherits (daughter) server nowhere").await;
    let report = of(&database).await;
    report.says("foreign", "error", &["public.abroad below public.mother", "--mode row"]);
    // It came after the watching; now it would be refused.
    let again = database.client.batch_execute("select pgherald.watch_again('mother')").await.unwrap_err();
    assert!(again.as_db_error().unwrap().message().contains("foreign table"), "{again:?}");
    database.run("select pgherald.unwatch('mother'); alter table mother rename project_id to p").await;
    of(&database).await.complains_of(&[]);
}

#[tokio::test]
async fn the_membership_query_wants_an_index_where_its_table_is_large() {
    let database = Database::sample().await;
    database.run("alter table project_members drop constraint project_members_pkey; analyze project_members").await;
    of(&database).await.says("membership", "ok", &[]);
    database
        .run("insert into project_members select 7, 'user ' || i from generate_series(1, 50000) i; analyze project_members")
        .await;
    let report = of(&database).await;
    let index = "create index concurrently on public.project_members (project_id, user_id)";
    report.says("membership", "warning", &["public.project_members", index]);
    database.run(&index.replace("concurrently ", "")).await;
    of(&database).await.says("membership", "ok", &[]);
    // A cast hides the column from its index.
    let cast = "select 1 from project_members m where m.project_id::text = $1 and m.user_id || '' = $2;";
    let cast = Settings::new(&database.url).set("authorize.query", cast);
    examine(&cast).await.says("membership", "warning", &["without a cast"]);
    let claim = Settings::new(&database.url).set("authorize.claim", "projects");
    examine(&claim).await.says("membership", "skipped", &["authorize.claim"]);
    let wrong = Settings::new(&database.url).set("authorize.query", "select 1 from nowhere where a = $1 and b = $2");
    examine(&wrong).await.says("membership", "error", &["nowhere", "does not exist"]);
}

#[tokio::test]
async fn a_check_that_hangs_is_a_line_and_the_next_one_goes_on() {
    let database = Database::sample().await;
    let locker = connect(&database.url).await;
    locker.batch_execute("begin; lock table project_members in access exclusive mode").await.unwrap();
    let settings = || Settings::new(&database.url).set("database.query_timeout", "3s");
    let report = examine(&settings()).await;
    report.complains_of(&["membership"]);
    report.says("membership", "error", &["database.query_timeout"]);
    report.says("losses", "ok", &[]);
    drop(locker);

    let proxy = Proxy::start(&database.url).await;
    proxy.silence();
    let silent = settings().set("database.url", &proxy.url(&database.url)).set("database.connect_timeout", "500ms");
    examine(&silent).await.complains_of(&["connection"]);
    let half =
        settings().set("database.listen_url", &proxy.url(&database.url)).set("database.connect_timeout", "500ms");
    let report = examine(&half).await;
    report.says("listener", "error", &["database.listen_url"]);
    report.says("commits", "ok", &[]);
}
