//! The source files, and as much of Rust's grammar as the rules need: words and signs without comments.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One file of `src/`.
pub struct Source {
    /// As in `src/cli/mod.rs`, with slashes.
    pub file: String,
    pub text: String,
}

impl Source {
    pub fn new(file: &str, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.to_owned() }
    }
}

/// A word, a sign (`::` is one) or a string literal, which keeps its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository; a missing one fails the test.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file of the repository, relative to it; what tools make is left out.
pub fn repository() -> Vec<PathBuf> {
    const MADE_BY_TOOLS: &[&str] = &[".git", "target", "node_modules", "corpus", "artifacts", "dist"];
    let (mut folders, mut files) = (vec![root().to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let made = MADE_BY_TOOLS.iter().any(|name| entry.file_name() == *name);
            match entry.file_type().unwrap() {
                _ if made => {}
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => files.push(entry.path().strip_prefix(root()).unwrap().to_owned()),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

/// All of `src/`.
pub fn sources() -> Vec<Source> {
    let rust = repository()
        .into_iter()
        .filter(|path| path.starts_with("src") && path.extension().is_some_and(|kind| kind == "rs"));
    let sources: Vec<Source> = rust
        .map(|path| {
            let file = path.to_string_lossy().replace('\\', "/");
            Source { text: read(&file), file }
        })
        .collect();
    assert!(sources.len() > 20, "src/ was not found");
    sources
}

/// The tokens of `text`, comments left out.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let bytes = match first {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => block_comment(rest),
            _ if raw_string(rest).is_some() => raw_string(rest).unwrap_or_default(),
            '"' => quoted(rest, '"'),
            'b' if rest.starts_with("b\"") => 1 + quoted(&rest[1..], '"'),
            'b' if rest.starts_with("b'") => 1 + quoted(&rest[1..], '\''),
            '\'' => character_or_lifetime(rest),
            _ if word(first) => rest.find(|next| !word(next)).unwrap_or(rest.len()),
            _ if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(bytes);
        if !first.is_whitespace() && !token.starts_with("//") && !token.starts_with("/*") {
            tokens.push(Token { text: token.to_owned(), line });
        }
        line += token.matches('\n').count();
        rest = after;
    }
    tokens
}

/// Where the tokens of `pattern` stand; `_` in it matches any one token.
pub fn find<'a>(tokens: &'a [Token], pattern: &'a [&str]) -> impl Iterator<Item = (usize, &'a [Token])> {
    let fits = move |(_, window): &(usize, &[Token])| {
        window.iter().zip(pattern).all(|(token, wanted)| *wanted == "_" || token.text == *wanted)
    };
    tokens.windows(pattern.len()).enumerate().filter(fits)
}

/// From the token at `start` to the end of the first block behind it: a function, an inline module.
pub fn block(tokens: &[Token], start: usize) -> Range<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return start..at,
            "}" => depth -= 1,
            _ => {}
        }
    }
    start..start
}

fn word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, sign) in text.char_indices().skip(1) {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if sign == quote => return at + sign.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// `'a'` and `'\n'` are characters, `'a` is a lifetime.
fn character_or_lifetime(text: &str) -> usize {
    let mut signs = text.chars().skip(1);
    match (signs.next(), signs.next()) {
        (Some('\\'), _) => quoted(text, '\''),
        (Some(one), Some('\'')) => 2 + one.len_utf8(),
        _ => 1,
    }
}

fn raw_string(text: &str) -> Option<usize> {
    let start = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = start.len() - start.trim_start_matches('#').len();
    let body = start[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let closed = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + closed)
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let (step, change) = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        at += step;
        depth += change;
        if depth == 0 {
            break;
        }
    }
    at
}

#[test]
fn tokens_are_words_signs_and_texts_without_comments() {
    let check = |text: &str, expected: &[&str]| {
        let found: Vec<String> = tokens(text).into_iter().map(|token| token.text).collect();
        assert_eq!(found, expected, "{text}");
    };
    check("use crate::a; // crate::b", &["use", "crate", "::", "a", ";"]);
    check("/* a /* b */ c */ d", &["d"]);
    check(r#"f("// no \" comment", x)"#, &["f", "(", r#""// no \" comment""#, ",", "x", ")"]);
    check(r##"r#"a " b"# c"##, &[r##"r#"a " b"#"##, "c"]);
    check("br\"a\\\" b", &["br\"a\\\"", "b"]);
    check("&'a str '\"' '\\'' b'\"' 'é'", &["&", "'", "a", "str", "'\"'", "'\\''", "b'\"'", "'é'"]);
    check("r#type", &["r", "#", "type"]);
    assert_eq!(tokens("a\n/*\n*/\n\"x\ny\" b").last().unwrap().line, 5);
}
