//! The repository works on every machine.

use crate::source::{repository, root};

/// Where the text names a folder that only one machine has; `~` and `/tmp` are everybody's.
fn machine_paths(text: &str) -> Vec<usize> {
    // In two halves, so that this file does not name them.
    let folders = [["/ro", "ot/"], ["/ho", "me/"], ["/wo", "rk/"], ["/Us", "ers/"]].map(|halves| halves.concat());
    let inside = |sign: char| sign.is_alphanumeric() || matches!(sign, '_' | '-' | '.' | '}' | ')');
    let named = |line: &str| {
        folders.iter().any(|folder| line.match_indices(folder).any(|(at, _)| !line[..at].ends_with(inside)))
    };
    text.lines().enumerate().filter(|(_, line)| named(line)).map(|(at, _)| at + 1).collect()
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let mut wrong = Vec::new();
    for file in repository() {
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else { continue };
        wrong.extend(machine_paths(&text).into_iter().map(|line| format!("{}:{line}", file.display())));
    }
    assert!(wrong.is_empty(), "paths of one machine:\n{}", wrong.join("\n"));
}

#[test]
fn the_checker_sees_a_path_of_one_machine() {
    let check = |text: [&str; 2], expected: &[usize]| assert_eq!(machine_paths(&text.concat()), expected, "{text:?}");
    check(["a\ncd /ro", "ot/x"], &[2]);
    check(["file:///ho", "me/me/x"], &[1]);
    check(["\"/wo", "rk/x\""], &[1]);
    check(["https://example.com/ho", "me/page"], &[]);
    check(["~/.pgpass ", "/tmp/x"], &[]);
}
