//! What a doctor found, as a screen and as a document.

use pgherald::report::{Finding, Report, Status, command_word, some_of};

fn report(findings: &[(&'static str, Finding)]) -> Report {
    let mut report = Report::default();
    for (name, finding) in findings {
        report.add(name, Ok::<_, String>(finding.clone()));
    }
    report
}

#[test]
fn the_worst_finding_counts_and_what_was_skipped_does_not() {
    let (ok, skipped) = (|| ("a", Finding::ok("x")), || ("b", Finding::skipped("x")));
    let (warning, error) = (|| ("c", Finding::warning("x", "y")), || ("d", Finding::error("x", "y")));
    assert_eq!(report(&[]).status(), Status::Ok);
    assert_eq!(report(&[skipped()]).status(), Status::Ok);
    assert_eq!(report(&[ok(), skipped(), ok()]).status(), Status::Ok);
    assert_eq!(report(&[ok(), warning(), skipped()]).status(), Status::Warning);
    assert_eq!(report(&[error(), warning(), ok()]).status(), Status::Error);
}

#[test]
fn a_check_that_fails_is_an_error() {
    let mut report = Report::default();
    assert!(report.add("fine", Ok::<_, String>(Finding::warning("x", "y"))));
    assert!(!report.add("broken", Err("no answer")));
    assert_eq!(report.to_string(), "warning  fine    x\n                 y\nerror    broken  no answer\n");
}

#[test]
fn names_are_harmless_on_the_screen_and_exact_in_the_document() {
    let report = report(&[("a", Finding::warning("one\ntwo \u{1b}[31m", "\r"))]);
    assert_eq!(report.to_string(), "warning  a  one\\ntwo \\u{1b}[31m\n            \\r\n");
    let json = r#"{"status":"warning","checks":[{"name":"a","status":"warning","message":"one\ntwo \u001b[31m","advice":"\r"}]}"#;
    assert_eq!(report.json(), json);
}

#[test]
fn many_names_are_told_by_their_number() {
    let names = |count: usize| (0..count).map(|name| name.to_string()).collect::<Vec<_>>();
    assert_eq!(some_of(&names(0)), "");
    assert_eq!(some_of(&names(5)), "0, 1, 2, 3, 4");
    assert_eq!(some_of(&names(6)), "0, 1, 2, 3, 4 and 1 more");
}

#[test]
fn a_word_of_a_command_is_quoted_where_a_shell_would_read_it_otherwise() {
    for (word, quoted) in [
        ("public.tasks", "public.tasks"),
        ("", "''"),
        ("a b", "'a b'"),
        ("\"Odd\"", "'\"Odd\"'"),
        ("it's", r"'it'\''s'"),
        ("$(x)", "'$(x)'"),
    ] {
        assert_eq!(command_word(word), quoted);
    }
}
