//! From a table's name to the name of its resource: `order_items` -> `order_item`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// How many table names are remembered. Real databases have hundreds; a hostile notifier invents more, and
/// past this bound they are computed each time.
const MEMO_NAMES_MAX: usize = 4096;

/// Words whose singular the library gets wrong, measured over 671 table names of real applications.
/// Most are words that only look like plurals.
const OVERRIDES: &[(&str, &str)] = &[
    ("aws", "aws"),
    ("axes", "axis"),
    ("basis", "basis"),
    ("bias", "bias"),
    ("caches", "cache"),
    ("cms", "cms"),
    ("data", "data"),
    ("dns", "dns"),
    ("gps", "gps"),
    ("headaches", "headache"),
    ("https", "https"),
    ("ios", "ios"),
    ("kubernetes", "kubernetes"),
    ("lens", "lens"),
    ("mathematics", "mathematics"),
    ("metadata", "metadata"),
    ("niches", "niche"),
    ("oases", "oasis"),
    ("os", "os"),
    ("physics", "physics"),
    ("politics", "politics"),
    ("redis", "redis"),
    ("sms", "sms"),
    ("species", "species"),
    ("taxa", "taxon"),
    ("tos", "tos"),
    ("vetoes", "veto"),
];

/// Names resources: configured names first, then English.
#[derive(Debug, Default)]
pub struct ResourceNames {
    exact: BTreeMap<String, String>,
    memo: Mutex<HashMap<String, Arc<str>>>,
}

impl ResourceNames {
    /// `exact` is `resources.names` of the configuration: table name -> resource name.
    pub fn new(exact: BTreeMap<String, String>) -> Self {
        Self { exact, memo: Mutex::default() }
    }

    /// The resource of `table`, whose schema (all up to the last dot) is ignored. Same input, same answer.
    pub fn of_table(&self, table: &str) -> Arc<str> {
        let mut memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = memo.get(table) {
            return Arc::clone(known);
        }
        let name: Arc<str> = self.compute(table).into();
        if memo.len() < MEMO_NAMES_MAX {
            memo.insert(table.to_owned(), Arc::clone(&name));
        }
        name
    }

    fn compute(&self, table: &str) -> String {
        let bare = match table.rsplit_once('.') {
            Some((_, bare)) if !bare.is_empty() => bare,
            _ => table,
        };
        if let Some(name) = self.exact.get(bare) {
            return name.clone();
        }
        let (head, word) = bare.rfind('_').map_or(("", bare), |at| bare.split_at(at + 1));
        format!("{head}{}", singular(word))
    }
}

/// The singular of one English word; what is none stays as it is (`news`, `v2`).
fn singular(word: &str) -> String {
    let lower = word.to_lowercase();
    match OVERRIDES.iter().find(|(plural, _)| *plural == lower) {
        Some((plural, single)) if plural == single => word.to_owned(),
        Some((_, single)) => (*single).to_owned(),
        None if word.is_empty() => String::new(),
        None => match pluralizer::pluralize(word, 1, false) {
            // Of "s" nothing is left.
            nothing if nothing.is_empty() => word.to_owned(),
            single => single,
        },
    }
}
