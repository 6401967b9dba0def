//! Frames as they stand on the wire. `protocol/frames/*.json` is the contract that clients test against too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use pgherald::close::{Close, ComeBack};
use pgherald::cursor::Cursor;
use pgherald::encoding::{Encodings, Event};
use pgherald::event::{Action, Invalidation, ProjectId, Scope};
use pgherald::interest::Selected;
use pgherald::protocol::{ClientFrame, Form, Format, Reason, Refusal, ServerFrame, Subscribe, Wire};
use pgherald::resource::ResourceNames;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::FrameSocket;

use crate::description::description;

const TIMESTAMP: &str = "2026-11-20T17:00:00.123456Z";
const SPREAD: Duration = Duration::from_secs(2);
const FROM_CLIENTS: &[&str] = &["auth", "ping", "ping_bare", "subscribe", "subscribe_resume", "unsubscribe"];

/// The text of a golden frame: one line, exactly as it is sent.
fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("protocol/frames/{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.strip_suffix('\n').expect("a golden frame is one line").to_owned()
}

/// The texts of encoded frames, as another implementation of RFC 6455 reads them.
fn texts(bytes: &[u8]) -> Vec<String> {
    let mut frames = FrameSocket::new(std::io::Cursor::new(bytes.to_vec()));
    let mut texts = Vec::new();
    while let Some(frame) = frames.read(None).unwrap() {
        assert!(frame.header().is_final && frame.header().mask.is_none());
        texts.push(frame.into_text().unwrap().as_str().to_owned());
    }
    texts
}

fn project() -> ProjectId {
    ProjectId::parse("7").unwrap()
}

fn change(action: Action, ids: Option<&[&str]>, timestamp: Option<&str>) -> Invalidation {
    Invalidation {
        action,
        ids: ids.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect()),
        timestamp: timestamp.map(str::to_owned),
        ..Invalidation::of_resource("task".into(), Scope::Project(project()))
    }
}

fn encode(change: &Invalidation, cursor: Option<Cursor>, received_at: &str, form: Form) -> Event {
    Encodings::new(change, &project(), cursor, received_at).event(form, &Selected::All).unwrap()
}

/// Every frame that the daemon sends, by the name of its golden file.
fn sent() -> Vec<(&'static str, Vec<u8>)> {
    let reference = |reference: &'static str| Some(reference);
    let refusal = Refusal::new("forbidden", "not a member of this project", Some("1".into()));
    let refusal_bare = Refusal::new("not_subscribed", "there is no subscription to this project", None);
    let row = change(Action::Update, Some(&["1"]), Some(TIMESTAMP));
    let resource = change(Action::Delete, None, None);
    let echo = Invalidation { origin: Some("tab-1".into()), ..row.clone() };
    let payload = r#"{"table":"tasks","action":"UPDATE","project_id":"7","ids":["1"],"rows":[{"title":"Write it down"}],
        "timestamp":"2026-11-20T17:00:00.123456Z"}"#;
    let with_row = Invalidation::parse(payload, &ResourceNames::new(BTreeMap::new())).unwrap();
    let payload = r#"{"table":"tasks","action":"INSERT","project_id":"7","ids":["1","2"],
        "rows":[{"title":"Write it down"},null],"timestamp":"2026-11-20T17:00:00.123456Z"}"#;
    let with_rows = Invalidation::parse(payload, &ResourceNames::new(BTreeMap::new())).unwrap();
    let cursor = Cursor { transaction: 748_123, ordinal: 0, place: 0 };
    let resource_change = Form { format: Format::ResourceChange, ..Form::default() };
    let batch = Form { batch: true, ..Form::default() };
    let resource_change_batch = Form { batch: true, ..resource_change };
    let many = change(Action::Update, Some(&["1", "2", "3"]), Some(TIMESTAMP));
    let ws = Wire::WebSocket;
    let frames = [
        ("authenticated", ServerFrame::Authenticated { subject: "alice", expires_at: 1_795_200_000 }.encode(ws)),
        ("cache_invalidate", encode(&row, Some(cursor), "unused", Form::default()).frames),
        ("cache_invalidate_origin", encode(&echo, Some(cursor), "unused", Form::default()).frames),
        ("cache_invalidate_row", encode(&with_row, Some(cursor), "unused", Form::default()).frames),
        ("cache_invalidate_resource", encode(&resource, None, TIMESTAMP, Form::default()).frames),
        ("cache_invalidate_batch", encode(&many, Some(cursor), "unused", batch).frames),
        ("cache_invalidate_batch_rows", encode(&with_rows, Some(cursor), "unused", batch).frames),
        ("resource_change", encode(&with_row, Some(cursor), "unused", resource_change).frames),
        ("resource_change_resource", encode(&resource, None, TIMESTAMP, resource_change).frames),
        ("resource_change_origin", encode(&echo, Some(cursor), "unused", resource_change).frames),
        ("resource_change_batch", encode(&many, Some(cursor), "unused", resource_change_batch).frames),
        ("resource_change_batch_rows", encode(&with_rows, Some(cursor), "unused", resource_change_batch).frames),
        ("close", ServerFrame::Close { code: 4401, reason: "token invalid or expired" }.encode(ws)),
        ("error", ServerFrame::Error(&refusal).encode(ws)),
        ("error_bare", ServerFrame::Error(&refusal_bare).encode(ws)),
        ("pong", ServerFrame::Pong { reference: reference("3"), cursor: Some(cursor.to_string()) }.encode(ws)),
        ("pong_bare", ServerFrame::Pong { reference: None, cursor: None }.encode(ws)),
        ("reconnect", ServerFrame::reconnect(None, Reason::DatabaseReconnected, SPREAD, ws)),
        ("reconnect_project", ServerFrame::reconnect(Some(&project()), Reason::SlowConsumer, SPREAD, ws)),
        ("revoked", ServerFrame::Revoked { project_id: "7", reason: "token_renewed" }.encode(ws)),
        ("revoked_not_a_member", ServerFrame::Revoked { project_id: "7", reason: "not_a_member" }.encode(ws)),
        (
            "subscribed",
            ServerFrame::Subscribed { reference: reference("1"), project_id: "7", cursor: Some(cursor.to_string()) }
                .encode(ws),
        ),
        ("subscribed_bare", ServerFrame::Subscribed { reference: None, project_id: "7", cursor: None }.encode(ws)),
        ("unsubscribed", ServerFrame::Unsubscribed { reference: reference("2"), project_id: "7" }.encode(ws)),
    ];
    frames.map(|(name, bytes)| (name, bytes.to_vec())).into()
}

#[test]
fn every_frame_is_sent_as_its_golden_file_shows_it() {
    for (name, bytes) in sent() {
        assert_eq!(texts(&bytes), [golden(name)], "{name}");
    }
}

#[test]
fn every_golden_file_is_held_by_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol/frames");
    let files: BTreeSet<String> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let held = sent().into_iter().map(|(name, _)| name).chain(FROM_CLIENTS.iter().copied());
    assert_eq!(files, held.map(|name| format!("{name}.json")).collect());
}

#[test]
fn every_golden_frame_of_a_client_is_understood() {
    for name in FROM_CLIENTS {
        let frame = ClientFrame::parse(&golden(name)).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
        let mut shown = match frame {
            ClientFrame::Auth { token } => json!({ "type": "auth", "token": token }),
            ClientFrame::Subscribe(Subscribe {
                reference, project_id, topics, filter, since, format, batch, ..
            }) => {
                json!({ "type": "subscribe", "ref": reference, "project_id": project_id, "topics": topics,
                    "filter": filter, "since": since, "format": format, "batch": batch })
            }
            ClientFrame::Unsubscribe { reference, project_id } => {
                json!({ "type": "unsubscribe", "ref": reference, "project_id": project_id })
            }
            ClientFrame::Ping { reference } => json!({ "type": "ping", "ref": reference }),
        };
        shown.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        assert_eq!(shown, serde_json::from_str::<Value>(&golden(name)).unwrap());
    }
}

#[test]
fn a_change_of_many_rows_is_one_frame_a_row_in_their_order() {
    let ids: Vec<String> = (0..100).map(|id| id.to_string()).collect();
    let change = change(Action::Insert, Some(&ids.iter().map(String::as_str).collect::<Vec<_>>()), None);
    let event = encode(&change, None, TIMESTAMP, Form::default());
    assert_eq!(event.count, 100);
    let texts = texts(&event.frames);
    let heard: Vec<Value> =
        texts.iter().map(|text| serde_json::from_str::<Value>(text).unwrap()["data"]["id"].clone()).collect();
    assert_eq!(heard, ids);
}

#[test]
fn texts_of_strangers_are_escaped() {
    let hostile = "\"},{\"type\":\"reconnect\"\u{0}\n\u{2028}</script>";
    let mut change = change(Action::Insert, Some(&[hostile]), Some(hostile));
    change.resource = hostile.into();
    let texts = texts(&encode(&change, None, TIMESTAMP, Form::default()).frames);
    assert_eq!(texts.len(), 1);
    let frame: Value = serde_json::from_str(&texts[0]).unwrap();
    assert_eq!([&frame["data"]["id"], &frame["resource"], &frame["data"]["timestamp"]], [hostile; 3]);
    assert_eq!(frame["type"], "cache_invalidate");
    assert!(!texts[0].contains(char::is_control), "control characters are escaped");
}

#[test]
fn what_was_not_asked_is_not_sent() {
    assert_eq!(
        texts(&ServerFrame::Pong { reference: None, cursor: None }.encode(Wire::WebSocket)),
        [r#"{"type":"pong"}"#]
    );
    let refusal = Refusal::new("malformed", "why", None);
    assert_eq!(
        texts(&ServerFrame::Error(&refusal).encode(Wire::WebSocket)),
        [r#"{"type":"error","code":"malformed","message":"why"}"#]
    );
}

#[test]
fn a_spread_beyond_all_measure_does_not_overflow() {
    let texts = texts(&ServerFrame::reconnect(None, Reason::HistoryGap, Duration::MAX, Wire::WebSocket));
    let frame: Value = serde_json::from_str(&texts[0]).unwrap();
    assert_eq!(frame["data"], json!({ "reason": "history_gap", "spread_ms": u64::MAX }));
}

#[test]
fn a_reason_is_spelled_alike_in_frames_and_metrics() {
    for reason in [
        Reason::DatabaseReconnected,
        Reason::SlowConsumer,
        Reason::HistoryGap,
        Reason::NotificationDropped,
        Reason::AccessChecked,
    ] {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
    }
}

/// The code and the `ref` of the refusal.
fn refused(text: &str) -> (&'static str, Option<String>) {
    match ClientFrame::parse(text) {
        Err(refusal) => {
            assert!(!refusal.message.contains("hunter2"), "{text}: {} repeats the message", refusal.message);
            (refusal.code, refusal.reference)
        }
        Ok(frame) => panic!("{text} was understood as {frame:?}"),
    }
}

#[test]
fn what_is_no_frame_is_malformed() {
    let deep = format!(r#"{{"type":"ping","ref":{}"#, "[".repeat(10_000));
    for text in [
        "",
        " ",
        "null",
        "7",
        "\"ping\"",
        "ping",
        "{",
        "{}{}",
        "[]",
        "{\"type\":1}",
        "{\"type\":{}}",
        "\u{feff}{}",
        "\0",
        r#"{"type":"ping","ref":1}"#,
        r#"{"type":"ping","ref":["hunter2"]}"#,
        r#"{"type":"ping","ref":"1","ref":"2"}"#,
        r#"{"type":"ping","type":"auth","token":"hunter2"}"#,
        r#"{"type":"auth","token":"hunter2""#,
        &deep,
    ] {
        assert_eq!(refused(text), ("malformed", None), "{text:.80}");
    }
    // serde reads a struct from an array too, in the order of its fields.
    assert_eq!(refused(r#"["ping",null]"#), ("malformed", None));
}

#[test]
fn an_unknown_type_is_told_with_its_ref() {
    for kind in ["Ping", "PING", "ping ", "cache_invalidate", "hunter2", "", "subscribe\u{0}"] {
        let text = json!({ "type": kind, "ref": "9" }).to_string();
        assert_eq!(refused(&text), ("unknown_type", Some("9".into())), "{text}");
    }
    assert_eq!(refused("{}"), ("unknown_type", None));
    assert_eq!(refused(r#"{"type":null}"#), ("unknown_type", None));
}

#[test]
fn a_missing_or_wrong_field_is_told_with_the_ref() {
    for text in [
        r#"{"type":"auth","ref":"9"}"#,
        r#"{"type":"auth","ref":"9","token":7}"#,
        r#"{"type":"auth","ref":"9","token":null}"#,
        r#"{"type":"subscribe","ref":"9"}"#,
        r#"{"type":"subscribe","ref":"9","project_id":null}"#,
        r#"{"type":"subscribe","ref":"9","project_id":["hunter2"]}"#,
        r#"{"type":"subscribe","ref":"9","project_id":"7","topics":"hunter2"}"#,
        r#"{"type":"subscribe","ref":"9","project_id":"7","topics":[1]}"#,
        r#"{"type":"subscribe","ref":"9","project_id":"7","since":748123}"#,
        r#"{"type":"unsubscribe","ref":"9"}"#,
        r#"{"type":"unsubscribe","ref":"9","project_id":{}}"#,
    ] {
        assert_eq!(refused(text), ("malformed", Some("9".into())), "{text}");
    }
}

#[test]
fn unknown_fields_and_any_order_are_fine() {
    let text = r#"{"new":{"deep":[1]},"project_id":"7","ref":"1","type":"subscribe","implied":true}"#;
    let Ok(ClientFrame::Subscribe(subscribe)) = ClientFrame::parse(text) else { panic!("{text}") };
    assert_eq!(subscribe.wanted(Form::default()).unwrap().project, project());
    assert!(!subscribe.implied, "a client can't claim that its request came with the URL");
    assert!(matches!(ClientFrame::parse(r#"{"type":"p\u0069ng"}"#), Ok(ClientFrame::Ping { reference: None })));
    for text in [text, r#"{"type":"p\u0069ng"}"#, r#"{"type":"ping","ref":null,"new":1}"#] {
        assert!(ClientFrame::parse(text).is_ok(), "{text}");
        description().check("hear", &serde_json::from_str(text).unwrap());
    }
}

#[test]
fn a_subscription_that_can_not_be_served_whole_is_refused() {
    let check = |fields: Value, expected: Result<(), &str>| {
        let mut frame = json!({ "type": "subscribe", "ref": "9", "project_id": "7" });
        for (name, value) in fields.as_object().unwrap() {
            frame[name] = value.clone();
        }
        let Ok(ClientFrame::Subscribe(subscribe)) = ClientFrame::parse(&frame.to_string()) else { panic!("{frame}") };
        match (subscribe.wanted(Form::default()), expected) {
            (Ok(_), Ok(())) => drop(description().check("hear", &frame)),
            (Err(refusal), Err(code)) => {
                assert_eq!((refusal.code, refusal.reference.as_deref()), (code, Some("9")), "{frame}");
                assert!(refusal.message.len() < 200, "{}", refusal.message);
            }
            (found, _) => panic!("{frame}: {found:?}, expected {expected:?}"),
        }
    };
    check(json!({}), Ok(()));
    check(json!({ "topics": ["*"] }), Ok(()));
    check(json!({ "topics": null, "filter": null, "since": null }), Ok(()));
    check(json!({ "since": "748123.0" }), Ok(()));
    check(json!({ "since": "not a cursor" }), Ok(()));
    check(json!({ "topics": ["task:*", "sprint:3", "note:a:b"], "filter": { "parent_id": "9" } }), Ok(()));
    check(json!({ "topics": [], "filter": {}, "format": "resource_change", "batch": true }), Ok(()));
    check(json!({ "topics": ["task:*", "sprint"] }), Err("bad_topic"));
    check(json!({ "topics": ["*", "x".repeat(10_000)] }), Err("bad_topic"));
    check(json!({ "topics": vec!["task:1"; 101] }), Err("bad_topic"));
    check(json!({ "filter": { "parent_id": ["9"] } }), Err("bad_filter"));
    check(json!({ "filter": "parent_id" }), Err("bad_filter"));
    check(json!({ "format": "xml" }), Err("bad_format"));
    check(json!({ "project_id": "" }), Err("malformed"));
    check(json!({ "project_id": "*" }), Err("malformed"));
    check(json!({ "project_id": "x".repeat(201) }), Err("malformed"));
    check(json!({ "project_id": "a\u{0}b" }), Err("malformed"));
}

#[test]
fn frames_are_server_sent_events_with_their_cursor_as_id() {
    let stream = Wire::EventStream;
    let lines = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let cursor = Cursor { transaction: 748_123, ordinal: 0, place: 0 };
    let row = change(Action::Update, Some(&["1", "2"]), Some(TIMESTAMP));
    let text = lines(&encode(&row, Some(cursor), "unused", Form { wire: stream, ..Form::default() }).frames);
    let events: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(events[0], format!("id: 748123.0\ndata: {}", golden("cache_invalidate")));
    assert!(events[1].starts_with("id: 748123.0.1\ndata: {") && events.len() == 2, "{text}");
    let subscribed = ServerFrame::Subscribed { reference: None, project_id: "7", cursor: Some(cursor.to_string()) };
    assert!(lines(&subscribed.encode(stream)).starts_with("id: 748123.0\ndata: {\"type\":\"subscribed\""));
    // What has no cursor leaves the last id as it is.
    let close = ServerFrame::Close { code: 4401, reason: "token invalid or expired" };
    assert_eq!(lines(&close.encode(stream)), format!("data: {}\n\n", golden("close")));
    let reconnect = ServerFrame::reconnect(None, Reason::DatabaseReconnected, SPREAD, stream);
    assert_eq!(lines(&reconnect), format!("data: {}\n\n", golden("reconnect")));
}

#[test]
fn close_codes_are_unique_in_order_and_may_be_sent() {
    let codes: Vec<u16> = Close::ALL.iter().map(|close| close.describe().0).collect();
    assert!(codes.is_sorted_by(|one, next| one < next), "{codes:?}");
    for close in Close::ALL {
        let (code, reason, _) = close.describe();
        assert!(matches!(code, 1000..=1003 | 1007..=1014 | 4000..=4999), "{code}");
        assert!(reason.len() <= 123, "{reason}");
    }
}

#[test]
fn close_codes_say_whether_to_come_back() {
    let check = |close: Close, code: u16, come_back: ComeBack| {
        let (found_code, _, found) = close.describe();
        assert_eq!((found_code, found), (code, come_back));
    };
    check(Close::GoingAway, 1001, ComeBack::AtRandomMoment);
    check(Close::Overloaded, 1013, ComeBack::Later);
    check(Close::Malformed, 4400, ComeBack::No);
    check(Close::Unauthorized, 4401, ComeBack::WithFreshToken);
    check(Close::Forbidden, 4403, ComeBack::No);
    check(Close::AuthTimeout, 4408, ComeBack::Yes);
    check(Close::TooLarge, 4413, ComeBack::No);
    check(Close::TooMany, 4429, ComeBack::Later);
}

proptest! {
    #[test]
    fn no_text_of_a_client_panics(text in any::<String>()) {
        let _ = ClientFrame::parse(&text);
    }

    #[test]
    fn no_text_that_looks_like_a_frame_panics(
        text in r#"\{("(type|ref|project_id|topics|filter|since|token)":("(ping|auth|subscribe|.{0,3})"|1|null|\[.{0,4}\]|\{\}),?){0,6}\}?"#
    ) {
        if let Ok(ClientFrame::Subscribe(subscribe)) = ClientFrame::parse(&text) {
            let _ = subscribe.wanted(Form::default());
        }
    }
}
