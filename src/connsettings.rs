//! The settings of a connection from all their sources, before they mean anything: the connection
//! string wins over the service file, that over the `PG*` variables, as in libpq.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::connkeywords::{KEYWORDS, NARROW};
use crate::conntext::{self, ConnInfoError};
use crate::pgfiles::{self, Env};

/// Keywords with their values, each with the name under which its owner knows it.
pub struct Settings(BTreeMap<&'static str, Setting>);

struct Setting {
    value: String,
    shown: String,
}

impl Settings {
    /// All that the string, its service and the environment say.
    ///
    /// # Errors
    /// The string or the service file is malformed, has a keyword that libpq does not know, or one
    /// that it knows and we cannot honour.
    pub fn gather(text: &str, env: Env) -> Result<Self, ConnInfoError> {
        let mut settings = Self(BTreeMap::new());
        for (key, value) in conntext::pairs(text)? {
            let key = known(&key, "connection string")?;
            settings.0.insert(key, Setting { value, shown: key.to_owned() });
        }
        let from_env = |key: &str| variable(key).and_then(env).filter(|value| !value.is_empty());
        let service = settings.get("service").map(str::to_owned).or_else(|| from_env("service"));
        if let Some(service) = service {
            let file = settings.get("servicefile").map(str::to_owned).or_else(|| from_env("servicefile"));
            for (key, value) in pgfiles::service(&service, file.as_deref(), env)? {
                let place = format!("service {service}");
                let key = known(&key, &place)?;
                let shown = format!("{key} of {place}");
                settings.0.entry(key).or_insert(Setting { value, shown });
            }
        }
        for (key, variable) in KEYWORDS.iter().filter(|(_, variable)| !variable.is_empty()) {
            if let Some(value) = from_env(key) {
                let shown = (*variable).to_owned();
                settings.0.entry(key).or_insert(Setting { value, shown });
            }
        }
        if env("PGREQUIRESSL").is_some_and(|value| value.starts_with('1')) {
            let (value, shown) = ("require".to_owned(), "PGREQUIRESSL".to_owned());
            settings.0.entry("sslmode").or_insert(Setting { value, shown });
        }
        settings.refuse()?;
        Ok(settings)
    }

    /// The value; none where it is left out or empty.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key).map(|setting| setting.value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// A comma-separated list; empty where the value is.
    #[must_use]
    pub fn list(&self, key: &str) -> Vec<&str> {
        self.get(key).map(|value| value.split(',').map(str::trim).collect()).unwrap_or_default()
    }

    /// The value as a number.
    ///
    /// # Errors
    /// It is none.
    pub fn number<T: FromStr>(&self, key: &str, unit: &str) -> Result<Option<T>, ConnInfoError> {
        let number = self.get(key).map(|value| value.trim().parse().ok());
        let why = || self.error(key, "not a whole number", &format!("give it in {unit}"));
        number.map(|number| number.ok_or_else(why)).transpose()
    }

    /// The value as one of these words.
    ///
    /// # Errors
    /// It is none of them.
    pub fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, ConnInfoError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let chosen = words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning);
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let why = || self.error(key, "not a word that is understood here", &format!("use one of {}", all.join(", ")));
        chosen.map(Some).ok_or_else(why)
    }

    /// An error about this setting, under the name that its owner gave it.
    #[must_use]
    pub fn error(&self, key: &str, why: &str, todo: &str) -> ConnInfoError {
        let shown = self.0.get(key).map_or(key, |setting| &setting.shown);
        ConnInfoError::new(shown, why, todo)
    }

    fn refuse(&self) -> Result<(), ConnInfoError> {
        for (key, accepted, why, todo) in NARROW {
            let value = self.get(key).unwrap_or_default();
            if !value.is_empty() && !accepted.iter().any(|word| word.eq_ignore_ascii_case(value)) {
                return Err(self.error(key, why, todo));
            }
        }
        Ok(())
    }
}

fn known(key: &str, place: &str) -> Result<&'static str, ConnInfoError> {
    let found = KEYWORDS.iter().find(|(known, _)| *known == key);
    found.map(|(known, _)| *known).ok_or_else(|| {
        // Something longer, or other than a word, may be a piece of a mistyped password.
        let word = key.len() <= 32 && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let why =
            if word { format!("{key:?} is no keyword of libpq") } else { "has a keyword that is no word".to_owned() };
        ConnInfoError::new(place, &why, "remove it, or correct its spelling; quote values with spaces")
    })
}

fn variable(key: &str) -> Option<&'static str> {
    KEYWORDS.iter().find(|(known, _)| *known == key).map(|(_, variable)| *variable)
}
