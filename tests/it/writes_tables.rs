//! No row goes untold, in whatever kind of table it is.

use std::collections::BTreeSet;

use crate::witness::{WAYS, Way, Witness, rows, told};

const DAYS: &str =
    "create table days (id int, project_id int, day int, primary key (id, day)) partition by range (day);
    create table days1 partition of days for values from (10) to (20);
    create table days2 partition of days for values from (20) to (30) partition by list (day);
    create table days21 partition of days2 for values in (21);
    create table days2x (extra int, day int not null, project_id int, id int not null);
    alter table days2x drop column extra; alter table days2 attach partition days2x default;
    create table days0 partition of days default;
    insert into days values (1, 7, 11), (2, 8, 21), (3, 7, 22), (4, 8, 99), (5, null, 11);
    select pgherald.watch('days'$mode);";

#[tokio::test]
async fn partitions_on_every_level() {
    told(
        DAYS,
        &[
            ("insert into days values (11, 7, 12), (12, 7, 21), (13, 8, 25), (14, 8, -5)", "days INSERT 7/11:12 7/12:21 8/13:25 8/14:-5"),
            ("insert into days2 values (21, 7, 21), (22, 7, 29)", "days INSERT 7/21:21 7/22:29"),
            ("insert into days2x (day, project_id, id) values (23, 7, 23); insert into days0 values (24, 7, 55)", "days INSERT 7/23:23 7/24:55"),
            ("update days set project_id = 9 where id in (11, 12, 13, 14)",
             "days UPDATE 7/11:12 9/11:12 7/12:21 9/12:21 8/13:25 9/13:25 8/14:-5 9/14:-5"),
            ("delete from days where id between 11 and 14", "days DELETE 9/11:12 9/12:21 9/13:25 9/14:-5"),
            ("delete from days2 where id between 21 and 23", "days DELETE 7/21:21 7/22:29 7/23:23"),
            // rows that move: on one level, between two, by a sub-partition's own parent, with their project
            ("update days set day = 21 where id = 1", "days UPDATE 7/1:11 7/1:21 | days DELETE 7/1:11, days INSERT 7/1:21"),
            ("update days2 set day = 24 where id = 2", "days UPDATE 8/2:21 8/2:24 | days DELETE 8/2:21, days INSERT 8/2:24"),
            ("update days set day = 11, project_id = 9 where id in (3, 4)",
             "days UPDATE 7/3:22 9/3:11 8/4:99 9/4:11 | days DELETE 7/3:22 8/4:99, days INSERT 9/3:11 9/4:11"),
            // some move, and some stay
            ("update days set day = case id when 3 then 15 else 77 end where id in (3, 4)",
             "days UPDATE 9/3:11 9/3:15 9/4:11 9/4:77 | days UPDATE 9/3:11 9/3:15, days DELETE 9/4:11, days INSERT 9/4:77"),
            ("update days set day = 60 where id = 5", "days UPDATE */* | days DELETE */*, days INSERT */*"),
            ("insert into days values (1, 7, 21), (31, 7, 88) on conflict (id, day) do update set project_id = 8",
             "days INSERT 7/31:88, days UPDATE 7/1:21 8/1:21"),
            ("truncate days2", "days DELETE */*"),
            ("truncate days", "days DELETE */*"),
        ],
    )
    .await;
}

#[tokio::test]
async fn partitions_that_come_and_go() {
    told(
        DAYS,
        &[
            ("create table more (id int, project_id int, day int, primary key (id, day)) partition by list (day);
              create table more1 partition of more default; insert into more values (41, 7, 31);
              alter table days attach partition more for values from (30) to (40)", ""),
            // through the parent at once, directly after a refresh
            ("insert into days values (42, 7, 32) | ", "days INSERT 7/42:32"),
            ("select pgherald.refresh(); insert into more values (43, 7, 33); delete from more1 where id = 41", "days INSERT 7/43:33, days DELETE 7/41:31"),
            // detached it goes on under its parent's name, until it is watched by itself or not at all
            ("alter table days detach partition days1; insert into days1 values (51, 7, 11)", "days INSERT 7/51:11 | "),
            ("insert into days values (53, 7, 11)", "days INSERT 7/53:11"),
            ("select pgherald.watch('days1'$mode); select pgherald.refresh(); insert into days1 values (52, 7, 11)", "days1 INSERT 7/52:11"),
            ("delete from days where id = 53; alter table days attach partition days1 for values from (10) to (20); select pgherald.refresh()", "days DELETE 7/53:11"),
            ("update days set project_id = 8 where id = 51; delete from days1 where id = 52", "days UPDATE 7/51:11 8/51:11, days DELETE 7/52:11"),
        ]
        .map(|(sql, expected)| (sql.trim_end_matches(" | "), expected)),
    )
    .await;
}

#[tokio::test]
async fn children_that_inherit() {
    told(
        "create table mother (id int primary key, project_id int);
         create table child (name text, primary key (id)) inherits (mother);
         create table grandchild (project_id int, more text) inherits (child);
         insert into mother values (1, 7); insert into child values (2, 7); insert into grandchild values (3, 8);
         select pgherald.watch('mother'$mode), pgherald.watch('child'$mode), pgherald.watch('grandchild', id => array['id']$mode);",
        &[
            // through the parent: those below belong to its statement
            ("update mother set project_id = 9", "mother UPDATE 7/1 9/1 7/2 9/2 8/3 9/3 | mother UPDATE 7/1 9/1, child UPDATE 7/2 9/2, grandchild UPDATE 8/3 9/3"),
            ("update only mother set project_id = 7", "mother UPDATE 9/1 7/1"),
            ("delete from mother where id > 1", "mother DELETE 9/2 9/3 | child DELETE 9/2, grandchild DELETE 9/3"),
            // directly
            ("insert into child values (4, 7); insert into grandchild values (5, 7)", "child INSERT 7/4, grandchild INSERT 7/5"),
            ("update child set project_id = 8", "child UPDATE 7/4 8/4 7/5 8/5 | child UPDATE 7/4 8/4, grandchild UPDATE 7/5 8/5"),
            ("alter table grandchild no inherit child; delete from child", "child DELETE 8/4"),
            ("delete from grandchild; truncate mother", "grandchild DELETE 8/5, mother DELETE */*, child DELETE */*"),
        ],
    )
    .await;
}

#[tokio::test]
async fn generated_and_identity_columns() {
    told(
        "create table tasks (n int generated always as identity, room int, id text generated always as (room || '.' ) stored primary key,
                             project_id int generated always as (room / 100) stored);
         create table notes (id bigint generated by default as identity primary key, project_id int default 7);
         create table codes (a int, id int generated always as (a * 2) stored, project_id int);
         create unlogged table scraps (id serial primary key, project_id int);
         select pgherald.watch('tasks', id => array['id', 'n']$mode), pgherald.watch('notes'$mode),
                pgherald.watch('codes', id => array['id']$mode), pgherald.watch('scraps'$mode);",
        &[
            ("insert into tasks (room) values (701), (802)", "tasks INSERT 7/701.:1 8/802.:2"),
            ("update tasks set room = room + 100 where room = 701", "tasks UPDATE 7/701.:1 8/801.:1"),
            ("delete from tasks", "tasks DELETE 8/801.:1 8/802.:2"),
            ("insert into notes default values; insert into notes values (9, 8)", "notes INSERT 7/1 8/9"),
            ("insert into codes (a, project_id) values (1, 7), (2, 8)", "codes INSERT 7/2 8/4"),
            ("update codes set a = 5 where a = 1", "codes UPDATE 7/2 7/10"),
            ("insert into scraps (project_id) values (7), (8); update scraps set project_id = 9 where id = 2; truncate scraps",
             "scraps INSERT 7/1 8/2, scraps UPDATE 8/2 9/2, scraps DELETE */*"),
        ],
    )
    .await;
}

/// Names of tables, and of the columns of their keys and projects: as our own, at the limit of 63 bytes, beyond ASCII.
#[tokio::test]
async fn names_of_every_kind() {
    let long = "x".repeat(63);
    let umlauts = format!("{}x", "ä".repeat(31));
    let names: Vec<(&str, &str, &str)> = vec![
        ("pgherald_new", "pgherald_new", "pgherald_old"),
        ("pgherald_old", "r", "s"),
        ("r", "j", "k"),
        ("s", "n", "w"),
        ("payload", "payload", "changed"),
        ("unnest", "tg_relid", "sqlerrm"),
        ("new", "new", "old"),
        ("select", "select", "from"),
        ("format", "ids", "k_count"),
        (&long, &long, "project_id"),
        (&umlauts, "id", &umlauts),
        ("таблица", "ключ", "проект"),
        ("表😀", "識別子", "😀"),
        ("a b;--", "';drop table x;--", "/* \" */"),
        (r"back\slash", r"\n", r"C:\"),
        ("Mixed.Case", "Id.id", "Project.Id"),
        ("50%", "%s", "%I"),
        ("$1", "$$", "$body$"),
        (":x", ":'y'", "::int"),
    ];
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let literal = |name: &str| format!("'{}'", name.replace('\'', "''"));
    for Way { mode, transport } in WAYS {
        let mut witness = Witness::by(transport, "").await;
        for (table, key, project) in &names {
            let (at, id, owner) = (quoted(table), quoted(key), quoted(project));
            witness
                .run(&format!(
                    "create table {at} ({id} int primary key, {owner} int);
                     select pgherald.watch({}, {}, array[{}]{mode})",
                    literal(&at),
                    literal(project),
                    literal(key)
                ))
                .await;
            let sql = format!(
                "insert into {at} values (1, 7), (2, 8); update {at} set {owner} = 9 where {id} = 1;
                 update {at} set {id} = 3 where {id} = 1; delete from {at}; truncate {at}"
            );
            let expected = "t INSERT 7/1 8/2, t UPDATE 7/1 9/1 9/3, t DELETE 9/3 8/2 */*";
            let expected: BTreeSet<_> = rows(expected, mode).iter().map(|line| line.replacen('t', table, 1)).collect();
            assert_eq!(witness.covers(&sql).await, expected);
        }
        let enabled = witness.get("select count(*) from pgherald.watched where enabled").await;
        assert_eq!(enabled, names.len().to_string());
        assert_eq!(witness.dropped().await, 0);
    }
}
