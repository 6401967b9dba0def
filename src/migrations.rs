//! The SQL files that this binary carries.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

macro_rules! embed {
    ($folder:literal: $($name:literal)*) => {
        &[$(File { name: $name, text: include_str!(concat!("../", $folder, "/", $name)) }),*]
    };
}

/// Append-only: a file that was released is never edited.
pub const MIGRATIONS: &[File] = embed!("migrations": "0001_pgherald.sql" "0002_relay.sql" "0003_parts.sql");

/// Applied by name; their bodies may refer to each other in any order.
pub const FUNCTIONS: &[File] = embed!("sql/functions":
    "append.sql"
    "appending.sql"
    "backlog.sql"
    "base_name.sql"
    "body.sql"
    "check_queries.sql"
    "check_readable.sql"
    "check_watchable.sql"
    "close_queue.sql"
    "column_numbers.sql"
    "column_text.sql"
    "count_dropped.sql"
    "current_name.sql"
    "drop_unused.sql"
    "due.sql"
    "emission.sql"
    "foreign_key.sql"
    "function_sources.sql"
    "generate.sql"
    "generated.sql"
    "guarded.sql"
    "lookup_source.sql"
    "may_merge.sql"
    "merge_source.sql"
    "moved_source.sql"
    "names.sql"
    "notify.sql"
    "open_queue.sql"
    "options.sql"
    "parts.sql"
    "path.sql"
    "plan.sql"
    "primary_key.sql"
    "queue_bytes.sql"
    "queue_files_limit.sql"
    "queue_limit.sql"
    "recycle.sql"
    "refresh.sql"
    "relations.sql"
    "relay.sql"
    "relay_wanted.sql"
    "renamed.sql"
    "ring.sql"
    "row_source.sql"
    "set_transport.sql"
    "settings.sql"
    "shrink_queue.sql"
    "split.sql"
    "statement_source.sql"
    "steps.sql"
    "trigger_definitions.sql"
    "unwatch.sql"
    "watch.sql"
    "watch_again.sql"
    "watch_all.sql"
    "watched.sql"
);

/// One file, as it was when this binary was built.
pub struct File {
    /// Its name, without the folder.
    pub name: &'static str,
    /// What is in it.
    pub text: &'static str,
}

impl File {
    /// SHA-256 in hex.
    pub fn checksum(&self) -> String {
        let mut hex = String::new();
        for byte in Sha256::digest(self.text.as_bytes()) {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }

    /// The number in front of a migration's name.
    pub fn version(&self) -> i32 {
        self.name.split_once('_').and_then(|(number, _)| number.parse().ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn folder(path: &str) -> Vec<String> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let mut names: Vec<_> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn names(files: &[File]) -> Vec<&str> {
        files.iter().map(|file| file.name).collect()
    }

    #[test]
    fn every_file_is_embedded_in_order() {
        assert_eq!(names(MIGRATIONS), folder("migrations"));
        assert_eq!(names(FUNCTIONS), folder("sql/functions"));
    }

    #[test]
    fn migrations_are_numbered_without_a_gap() {
        let versions: Vec<_> = MIGRATIONS.iter().map(File::version).collect();
        assert_eq!(versions, (1..=versions.len() as i32).collect::<Vec<_>>());
    }

    #[test]
    fn file_names_need_no_quoting() {
        for name in names(MIGRATIONS).into_iter().chain(names(FUNCTIONS)) {
            assert!(!name.contains('\''), "{name}");
        }
    }
}
