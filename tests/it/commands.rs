//! What a person types, and what the answers say.

use std::process::Output;

use serde_json::{Value, json};

use crate::world::{Database, LIMIT, SECRET, Settings, options, token};

pub async fn run(settings: &Settings, arguments: &[&str]) -> Output {
    let output = settings.command(arguments).output();
    tokio::time::timeout(LIMIT, output).await.unwrap_or_else(|_| panic!("{arguments:?} does not end")).unwrap()
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs a command that must succeed; what it printed.
pub async fn succeeds(settings: &Settings, arguments: &[&str]) -> String {
    let output = run(settings, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// Runs a command that must fail with `code` and say all of `words`.
pub async fn fails(settings: &Settings, arguments: &[&str], code: i32, words: &[&str]) {
    let output = run(settings, arguments).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} does not say {word:?}: {said}");
    }
    for secret in [SECRET, "pass-word"] {
        assert!(!said.contains(secret), "{arguments:?} tells a secret: {said}");
    }
}

#[tokio::test]
async fn migrate_watch_status_and_unwatch_tell_what_they_did() {
    let database = Database::empty().await;
    let settings = Settings::new(&database.url);
    assert!(succeeds(&settings, &["status"]).await.contains("run `pgherald migrate`"));
    fails(&settings, &["watch", "public.tasks"], 1, &["public.tasks", "run `pgherald migrate`"]).await;
    assert!(succeeds(&settings, &["migrate"]).await.contains("done: 3 migrations"));
    assert!(succeeds(&settings, &["migrate"]).await.contains("nothing to do"));
    assert!(succeeds(&settings, &["status"]).await.contains("no table is watched"));

    fails(&settings, &["watch", "public.tasks"], 1, &["public.tasks", "does not exist"]).await;
    database
        .run("create table tasks (id int primary key, project_id int, code text); create table logs (line text)")
        .await;
    fails(&settings, &["watch", "logs", "--project", "*"], 1, &["logs", "no primary key", "id =>"]).await;
    fails(&settings, &["watch", "tasks", "--project", "team_id"], 1, &["team_id", "project_id"]).await;
    assert_eq!(
        succeeds(&settings, &["watch", "public.tasks", "--project", "project_id"]).await,
        "public.tasks: watched\n"
    );
    assert_eq!(succeeds(&settings, &["watch", "public.tasks"]).await, "public.tasks: unchanged\n");
    let arguments = ["watch", "tasks", "--id", "code", "--resource", "ticket", "--max-ids", "10"];
    assert_eq!(succeeds(&settings, &arguments).await, "tasks: changed\n");
    let status = succeeds(&settings, &["status"]).await;
    for word in ["schema     current", "transport  notify, since ", "tasks", "project_id", "code", "ticket", "yes"] {
        assert!(status.contains(word), "{word}: {status}");
    }
    assert_eq!(succeeds(&settings, &["unwatch", "tasks"]).await, "tasks is silent now\n");
    let all = "logs: skipped: it has no column project_id\ntasks: watched\n";
    assert_eq!(succeeds(&settings, &["watch", "--all", "public"]).await, all);
    let none = "logs: skipped: it has no column project_id\ntasks: skipped: as asked\n";
    assert_eq!(succeeds(&settings, &["watch", "--all", "public", "--skip", "tasks"]).await, none);
    assert_eq!(succeeds(&settings, &["unwatch", "tasks"]).await, "tasks is silent now\n");
    assert_eq!(succeeds(&settings, &["unwatch", "tasks"]).await, "tasks was not watched\n");
}

#[tokio::test]
async fn a_dry_run_prints_the_sql_that_would_run_and_changes_nothing() {
    let database = Database::empty().await;
    let settings = Settings::new(&database.url);
    succeeds(&settings, &["migrate"]).await;
    database
        .run(
            "create table tasks (id int primary key, project_id int, title text);
             create table comments (id int primary key, task_id int references tasks, body text)",
        )
        .await;
    let watch =
        ["watch", "comments", "--project", "task_id->project_id", "--columns", "body,task_id", "--include", "body"];
    let script = succeeds(&settings, &[&watch[..], &["--dry-run"]].concat()).await;
    for part in [
        "-- comments: ",
        "create or replace function",
        "create trigger pgherald_insert",
        "security definer",
        "-- a function is missing",
    ] {
        assert!(script.contains(part), "{part}: {script}");
    }
    assert!(succeeds(&settings, &["status"]).await.contains("no table is watched"));
    // It is a script.
    database.run(&script).await;
    assert_eq!(succeeds(&settings, &watch).await, "comments: unchanged\n");
    assert!(succeeds(&settings, &[&watch[..], &["--dry-run"]].concat()).await.contains("nothing to do"));
    fails(&settings, &["watch", "tasks", "--columns", "nope", "--dry-run"], 1, &["no column nope"]).await;
    fails(&settings, &["watch", "tasks", "--mode", "each"], 2, &["statement", "row"]).await;
    fails(&settings, &["watch", "--all", "public", "--dry-run"], 2, &["cannot be used with"]).await;
    assert_eq!(succeeds(&settings, &["watch", "tasks", "--mode", "row", "--always"]).await, "tasks: watched\n");
    database.run("alter table comments rename body to text").await;
    assert!(succeeds(&settings, &["status"]).await.contains("it has no column body"));
}

#[tokio::test]
async fn the_printed_installation_is_what_migrate_does() {
    let database = Database::empty().await;
    let settings = Settings::new(&database.url);
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("install.sql");
    std::fs::write(&script, succeeds(&settings, &["migrate", "--print"]).await).unwrap();
    let psql = ["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", script.to_str().unwrap(), &database.url];
    let output = tokio::process::Command::new("psql").args(psql).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(succeeds(&settings, &["migrate"]).await.contains("nothing to do"));
}

#[tokio::test]
async fn every_problem_of_a_configuration_is_told_at_once_with_its_key() {
    let settings = Settings::new("postgresql://app:pass-word@localhost/shop")
        .set("limits.sesions", "5")
        .set("limits.auth_timeout", "5")
        .set("http.listen", "8080")
        .set("auth.admin_scope", "")
        .set("auth.secret", "short");
    let words = [
        "limits.sesions: unknown setting: did you mean limits.sessions?",
        "limits.auth_timeout",
        "http.listen",
        "auth.admin_scope: must be one word",
        "auth.secret",
    ];
    fails(&settings, &["serve"], 64, &words).await;
    fails(&settings, &["check"], 64, &words).await;
    fails(&settings, &["--config", "no-such-file.toml", "check"], 64, &["no-such-file.toml"]).await;
}

#[tokio::test]
async fn check_prints_what_is_in_force_without_secrets() {
    let settings = Settings::new("postgresql://app:pass-word@db.test/shop?sslmode=verify-full&sslrootcert=system");
    let output = succeeds(&settings, &["check"]).await;
    assert!(!output.contains("pass-word") && !output.contains(SECRET), "{output}");
    for word in
        ["[limits]", "sessions = 20000", "secret = \"[redacted]\"", "postgresql://app@db.test:5432/shop", "verify-full"]
    {
        assert!(output.contains(word), "{word}: {output}");
    }
}

#[tokio::test]
async fn serve_says_why_it_does_not_start() {
    let database = Database::sample().await;
    let settings = || Settings::new(&database.url);
    let folder = tempfile::tempdir().unwrap();
    let no_key = folder.path().join("no-key.pem");
    std::fs::write(&no_key, "hello").unwrap();

    fails(&settings().unset("auth.secret"), &["serve"], 64, &["auth.secret", "auth.public_key_file", "auth.jwks_url"])
        .await;
    let key_file = |path: &str| settings().unset("auth.secret").set("auth.public_key_file", path);
    fails(&key_file(no_key.to_str().unwrap()), &["serve"], 64, &["auth.public_key_file", "no-key.pem", "PEM"]).await;
    fails(&key_file("no-such-file"), &["serve"], 64, &["auth.public_key_file", "no-such-file"]).await;
    fails(&settings().set("auth.algorithms", "RS256"), &["serve"], 64, &["auth.algorithms", "RS256"]).await;
    fails(&settings().set("auth.algorithms", "none"), &["serve"], 64, &["auth.algorithms", "none"]).await;
    let provider = settings().unset("auth.secret").set("auth.jwks_url", "http://127.0.0.1:9/jwks.json");
    fails(&provider, &["serve"], 1, &["auth.jwks_url", "127.0.0.1:9"]).await;

    fails(
        &settings().set("authorize.query", "select 1 from members"),
        &["serve"],
        1,
        &["authorize.query", "members", "does not exist"],
    )
    .await;
    fails(
        &settings().set("database.url", "postgresql://postgres@127.0.0.1:9/x"),
        &["serve"],
        1,
        &["127.0.0.1:9", "refused", "database.url"],
    )
    .await;
    let missing = database.url.replace("pgherald_test_", "no_such_database_");
    fails(&settings().set("database.url", &missing), &["serve"], 1, &["does not exist", "name in database.url"]).await;

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    fails(&settings().set("http.listen", &address), &["serve"], 1, &[&address, "in use", "http.listen"]).await;
}

#[tokio::test]
async fn a_wrong_password_is_told_as_such() {
    let hba = "local all all trust\nhost all locked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";
    let server = pgherald::scratch::Scratch::start(&options().file("pg_hba.conf", hba)).await.unwrap();
    let database = Database::on(server.url()).await;
    database.run("create role locked login superuser password 'right'").await;
    let url = database.url.replace("postgres@", "locked:pass-word@");
    fails(&Settings::new(&url), &["migrate"], 1, &["password authentication failed", "check the password"]).await;
    fails(&Settings::new(&url), &["serve"], 1, &["password authentication failed", "check the password"]).await;
    drop(database);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_minted_token_opens_a_session() {
    let database = Database::sample().await;
    let settings = Settings::new(&database.url);
    let daemon = settings.start().await;
    let claims = r#"{"role":"tester"}"#;
    let minted = succeeds(&settings, &["token", "--subject", "alice", "--ttl", "10m", "--claims", claims]).await;
    let body = minted.trim().split('.').nth(1).unwrap();
    let body = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, body).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["sub"], &body["role"]), (&"alice".into(), &"tester".into()));
    assert_eq!(body["exp"].as_u64().unwrap() - body["iat"].as_u64().unwrap(), 600);
    let url = format!("ws://{}/ws?project_id=7", daemon.address);
    assert!(crate::browser::Browser::open(&url, Some(minted.trim())).await.is_ok());
    fails(&settings, &["token", "--subject", "alice", "--claims", "[1]"], 1, &["--claims", "JSON object"]).await;
    fails(&settings.unset("auth.secret"), &["token", "--subject", "alice"], 1, &["auth.secret", "--private-key"]).await;
}

#[tokio::test]
async fn tail_prints_one_frame_a_line_and_says_why_it_ends() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let database = Database::sample().await;
    let settings = Settings::new(&database.url);
    let mut daemon = settings.start().await;
    let url = format!("ws://{}/ws", daemon.address);
    let tail = ["tail", "--url", &url, "--project", "7", "--token"];
    let mut child = settings.command(&[&tail[..], &[&token("alice"), "--once"]].concat()).spawn().unwrap();
    let mut frames = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(said.next_line().await.unwrap().unwrap(), "pgherald: subscribed to project \"7\"");
    database.run("update tasks set done = true where id = 1").await;
    let frame: Value = serde_json::from_str(&frames.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!((&frame["type"], &frame["data"]["id"]), (&"cache_invalidate".into(), &"1".into()));
    // Where it left off, in other words, and only what is asked for.
    let since = frame["cursor"].as_str().unwrap();
    database.run("update tasks set done = false where id = 2; update sprints set name = 'x'").await;
    let more = ["--since", since, "--topic", "task:*", "--format", "resource_change", "--batch"];
    let mut later = settings.command(&[&tail[..], &[&token("alice")], &more].concat()).spawn().unwrap();
    let mut missed = BufReader::new(later.stdout.take().unwrap()).lines();
    let frame: Value = serde_json::from_str(&missed.next_line().await.unwrap().unwrap()).unwrap();
    assert_eq!((&frame["type"], &frame["resources"]), (&"resource_change".into(), &json!([{ "id": "2" }])), "{frame}");
    later.kill().await.unwrap();
    fails(&settings, &[&tail[..], &[&token("alice"), "--topic", "task"]].concat(), 1, &["names no rows"]).await;
    fails(&settings, &[&tail[..], &[&token("alice"), "--filter", "[]"]].concat(), 2, &["JSON object"]).await;
    fails(&settings, &[&tail[..], &[&token("bob")]].concat(), 1, &["not a member"]).await;
    fails(&settings, &[&tail[..], &["nonsense"]].concat(), 1, &["401"]).await;
    daemon.signal("TERM").await;
    assert_eq!(daemon.exit_code().await, Some(0));
    assert!(said.next_line().await.unwrap().unwrap().contains("1001"));
    assert_eq!(child.wait().await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn help_and_completions_are_there_for_every_command() {
    let settings = Settings::new("");
    let help = succeeds(&settings, &["--help"]).await;
    for command in [
        "serve",
        "migrate",
        "watch",
        "unwatch",
        "status",
        "transport",
        "doctor",
        "tail",
        "token",
        "check",
        "demo",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command}")), "{command}: {help}");
        let help = succeeds(&settings, &[command, "--help"]).await;
        assert!(help.split("Usage:").next().unwrap().len() > 80, "{command} has no more to say: {help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(succeeds(&settings, &["completions", shell]).await.contains("unwatch"));
    }
    assert!(succeeds(&settings, &["--version"]).await.starts_with("pgherald "));
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_named_at_start() {
    let database = Database::sample().await;
    let pooler = crate::pooler::Pooler::start(&database.url).await;
    let settings = Settings::new(&pooler.url(&database.url));
    fails(&settings, &["serve"], 1, &["pooler in transaction mode", "database.listen_url"]).await;
    // With a direct connection for LISTEN, queries may go through it.
    let daemon = settings.set("database.listen_url", &database.url).start().await;
    let mut alice = daemon.browser("alice", "7").await;
    database.run("update tasks set done = true where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
}
