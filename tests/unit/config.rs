//! Settings: sources, kinds, and every problem at once.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use pgherald::config::{Config, File, LogFormat};
use proptest::prelude::*;

const SECRET: &str = "hunter2 hunter2 hunter2 hunter2 hunter2";

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Loads `file` below `variables`; the problems in lines.
fn load(file: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let mut toml = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    toml.write_all(file.as_bytes()).unwrap();
    let loaded = Config::load(File::Named(toml.path()), &environment(variables));
    loaded.map_err(|problems| problems.0.into_iter().collect())
}

fn good(file: &str, variables: &[(&str, &str)]) -> Config {
    load(file, variables).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// Asserts that there are exactly these problems: each line contains its text.
fn refused(file: &str, variables: &[(&str, &str)], expected: &[&str]) {
    let problems = load(file, variables).map(|_| ()).expect_err(&format!("{file} {variables:?} was taken"));
    let all = expected.iter().all(|text| problems.iter().any(|problem| problem.contains(text)));
    assert!(all && problems.len() == expected.len(), "{file} {variables:?}: {problems:#?}, expected {expected:#?}");
}

#[test]
fn the_defaults_are_good() {
    let config = Config::load(File::None, &BTreeMap::new()).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.database.channel, "cache_invalidate");
    assert_eq!(config.resources.names, environment(&[("project_members", "project_members")]));
    assert_eq!(config.limits.auth_timeout, Duration::from_secs(10));
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = "[limits]\nsessions = 5\nframe_bytes = 9000\n[log]\nlevel = \"debug\"\n";
    let config = good(file, &[("PGHERALD__LIMITS__SESSIONS", "7"), ("PGHERALD__LOG__FORMAT", "json")]);
    assert_eq!((config.limits.sessions, config.limits.frame_bytes, config.limits.requests_burst), (7, 9000, 200));
    assert_eq!((config.log.level.as_str(), config.log.format), ("debug", LogFormat::Json));
}

#[test]
fn every_problem_is_told_at_once_with_its_full_key() {
    let file = r#"
        [http]
        listen = "nowhere"
        [limits]
        sessions = 0
        frame_bytes = "many"
        send_timeout = 30
        [auth]
        query_token = "maybe"
        secret = "short"
        [log]
        format = "xml"
        level = "pgherald=loud"
        [database]
        channel = "a channel name that is longer than the sixty-three bytes of an identifier"
        [authorize]
        recheck_on = [{ a = 1 }]
    "#;
    refused(
        file,
        &[("PGHERALD__LIMITS__AUTH_TIMEOUT", "soon"), ("PGHERALD__LIMITS__SESIONS", "1")],
        &[
            "http.listen: \"nowhere\"",
            "limits.sessions: \"0\"",
            "limits.frame_bytes: \"many\"",
            "limits.send_timeout: \"30\"",
            "auth.query_token: \"maybe\"",
            "auth.secret: is shorter than 32 bytes",
            "log.format: must be text or json",
            "log.level: ",
            "database.channel: ",
            "authorize.recheck_on: must be a list of texts",
            "limits.auth_timeout: \"soon\"",
            "limits.sesions: unknown setting: did you mean limits.sessions?",
        ],
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let check = |file: &str, variables: &[(&str, &str)], expected: &str| refused(file, variables, &[expected]);
    check("[limits]\nsession = 1\n", &[], "limits.session: unknown setting: did you mean limits.sessions?");
    check("[limit]\nsessions = 1\n", &[], "limit.sessions: unknown setting: did you mean limits.sessions?");
    check("", &[("PGHERALD__AUTH__SECRT", SECRET)], "auth.secrt: unknown setting: did you mean auth.secret?");
    check("[database]\nUrl = \"x\"\n", &[], "did you mean database.url?");
    check("[weather]\nsunny = true\n", &[], "weather.sunny: unknown setting");
    check("sessions = 1\n", &[], "sessions: unknown setting");
    check("limits = 1\n", &[], "limits: unknown setting");
    check("[log.level]\nx = 1\n", &[], "log.level.x: unknown setting");
}

#[test]
fn other_variables_are_none_of_our_business() {
    good(
        "",
        &[
            ("PGHERALD_CONFIG", "x"),
            ("PGHERALD_TEST_DATABASE_URL", "y"),
            ("PGHERALDX__A", "z"),
            ("LIMITS__SESSIONS", "1"),
        ],
    );
}

#[test]
fn a_level_that_would_silence_the_log_is_refused() {
    for good_one in ["error", "INFO", "off", "warn,pgherald=debug", "pgherald::session=trace,info"] {
        good("", &[("PGHERALD__LOG__LEVEL", good_one)]);
    }
    for bad in ["verbose", "inf", "warn,pgherald", "pgherald=loud", "info,,=x"] {
        refused("", &[("PGHERALD__LOG__LEVEL", bad)], &["log.level: "]);
    }
}

#[test]
fn the_scope_of_administrators_is_one_word_or_not_there() {
    let scope = |file: &str, variables: &[(&str, &str)]| good(file, variables).auth.admin_scope;
    assert_eq!(scope("", &[]), None);
    assert_eq!(scope("[auth]\nadmin_scope = \"pgherald:admin\"\n", &[]).as_deref(), Some("pgherald:admin"));
    assert_eq!(scope("", &[("PGHERALD__AUTH__ADMIN_SCOPE", "7")]).as_deref(), Some("7"));
    // Empty could be meant as nobody, or as everybody: better asked than guessed.
    for wrong in ["\"\"", "\" \"", "\"a b\"", "\" admin\"", "[\"admin\"]", "[]", "true", "7"] {
        refused(&format!("[auth]\nadmin_scope = {wrong}\n"), &[], &["auth.admin_scope: must be one word"]);
    }
    for wrong in ["", " ", "a b", "admin\n"] {
        refused("", &[("PGHERALD__AUTH__ADMIN_SCOPE", wrong)], &["auth.admin_scope: must be one word"]);
    }
}

#[test]
fn an_empty_section_changes_nothing() {
    good("[limits]\n[database]\n# url = \"x\"\n[resources]\n", &[]);
}

#[test]
fn a_time_needs_a_unit_and_is_never_zero() {
    let check = |text: &str, expected: Option<Duration>| {
        let loaded = load("", &[("PGHERALD__LIMITS__SEND_TIMEOUT", text)]);
        assert_eq!(loaded.ok().map(|config| config.limits.send_timeout), expected, "{text}");
    };
    check("500ms", Some(Duration::from_millis(500)));
    check("1h 30m", Some(Duration::from_secs(5400)));
    check("2s", Some(Duration::from_secs(2)));
    for bad in ["30", "0s", "0ms", "-1s", "1.5", "s", "10 parsecs", "99999999999999999999s", "1e3s"] {
        check(bad, None);
    }
    refused("[limits]\nsend_timeout = 30\n", &[], &["limits.send_timeout: \"30\" is not a time with a unit"]);
    refused("[limits]\nsend_timeout = \"0s\"\n", &[], &["limits.send_timeout: must be longer than zero"]);
}

#[test]
fn a_number_is_whole_and_within_its_bounds() {
    for bad in ["0", "-1", "1.5", "many", "1e3", "1_000", " 7", "99999999999999999999999"] {
        refused(
            "",
            &[("PGHERALD__LIMITS__SESSIONS", bad)],
            &[&format!("limits.sessions: {bad:?} is not a whole number")],
        );
    }
    assert_eq!(good("[limits]\nsessions = 1_000\n", &[]).limits.sessions, 1000);
    refused("[limits]\nsessions = 1.5\n", &[], &["limits.sessions"]);
    refused("[limits]\nsessions = [1]\n", &[], &["limits.sessions: must be a text"]);
    refused("[limits]\nmailbox_frames = 3\n", &[], &["limits.mailbox_frames: \"3\" is not a whole number from 4 to"]);
}

#[test]
fn a_text_of_digits_stays_a_text() {
    let zeros = "007".repeat(11);
    let config = good(
        "",
        &[
            ("PGHERALD__AUTH__SECRET", &zeros),
            ("PGHERALD__AUTH__ISSUER", "007"),
            ("PGHERALD__DATABASE__CHANNEL", "1e3"),
        ],
    );
    assert_eq!(config.auth.secret.unwrap().expose(), zeros);
    assert_eq!(config.auth.issuer.as_deref(), Some("007"));
    assert_eq!(config.database.channel, "1e3");
    let config = good("", &[("DATABASE_URL", "postgres://app:007@localhost/app")]);
    assert_eq!(config.database.server.postgres.get_password(), Some("007".as_bytes()));
}

#[test]
fn lists_are_separated_by_commas_in_the_environment() {
    let config = good(
        "[http]\nallowed_origins = [\"https://a\", \"https://b\"]\n",
        &[("PGHERALD__AUTH__AUDIENCE", " a, b ,,c")],
    );
    assert_eq!(config.http.allowed_origins, ["https://a", "https://b"]);
    assert_eq!(config.auth.audience, ["a", "b", "c"]);
    let config = good("[authorize]\nrecheck_on = [\"x\"]\n", &[("PGHERALD__AUTHORIZE__RECHECK_ON", "")]);
    assert!(config.authorize.recheck_on.is_empty(), "empty = none");
}

#[test]
fn names_of_resources_keep_their_case_and_replace_the_default() {
    let config = good("[resources.names]\nStaff = \"employee\"\n\"a.b\" = \"c\"\n", &[]);
    assert_eq!(config.resources.names, environment(&[("Staff", "employee"), ("a.b", "c")]));
    assert!(good("[resources]\nnames = {}\n", &[]).resources.names.is_empty());
    refused("[resources]\nnames = \"task\"\n", &[], &["resources.names: "]);
    refused("[resources]\nnames = { a = [1] }\n", &[], &["resources.names.a: must be a text"]);
}

#[test]
fn database_url_is_understood_and_yields_to_the_setting() {
    let host = |config: &Config| format!("{:?}", config.database.server.postgres.get_hosts());
    let config = good("", &[("DATABASE_URL", "postgres://app@db.example/app")]);
    assert!(host(&config).contains("db.example"), "{}", host(&config));
    let both =
        [("DATABASE_URL", "postgres://app@other/app"), ("PGHERALD__DATABASE__URL", "postgres://app@db.example/app")];
    assert!(host(&good("", &both)).contains("db.example"));
    let file = "[database]\nurl = \"postgres://app@db.example/app\"\n";
    assert!(host(&good(file, &both[..1])).contains("db.example"));
}

#[test]
fn the_listener_uses_the_url_unless_it_has_its_own() {
    let host = |config: &Config| format!("{:?}", config.database.listen_server.postgres.get_hosts());
    let url = ("DATABASE_URL", "postgres://app@pooler/app");
    assert!(host(&good("", &[url])).contains("pooler"));
    assert!(host(&good("[database]\nlisten_url = \"postgres://app@primary/app\"\n", &[url])).contains("primary"));
}

#[test]
fn settings_that_contradict_each_other_are_told() {
    let secret = format!("[auth]\nsecret = \"{SECRET}\"\n");
    refused(&format!("{secret}jwks_url = \"https://x/\"\n"), &[], &["auth: set only one of"]);
    refused(&format!("{secret}public_key_file = \"x.pem\"\n"), &[], &["auth: set only one of"]);
    refused(
        "[limits]\ndrain_spread = \"1m\"\n",
        &[],
        &["limits.drain_spread: must be two seconds below limits.drain_grace"],
    );
    refused(
        "[limits]\nreconnect_spread = \"2m\"\n",
        &[],
        &["limits.reconnect_spread: is longer than limits.reconnect_spread_max"],
    );
    refused("[limits]\nframe_bytes = 4096\n", &[], &["limits.token_bytes: is larger than limits.frame_bytes"]);
    refused("[http]\nwebsocket_paths = []\n", &[], &["http.websocket_paths"]);
    refused("[http]\nwebsocket_paths = [\"ws\"]\n", &[], &["http.websocket_paths"]);
    refused("[http]\nevent_paths = [\"events\"]\n", &[], &["http.event_paths"]);
    refused("[http]\nevent_paths = [\"/ws\"]\n", &[], &["http.event_paths"]);
    assert_eq!(good("[http]\nevent_paths = []\n", &[]).http.event_paths, Vec::<String>::new());
    for paths in ["websocket_paths = [\"/ws\", \"/\"]", "event_paths = [\"/inspector.js\"]"] {
        refused(&format!("[http]\ninspector = true\n{paths}\n"), &[], &["http.inspector: lives at /"]);
        good(&format!("[http]\n{paths}\n"), &[]);
    }
}

#[test]
fn a_secret_is_never_shown() {
    let config = good("", &[("PGHERALD__AUTH__SECRET", SECRET), ("DATABASE_URL", "postgres://app:hunter2@h/app")]);
    for shown in [format!("{config:?}"), config.to_toml().unwrap(), config.database.server.redacted()] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(config.to_toml().unwrap().contains("[redacted]"), "set secrets are seen to be set");
}

#[test]
fn no_problem_repeats_a_secret() {
    let check = |file: &str, variables: &[(&str, &str)]| {
        let problems = load(file, variables).map(|_| ()).expect_err(&format!("{file} {variables:?} was taken"));
        assert!(!format!("{problems:?}").contains("hunter2"), "{problems:#?}");
    };
    check("[auth]\nsecret = \"hunter2\"\n", &[]);
    check("[auth]\nsecret = [\"hunter2\"]\n", &[]);
    check("[auth.secret]\nx = \"hunter2\"\n", &[]);
    check("", &[("PGHERALD__AUTH__SECRT", SECRET)]);
    // A slip in the syntax of the line that holds the secret.
    check("[auth]\nsecret = \"hunter2\n", &[]);
    check("[auth]\nsecret = hunter2\n", &[]);
    check("[auth]\nsecret = \"hunter2\" \"hunter2\"\n", &[]);
    check("[auth]\nsecret = \"a\"\nsecret = \"hunter2\"\n", &[]);
    for url in [
        "postgres://app:hunter2@h:port/app",
        "postgres://app:hunter2@h/app?sslmode=hunter2",
        "postgres://app:hunter2@h/app?nonsense=1",
        "postgres://app:hunter2 @h/app?x",
        "host=h password=hunter2 port=x",
        "host=h password='hunter2",
        "password hunter2",
        "mysql://app:hunter2@h/app",
    ] {
        check("", &[("DATABASE_URL", url)]);
        check("", &[("PGHERALD__DATABASE__LISTEN_URL", url)]);
    }
}

#[test]
fn a_syntax_error_names_the_file_and_the_line() {
    let problems = load("[auth]\nissuer = \n", &[]).map(|_| ()).unwrap_err();
    assert!(problems.len() == 1 && problems[0].contains(".toml") && problems[0].contains('2'), "{problems:?}");
    assert!(!problems[0].contains('\n'), "one line a problem: {problems:?}");
}

#[test]
fn a_named_file_must_be_there() {
    let missing = Path::new("no-such-folder/pgherald.toml");
    let problems = Config::load(File::Named(missing), &BTreeMap::new()).unwrap_err().to_string();
    assert!(problems.contains("no-such-folder/pgherald.toml"), "{problems}");
}

#[test]
fn odd_variables_are_refused_or_ignored_but_never_a_panic() {
    for variables in [
        &[("PGHERALD__", "x")][..],
        &[("PGHERALD____", "x")],
        &[("PGHERALD__LIMITS", "x"), ("PGHERALD__LIMITS__SESSIONS", "5")],
        &[("PGHERALD__LIMITS__SESSIONS__X", "5"), ("PGHERALD__LIMITS__SESSIONS", "5")],
        &[("PGHERALD__A[0]", "x")],
        &[("PGHERALD__A.B", "x")],
        &[("PGHERALD__ ", "")],
    ] {
        let _ = load("", variables);
    }
    // An unset variable often arrives as an empty one: it is as good as none.
    assert_eq!(good("", &[("PGHERALD__AUTH__ISSUER", ""), ("PGHERALD__LIMITS__SESSIONS", "")]).auth.issuer, None);
}

proptest! {
    #[test]
    fn no_file_and_no_variable_panics(file in r"(\[[a-z.]{0,9}\]\n|[a-z_.]{1,9} ?= ?.{0,12}\n){0,6}", key in "[A-Z_a-z.\\[\\]0-9]{0,20}", value in any::<String>()) {
        let _ = load(&file, &[(&format!("PGHERALD__{key}"), &value), ("DATABASE_URL", &value)]);
    }
}

#[test]
fn values_beyond_reason_are_refused_before_anything_computes_with_them() {
    refused("[limits]\nsessions = 9000000000\n", &[], &["limits.sessions"]);
    refused("", &[("PGHERALD__LIMITS__CONNECTIONS", "9999999999")], &["limits.connections"]);
    refused("[limits]\nidle_timeout = \"500000000000y\"\n", &[], &["limits.idle_timeout"]);
    refused("[authorize]\ncache_ttl = \"5000y\"\n", &[], &["authorize.cache_ttl"]);
    refused("[limits]\ndrain_spread = \"25s\"\n", &[], &["limits.drain_spread"]);
}

#[test]
fn a_list_that_names_nothing_switches_no_check_off() {
    refused("", &[("PGHERALD__AUTH__AUDIENCE", " , ")], &["auth.audience"]);
    refused("", &[("PGHERALD__HTTP__ALLOWED_ORIGINS", ",")], &["http.allowed_origins"]);
}
