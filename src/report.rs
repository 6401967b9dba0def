//! What a doctor found: a line for each check, and the worst of them.

use std::fmt;

use serde::Serialize;

/// How many of several things are named.
const NAMED_MAX: usize = 5;

/// How a check ended, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It could not be made, because of what another check found; or there is nothing to check.
    Skipped,
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// Something does not work.
    Error,
}

impl Status {
    /// The word of it, the same in both forms of a report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What one check has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it ended.
    pub status: Status,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(message: impl Into<String>) -> Self {
        Self { status: Status::Ok, message: message.into(), advice: None }
    }

    /// Not checked.
    pub fn skipped(message: impl Into<String>) -> Self {
        Self { status: Status::Skipped, message: message.into(), advice: None }
    }

    /// It works, but.
    pub fn warning(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { status: Status::Warning, message: message.into(), advice: Some(advice.into()) }
    }

    /// It does not work.
    pub fn error(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { status: Status::Error, message: message.into(), advice: Some(advice.into()) }
    }

    /// A check that failed itself; its error says what to do.
    pub fn failed(error: &impl ToString) -> Self {
        Self { status: Status::Error, message: error.to_string(), advice: None }
    }
}

/// A finding with the name of its check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// One word, which does not change from release to release.
    pub name: &'static str,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
}

/// All that was checked, in order. Prints as a screen; [`Report::json`] is for programs.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// A line each.
    pub checks: Vec<Check>,
}

impl Report {
    /// Adds what `name` found; whether it was no error.
    pub fn add(&mut self, name: &'static str, found: Result<Finding, impl ToString>) -> bool {
        let finding = found.unwrap_or_else(|error| Finding::failed(&error));
        let good = finding.status < Status::Error;
        self.checks.push(Check { name, finding });
        good
    }

    /// Adds these as skipped.
    pub fn skip(&mut self, names: &[&'static str], why: &str) {
        self.checks.extend(names.iter().map(|name| Check { name, finding: Finding::skipped(why) }));
    }

    /// The worst of all; what was skipped counts for nothing.
    pub fn status(&self) -> Status {
        self.checks.iter().map(|check| check.finding.status).max().unwrap_or(Status::Ok).max(Status::Ok)
    }

    /// One JSON document.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            status: Status,
            checks: &'a [Check],
        }
        serde_json::to_string(&Document { status: self.status(), checks: &self.checks }).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        for Check { name, finding } in &self.checks {
            writeln!(f, "{:7}  {name:width$}  {}", finding.status.as_str(), printable(&finding.message))?;
            if let Some(advice) = &finding.advice {
                writeln!(f, "{:7}  {:width$}  {}", "", "", printable(advice))?;
            }
        }
        Ok(())
    }
}

/// On one line, and harmless to a terminal: the name of a table may be anything.
fn printable(text: &str) -> String {
    let shown = |sign: char| if sign.is_control() { sign.escape_default().to_string() } else { sign.to_string() };
    text.chars().map(shown).collect()
}

/// The first of them, and how many more there are.
pub fn some_of(names: &[String]) -> String {
    let named = names[..names.len().min(NAMED_MAX)].join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// A word as a shell reads it.
pub fn command_word(word: &str) -> String {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '.' | '-');
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
