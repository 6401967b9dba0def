//! Where PostgreSQL's server programs are, and as whom they may run.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// A user and a group of the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
}

/// The folder that has `initdb`, `pg_ctl` and `postgres`: `bin` itself where it is given, else the
/// first of `path` (a value of `PATH`), else the newest where the usual packages put them.
///
/// # Errors
/// None has them all: then all the folders that were looked at.
pub fn find(bin: Option<&Path>, path: Option<&OsStr>) -> Result<PathBuf, Vec<PathBuf>> {
    let folders: Vec<PathBuf> = match bin {
        Some(bin) => vec![bin.to_owned(), bin.join("bin")],
        None => std::env::split_paths(path.unwrap_or_default()).chain(usual_folders()).collect(),
    };
    let programs = ["initdb", "pg_ctl", "postgres"];
    let complete = |folder: &&PathBuf| programs.iter().all(|name| folder.join(name).is_file());
    let found = folders.iter().find(complete).and_then(|folder| folder.canonicalize().ok());
    found.ok_or(folders)
}

/// PostgreSQL refuses to run as root: then the user to run it as, `postgres` or else `nobody`. None
/// for anybody else, who can run it.
///
/// # Errors
/// There is no such user; the error says so.
pub fn server_user() -> Result<Option<User>, String> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = |wanted: &&str| {
        let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let fields = lines.find(|fields| fields.first() == Some(wanted))?;
        let number = |field: usize| fields.get(field)?.parse().ok();
        Some(User { uid: number(2)?, gid: number(3)? })
    };
    let user = ["postgres", "_postgres", "nobody"].iter().find_map(user);
    let none = || "/etc/passwd has neither postgres nor nobody".to_owned();
    user.map(Some).ok_or_else(none)
}

fn usual_folders() -> Vec<PathBuf> {
    let versioned = [
        ("/usr/lib/postgresql", "", "bin"),                          // Debian, Ubuntu
        ("/usr", "pgsql-", "bin"),                                   // packages of postgresql.org for Red Hat
        ("/usr/libexec", "postgresql", ""),                          // Alpine
        ("/opt/homebrew/opt", "postgresql@", "bin"),                 // macOS on ARM
        ("/usr/local/opt", "postgresql@", "bin"),                    // macOS on Intel
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"), // Postgres.app
    ];
    let newest_first = versioned.iter().flat_map(|(parent, prefix, bin)| {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let version = |name: OsString| name.to_str()?.strip_prefix(prefix)?.parse::<u32>().ok();
        let mut versions: Vec<_> =
            entries.filter_map(|e| Some((version(e.file_name())?, e.path().join(bin)))).collect();
        versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        versions.into_iter().map(|(_, folder)| folder)
    });
    let fixed = ["/usr/local/pgsql/bin", "/opt/homebrew/bin", "/usr/local/bin", "/usr/bin"];
    newest_first.chain(fixed.iter().map(PathBuf::from)).collect()
}
