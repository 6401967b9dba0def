//! A file imports only from files that stand before it in `src/lib.rs`.

use crate::source::{Source, Token, block, find, read, sources, tokens};

/// The modules of `lib.rs` in order, each with its floor.
struct Map(Vec<(String, String)>);

impl Map {
    fn parse(lib: &str) -> Self {
        let mut floor = String::from("no floor");
        let mut modules = Vec::new();
        for line in lib.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("// ").filter(|name| name.starts_with(|c: char| c.is_ascii_digit())) {
                name.clone_into(&mut floor);
            } else if let Some(name) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
                modules.push((name.to_owned(), floor.clone()));
            }
        }
        Self(modules)
    }

    fn place(&self, module: &str) -> Option<usize> {
        self.0.iter().position(|(name, _)| name == module)
    }

    fn floor(&self, module: &str) -> &str {
        self.place(module).map_or("not in lib.rs", |place| &self.0[place].1)
    }
}

/// Every arrow that points up or sideways, a sentence each.
fn violations(lib: &str, sources: &[Source]) -> Vec<String> {
    let map = Map::parse(lib);
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| !matches!(source.file.as_str(), "src/lib.rs" | "src/main.rs")) {
        let inside = source.file.trim_start_matches("src/");
        let module = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        let Some(place) = map.place(module) else {
            wrong.push(format!("{}: src/lib.rs has no `pub mod {module};`", source.file));
            continue;
        };
        let tokens = tokens(&source.text);
        for (line, target) in arrows(&tokens) {
            let Some(target_place) = map.place(&target) else {
                wrong.push(format!("{}:{line}: {module} -> {target}: no module of src/lib.rs", source.file));
                continue;
            };
            if target_place >= place {
                let (from, to) = (map.floor(module), map.floor(&target));
                let arrow = format!("{module} ({from}) -> {target} ({to})");
                wrong.push(format!("{}:{line}: {arrow}: {target} must stand before {module}", source.file));
            }
        }
        let own_name = find(&tokens, &["pgherald", "::"]).map(|(_, found)| found[0].line);
        wrong.extend(own_name.map(|line| format!("{}:{line}: {module} -> pgherald::: write crate::", source.file)));
        if !inside.starts_with("cli/") {
            // In an inline module, `super` is the file itself.
            let inline: Vec<_> = find(&tokens, &["mod", "_", "{"]).map(|(at, _)| block(&tokens, at)).collect();
            let up = find(&tokens, &["super", "::"])
                .filter(|(at, _)| !inline.iter().any(|module| module.contains(at)))
                .map(|(_, found)| found[0].line);
            wrong.extend(up.map(|line| format!("{}:{line}: {module} -> super: write crate::", source.file)));
        }
    }
    wrong
}

/// What follows each `crate::`: line and module. `pub(crate)` is no arrow, `crate::{a::b, c}` is two.
fn arrows(tokens: &[Token]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (place, token) in tokens.iter().enumerate().filter(|(_, token)| token.text == "crate") {
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
        match (text(place + 1), text(place + 2)) {
            (")", _) => {}
            ("::", "{") => {
                let mut depth = 0;
                for (at, token) in tokens.iter().enumerate().skip(place + 2) {
                    let begins = matches!(text(at - 1), "{" | ",") && depth == 1;
                    match token.text.as_str() {
                        "{" => depth += 1,
                        "}" if depth == 1 => break,
                        "}" => depth -= 1,
                        module if begins => found.push((token.line, module.to_owned())),
                        _ => {}
                    }
                }
            }
            ("::", module) => found.push((token.line, module.to_owned())),
            // `use crate as x`, and whatever else could hide an arrow.
            _ => found.push((token.line, "crate itself".to_owned())),
        }
    }
    found
}

#[test]
fn a_file_imports_only_from_files_below_it() {
    let wrong = violations(&read("src/lib.rs"), &sources());
    assert!(wrong.is_empty(), "arrows that point the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_stands_on_a_floor_and_has_its_file() {
    let map = Map::parse(&read("src/lib.rs"));
    let files: Vec<String> = sources().into_iter().map(|source| source.file).collect();
    for (module, floor) in &map.0 {
        assert!(
            floor.starts_with(|c: char| c.is_ascii_digit()),
            "{module} stands before the first floor of src/lib.rs"
        );
        let places = [format!("src/{module}.rs"), format!("src/{module}/mod.rs")];
        assert!(files.iter().any(|file| places.contains(file)), "{module} has no file");
    }
    let floors: Vec<&String> = map.0.iter().map(|(_, floor)| floor).collect();
    assert!(floors.is_sorted(), "the floors of src/lib.rs go up: {floors:?}");
    assert!(floors.len() > 20, "src/lib.rs was not understood: {floors:?}");
}

#[test]
fn the_checker_sees_arrows_that_point_the_wrong_way() {
    let lib = "// 0: words\npub mod a;\npub mod b;\n\n// 1: forms\npub mod c;\npub mod cli;\n";
    let check = |file: &str, text: &str, expected: &[&str]| {
        assert_eq!(violations(lib, &[Source::new(file, text)]), expected, "{file}: {text}");
    };
    check("src/c.rs", "use crate::a::X; use crate::{a, b::{Y, Z}}; pub(crate) fn f() {} // crate::cli", &[]);
    check(
        "src/a.rs",
        "//! words\nuse crate::c::X;",
        &["src/a.rs:2: a (0: words) -> c (1: forms): c must stand before a"],
    );
    check("src/a.rs", "use crate::a::X;", &["src/a.rs:1: a (0: words) -> a (0: words): a must stand before a"]);
    check(
        "src/b.rs",
        "use crate::{\n    a::{c, d},\n    c::X,\n};",
        &["src/b.rs:3: b (0: words) -> c (1: forms): c must stand before b"],
    );
    check(
        "src/b.rs",
        "fn f() { crate::cli::run() }",
        &["src/b.rs:1: b (0: words) -> cli (1: forms): cli must stand before b"],
    );
    check(
        "src/cli/x.rs",
        "use crate::cli::Y;",
        &["src/cli/x.rs:1: cli (1: forms) -> cli (1: forms): cli must stand before cli"],
    );
    check("src/cli/x.rs", "use super::Y; use crate::c::Z;", &[]);
    check("src/c.rs", "use super::a;", &["src/c.rs:1: c -> super: write crate::"]);
    check("src/c.rs", "mod tests { use super::*; } use super::a;", &["src/c.rs:1: c -> super: write crate::"]);
    check("src/c.rs", "use pgherald::a;", &["src/c.rs:1: c -> pgherald::: write crate::"]);
    check("src/c.rs", "use crate as me;", &["src/c.rs:1: c -> crate itself: no module of src/lib.rs"]);
    check("src/lost.rs", "", &["src/lost.rs: src/lib.rs has no `pub mod lost;`"]);
}
