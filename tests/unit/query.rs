//! The membership query, rewritten for many subjects: only `$2` is replaced, and only where it is one.

use pgherald::query::{Query, Unusable, array};

/// The rewritten query itself, without what is around it.
fn spliced(query: &str) -> String {
    let sql = Query::parse(query).unwrap().of_many("pg_catalog.text");
    let inner = sql.split_once("(\n").unwrap().1.rsplit_once("\n)").unwrap().0;
    inner.to_owned()
}

const S: &str = "(pgherald_asked.subject)";

#[test]
fn only_the_parameter_itself_is_replaced() {
    let check = |query: &str, expected: &str| assert_eq!(spliced(query), expected.replace("{S}", S), "{query}");
    check("select 1 from m where p = $1 and u = $2", "select 1 from m where p = $1 and u = {S}");
    check("select 1 from m where $2 = u or $2::text=v", "select 1 from m where {S} = u or {S}::text=v");
    check("select $2, $20, $21, $1", "select {S}, $20, $21, $1");
    check("select f($2,$2)", "select f({S},{S})");
    check("select $2and", "select {S}and");
    // Texts, names and comments.
    check("select '$2', $2", "select '$2', {S}");
    check("select 'it''s $2', $2", "select 'it''s $2', {S}");
    check("select '\\', $2, '$2'", "select '\\', {S}, '$2'");
    check("select E'it\\'s $2', $2", "select E'it\\'s $2', {S}");
    check("select U&'\\0041$2', $2", "select U&'\\0041$2', {S}");
    check("select N'$2', B'01', X'ff', $2", "select N'$2', B'01', X'ff', {S}");
    check("select \"$2\", \"a\"\"$2\", $2", "select \"$2\", \"a\"\"$2\", {S}");
    check("select $$ $2 $$, $2", "select $$ $2 $$, {S}");
    check("select $tag$ $2 $$ $2 $tag$, $2", "select $tag$ $2 $$ $2 $tag$, {S}");
    check("select a$2, $2", "select a$2, {S}");
    check("select 1 -- $2, don't\n, $2", "select 1 -- $2, don't\n, {S}");
    check("select 1 /* $2 /* ' */ $2 */, $2", "select 1 /* $2 /* ' */ $2 */, {S}");
    check("select 1--$2\r\n,$2", "select 1--$2\r\n,{S}");
    // Operators, and whatever is not ASCII.
    check("select j->>$2, j ? $2, j @> $2, -$2, a||$2", "select j->>{S}, j ? {S}, j @> {S}, -{S}, a||{S}");
    check("select 'ä€😀', größe\n, 'ß' || $2\r\n, 'ö', $2", "select 'ä€😀', größe\n, 'ß' || {S}\r\n, 'ö', {S}");
    check("\tselect\n\n\t$2\n", "\tselect\n\n\t{S}");
}

#[test]
fn what_ends_a_query_is_left_out() {
    for end in [";", " ; ", ";;\n", " -- and that is $2", ";-- all\n", " /* ; */", "; /* a */ ; -- b"] {
        assert_eq!(spliced(&format!("select $2{end}")), format!("select {S}"), "{end:?}");
    }
}

#[test]
fn no_name_of_the_query_hides_the_subject() {
    let sql = Query::parse("select 1 from PgHerald_Asked pgherald_asked_ where subject = $2").unwrap().of_many("t");
    assert!(sql.contains("where subject = (pgherald_asked__.subject)"), "{sql}");
    assert!(sql.contains("with ordinality pgherald_asked__(subject, place)"), "{sql}");
}

#[test]
fn only_what_computes_nothing_is_asked_by_exists() {
    let exists = |query: &str| Query::parse(query).unwrap().of_many("t").contains("exists (");
    for query in [
        "select 1 from m where u = $2",
        "SELECT FROM m WHERE u = $2 limit 1",
        "-- members\nselect true from m join t using (id) where u = $2 and \"order\" = 1",
        "select 1 where is_member($1, $2)",
    ] {
        assert!(exists(query), "{query}");
    }
    for query in [
        "select must_be_member($1, $2)",
        "select 1 / u from m where u = $2",
        "select -1 from m where u = $2",
        "select u from m where u = $2",
        "select * from (select must_be_member($1, $2)) m",
        "select 1, must_be_member($1, $2) from m",
        "select 1 from m where u = $2 union all select must_be_member($1, $2)",
        "select 1 from m where u = $2 order by must_be_member($1, $2)",
        "select 1 from m where u = $2 group by must_be_member($1, $2)",
        "with m as (select must_be_member($1, $2)) select 1 from m",
        "values (must_be_member($1, $2))",
        "(select 1 from m where u = $2)",
        "select \"true\" from m where u = $2",
    ] {
        assert!(!exists(query), "{query}");
    }
}

#[test]
fn what_cannot_be_rewritten_is_said() {
    assert_eq!(Query::parse("select 1 from m where u = '$2'").unwrap_err(), Unusable::Subject);
    assert_eq!(Query::parse("").unwrap_err(), Unusable::Subject);
    for unfinished in ["select 'a $2", "select \"a $2", "select /* $2", "select $a$ $2"] {
        assert!(matches!(Query::parse(unfinished), Err(Unusable::Sql(_))), "{unfinished}");
    }
}

#[test]
fn an_array_holds_any_text() {
    assert_eq!(array([]), "{}");
    assert_eq!(array(["a"]), r#"{"a"}"#);
    assert_eq!(
        array(["", "null", "a,b", "{c}", r"d\e", "f\"g", " ö "]),
        r#"{"","null","a,b","{c}","d\\e","f\"g"," ö "}"#
    );
}
