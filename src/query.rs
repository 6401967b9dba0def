//! The membership query of `[authorize]`, which asks about one subject, rewritten to ask about many at once.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Word};

/// The query's `$2`.
const SUBJECT: &str = "$2";

/// With one of these words, EXISTS may not compute all that the query does.
const NOT_FOR_EXISTS: &[&str] = &["union", "intersect", "except", "group", "order"];

/// Why a query cannot be rewritten.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No SQL.
    #[error("cannot be read as SQL: {0}")]
    Sql(String),
    /// It does not ask about a subject.
    #[error("does not use $2, the subject")]
    Subject,
}

/// A membership query, read.
#[derive(Debug)]
pub struct Query {
    /// Up to its last word: no semicolon, no comment behind it.
    text: String,
    /// Where `$2` stands in it, in order.
    subjects: Vec<usize>,
    /// Whether it computes nothing in its select list: `select 1 from`.
    plain: bool,
}

impl Query {
    /// Reads `text`. PostgreSQL judges whether it is a good query; here are only the places of `$2`.
    pub fn parse(text: &str) -> Result<Self, Unusable> {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, text)
            .tokenize_with_location()
            .map_err(|error| Unusable::Sql(error.to_string()))?;
        let tokens: Vec<TokenWithSpan> =
            tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
        let last = tokens.iter().rfind(|token| token.token != Token::SemiColon);
        let end = last.map_or(0, |token| offset(text, token.span.end));
        let subjects: Vec<usize> = tokens
            .iter()
            .filter(|token| is_subject(&token.token))
            .map(|token| offset(text, token.span.start))
            .collect();
        if subjects.is_empty() {
            return Err(Unusable::Subject);
        }
        Ok(Self { text: text[..end].to_owned(), subjects, plain: is_plain(&tokens) })
    }

    /// SQL with the parameters of the query and one row with one text: the type that PostgreSQL gives `$2`, in a form
    /// that any `search_path` understands and that means no more than the type (`character` would be `character(1)`).
    /// The query itself is read only, not run.
    pub fn subject_type(&self) -> String {
        let text = &self.text;
        format!(
            "select case when false then exists (\n{text}\n) end,
                    (select pg_catalog.format('%I.%I', n.nspname, t.typname)
                       from pg_catalog.pg_type t
                       join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) t.typnamespace
                      where t.oid operator(pg_catalog.=) pg_catalog.pg_typeof({SUBJECT})::pg_catalog.oid)"
        )
    }

    /// SQL that takes a project and an array of subjects, as a text, and gives the places, from 1, of those who may
    /// see the project. `subject_type` is theirs.
    pub fn of_many(&self, subject_type: &str) -> String {
        // Qualified, so no column of the query can be meant; and no name of the query is the same.
        let mut asked = "pgherald_asked".to_owned();
        while self.text.to_lowercase().contains(&asked) {
            asked.push('_');
        }
        let (mut query, mut from) = (String::new(), 0);
        for at in &self.subjects {
            query += &self.text[from..*at];
            // In parentheses it is a value wherever a parameter is one.
            query += &format!("({asked}.subject)");
            from = at + SUBJECT.len();
        }
        query += &self.text[from..];
        // EXISTS does not compute a select list: `select must_be_member($1, $2)` would then be true for everyone. But
        // only EXISTS becomes a join, which needs no index.
        let may_see = if self.plain {
            format!("exists (\n{query}\n)")
        } else {
            format!(
                "(select pg_catalog.count(pgherald_row.*) operator(pg_catalog.>) 0 from (\n{query}\n) pgherald_row)"
            )
        };
        format!(
            "select {asked}.place
               from pg_catalog.unnest({SUBJECT}::{subject_type}[]) with ordinality {asked}(subject, place)
              where {may_see}"
        )
    }
}

/// An array of texts as PostgreSQL writes one.
pub fn array<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut array = String::from("{");
    for text in texts {
        if array.len() > 1 {
            array.push(',');
        }
        array.push('"');
        for sign in text.chars() {
            if matches!(sign, '"' | '\\') {
                array.push('\\');
            }
            array.push(sign);
        }
        array.push('"');
    }
    array + "}"
}

/// `$2`, also where a word follows without a space, as PostgreSQL before 15 allows; not `$20`.
fn is_subject(token: &Token) -> bool {
    let Token::Placeholder(text) = token else { return false };
    text.strip_prefix(SUBJECT).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

/// Whether EXISTS means the same as fetching all rows.
fn is_plain(tokens: &[TokenWithSpan]) -> bool {
    let word = |place: usize| match tokens.get(place).map(|token| &token.token) {
        Some(Token::Word(word)) => unquoted(word),
        _ => None,
    };
    let constant = usize::from(
        matches!(tokens.get(1).map(|token| &token.token), Some(Token::Number(..)))
            || word(1).as_deref() == Some("true"),
    );
    let begins =
        word(0).as_deref() == Some("select") && matches!(word(1 + constant).as_deref(), Some("from" | "where"));
    begins && !(0..tokens.len()).filter_map(word).any(|word| NOT_FOR_EXISTS.contains(&word.as_str()))
}

fn unquoted(word: &Word) -> Option<String> {
    word.quote_style.is_none().then(|| word.value.to_lowercase())
}

/// The byte at a place that the tokenizer counted in lines and characters, both from 1.
fn offset(text: &str, place: Location) -> usize {
    let number = |count: u64| usize::try_from(count.saturating_sub(1)).unwrap_or(usize::MAX);
    let start: usize = text.split_inclusive('\n').take(number(place.line)).map(str::len).sum();
    let line = &text[start..];
    start + line.char_indices().nth(number(place.column)).map_or(line.len(), |(at, _)| at)
}
