//! `pgherald.example.toml` shows every setting with its default.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use pgherald::config::{Config, File};
use serde_json::Value;

use crate::docs::settings;
use crate::source::read;

const EXAMPLE: &str = "pgherald.example.toml";

/// One line `# key = value`, and where it stands.
struct Shown {
    key: String,
    line: usize,
}

/// The settings that stand in `text` commented out, in order, with their sections.
fn shown(text: &str) -> Vec<Shown> {
    let (mut section, mut shown) = ("", Vec::new());
    for (line, content) in text.lines().enumerate() {
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if let Some(setting) = uncommented(content) {
            let name = setting.split(' ').next().unwrap_or_default();
            shown.push(Shown { key: format!("{section}.{name}"), line });
        }
    }
    shown
}

/// `# key = value` or `#key = value` without its sign; prose has no such form.
fn uncommented(line: &str) -> Option<&str> {
    let setting = line.strip_prefix('#')?;
    let setting = setting.strip_prefix(' ').unwrap_or(setting);
    let (name, value) = setting.split_once(" = ")?;
    let is_name = !name.is_empty() && name.chars().all(|sign| sign.is_ascii_lowercase() || sign == '_');
    (is_name && !value.is_empty()).then_some(setting)
}

/// The example with the sign taken off where `wanted` says so.
fn with(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let taken: BTreeSet<usize> = shown(text).into_iter().filter(|shown| wanted(&shown.key)).map(|s| s.line).collect();
    let line = |(at, line): (usize, &str)| match uncommented(line) {
        Some(setting) if taken.contains(&at) => format!("{setting}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().enumerate().map(line).collect()
}

fn load(text: &str) -> Value {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let config = Config::load(File::Named(file.path()), &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"));
    serde_json::to_value(config).unwrap()
}

fn defaults() -> Value {
    serde_json::to_value(Config::load(File::None, &BTreeMap::new()).unwrap()).unwrap()
}

#[test]
fn the_example_shows_every_setting_once_and_no_other() {
    let keys: Vec<String> = shown(&read(EXAMPLE)).into_iter().map(|shown| shown.key).collect();
    let unique: BTreeSet<&String> = keys.iter().collect();
    assert_eq!(unique.len(), keys.len(), "a setting stands twice in {EXAMPLE}: {keys:?}");
    let known = settings();
    let missing: Vec<&String> = known.keys().filter(|key| !unique.contains(key)).collect();
    let unknown: Vec<&&String> = unique.iter().filter(|key| !known.contains_key(**key)).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "{EXAMPLE}: missing {missing:?}, unknown {unknown:?}");
}

#[test]
fn the_example_as_it_stands_changes_nothing() {
    assert_eq!(load(&read(EXAMPLE)), defaults());
}

#[test]
fn the_example_uncommented_equals_the_defaults() {
    let known = settings();
    let text = with(&read(EXAMPLE), |key| known.get(key).is_some_and(|default| !default.is_null()));
    assert_eq!(load(&text), defaults());
}

#[test]
fn each_example_of_a_setting_without_a_default_is_accepted() {
    let text = read(EXAMPLE);
    let without: Vec<String> =
        settings().into_iter().filter(|(_, default)| default.is_null()).map(|(key, _)| key).collect();
    assert!(without.contains(&"auth.secret".to_owned()), "{without:?}");
    for key in without {
        let (section, name) = key.split_once('.').unwrap();
        let loaded = load(&with(&text, |shown| shown == key));
        assert!(!loaded[section][name].is_null(), "{key} was not understood");
    }
}

#[test]
fn only_lines_of_the_form_key_value_are_settings() {
    let text = "# prose = not this: see below\n[a]\n# b = 1\n#c = 2\n# Some = thing\n#   d = 3\n[e]\n# b = 4\n";
    let keys: Vec<String> = shown(text).into_iter().map(|shown| shown.key).collect();
    assert_eq!(keys, [".prose", "a.b", "a.c", "e.b"]);
    assert_eq!(with("[a]\n# b = 1\n#c = 2\n", |key| key == "a.c"), "[a]\n# b = 1\nc = 2\n");
}
