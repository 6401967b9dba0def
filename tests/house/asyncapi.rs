//! docs/asyncapi.yaml is valid AsyncAPI, and says what the golden files, the sources and docs/protocol.md say: all of
//! it and no more. That the daemon sends nothing else is seen by tests/it/browser.rs.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Draft;
use pgherald::close::{Close, ComeBack};
use pgherald::config::{Config, File};
use serde_json::{Value, json};

use crate::description::description;
use crate::docs;
use crate::source::{read, root};

/// The operations, and where the golden files of their messages are.
const OPERATIONS: &[(&str, &str)] =
    &[("hear", "frames"), ("tell", "frames"), ("tellStreams", "frames"), ("listen", "payloads")];

/// What may be absent from a golden file. Whatever else is taken out of one is missed.
fn optional(operation: &str, message: &str, field: &str) -> bool {
    match operation {
        "hear" => matches!(field, "/ref" | "/topics" | "/filter" | "/since" | "/format" | "/batch"),
        "listen" => !matches!(field, "/table" | "/resource" | "/action" | "/project_id"),
        _ => match field {
            "/ref" | "/cursor" | "/origin" | "/data/row" | "/data/rows" => true,
            "/project_id" => message == "reconnect",
            _ => false,
        },
    }
}

/// The JSON of a golden file.
fn golden(folder: &str, name: &str) -> Value {
    serde_json::from_str(&read(&format!("protocol/{folder}/{name}.json"))).unwrap()
}

/// All golden files of a folder.
fn golden_files(folder: &str) -> BTreeSet<String> {
    let files = std::fs::read_dir(root().join("protocol").join(folder)).unwrap();
    files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Each golden file that an operation's messages have as an example: its message, its name and its JSON.
fn examples(operation: &str) -> Vec<(&'static str, String, Value)> {
    let folder = OPERATIONS.iter().find(|(name, _)| *name == operation).unwrap().1;
    let each = |message| {
        let examples = description().document["components"]["messages"][message]["examples"].as_array();
        let examples = examples.unwrap_or_else(|| panic!("{message} has no example"));
        examples.iter().map(move |example| {
            let name = example["name"].as_str().unwrap().to_owned();
            assert_eq!(example["payload"], golden(folder, &name), "example {name} of {message}");
            (message, name, example["payload"].clone())
        })
    };
    description().of(operation).into_iter().flat_map(each).collect()
}

/// Everything in a document, by its JSON pointer.
fn walk(at: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    into.insert(at.to_owned(), value.clone());
    let below = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| walk(&below(name), value, into)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| walk(&below(&at.to_string()), item, into))
        }
        _ => {}
    }
}

/// The fields and objects of a frame by their pointers. What is in rows is the application's.
fn parts(frame: &Value) -> BTreeMap<String, Value> {
    let mut parts = BTreeMap::new();
    walk("", frame, &mut parts);
    let of_a_row = |at: &str| {
        ["/data/row/", "/data/rows/", "/rows/", "/old_rows/", "/filter/"].iter().any(|rows| at.starts_with(rows))
            || at.starts_with("/resource") && at.ends_with("/title")
    };
    parts.retain(|at, _| !of_a_row(at));
    parts
}

fn words(value: &Value) -> BTreeSet<String> {
    value.as_array().expect("a list of words").iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The words between backticks that programs read: `not_found`, neither `Retry-After` nor `limits.sessions`.
fn quoted_words(text: &str) -> BTreeSet<String> {
    let plain = |word: &&str| word.chars().all(|sign| sign.is_ascii_lowercase() || sign == '_');
    text.split('`').skip(1).step_by(2).filter(plain).map(str::to_owned).collect()
}

/// The text of docs/protocol.md from behind `start` up to `end`.
fn told(start: &str, end: &str) -> String {
    let page = read("docs/protocol.md");
    let (_, text) = page.split_once(start).unwrap_or_else(|| panic!("docs/protocol.md has no {start:?}"));
    text.split_once(end).map_or(text, |(text, _)| text).to_owned()
}

/// The cells of the rows of the table below a heading of docs/protocol.md.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = told(&format!("## {heading}\n"), "\n## ");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.skip(1).map(|row| row.split(" | ").map(str::to_owned).collect()).collect()
}

#[test]
fn the_document_is_valid_asyncapi() {
    let path = root().join("target/asyncapi/3.0.0.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}: run make tools", path.display()));
    let schema: Value = serde_json::from_str(&text).unwrap();
    let official = jsonschema::options().with_draft(Draft::Draft7).build(&schema).unwrap();
    let wrong = |document: &Value| -> Vec<String> {
        official.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
    };
    let document = &description().document;
    assert!(wrong(document).is_empty(), "{:#?}", wrong(document));

    // The schema does refuse.
    for (at, name) in [("", "chanels"), ("/channels/websocket", "adress"), ("/components/messages/ping", "payloads")] {
        let mut misspelt = document.clone();
        misspelt.pointer_mut(at).unwrap()[name] = json!({});
        assert!(!wrong(&misspelt).is_empty(), "{at}/{name}");
    }
    let mut no_type = document.clone();
    no_type["components"]["schemas"]["Refusal"]["type"] = json!("objekt");
    assert!(!wrong(&no_type).is_empty());
}

#[test]
fn every_reference_leads_somewhere_and_everything_is_referred_to() {
    let document = &description().document;
    let mut parts = BTreeMap::new();
    walk("", document, &mut parts);
    let references: BTreeSet<&str> = parts
        .iter()
        .filter(|(at, _)| at.ends_with("/$ref"))
        .map(|(_, reference)| reference.as_str().unwrap().strip_prefix('#').unwrap())
        .collect();
    assert!(references.len() > 40, "{references:?}");
    for reference in &references {
        assert!(document.pointer(reference).is_some(), "{reference} leads nowhere");
    }
    for list in ["/servers", "/components/messages", "/components/schemas", "/components/securitySchemes"] {
        for name in document.pointer(list).unwrap().as_object().unwrap().keys() {
            let at = format!("{list}/{name}");
            // The body of an HTTP answer is no message.
            assert!(references.contains(&*at) || name == "Refusal", "nothing refers to {at}");
        }
    }
    for (channel, described) in document["channels"].as_object().unwrap() {
        for message in described["messages"].as_object().unwrap().keys() {
            let at = format!("/channels/{channel}/messages/{message}");
            assert!(references.contains(&*at), "no operation has {at}");
        }
    }
    let operations: Vec<&String> = document["operations"].as_object().unwrap().keys().collect();
    let known: BTreeSet<&str> = OPERATIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(operations.into_iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
}

#[test]
fn every_golden_file_is_an_example_of_its_message_and_of_no_other() {
    let mut shown: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (operation, folder) in OPERATIONS {
        for (message, name, value) in examples(operation) {
            assert_eq!(description().check(operation, &value), message, "{name}");
            shown.entry(folder).or_default().push(name);
        }
    }
    for (folder, mut names) in shown {
        // Streams hear some of the frames of a session.
        names.sort();
        names.dedup();
        assert_eq!(names, golden_files(folder).into_iter().collect::<Vec<_>>(), "{folder}: each once");
    }
}

#[test]
fn every_message_of_a_frame_has_the_name_of_its_type() {
    for operation in ["hear", "tell", "tellStreams"] {
        for message in description().of(operation) {
            let kind = &description().document["components"]["messages"][message]["payload"]["properties"]["type"];
            assert_eq!(kind["const"], message);
        }
    }
}

#[test]
fn a_golden_file_without_a_field_is_refused() {
    let mut taken = 0;
    for (operation, _) in OPERATIONS {
        for (message, name, value) in examples(operation) {
            for at in parts(&value).keys().filter(|at| !at.is_empty() && !at.ends_with(char::is_numeric)) {
                let (object, field) = at.rsplit_once('/').unwrap();
                let mut without = value.clone();
                without.pointer_mut(object).unwrap().as_object_mut().unwrap().remove(field);
                let wrong = description().wrong(message, &without);
                // Without its id a change is one of the whole resource; but then it has no columns.
                let row = value["data"].get("row").or(value["data"].get("rows"));
                let whole = matches!(&**at, "/data/id" | "/data/ids") && row.is_none();
                let optional = optional(operation, message, at) || whole;
                assert_eq!(wrong.is_empty(), optional, "{name} without {at}: {wrong:#?}");
                taken += usize::from(!optional);
            }
        }
    }
    assert!(taken > 150, "{taken}");
}

#[test]
fn what_the_daemon_writes_has_no_field_that_is_not_described() {
    let mut added = 0;
    for operation in ["tell", "tellStreams"] {
        for (message, name, value) in examples(operation) {
            for (at, part) in parts(&value) {
                // Beside the id of a row stand its columns; where the row is any, there are none.
                let columns = at.starts_with("/resource") && part["id"].is_string() || at.starts_with("/data/row");
                if !part.is_object() || columns {
                    continue;
                }
                let mut with = value.clone();
                with.pointer_mut(&at).unwrap()["surprise"] = json!(1);
                assert!(!description().wrong(message, &with).is_empty(), "{name} with a new field in {at:?}");
                added += 1;
            }
        }
    }
    assert!(added > 40, "{added}");
}

#[test]
fn what_clients_and_triggers_write_may_have_more() {
    for operation in ["hear", "listen"] {
        for (message, name, mut value) in examples(operation) {
            value["surprise"] = json!({ "deep": [1] });
            assert_eq!(description().wrong(message, &value), [""; 0], "{name}");
        }
    }
}

#[test]
fn a_value_of_another_type_or_word_is_refused() {
    for (operation, _) in OPERATIONS {
        for (message, name, value) in examples(operation) {
            for at in parts(&value).keys() {
                let mut with = value.clone();
                *with.pointer_mut(at).unwrap() = json!([[]]);
                assert!(!description().wrong(message, &with).is_empty(), "{name} with another {at:?}");
            }
        }
    }
    let refused = |message: &str, name: &str, at: &str, word: &str| {
        let mut with = golden("frames", name);
        *with.pointer_mut(at).unwrap() = json!(word);
        assert!(!description().wrong(message, &with).is_empty(), "{name} with {at} {word}");
    };
    refused("cache_invalidate", "cache_invalidate", "/action", "TRUNCATE");
    refused("cache_invalidate", "cache_invalidate", "/data/action", "update");
    refused("cache_invalidate", "cache_invalidate", "/project_id", "*");
    refused("resource_change", "resource_change", "/event", "UPDATE");
    refused("error", "error", "/code", "full");
    refused("reconnect", "reconnect", "/data/reason", "token_renewed");
    refused("revoked", "revoked", "/reason", "slow_consumer");
    for cursor in ["", "748123", "748123.", "748123.0.0", "0748123.0", "748123.0.1.2", "-1.0", "a.0", "748123.0\n"] {
        refused("subscribed", "subscribed", "/cursor", cursor);
    }
    for topic in ["", "task", ":", "task:", ":42", "*:*", "*:42"] {
        refused("subscribe", "subscribe", "/topics/0", topic);
    }
}

#[test]
fn close_codes_are_those_of_the_sources_and_of_the_page() {
    let described = description().document["channels"]["websocket"]["x-close-codes"].clone();
    let page = table("Close codes");
    assert_eq!(page.len(), Close::ALL.len(), "{page:?}");
    let expected: Vec<Value> = Close::ALL
        .iter()
        .zip(&page)
        .map(|(close, row)| {
            let (code, _, come_back) = close.describe();
            assert_eq!(row[0], code.to_string());
            let come_back = match come_back {
                ComeBack::No => "no",
                ComeBack::Yes => "yes",
                ComeBack::WithFreshToken => "with_fresh_token",
                ComeBack::AtRandomMoment => "at_random_moment",
                ComeBack::Later => "later",
            };
            json!({ "code": code, "meaning": row[1], "come_back": come_back })
        })
        .collect();
    assert_eq!(described, json!(expected));
}

#[test]
fn error_codes_are_those_of_the_sources_and_of_the_page() {
    let components = &description().document["components"];
    let in_frames = words(&components["messages"]["error"]["payload"]["properties"]["code"]["enum"]);
    assert_eq!(in_frames, quoted_words(&told("\nCodes of `error`:", "\n\n")));

    let before = words(&components["schemas"]["Refusal"]["properties"]["error"]["enum"]);
    let refusals = description().document["channels"]["websocket"]["x-refusals"].as_array().unwrap();
    let (mut statuses, mut codes) = (Vec::new(), BTreeSet::new());
    for refusal in refusals {
        statuses.push(refusal["status"].to_string());
        codes.extend(words(&refusal["codes"]));
    }
    assert_eq!(codes, before);
    let page = table("Before the upgrade");
    assert_eq!(statuses, page.iter().flat_map(|row| row[0].split(", ")).collect::<Vec<_>>());
    let codes: BTreeSet<String> = page.iter().flat_map(|row| quoted_words(&row[1])).collect();
    assert_eq!(codes, before);

    let sources = docs::error_codes();
    // A code of the rooms of administrators, which no client of this protocol meets.
    let rooms = "no_session";
    let known = |code: &String| in_frames.contains(code) || before.contains(code) || code == rooms;
    let missing: Vec<&String> = sources.iter().filter(|code| !known(code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn reasons_are_those_of_the_sources_and_of_the_page() {
    let messages = &description().document["components"]["messages"];
    let reconnect = words(&messages["reconnect"]["payload"]["properties"]["data"]["properties"]["reason"]["enum"]);
    assert_eq!(reconnect, docs::reconnect_reasons());
    assert_eq!(reconnect, quoted_words(&told("\nReasons of `reconnect`:", "\n\n")));
    let revoked = words(&messages["revoked"]["payload"]["properties"]["reason"]["enum"]);
    assert_eq!(revoked, docs::revoked_reasons());
}

#[test]
fn addresses_are_the_defaults_and_their_fields_those_of_the_page() {
    let websocket = &description().document["channels"]["websocket"];
    let config = Config::load(File::None, &BTreeMap::new()).unwrap();
    assert_eq!(words(&websocket["x-addresses"]), config.http.websocket_paths.into_iter().collect());
    assert_eq!(websocket["address"], websocket["x-addresses"][0]);
    let database = &description().document["channels"]["database"];
    assert_eq!(database["address"], json!(config.database.channel));

    let components = &description().document["components"];
    let fields =
        |value: &Value| -> BTreeSet<String> { value["properties"].as_object().unwrap().keys().cloned().collect() };
    let of_subscribe = fields(&components["messages"]["subscribe"]["payload"]);
    let page: BTreeSet<String> =
        table("What a client says").iter().filter(|row| row.len() == 3).map(|row| row[0].replace('`', "")).collect();
    let beside = |more: &[&str]| &page | &more.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(of_subscribe, beside(&["type", "ref", "project_id"]));
    assert_eq!(fields(&components["schemas"]["Query"]), beside(&["project_id", "access_token"]));
}
