//! A key of any type names its row, and a project of any type its sessions.

use crate::witness::{Transport, WAYS, Way, Witness};

/// Types that a key may have; literals, and what the key is then called.
const TYPES: &[(&str, &[(&str, &str)])] = &[
    ("smallint", &[("-32768", "-32768"), ("32767", "32767")]),
    ("bigint", &[("9007199254740993", "9007199254740993"), ("-9223372036854775808", "-9223372036854775808")]),
    (
        "numeric",
        &[
            ("'NaN'", "NaN"),
            ("12345678901234567890.50", "12345678901234567890.50"),
            ("-0.000000000000000000000000000001", "-0.000000000000000000000000000001"),
        ],
    ),
    ("numeric(6, 2)", &[("1.5", "1.50")]),
    ("real", &[("0.1", "0.1"), ("'-Infinity'", "-Infinity"), ("16777216", "1.6777216e+07")]),
    (
        "double precision",
        &[("0.1::float8 + 0.2", "0.30000000000000004"), ("'NaN'", "NaN"), ("'-0'", "-0"), ("1e300", "1e+300")],
    ),
    ("boolean", &[("true", "true"), ("false", "false")]),
    ("oid", &[("4294967295", "4294967295")]),
    ("money", &[("1234.5", "$1,234.50")]),
    ("uuid", &[("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")]),
    (
        "text",
        &[
            ("''", ""),
            ("'it''s'", "it's"),
            (r#"'"q" \ /'"#, r#""q" \ /"#),
            (r"E'\x01\x02\b\f\n\r\t\x1f\x7f'", "\u{1}\u{2}\u{8}\u{c}\n\r\t\u{1f}\u{7f}"),
            ("'😀é中'", "😀é中"),
            (r"U&'\200b\2028\feff\ffff'", "\u{200b}\u{2028}\u{feff}\u{ffff}"),
            ("'%s %I $1 $$ {}'", "%s %I $1 $$ {}"),
            (r#"'","ids":null,"x":"'"#, r#"","ids":null,"x":""#),
            ("'],\"cursor\"'", "],\"cursor\""),
            ("'a,b'", "a,b"),
            ("'null'", "null"),
            ("'*'", "*"),
        ],
    ),
    ("varchar(5)", &[("'a b  '", "a b  ")]),
    ("char(5)", &[("'ab'", "ab")]),
    ("name", &[("'n\"'", "n\"")]),
    ("\"char\"", &[("'\"'", "\"")]),
    (
        "date",
        &[
            ("'infinity'", "infinity"),
            ("'-infinity'", "-infinity"),
            ("date '0044-03-15 BC'", "0044-03-15 BC"),
            ("date '2026-02-01'", "2026-02-01"),
        ],
    ),
    ("timestamp", &[("timestamp '2026-02-01 10:00:00.000001'", "2026-02-01 10:00:00.000001")]),
    (
        "timestamptz",
        &[("timestamptz '2026-02-01 10:00:00+05:45'", "2026-02-01 04:15:00+00"), ("'infinity'", "infinity")],
    ),
    ("time", &[("time '24:00:00'", "24:00:00")]),
    ("timetz", &[("timetz '10:00:00+02'", "10:00:00+02")]),
    ("interval", &[("interval '1 year -2 days 3.5 seconds'", "1 year -2 days +00:00:03.5")]),
    ("bytea", &[(r"decode('00ff5c22', 'hex')", r"\x00ff5c22"), ("''", r"\x")]),
    ("bit varying", &[("b'0101'", "0101")]),
    ("inet", &[("'2001:db8::1/64'", "2001:db8::1/64"), ("'10.0.0.1'", "10.0.0.1/32")]),
    ("cidr", &[("'10.0.0.0/8'", "10.0.0.0/8")]),
    ("macaddr", &[("'08-00-2b-01-02-03'", "08:00:2b:01:02:03")]),
    ("int[]", &[("array[1, null, 3]", "{1,NULL,3}"), ("'{}'", "{}")]),
    ("text[]", &[(r#"array['a,b', 'c"d', '\', '']"#, r#"{"a,b","c\"d","\\",""}"#)]),
    ("int4range", &[("'[1,5]'", "[1,6)"), ("'empty'", "empty")]),
    ("tstzrange", &[("tstzrange('2026-02-01 00:00+00', null)", "[\"2026-02-01 00:00:00+00\",)")]),
    ("jsonb", &[(r#"'{"b": [1, "x"], "a": null}'"#, r#"{"a": null, "b": [1, "x"]}"#)]),
    ("pg_lsn", &[("'16/B374D848'", "16/B374D848")]),
    ("color", &[("'red'", "red"), ("'b\"l\\ue'", "b\"l\\ue"), ("'grün'", "grün")]),
    ("deep", &[("'Ab'", "Ab")]),
    ("deep_int", &[("42", "42")]),
    ("colors", &[("array['red', 'grün']::color[]", "{red,grün}")]),
    ("pair", &[("row(1, 'x \"y\"')", r#"(1,"x ""y""")"#)]),
    ("folded", &[("'Straße'", "Straße")]),
];

const MADE: &str = "create type color as enum ('red', E'b\"l\\\\ue', 'grün');
    create domain shallow as text check (value <> ''); create domain deep as shallow not null;
    create domain few as bigint; create domain deep_int as few check (value > 0); create domain colors as color[];
    create type pair as (a int, b text);
    create collation fold (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    create domain folded as text collate fold;";

/// What a payload says of one row: project and id.
fn row(payload: &str) -> (String, String) {
    let event: serde_json::Value = serde_json::from_str(payload).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("null").to_owned();
    assert!(event["ids"].is_null() || event["ids"].as_array().unwrap().len() == 1, "{payload}");
    (text(&event["project_id"]), text(&event["ids"][0]))
}

#[tokio::test]
async fn every_type_is_a_key_and_a_project() {
    for Way { mode, transport } in WAYS {
        let mut witness = Witness::by(transport, MADE).await;
        // a writer whose session writes every type in another way
        witness.run("set timezone = 'Asia/Kathmandu'; set datestyle = 'SQL, DMY'; set bytea_output = 'escape'; set intervalstyle = 'iso_8601'; set extra_float_digits = -5").await;
        for (kind, literals) in TYPES {
            let composites: &[bool] = if transport == Transport::Notify { &[false, true] } else { &[true] };
            for &composite in composites {
                let key = if composite { "primary key (id, n)" } else { "primary key (id)" };
                witness
                    .run(&format!("create table t (id {kind}, project_id {kind}, n int default 5, note text, {key}); select pgherald.watch('t'{mode})"))
                    .await;
                for (literal, called) in *literals {
                    let id = if composite { format!("{called}:5") } else { (*called).to_owned() };
                    // neither "*" nor nothing names a project
                    let expected = if ["*", ""].contains(called) {
                        ("*".to_owned(), "null".to_owned())
                    } else {
                        ((*called).to_owned(), id)
                    };
                    witness.run(&format!("insert into t (id, project_id) values ({literal}, {literal})")).await;
                    witness.run("update t set note = 'x'").await;
                    witness.run("delete from t").await;
                    let told: Vec<_> = witness.payloads().await.iter().map(|payload| row(payload)).collect();
                    assert_eq!(told, vec![expected; 3], "{mode} {kind} {literal}");
                }
                witness.run("drop table t").await;
            }
        }
        assert_eq!(witness.dropped().await, 0);
    }
}

/// One row, which the short cut would tell as one that stays.
#[tokio::test]
async fn a_row_that_moves_between_projects_of_every_type_is_told_to_both() {
    for Way { mode, transport } in WAYS {
        let mut witness = Witness::by(transport, MADE).await;
        for (kind, literals) in TYPES {
            let mut named = literals.iter().filter(|(_, called)| !["*", ""].contains(called));
            let (Some((literal, called)), Some((other, other_called))) = (named.next(), named.next()) else { continue };
            let made =
                format!("create table t (id int primary key, project_id {kind}); insert into t values (1, {literal})");
            witness.run(&format!("{made}; select pgherald.watch('t'{mode})")).await;
            let told = witness.covers(&format!("update t set project_id = {other}")).await;
            let both = [format!("t UPDATE {called}/1"), format!("t UPDATE {other_called}/1")];
            assert_eq!(told, both.into(), "{mode} {kind}");
            let told = witness.covers("update t set project_id = null").await;
            assert!(told.contains(&format!("t UPDATE {other_called}/1")) && told.len() == 2, "{mode} {kind}: {told:?}");
            witness.run("drop table t").await;
        }
    }
}

#[tokio::test]
async fn many_keys_of_every_type_are_told_apart() {
    for Way { mode, transport } in WAYS {
        let mut witness = Witness::by(transport, MADE).await;
        for (kind, literals) in TYPES.iter().filter(|(_, literals)| literals.len() > 1) {
            witness
                .run(&format!(
                    "create table t (id {kind} primary key, project_id int); select pgherald.watch('t'{mode})"
                ))
                .await;
            let values: Vec<_> = literals.iter().map(|(literal, _)| format!("({literal}, 7)")).collect();
            let all = |action: &str, project: &str| -> Vec<String> {
                literals.iter().map(|(_, called)| format!("t {action} {project}/{called}")).collect()
            };
            let told = witness.covers(&format!("insert into t values {}", values.join(", "))).await;
            assert_eq!(told, all("INSERT", "7").into_iter().collect(), "{mode} {kind}");
            let told = witness.covers("update t set project_id = 8").await;
            assert_eq!(told, [all("UPDATE", "7"), all("UPDATE", "8")].concat().into_iter().collect(), "{mode} {kind}");
            // one becomes another
            let (from, to) = (literals[0], literals[1]);
            let told = witness
                .covers(&format!(
                    "delete from t where id = ({1})::{kind}; update t set id = {1} where id = ({0})::{kind}",
                    from.0, to.0
                ))
                .await;
            let expected =
                [format!("t DELETE 8/{}", to.1), format!("t UPDATE 8/{}", from.1), format!("t UPDATE 8/{}", to.1)];
            assert_eq!(told, expected.into(), "{mode} {kind}");
            witness.run("drop table t").await;
            witness.payloads().await;
        }
        assert_eq!(witness.dropped().await, 0);
    }
}

#[tokio::test]
async fn numbers_beyond_all_others_are_keys() {
    for Way { mode, transport } in WAYS {
        let mut witness = Witness::by(
            transport,
            &format!("create table t (id numeric primary key, project_id numeric); select pgherald.watch('t'{mode})"),
        )
        .await;
        let huge = format!("1{}", "0".repeat(400));
        // a project beyond 200 bytes is told to everybody, without the row
        let told = witness.covers("insert into t values (1e400, 7), (2, 1e400)").await;
        assert_eq!(told, [format!("t INSERT 7/{huge}"), "t INSERT */*".to_owned()].into());
        let told = witness.covers("update t set id = id + 1 where id = 1e400").await;
        assert_eq!(told, [format!("t UPDATE 7/{huge}"), format!("t UPDATE 7/1{}1", "0".repeat(399))].into());
        assert_eq!(witness.covers("insert into t values (1e16000, 7)").await, ["t INSERT 7/*".to_owned()].into());
    }
}

#[tokio::test]
async fn keys_and_projects_that_compare_equal_but_read_differently_are_both_told() {
    for Way { mode, transport } in WAYS {
        let mut witness = Witness::by(transport, &format!(
            "{MADE} create table folds (id folded primary key, project_id folded); create table floats (id float8 primary key, project_id numeric);
             insert into folds values ('a', 'p'), ('b', 'P'); insert into floats values ('0', 1.0), (1, 1.00);
             select pgherald.watch('folds'{mode}), pgherald.watch('floats'{mode})"
        ))
        .await;
        let told = witness.covers("update folds set id = upper(id)").await;
        assert_eq!(
            told,
            ["folds UPDATE p/a", "folds UPDATE p/A", "folds UPDATE P/b", "folds UPDATE P/B"].map(str::to_owned).into()
        );
        let told = witness.covers("update folds set project_id = lower(project_id)").await;
        assert_eq!(told, ["folds UPDATE p/A", "folds UPDATE P/B", "folds UPDATE p/B"].map(str::to_owned).into());
        let told = witness.covers("update floats set id = '-0' where id = 0").await;
        assert_eq!(told, ["floats UPDATE 1.0/0", "floats UPDATE 1.0/-0"].map(str::to_owned).into());
        let told = witness.covers("update floats set project_id = 1.000").await;
        let expected =
            ["floats UPDATE 1.0/-0", "floats UPDATE 1.000/-0", "floats UPDATE 1.00/1", "floats UPDATE 1.000/1"];
        assert_eq!(told, expected.map(str::to_owned).into());
    }
}
