//! Only `config` reads the environment, only `main` ends the process, only `app` spawns.

use crate::source::{Source, Token, block, find, sources, tokens};

/// What of `std::env` reads no variable.
const HARMLESS_OF_ENV: &[&str] = &["args", "args_os", "current_exe", "split_paths", "join_paths", "consts"];
/// Readers of the environment in other crates.
const READERS: &[&str] = &["from_env", "from_default_env", "try_from_env", "try_from_default_env", "from_env_lossy"];
/// Files that start programs of the system with `Command::spawn`.
const STARTS_PROGRAMS: &[&str] = &["src/pgprograms.rs", "src/supervisor.rs", "src/scratch.rs"];

/// Every use of a power that the file does not have, a sentence each.
fn violations(source: &Source) -> Vec<String> {
    let tokens = tokens(&source.text);
    let mut wrong = Vec::new();
    let mut refuse = |at: usize, what: &str| wrong.push(format!("{}:{}: {what}", source.file, tokens[at].line));
    let may_read = match source.file.as_str() {
        "src/config.rs" => find(&tokens, &["fn", "process_environment"]).next().map(|(at, _)| block(&tokens, at)),
        _ => None,
    }
    .unwrap_or_default();
    for place in 0..tokens.len() {
        if reads_environment(&tokens, place) && !may_read.contains(&place) {
            refuse(place, "only config::process_environment reads the environment");
        }
        if ends_process(&tokens, place) && source.file != "src/main.rs" {
            refuse(place, "only main.rs ends the process");
        }
        if spawns(&tokens, place, &source.file) && source.file != "src/app.rs" {
            refuse(place, "only app.rs spawns");
        }
    }
    wrong
}

fn text(tokens: &[Token], place: usize, offset: isize) -> &str {
    place.checked_add_signed(offset).and_then(|at| tokens.get(at)).map_or("", |token| &token.text)
}

/// `env::` with anything but what is harmless, `env as`, and readers of other crates. clap's attribute
/// `env = "NAME"` and the macro `env!` of the compiler are something else.
fn reads_environment(tokens: &[Token], place: usize) -> bool {
    match text(tokens, place, 0) {
        "env" => match text(tokens, place, 1) {
            "::" => !HARMLESS_OF_ENV.contains(&text(tokens, place, 2)),
            "as" => true,
            _ => false,
        },
        reader => READERS.contains(&reader) && matches!(text(tokens, place, -1), "::" | "."),
    }
}

fn ends_process(tokens: &[Token], place: usize) -> bool {
    let before = [text(tokens, place, -2), text(tokens, place, -1)];
    match text(tokens, place, 0) {
        "ExitCode" => true,
        "exit" => text(tokens, place, 1) == "(" || before == ["process", "::"],
        "abort" => before == ["process", "::"],
        // `use std::process::{exit, abort}` and `process as p`.
        "process" => match (text(tokens, place, 1), text(tokens, place, 2)) {
            ("as", _) => true,
            ("::", "{") => {
                let list = tokens[place..].iter().take_while(|token| token.text != "}");
                list.into_iter().any(|token| matches!(token.text.as_str(), "exit" | "abort" | "*"))
            }
            ("::", "*") => true,
            _ => false,
        },
        _ => false,
    }
}

/// Any word that begins with `spawn`, except a field of that name and `Command::spawn`, which takes no argument.
fn spawns(tokens: &[Token], place: usize, file: &str) -> bool {
    if !text(tokens, place, 0).starts_with("spawn") {
        return false;
    }
    let field = text(tokens, place, 1) == ":"
        || (text(tokens, place, -1) == "." && text(tokens, place, 1) == ")" && text(tokens, place, 2) == "(");
    let program = STARTS_PROGRAMS.contains(&file)
        && [text(tokens, place, -1), text(tokens, place, 1), text(tokens, place, 2)] == [".", "(", ")"];
    !(program || field && file == "src/routes.rs")
}

#[test]
fn only_config_reads_the_environment_only_main_exits_only_app_spawns() {
    let wrong: Vec<String> = sources().iter().flat_map(violations).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn config_main_and_app_still_have_their_powers() {
    let has = |file: &str, power: fn(&[Token], usize) -> bool| {
        let source = sources().into_iter().find(|source| source.file == file).unwrap();
        let tokens = tokens(&source.text);
        (0..tokens.len()).any(|place| power(&tokens, place))
    };
    assert!(has("src/config.rs", reads_environment), "process_environment has moved: mend this test");
    assert!(has("src/main.rs", ends_process), "main ends the process no more: mend this test");
    assert!(has("src/app.rs", |tokens, place| spawns(tokens, place, "src/app.rs")), "app spawns no more");
}

#[test]
fn the_checker_sees_every_way_around_the_rules() {
    const ENVIRONMENT: &str = "only config::process_environment reads the environment";
    const EXIT: &str = "only main.rs ends the process";
    const SPAWN: &str = "only app.rs spawns";
    let check = |file: &str, text: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|what| format!("{file}:1: {what}")).collect();
        assert_eq!(violations(&Source::new(file, text)), expected, "{file}: {text}");
    };
    check("src/hub.rs", "std::env::var(\"X\")", &[ENVIRONMENT]);
    check("src/hub.rs", "use std::env::{args, var};", &[ENVIRONMENT]);
    check("src/hub.rs", "use std::{env as e};", &[ENVIRONMENT]);
    check("src/hub.rs", "use std::env; fn f() { env::vars_os(); }", &[ENVIRONMENT]);
    check("src/hub.rs", "std::env::temp_dir()", &[ENVIRONMENT]);
    check("src/hub.rs", "EnvFilter::from_default_env()", &[ENVIRONMENT]);
    check(
        "src/config.rs",
        "fn process_environment() { std::env::vars(); } fn f() { std::env::vars(); }",
        &[ENVIRONMENT],
    );
    check("src/config.rs", "pub fn process_environment() -> X { if a { b } std::env::vars_os() }", &[]);
    check("src/cli/mod.rs", "#[arg(long, env = \"PGHERALD_CONFIG\")] env!(\"X\") std::env::args()", &[]);
    check("src/cli/mod.rs", "std::env::current_exe(); std::env::split_paths(x); // std::env::var", &[]);

    check("src/cli/serve.rs", "std::process::exit(1)", &[EXIT]);
    check("src/cli/serve.rs", "use std::process::{Command, exit};", &[EXIT]);
    check("src/cli/serve.rs", "use std::process as p;", &[EXIT]);
    check("src/cli/serve.rs", "process::abort()", &[EXIT]);
    check("src/cli/serve.rs", "-> ExitCode", &[EXIT]);
    check("src/cli/serve.rs", "error.exit()", &[EXIT]);
    check("src/main.rs", "-> ExitCode { std::process::exit(1) }", &[]);
    check("src/cli/serve.rs", "status: std::process::ExitStatus; handle.abort(); EXIT_CODE", &[]);

    check("src/listener.rs", "tokio::spawn(work)", &[SPAWN]);
    check("src/listener.rs", "set.spawn_blocking(work)", &[SPAWN]);
    check("src/listener.rs", "use tokio::spawn;", &[SPAWN]);
    check("src/listener.rs", "std::thread::spawn(|| ())", &[SPAWN]);
    check("src/listener.rs", "Command::new(x).spawn()", &[SPAWN]);
    check("src/listener.rs", "struct X { spawn: F }", &[SPAWN]);
    check("src/scratch.rs", "command.spawn()?; tokio::spawn(x)", &[SPAWN]);
    check("src/routes.rs", "pub spawn: Box<dyn Fn(Task)>; (doors.spawn)(task); tracker.spawn(task)", &[SPAWN]);
    check("src/app.rs", "tokio::spawn(work)", &[]);
    check("src/listener.rs", "\"spawn(\" // spawn(", &[]);
}
