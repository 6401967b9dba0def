//! Payloads: what is understood, and what is refused without harm.

use std::path::Path;

use pgherald::cursor::{Cursor, Ordinals};
use pgherald::event::{Action, Invalidation, Malformed, ProjectId, Scope};
use pgherald::resource::ResourceNames;
use proptest::prelude::*;
use serde_json::json;

fn parse(payload: &str) -> Result<Invalidation, Malformed> {
    let exact = [("project_members".to_owned(), "project_members".to_owned())];
    Invalidation::parse(payload, &ResourceNames::new(exact.into()))
}

/// In short: `task UPDATE 7 [1, 2]`; `*` = every project, the whole resource.
fn short(change: &Invalidation) -> String {
    let scope = match &change.scope {
        Scope::Project(project) => project.as_str(),
        Scope::EveryProject => "*",
    };
    let ids = change.ids.as_ref().map_or("*".to_owned(), |ids| format!("[{}]", ids.join(", ")));
    format!("{} {} {scope} {ids}", change.resource, change.action.as_str())
}

fn check(payload: &str, expected: &str) {
    let found = parse(payload).unwrap_or_else(|error| panic!("{payload}: {error}"));
    assert_eq!(short(&found), expected, "{payload}");
}

fn refused(payload: &str) -> Malformed {
    match parse(payload) {
        Err(error) => error,
        Ok(change) => panic!("{payload} was understood as {}", short(&change)),
    }
}

#[test]
fn what_our_triggers_send_is_understood() {
    let payload = r#"{"table":"tasks","action":"UPDATE","project_id":"7","ids":["1","2"],
        "timestamp":"2026-11-20T17:00:00.123456Z","cursor":"748123.0"}"#;
    let change = parse(payload).unwrap();
    assert_eq!(short(&change), "task UPDATE 7 [1, 2]");
    assert_eq!(change.timestamp.as_deref(), Some("2026-11-20T17:00:00.123456Z"));
    assert_eq!(change.transaction, Some(748_123));
    check(r#"{"table":"order_items","action":"INSERT","project_id":"7","ids":["a:b"]}"#, "order_item INSERT 7 [a:b]");
    check(
        r#"{"table":"project_members","action":"DELETE","project_id":"7","ids":["7:carol"]}"#,
        "project_members DELETE 7 [7:carol]",
    );
    check(r#"{"table":"tasks","schema":"app","action":"DELETE","project_id":"7","ids":null}"#, "task DELETE 7 *");
    check(r#"{"table":"tasks","action":"DELETE","project_id":"*","ids":null}"#, "task DELETE * *");
    check(r#"{"table":"tasks","resource":"todo","action":"INSERT","project_id":"7","ids":["1"]}"#, "todo INSERT 7 [1]");
    check(r#"{"table":"tasks","resource":null,"action":"INSERT","project_id":"7","ids":["1"]}"#, "task INSERT 7 [1]");
}

#[test]
fn included_columns_belong_to_their_ids_or_are_left_out() {
    let rows = |ids: &str, rows: &str| {
        let payload = format!(
            r#"{{"table":"tasks","action":"UPDATE","project_id":"7","ids":{ids},"rows":{rows},"old_rows":[]}}"#
        );
        let change = parse(&payload).unwrap();
        change.rows.iter().map(|row| row.as_ref().map(|row| serde_json::to_string(row).unwrap())).collect::<Vec<_>>()
    };
    let big = r#"{"n" : 9007199254740993}"#;
    assert_eq!(rows(r#"["1","2"]"#, &format!("[{big},null]")), [Some(big.to_owned()), None]);
    assert_eq!(rows(r#"["1"]"#, "[[1]]"), [None]);
    for (ids, wrong) in
        [(r#"["1"]"#, "[{},{}]"), (r#"["1"]"#, "7"), (r#"["1"]"#, "null"), ("null", "[{}]"), ("[]", "[{}]")]
    {
        assert!(rows(ids, wrong).is_empty(), "{ids} {wrong}");
    }
    // of no project: nobody learns which row, nor what is in it
    let payload = r#"{"table":"tasks","action":"UPDATE","project_id":null,"ids":["1"],"rows":[{"a":1}]}"#;
    assert!(parse(payload).unwrap().rows.is_empty());
}

#[test]
fn what_teams_send_by_hand_is_understood() {
    let payload =
        r#"{"resource":"task","id":"1","action":"UPDATE","project_id":"7","timestamp":"2026-11-20T17:00:00Z"}"#;
    let change = parse(payload).unwrap();
    assert_eq!(short(&change), "task UPDATE 7 [1]");
    assert_eq!(change.timestamp.as_deref(), Some("2026-11-20T17:00:00Z"));
    assert_eq!(change.transaction, None);
    check(r#"{"resource":"task","id":1,"action":"UPDATE","project_id":7}"#, "task UPDATE 7 [1]");
    check(r#"{"resource":"task","ids":[1,"2",3],"action":"UPDATE","project_id":7}"#, "task UPDATE 7 [1, 2, 3]");
    check(r#"{"resource":"task","action":"INSERT","project_id":"7"}"#, "task INSERT 7 *");
    check(r#"{"resource":"task","id":null,"action":"INSERT","project_id":"7"}"#, "task INSERT 7 *");
    check(r#"{"resource":"task","ids":[],"action":"INSERT","project_id":"7"}"#, "task INSERT 7 *");
    check(r#"{"resource":"task","ids":null,"id":"5","action":"INSERT","project_id":"7"}"#, "task INSERT 7 [5]");
    // A label is taken as it is: no singular of a singular.
    check(r#"{"resource":"status","id":"1","action":"UPDATE","project_id":"7"}"#, "status UPDATE 7 [1]");
    check(r#"{"resource":"tasks","id":"1","action":"UPDATE","project_id":"7"}"#, "tasks UPDATE 7 [1]");
}

#[test]
fn numbers_keep_every_digit() {
    for number in ["9007199254740993", "-9223372036854775808", "123456789012345678901234567890", "1.50", "0"] {
        let payload = format!(r#"{{"resource":"task","id":{number},"action":"UPDATE","project_id":{number}}}"#);
        check(&payload, &format!("task UPDATE {number} [{number}]"));
    }
}

#[test]
fn a_row_of_no_project_is_told_to_all_without_its_id() {
    check(r#"{"resource":"task","id":"1","action":"UPDATE","project_id":null}"#, "task UPDATE * *");
    check(r#"{"table":"tasks","ids":["1","2"],"action":"DELETE","project_id":null}"#, "task DELETE * *");
}

#[test]
fn a_star_is_told_to_every_project_with_its_ids() {
    check(r#"{"resource":"country","id":"de","action":"UPDATE","project_id":"*"}"#, "country UPDATE * [de]");
}

#[test]
fn a_missing_project_is_malformed_not_everybody() {
    assert!(matches!(refused(r#"{"resource":"task","id":"1","action":"UPDATE"}"#), Malformed::Project(_)));
}

#[test]
fn unknown_fields_are_ignored() {
    let payload = json!({
        "resource": "task", "id": "1", "action": "UPDATE", "project_id": "7",
        "origin": "tab-1", "rows": [{ "a": 1 }], "new": { "deep": [[[{}]]] }, "": null,
    });
    check(&payload.to_string(), "task UPDATE 7 [1]");
}

#[test]
fn an_unusable_timestamp_or_cursor_is_as_good_as_none() {
    let long = "9".repeat(300);
    for (timestamp, cursor) in [
        ("null", "null"),
        ("\"\"", "\"\""),
        ("true", "true"),
        ("{}", "[]"),
        ("\"a\\u0000b\"", "\"-1.0\""),
        (&format!("\"{long}\""), &long),
        ("\"\\n\"", "\"x.0\""),
    ] {
        let payload = format!(
            r#"{{"resource":"task","id":"1","action":"UPDATE","project_id":"7","timestamp":{timestamp},"cursor":{cursor}}}"#
        );
        let change = parse(&payload).unwrap_or_else(|error| panic!("{payload}: {error}"));
        assert_eq!((change.timestamp, change.transaction), (None, None), "{payload}");
    }
}

#[test]
fn a_payload_that_is_no_object_is_malformed() {
    for payload in ["", " ", "null", "7", "\"text\"", "hello", "{", "{}{}", "[]", "\u{feff}{}", "{\"a\":}", "\0"] {
        assert!(matches!(refused(payload), Malformed::Json(_)), "{payload:?}");
    }
    // serde reads a struct from an array too, in the order of its fields.
    let array = r#"["task",null,"UPDATE","7","1",null,null,null]"#;
    assert!(matches!(refused(array), Malformed::Json(_)), "{array}");
}

#[test]
fn wrong_types_are_malformed() {
    let good =
        json!({ "resource": "task", "table": "tasks", "id": "1", "ids": ["1"], "action": "UPDATE", "project_id": "7" });
    let check = |field: &str, value: serde_json::Value| {
        let mut payload = good.clone();
        payload[field] = value.clone();
        assert!(parse(&payload.to_string()).is_err(), "{field} = {value} was taken");
    };
    for value in [json!(true), json!({}), json!([]), json!([["7"]])] {
        check("project_id", value);
    }
    for value in [json!(1), json!(["task"]), json!({}), json!(true)] {
        check("resource", value.clone());
        check("table", value);
    }
    for value in [json!("update"), json!("TRUNCATE"), json!(1), json!(null), json!("")] {
        check("action", value);
    }
    for value in [json!("1"), json!(1), json!({}), json!([null]), json!([true]), json!([["1"]]), json!([{}])] {
        check("ids", value);
    }
    let mut single = good.clone();
    single.as_object_mut().unwrap().remove("ids");
    for value in [json!(true), json!([]), json!({}), json!(["1"])] {
        single["id"] = value.clone();
        assert_eq!(refused(&single.to_string()), Malformed::Id, "id = {value}");
    }
}

#[test]
fn a_name_that_is_empty_too_long_or_has_control_characters_is_malformed() {
    let long = "x".repeat(201);
    let just = "x".repeat(200);
    for bad in ["", "a\nb", "\u{0}", "\u{7f}", "\u{85}", long.as_str()] {
        for field in ["resource", "table"] {
            let payload = json!({ field: bad, "id": "1", "action": "UPDATE", "project_id": "7" });
            assert_eq!(refused(&payload.to_string()), Malformed::Resource, "{field} {bad:?}");
        }
        let payload = json!({ "resource": "task", "id": "1", "action": "UPDATE", "project_id": bad });
        assert!(matches!(refused(&payload.to_string()), Malformed::Project(_)), "project_id {bad:?}");
    }
    check(
        &json!({ "resource": just, "action": "UPDATE", "project_id": just }).to_string(),
        &format!("{just} UPDATE {just} *"),
    );
    let none = json!({ "id": "1", "action": "UPDATE", "project_id": "7" });
    assert_eq!(refused(&none.to_string()), Malformed::Resource);
}

#[test]
fn a_field_given_twice_is_malformed() {
    let twice = r#"{"resource":"task","action":"UPDATE","project_id":"7","project_id":"8"}"#;
    assert!(matches!(refused(twice), Malformed::Json(_)));
}

#[test]
fn deep_nesting_and_half_characters_do_no_harm() {
    let deep = format!("{}{}", "[".repeat(3_900), "]".repeat(3_900));
    let payload = |field: &str, value: &str| {
        format!(r#"{{"resource":"task","action":"UPDATE","project_id":"7","{field}":{value}}}"#)
    };
    check(&payload("other", &deep), "task UPDATE 7 *");
    assert_eq!(refused(&payload("id", &deep)), Malformed::Id);
    assert!(parse(&payload("action2", &"{\"a\":".repeat(3_900))).is_err());
    assert_eq!(refused(&payload("id", r#""\ud800""#)), Malformed::Id);
    check(&payload("id", r#""\ud83d\ude00 \u0000""#), "task UPDATE 7 [\u{1f600} \0]");
}

#[test]
fn a_huge_payload_is_read_or_refused_but_never_harmful() {
    let ids: Vec<String> = (0..100_000).map(|id| id.to_string()).collect();
    let payload = json!({ "table": "tasks", "ids": ids, "action": "INSERT", "project_id": "7" }).to_string();
    assert_eq!(parse(&payload).unwrap().ids.unwrap().len(), 100_000);
    let id = "9".repeat(1 << 20);
    check(
        &format!(r#"{{"resource":"task","id":{id},"action":"INSERT","project_id":"7"}}"#),
        &format!("task INSERT 7 [{id}]"),
    );
}

#[test]
fn a_refusal_never_repeats_the_payload() {
    for payload in [
        r#"{"resource":"task","action":"hunter2","project_id":"7"}"#,
        r#"{"resource":{"hunter2":1},"action":"UPDATE","project_id":"7"}"#,
        r#"{"resource":"task","action":"UPDATE","project_id":{"hunter2":1}}"#,
        r#"{"resource":"task","action":"UPDATE","project_id":"7","id":["hunter2"]}"#,
        "hunter2",
    ] {
        let error = refused(payload);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn a_project_id_is_checked_at_the_door() {
    for good in ["7", "a b", "7:8", "été", "**", &"x".repeat(200)] {
        assert_eq!(ProjectId::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "*", "a\tb", "\u{1b}[31m", &"é".repeat(101)] {
        assert!(ProjectId::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn notifications_of_one_transaction_are_counted_from_zero() {
    let mut ordinals = Ordinals::default();
    let cursors: Vec<String> = [5, 5, 5, 9, 4, 4].map(|transaction| ordinals.next(transaction).to_string()).into();
    assert_eq!(cursors, ["5.0", "5.1", "5.2", "9.0", "4.0", "4.1"]);
    assert_eq!(
        Cursor { transaction: u64::MAX, ordinal: u64::MAX, place: 0 }.to_string(),
        "18446744073709551615.18446744073709551615"
    );
}

#[test]
fn actions_are_spelled_as_in_sql() {
    assert_eq!([Action::Insert, Action::Update, Action::Delete].map(Action::as_str), ["INSERT", "UPDATE", "DELETE"]);
}

proptest! {
    #[test]
    fn no_text_panics(payload in any::<String>()) {
        let _ = parse(&payload);
        let _ = ProjectId::parse(&payload);
    }

    #[test]
    fn no_text_that_looks_like_a_payload_panics(
        payload in r#"\{("(resource|table|id|ids|action|project_id|timestamp|cursor)":("[^"]{0,3}"|-?[0-9.e+]{1,4}|null|\[.{0,4}\]|UPDATE|"UPDATE"),?){0,6}\}?"#
    ) {
        let _ = parse(&payload);
    }

    #[test]
    fn every_id_arrives_as_it_was_sent(ids in prop::collection::vec(any::<String>(), 1..20), project in "[^\\*\\p{Cc}]{1,50}") {
        let payload = json!({ "table": "tasks", "ids": ids, "action": "INSERT", "project_id": project }).to_string();
        let change = parse(&payload).unwrap();
        prop_assert_eq!(change.ids.unwrap(), ids);
        prop_assert_eq!(change.scope, Scope::Project(ProjectId::parse(&project).unwrap()));
    }
}

#[test]
fn an_origin_is_kept_where_it_is_short() {
    let origin = |json: &str| {
        parse(&format!(r#"{{"table":"tasks","action":"UPDATE","project_id":"7","id":"1","origin":{json}}}"#))
            .unwrap()
            .origin
    };
    assert_eq!(origin(r#""tab-1""#).as_deref(), Some("tab-1"));
    assert_eq!(origin("17").as_deref(), Some("17"));
    for unusable in ["null", "\"\"", "{}", "true", &format!("\"{}\"", "x".repeat(401))] {
        assert_eq!(origin(unusable), None, "{unusable}");
    }
}

#[test]
fn every_golden_payload_is_understood() {
    let golden = [
        ("table", "task UPDATE 7 [1, 2]"),
        ("table_rows", "task UPDATE 7 [1, 2]"),
        ("table_whole", "task DELETE * *"),
        ("table_again", "task UPDATE 7 *"),
        ("table_relayed", "task UPDATE 7 [1]"),
        ("resource", "task UPDATE 7 [1]"),
        ("resource_numbers", "task INSERT 7 [1, 2]"),
        ("resource_no_project", "task UPDATE * *"),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol/payloads");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), golden.len());
    for (name, expected) in golden {
        let change = parse(&std::fs::read_to_string(folder.join(name).with_extension("json")).unwrap()).unwrap();
        assert_eq!(short(&change), expected, "{name}");
        assert_eq!([change.rows.len(), change.old_rows.len()], [if name == "table_rows" { 2 } else { 0 }; 2], "{name}");
        assert_eq!(change.again, name == "table_again", "{name}");
    }
}
