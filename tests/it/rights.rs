//! Nobody gains rights through pgherald: not by what stands in a table's comments, indexes or columns.

use crate::witness::{Transport, Witness};
use crate::world::{Database, connect, unique};

/// Code of the role's own that makes it a superuser, if only a superuser runs it.
fn trap(role: &str) -> String {
    format!(
        "create role {role}; create schema {role} authorization {role}; set role {role};
         create function {role}.really() returns int language plpgsql volatile as
             $$begin execute 'alter role {role} superuser'; return 1; end$$;
         create function {role}.evil(int) returns int language plpgsql immutable as
             $$begin if current_setting('is_superuser') = 'on' and current_user <> '{role}' then perform {role}.really(); end if; return 1; end$$;"
    )
}

async fn is_superuser(witness: &Witness, role: &str) -> bool {
    witness.get(&format!("select rolsuper from pg_roles where rolname = '{role}'")).await == "true"
}

/// Planning a query over a table evaluates what its owner has put into an index.
#[tokio::test]
async fn a_superuser_may_refresh_and_plan_anybodys_tables() {
    let witness = Witness::new("").await;
    let role = unique("u");
    witness
        .run(&format!(
            "{} create domain {role}.d as int check ({role}.evil(value) = 1);
             create table {role}.t (id int primary key, project_id int, d {role}.d);
             create index on {role}.t ((id + {role}.evil(1))); select pgherald.watch('{role}.t');
             alter table {role}.t disable trigger pgherald_insert; reset role",
            trap(&role)
        ))
        .await;
    for call in [
        format!("select * from pgherald.plan('{role}.t', columns => array['project_id', 'd'])"),
        "select * from pgherald.watched".to_owned(),
        "select * from pgherald.refresh()".to_owned(),
        format!("select pgherald.watch('{role}.t', columns => array['project_id', 'd'])"),
        format!("select * from pgherald.watch_all('{role}')"),
        format!("select pgherald.unwatch('{role}.t')"),
    ] {
        // a session of its own, in which nothing is planned yet
        connect(&witness.url).await.batch_execute(&call).await.unwrap();
        assert!(!is_superuser(&witness, &role).await, "{call}");
    }
    witness.run(&format!("drop owned by {role} cascade; drop role {role}")).await;
}

/// A child's trigger calls the functions of its mother: their text is not the child's owner's to choose.
#[tokio::test]
async fn the_owner_of_a_child_does_not_write_its_mothers_functions() {
    let mut witness = Witness::new(
        "create schema s; create table s.p (id int primary key, project_id int); create table s.c () inherits (s.p);
         select pgherald.watch('s.p')",
    )
    .await;
    let role = unique("kid");
    witness
        .run(&format!(
            "{} reset role; grant usage on schema s to {role}; alter table s.c owner to {role}; set role {role};
             alter table s.c add column U&\"a\\000Dz int := {role}.evil(1); --\" int;
             comment on trigger pgherald_truncate on s.c is
                 '{{\"project\": \"*\", \"mode\": \"row\", \"max_ids\": 10, \"always\": false, \"id\": [\"id\"]}}'",
            trap(&role)
        ))
        .await;
    // refused or without effect
    let _ = witness.client.batch_execute("select pgherald.generate('s.c')").await;
    witness.run("reset role").await;
    assert_eq!(witness.says("insert into s.p values (1, 7)").await, [r#"p INSERT 7 ["1"]"#]);
    assert!(!is_superuser(&witness, &role).await);
    assert_eq!(witness.get("select string_agg(relation::text, ',') from pgherald.watched").await, "s.p");
    witness.run(&format!("drop owned by {role} cascade; drop role {role}")).await;
}

#[tokio::test]
async fn a_former_owner_has_no_hold_on_the_functions() {
    let mut witness = Witness::new("create schema s; create table s.p (id int primary key, project_id int)").await;
    let (old, new) = (unique("old"), unique("new"));
    witness
        .run(&format!(
            "create role {new}; {} reset role; grant usage, create on schema s to {old}, {new}; alter table s.p owner to {old};
             set role {old}; select pgherald.watch('s.p'); reset role; alter table s.p owner to {new}",
            trap(&old)
        ))
        .await;
    assert!(witness.get("select refresh_due from pgherald.watched").await.contains("another owner"));
    witness.run("select * from pgherald.refresh()").await;
    let truncate = witness.get("select name from pgherald.generated() where role = 'truncate'").await;
    let own = format!(
        "set role {old}; create table {old}.b (id int primary key);
         create trigger pgherald_truncate after truncate on {old}.b for each statement execute function pgherald.{truncate}()"
    );
    assert!(witness.fails(&own).await.contains("permission denied"));
    witness.run("reset role").await;
    assert_eq!(witness.says("insert into s.p values (1, 7)").await, [r#"p INSERT 7 ["1"]"#]);
    assert_eq!(witness.get("select count(refresh_due) from pgherald.watched").await, "0");
    witness.run(&format!("drop owned by {old}, {new} cascade; drop role {old}, {new}")).await;
}

#[tokio::test]
async fn a_comment_that_makes_no_sense_stops_nobody_else() {
    let witness = Witness::new(
        "create table mine (id int primary key, project_id int); create table yours (id int primary key, project_id int);
         select pgherald.watch('mine'), pgherald.watch('yours')",
    )
    .await;
    for comment in [
        r#"{"a": "\u0000"}"#,
        "nonsense",
        "[]",
        "null",
        r#"{"project": 5, "mode": "row", "max_ids": 1, "always": false}"#,
        r#"{"project": "project_id", "mode": "row", "max_ids": "x", "always": false}"#,
        r#"{"project": "project_id", "mode": "row", "max_ids": 1e99, "always": false}"#,
        r#"{"project": "project_id", "mode": "row", "max_ids": 1, "always": "x"}"#,
        r#"{"project": "project_id", "mode": "row", "max_ids": 1, "always": false, "id": 5}"#,
        r#"{"project": "project_id", "mode": "each", "max_ids": 1, "always": false}"#,
    ] {
        witness.run(&format!("comment on trigger pgherald_truncate on mine is '{comment}'")).await;
        assert_eq!(
            witness.get("select string_agg(relation::text, ',') from pgherald.watched").await,
            "yours",
            "{comment}"
        );
        assert_eq!(
            witness.get("select string_agg(concat(relation, outcome), ',') from pgherald.refresh()").await,
            "yoursunchanged"
        );
    }
    // and it can be watched anew
    witness.run("select pgherald.watch('mine')").await;
    assert_eq!(witness.get("select count(*) from pgherald.watched where refresh_due is null").await, "2");
}

#[tokio::test]
async fn only_an_owner_makes_functions_for_a_table_and_for_those_along_its_path() {
    let witness = Witness::new(
        "create table tasks (id int primary key, project_id int, a int, b int, unique (a, b));
         create table pairs (id int primary key, a int, b int, foreign key (a, b) references tasks (a, b))",
    )
    .await;
    let role = unique("stranger");
    witness
        .run(&format!(
            "create role {role}; grant create, usage on schema public to {role}; grant select, references on tasks to {role};
             set session authorization {role}; create table notes (id int primary key, task_id int references tasks)"
        ))
        .await;
    for call in ["generate('tasks')", "watch('tasks')"] {
        let error = witness.fails(&format!("select pgherald.{call}")).await;
        assert!(error.contains("only its owner may"), "{call}: {error}");
    }
    // it may read the tasks, and yet not put a trigger on them
    let error = witness.fails("select pgherald.watch('notes', 'task_id->project_id')").await;
    assert!(error.contains("only its owner may"), "{error}");
    witness.run("reset session authorization").await;
    assert_eq!(witness.get("select count(*) from pgherald.generated()").await, "0");
    // a foreign key of two columns leads nowhere by one of them
    let error = witness.fails("select pgherald.watch('pairs', 'a->project_id')").await;
    assert!(error.contains("no foreign key on public.pairs(a) alone"), "{error}");
    witness.run(&format!("drop owned by {role} cascade; drop role {role}")).await;
}

/// What a path reads, it reads with the rights of whoever installed pgherald: that need not be a superuser.
#[tokio::test]
async fn a_path_reads_what_the_installer_may_read() {
    let database = Database::empty().await;
    let (installer, owner) = (unique("installer"), unique("owner"));
    let roles = format!(
        "create role {installer}; create role {owner}; create schema pgherald authorization {installer};
         create schema {owner} authorization {owner}"
    );
    database.run(&roles).await;
    let mut witness = Witness::on(
        database,
        Transport::Notify,
        &format!(
            "set role {owner}; set search_path = {owner}; create table tasks (id int primary key, project_id int, secret text);
             create table notes (id int primary key, task_id int references tasks); insert into tasks values (1, 7)"
        ),
    )
    .await;
    let watch = "select pgherald.watch('notes', 'task_id->project_id')";
    let may = "grant select (project_id) on tasks to";
    for grant in ["select 1".to_owned(), format!("grant usage on schema {owner} to {installer}; {may} {installer}")] {
        witness.run(&grant).await;
        let error = witness.fails(watch).await;
        assert!(error.contains("tasks(id)") && error.contains(&format!("{installer} may not read that")), "{error}");
    }
    // what the hint says is enough
    let error = witness.fails(watch).await;
    witness.run(error.rsplit(" | ").next().unwrap()).await;
    witness.run("alter table tasks enable row level security").await;
    let error = witness.fails(watch).await;
    assert!(error.contains(&format!("row security may hide rows from {installer}")), "{error}");
    witness.run("alter table tasks disable row level security").await;
    witness.run(watch).await;
    assert_eq!(witness.says("insert into notes values (1, 1)").await, [r#"notes INSERT 7 ["1"]"#]);
    // taken back: counted, and due
    witness.run(&format!("revoke select on tasks from {installer}; insert into notes values (2, 1)")).await;
    assert_eq!(witness.dropped().await, 1);
    assert!(witness.get("select refresh_due from pgherald.watched").await.contains("may not read that"));
    witness
        .run(&format!("reset role; drop owned by {owner}, {installer} cascade; drop role {owner}, {installer}"))
        .await;
}

/// Which project belongs to which key is a secret of the keys as well.
#[tokio::test]
async fn a_path_reads_no_key_that_the_owner_may_not_read() {
    let witness =
        Witness::new("create table secrets (id int primary key, project_id int); insert into secrets values (1, 7)")
            .await;
    let owner = unique("owner");
    witness
        .run(&format!(
            "create role {owner}; grant create, usage on schema public to {owner};
             grant references (id), select (project_id) on secrets to {owner};
             set role {owner}; create table notes (id int primary key, secret_id int references secrets);
             select pgherald.watch('notes', '*')"
        ))
        .await;
    let expected = format!("secrets(id), and {owner} may not read that");
    let error = witness.fails("select pgherald.watch('notes', 'secret_id->project_id')").await;
    assert!(error.contains(&expected), "{error}");
    let options = r#"{"mode":"statement","always":false,"max_ids":1000,"project":"secret_id->project_id"}"#;
    witness.run(&format!("comment on trigger pgherald_truncate on notes is '{options}'")).await;
    let error = witness.fails("select pgherald.generate('notes')").await;
    assert!(error.contains(&expected), "{error}");
    witness.run(&format!("reset role; drop owned by {owner} cascade; drop role {owner}")).await;
}
