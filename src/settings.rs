//! Reads settings from file and environment, and gathers every problem before it complains.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use config::{Environment, FileFormat, Value, ValueKind};
use serde::{Serialize, Serializer};

use crate::conninfo::{self, ConnInfo};

/// Beyond these a setting is a mistake, and arithmetic with it would fail later.
const DURATION_MAX: Duration = Duration::from_secs(365 * 86_400);
const NUMBER_MAX: u32 = 1_000_000_000;

/// A text that no log, error or `check` may show.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "\"[redacted]\"" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(if self.0.is_empty() { "" } else { "[redacted]" })
    }
}

/// Which configuration file is read.
#[derive(Clone, Copy, Debug)]
pub enum File<'a> {
    /// This one, which must be there.
    Named(&'a Path),
    /// `pgherald.toml` in the working directory, if it is there.
    Usual,
    /// None.
    None,
}

/// All that is wrong with a configuration, a line each, sorted by key.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(pub BTreeSet<String>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad configuration ({} to mend):", self.0.len())?;
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// The merged sources, and what has been asked of them. A key that nobody asks for is unknown.
pub struct Settings {
    values: BTreeMap<String, Value>,
    asked: BTreeSet<String>,
    problems: BTreeSet<String>,
}

impl Settings {
    /// Merges `file` and the variables `PGHERALD__SECTION__KEY`.
    pub fn read(file: File<'_>, environment: &BTreeMap<String, String>) -> Result<Self, Problems> {
        let from_file = match file {
            File::Named(path) => Some(config::File::from(path).format(FileFormat::Toml)),
            File::Usual => Some(config::File::new("pgherald.toml", FileFormat::Toml).required(false)),
            File::None => None,
        };
        // Never try_parsing: it turns a password "007" into the number 7.
        let variables = environment.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let from_environment =
            Environment::with_prefix("PGHERALD").prefix_separator("__").separator("__").source(Some(variables));
        let merged =
            config::Config::builder().add_source(Vec::from_iter(from_file)).add_source(from_environment).build();
        let fail = |error: config::ConfigError| Problems(BTreeSet::from([unquoted(&error.to_string())]));
        let table = merged.map_err(fail)?.cache.into_table().map_err(fail)?;
        let mut values = BTreeMap::new();
        flatten("", table.into_iter().collect(), &mut values);
        Ok(Self { values, asked: BTreeSet::new(), problems: BTreeSet::new() })
    }

    /// Notes a problem of `key` and goes on with `instead`.
    pub fn refuse<T>(&mut self, key: &str, why: &str, instead: T) -> T {
        self.problems.insert(format!("{key}: {why}"));
        instead
    }

    /// A text that may be absent; empty counts as absent.
    pub fn optional(&mut self, key: &str) -> Option<String> {
        let value = self.take(key)?;
        match value.kind {
            ValueKind::String(text) => Some(text).filter(|text| !text.is_empty()),
            ValueKind::I64(_) | ValueKind::U64(_) | ValueKind::Boolean(_) | ValueKind::Float(_) => {
                Some(value.kind.to_string())
            }
            _ => self.refuse(key, "must be a text", None),
        }
    }

    /// A text.
    pub fn text(&mut self, key: &str, default: &str) -> String {
        self.optional(key).unwrap_or_else(|| default.to_owned())
    }

    /// A single word that may be absent. Said and empty is a mistake: it could be taken for "none" or for "any".
    pub fn word(&mut self, key: &str) -> Option<String> {
        match self.take(key)?.kind {
            ValueKind::String(text) if !text.is_empty() && !text.contains(char::is_whitespace) => Some(text),
            _ => self.refuse(key, "must be one word without spaces: name one, or leave it out", None),
        }
    }

    /// A text to keep out of sight.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        self.optional(key).map(Secret)
    }

    /// Anything that parses from a text; `shape` says what it looks like.
    pub fn parsed<T: FromStr>(&mut self, key: &str, default: &str, shape: &str) -> T
    where
        T::Err: fmt::Debug,
    {
        let given = self.text(key, default);
        let value = given.parse().or_else(|_| {
            self.problems.insert(format!("{key}: {given:?} is not {shape}"));
            default.parse()
        });
        value.expect("the default of every setting parses; a test loads them all")
    }

    /// A whole number, not below `least`.
    pub fn at_least<T: TryFrom<u32> + PartialOrd + Copy + fmt::Display>(
        &mut self,
        least: T,
        key: &str,
        default: T,
    ) -> T {
        let Some(given) = self.optional(key) else { return default };
        match given.parse().ok().filter(|number| *number <= NUMBER_MAX).and_then(|number| T::try_from(number).ok()) {
            Some(number) if number >= least => number,
            _ => self.refuse(key, &format!("{given:?} is not a whole number from {least} to {NUMBER_MAX}"), default),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &str, default: bool) -> bool {
        self.parsed(key, if default { "true" } else { "false" }, "true or false")
    }

    /// A time with its unit: `500ms`, `10s`, `1h 30m`. Never zero.
    pub fn duration(&mut self, key: &str, default: &str) -> Duration {
        let time: humantime::Duration = self.parsed(key, default, "a time with a unit such as 500ms, 10s or 5m");
        if time.is_zero() || *time > DURATION_MAX {
            return self.refuse(key, "must be longer than zero and no longer than a year", Duration::from_secs(1));
        }
        time.into()
    }

    /// What a connection string means. Both URLs often are one, so a problem is told once.
    pub fn server(&mut self, key: &str, url: &Secret, environment: &BTreeMap<String, String>) -> ConnInfo {
        let variable = |name: &str| environment.get(name).cloned();
        match conninfo::parse(url.expose(), &variable) {
            Ok(mut server) => {
                if server.postgres.get_application_name().is_none() {
                    server.postgres.application_name("pgherald");
                }
                server
            }
            Err(error) => {
                self.refuse(key, &error.to_string(), ());
                conninfo::parse("host=localhost user=nobody", &|_| None).expect("this one is well-formed")
            }
        }
    }

    /// A list of texts; in the environment separated by commas.
    pub fn list(&mut self, key: &str, default: &[&str]) -> Vec<String> {
        let value = self.take(key);
        let given = matches!(&value, Some(Value { kind: ValueKind::String(text), .. }) if !text.is_empty());
        let texts = match value {
            None => return default.iter().map(|text| (*text).to_owned()).collect(),
            Some(Value { kind: ValueKind::String(text), .. }) => {
                text.split(',').map(|part| part.trim().to_owned()).collect()
            }
            Some(value) => match value.into_array().map(|items| items.into_iter().map(Value::into_string).collect()) {
                Ok(Ok(texts)) => texts,
                _ => return self.refuse(key, "must be a list of texts", Vec::new()),
            },
        };
        let named: Vec<String> = Vec::into_iter(texts).filter(|text: &String| !text.is_empty()).collect();
        if named.is_empty() && given {
            // Said and yet nothing: to take it for "not set" could switch a check off.
            return self.refuse(key, "names nothing: leave it out, or name something", Vec::new());
        }
        named
    }

    /// A table of texts. In the file only: environment variables lose the case of a key.
    pub fn map(&mut self, key: &str, default: &[(&str, &str)]) -> BTreeMap<String, String> {
        let inside = format!("{key}.");
        let given: Vec<String> = self.values.keys().filter(|name| name.starts_with(&inside)).cloned().collect();
        if given.is_empty() && self.take(key).is_none() {
            return default.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        }
        if given.is_empty() && self.values.get(key).is_some_and(|value| !matches!(value.kind, ValueKind::Table(_))) {
            return self.refuse(key, "must be a table of texts", BTreeMap::new());
        }
        let entry = |name: String| Some((name[inside.len()..].to_owned(), self.optional(&name)?));
        given.into_iter().filter_map(entry).collect()
    }

    /// Every problem found, unknown keys included.
    pub fn finish(mut self) -> Result<(), Problems> {
        for (key, value) in self.values.iter().filter(|(key, _)| !self.asked.contains(*key)) {
            // A section whose settings are all commented out.
            let section = |known: &String| known.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
            if matches!(value.kind, ValueKind::Table(_)) && self.asked.iter().any(section) {
                continue;
            }
            let near = self
                .asked
                .iter()
                .min_by_key(|known| strsim::levenshtein(known, key))
                .filter(|known| strsim::levenshtein(known, key) <= 4);
            let hint = near.map(|known| format!(": did you mean {known}?")).unwrap_or_default();
            self.problems.insert(format!("{key}: unknown setting{hint}"));
        }
        if self.problems.is_empty() { Ok(()) } else { Err(Problems(self.problems)) }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.asked.insert(key.to_owned());
        self.values.get(key).cloned()
    }
}

/// A parser's message in one line, without the lines of the file that it quotes: one may hold a secret.
fn unquoted(message: &str) -> String {
    let quotes =
        |line: &&str| line.trim_start_matches(|sign: char| sign == ' ' || sign.is_ascii_digit()).starts_with('|');
    message.lines().filter(|line| !quotes(line)).collect::<Vec<_>>().join(" ")
}

fn flatten(prefix: &str, table: BTreeMap<String, Value>, into: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value.kind {
            ValueKind::Table(inner) if !inner.is_empty() => flatten(&key, inner.into_iter().collect(), into),
            _ => drop(into.insert(key, value)),
        }
    }
}
