//! What libpq keeps in files: passwords, services, and who we are.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::conntext::ConnInfoError;

/// The source of environment variables.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The home folder: `HOME`, else what `/etc/passwd` says.
#[must_use]
pub fn home(env: Env) -> Option<PathBuf> {
    let home = env("HOME").filter(|home| !home.is_empty()).or_else(|| passwd(5));
    home.map(PathBuf::from)
}

/// The name of the user that we run as: from `/etc/passwd`, else `USER` or `LOGNAME`.
#[must_use]
pub fn os_user(env: Env) -> Option<String> {
    passwd(0).or_else(|| env("USER")).or_else(|| env("LOGNAME"))
}

fn passwd(field: usize) -> Option<String> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(2) == Some(&uid.as_str()))?;
    line.get(field).map(|value| (*value).to_owned())
}

/// A password file, one `host:port:dbname:user:password` a line:
/// <https://www.postgresql.org/docs/current/libpq-pgpass.html>.
pub struct Passwords(String);

impl Passwords {
    /// The file's lines: none where there is no file. A file that others may read is not used, and
    /// then there is a warning about it.
    #[must_use]
    pub fn read(path: &Path) -> (Self, Option<String>) {
        let none = |warning| (Self(String::new()), warning);
        let Ok(metadata) = std::fs::metadata(path) else {
            return none(None);
        };
        let path_shown = path.display();
        if !metadata.is_file() {
            return none(Some(format!("password file {path_shown} is not used: it is not a plain file")));
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            let why = "others may read it; chmod 600 it";
            return none(Some(format!("password file {path_shown} is not used: {why}")));
        }
        match std::fs::read(path) {
            Ok(bytes) => (Self(String::from_utf8_lossy(&bytes).into_owned()), None),
            Err(error) => none(Some(format!("password file {path_shown} is not used: {error}"))),
        }
    }

    /// The password of the first line that matches.
    #[must_use]
    pub fn find(&self, host: &str, port: u16, dbname: &str, user: &str) -> Option<String> {
        let wanted = [host, &port.to_string(), dbname, user];
        let mut lines = self.0.lines().filter(|line| !line.starts_with('#'));
        lines.find_map(|line| {
            let rest = wanted.iter().try_fold(line, |rest, wanted| {
                let (field, rest) = field(rest)?;
                (field == "*" || unescaped(field) == *wanted).then_some(rest)
            })?;
            Some(unescaped(rest)).filter(|password| !password.is_empty())
        })
    }
}

/// The text up to the next colon without a backslash before it, and what comes behind.
fn field(line: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let colon = line.find(|c| {
        let found = c == ':' && !escaped;
        escaped = c == '\\' && !escaped;
        found
    })?;
    Some((&line[..colon], &line[colon + 1..]))
}

fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(c) = characters.next() {
        plain.push(if c == '\\' { characters.next().unwrap_or(c) } else { c });
    }
    plain
}

/// The settings of a service: from `file` (`servicefile`, `PGSERVICEFILE`), else
/// `~/.pg_service.conf`, else `pg_service.conf` in `PGSYSCONFDIR`:
/// <https://www.postgresql.org/docs/current/libpq-pgservice.html>.
///
/// # Errors
/// The file cannot be read or understood, or no file has the service.
pub fn service(name: &str, file: Option<&str>, env: Env) -> Result<Vec<(String, String)>, ConnInfoError> {
    let mut files: Vec<PathBuf> = file.map(PathBuf::from).into_iter().collect();
    if file.is_none() {
        files.extend(home(env).map(|home| home.join(".pg_service.conf")));
    }
    let system = env("PGSYSCONFDIR").unwrap_or_else(|| "/etc/postgresql-common".to_owned());
    files.push(Path::new(&system).join("pg_service.conf"));
    for path in files {
        let shown = path.display().to_string();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(_) if file != Some(&*shown) => continue,
            Err(error) => {
                return Err(ConnInfoError::new(&shown, &error.to_string(), "correct the name of the service file"));
            }
        };
        if let Some(settings) = section(&text, name, &shown)? {
            return Ok(settings);
        }
    }
    let why = format!("no service file has a section [{name}]");
    Err(ConnInfoError::new("service", &why, "add it, or name the file in PGSERVICEFILE"))
}

fn section(text: &str, name: &str, file: &str) -> Result<Option<Vec<(String, String)>>, ConnInfoError> {
    let mut settings = None;
    for (number, line) in text.lines().map(str::trim).enumerate() {
        let header = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        match (header, &mut settings) {
            (Some(_), Some(_)) => break,
            (Some(header), None) if header == name => settings = Some(Vec::new()),
            (None, Some(_)) if line.is_empty() || line.starts_with('#') => {}
            (None, Some(settings)) => {
                let place = format!("{file}, line {}", number + 1);
                let pair =
                    line.split_once('=').ok_or_else(|| ConnInfoError::new(&place, "has no =", "write key=value"))?;
                settings.push((pair.0.trim().to_owned(), pair.1.trim().to_owned()));
            }
            _ => {}
        }
    }
    Ok(settings)
}
