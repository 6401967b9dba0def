//! The docs name every setting, every metric, every close code and every word that programs read.

use std::collections::{BTreeMap, BTreeSet};

use pgherald::close::Close;
use pgherald::config::{Config, File};
use serde_json::Value;

use crate::source::{find, read, sources, tokens};

/// The full keys of all settings with their defaults; null = there is none.
pub fn settings() -> BTreeMap<String, Value> {
    // Tables whose keys the operator chooses are one setting.
    const FREE_TABLES: &[&str] = &["resources.names"];
    fn walk(prefix: &str, value: Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(inner) if !FREE_TABLES.contains(&prefix) => {
                for (name, value) in inner {
                    let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
                    walk(&key, value, into);
                }
            }
            value => drop(into.insert(prefix.to_owned(), value)),
        }
    }
    let config = Config::load(File::None, &BTreeMap::new()).expect("the defaults are good");
    let mut settings = BTreeMap::new();
    walk("", serde_json::to_value(config).unwrap(), &mut settings);
    assert!(settings.len() > 40, "the settings were not understood: {settings:?}");
    settings
}

/// Whether `text` has `name` as a whole: `limits.sessions` is not in `limits.sessions_per_subject`.
fn names(text: &str, name: &str) -> bool {
    let part = |sign: char| sign.is_alphanumeric() || sign == '_';
    text.match_indices(name).any(|(at, _)| !text[..at].ends_with(part) && !text[at + name.len()..].starts_with(part))
}

/// Asserts that a page names them all.
fn check<'a>(page: &str, what: &str, wanted: impl IntoIterator<Item = &'a str>) {
    let text = read(page);
    let missing: Vec<&str> = wanted.into_iter().filter(|name| !names(&text, name)).collect();
    assert!(missing.is_empty(), "{page} does not name {} {what}: {missing:#?}", missing.len());
}

/// Words behind a pattern of tokens, such as the code behind `Refusal::new(`.
fn words_behind(pattern: &[&str]) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for source in sources() {
        let tokens = tokens(&source.text);
        for (place, _) in find(&tokens, pattern) {
            let word = tokens.get(place + pattern.len()).map_or("", |token| token.text.as_str());
            let Some(word) = word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) else { continue };
            if !word.is_empty() && word.chars().all(|sign| sign.is_ascii_lowercase() || sign == '_') {
                words.insert(word.to_owned());
            }
        }
    }
    words
}

#[test]
fn operations_names_every_setting() {
    check("docs/operations.md", "settings", settings().keys().map(String::as_str));
}

#[test]
fn operations_names_every_metric() {
    check("docs/operations.md", "metrics", pgherald::metrics::ALL.iter().map(|metric| metric.0));
}

#[test]
fn protocol_names_every_close_code() {
    let codes: Vec<String> = Close::ALL.iter().map(|close| close.describe().0.to_string()).collect();
    check("docs/protocol.md", "close codes", codes.iter().map(String::as_str));
}

#[test]
fn the_inspector_explains_every_close_code() {
    let codes: Vec<String> = Close::ALL.iter().map(|close| close.describe().0.to_string()).collect();
    check("src/inspector/inspector.js", "close codes", codes.iter().map(String::as_str));
}

/// The codes of `error` frames and of refusals before the upgrade, as the sources spell them.
pub fn error_codes() -> BTreeSet<String> {
    let mut codes = words_behind(&["Refusal", "::", "new", "("]);
    codes.extend(words_behind(&["return", "refuse", "("]));
    codes.extend(words_behind(&["StatusCode", "::", "_", ","]));
    codes.extend(words_behind(&["Err", "(", "("]));
    codes.extend(words_behind(&["|", "|", "refuse", "("]));
    for known in [
        "malformed",
        "bad_topic",
        "bad_filter",
        "bad_format",
        "unauthorized",
        "forbidden",
        "not_found",
        "full",
        "not_subscribed",
    ] {
        assert!(codes.contains(known), "{known} was not found in the sources: mend this test ({codes:?})");
    }
    codes
}

/// The reasons of `reconnect`.
pub fn reconnect_reasons() -> BTreeSet<String> {
    use pgherald::protocol::Reason::{
        AccessChecked, DatabaseReconnected, HistoryGap, NotificationDropped, SlowConsumer,
    };
    let reasons = [AccessChecked, DatabaseReconnected, HistoryGap, NotificationDropped, SlowConsumer];
    reasons.iter().map(|reason| reason.as_str().to_owned()).collect()
}

/// The reasons of `revoked`, as the sources spell them.
pub fn revoked_reasons() -> BTreeSet<String> {
    let reasons = words_behind(&["reason", ":"]);
    assert!(reasons.contains("token_renewed"), "mend this test ({reasons:?})");
    reasons
}

#[test]
fn protocol_names_every_error_code() {
    check("docs/protocol.md", "error codes", error_codes().iter().map(String::as_str));
}

#[test]
fn protocol_names_every_reason() {
    let reasons = &reconnect_reasons() | &revoked_reasons();
    check("docs/protocol.md", "reasons", reasons.iter().map(String::as_str));
}

#[test]
fn protocol_names_every_frame_type() {
    let folder = crate::source::root().join("protocol/frames");
    let files = std::fs::read_dir(folder).expect("protocol/frames is there");
    let kinds: BTreeSet<String> = files
        .map(|file| {
            let frame: Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
            frame["type"].as_str().expect("a frame has a type").to_owned()
        })
        .collect();
    assert!(kinds.len() >= 10, "{kinds:?}");
    check("docs/protocol.md", "frame types", kinds.iter().map(String::as_str));
}

#[test]
fn a_name_is_found_only_as_a_whole() {
    assert!(names("| `limits.sessions` |", "limits.sessions"));
    assert!(!names("| `limits.sessions_per_subject` |", "limits.sessions"));
    assert!(!names("14400", "4400"));
    assert!(names("4400 malformed", "4400"));
}
