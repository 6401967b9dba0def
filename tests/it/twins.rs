//! Two databases with one schema, of which one is watched: what is written to both ends alike, and what changes is told.

use std::collections::{BTreeSet, HashSet};

use pgherald::scratch::Scratch;
use serde_json::Value;

use crate::witness::{Transport, Witness};
use crate::world::Database;

/// Table, project, id and version of a row; without a whole key it has no id.
type Row = (String, String, Option<String>, String);

/// What a notification says.
pub struct Event {
    table: String,
    action: String,
    project: String,
    ids: Option<HashSet<String>>,
}

impl Event {
    fn new(payload: &str) -> Event {
        let event: Value = serde_json::from_str(payload).unwrap_or_else(|error| panic!("{payload}: {error}"));
        let text = |key: &str| event[key].as_str().unwrap_or_else(|| panic!("{key} of {payload}")).to_owned();
        let ids = event["ids"].as_array().map(|ids| ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect());
        Event { table: text("table"), action: text("action"), project: text("project_id"), ids }
    }

    fn covers(&self, (table, project, id, _): &Row, actions: [&str; 2]) -> bool {
        let named = |ids: &HashSet<String>| id.as_ref().is_some_and(|id| ids.contains(id));
        self.table == *table
            && actions.contains(&self.action.as_str())
            && [project, "*"].contains(&self.project.as_str())
            && self.ids.as_ref().is_none_or(named)
    }
}

/// The watched database and its twin.
pub struct Twins {
    pub watched: Witness,
    pub plain: Witness,
    rows: HashSet<Row>,
    /// The tables that have had new rows.
    pub written: BTreeSet<String>,
    /// How many statements were run, and how many of them succeeded.
    pub run: usize,
    pub succeeded: usize,
}

impl Twins {
    /// Runs `install` in both; nothing is watched yet. The watched one tells by `transport`.
    pub async fn new(server: &Scratch, transport: Transport, install: &str) -> Twins {
        let mut twins = Vec::new();
        for transport in [transport, Transport::Notify] {
            let database = Database::on(server.url()).await;
            let install = named(install, &database.url);
            let witness = Witness::on(database, transport, &install).await;
            witness.run(include_str!("../schemas/play.sql")).await;
            twins.push(witness);
        }
        let [watched, plain] = <[Witness; 2]>::try_from(twins).ok().unwrap();
        Twins { watched, plain, rows: HashSet::new(), written: BTreeSet::new(), run: 0, succeeded: 0 }
    }

    /// The same value in both.
    async fn same(&self, expression: &str) {
        let (watched, plain) = (self.watched.get(expression).await, self.plain.get(expression).await);
        assert_eq!(watched, plain, "{expression}: left is watched");
    }

    /// Runs one kind of statement on every table, parents first, or children first, and checks what was told.
    pub async fn write(&mut self, what: &str, n: i32) {
        let backwards = if what.starts_with("delete") { "desc" } else { "asc" };
        let tables = format!("select rel::text, label from play.tables order by rel::oid {backwards}");
        let tables = self.plain.client.query(&tables, &[]).await.unwrap();
        let mut expected = BTreeSet::new();
        for table in tables {
            let (rel, label) = (table.get::<_, String>(0), table.get::<_, String>(1));
            let sql = format!("select count, code from play.write('{what}', $1::text::regclass, {n})");
            let mut outcomes = Vec::new();
            for twin in [&self.watched, &self.plain] {
                let row = twin.client.query_one(&sql, &[&rel]).await.unwrap_or_else(|e| panic!("{what} {rel}: {e:?}"));
                outcomes.push((row.get::<_, Option<i64>>(0), row.get::<_, Option<String>>(1)));
            }
            assert_eq!(outcomes[0], outcomes[1], "{what} {rel}: left is watched");
            let (count, code) = &outcomes[0];
            self.run += 1;
            self.succeeded += usize::from(code.is_none());
            if code.is_none() && (count.is_some_and(|count| count > 0) || what == "truncate") {
                expected.insert(label);
            }
        }
        let action = if what == "truncate" { "DELETE" } else { what.split(' ').next().unwrap() }.to_uppercase();
        let events = self.told(what).await;
        for table in &expected {
            assert!(events.iter().any(|e| e.table == *table && e.action == action), "{what} {table}: nothing was told");
        }
    }

    /// Takes the rows as they are: they were there before anything was watched.
    pub async fn begin(&mut self) {
        self.rows = self.rows().await;
    }

    async fn rows(&self) -> HashSet<Row> {
        let rows = self.watched.client.query("select * from play.rows()", &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
    }

    /// Checks that every row which has changed since the last time was told, and that the twins are alike.
    pub async fn told(&mut self, what: &str) -> Vec<Event> {
        let events: Vec<_> = self.watched.payloads().await.iter().map(|payload| Event::new(payload)).collect();
        let rows = self.rows().await;
        for row in rows.difference(&self.rows) {
            let told = events.iter().any(|event| event.covers(row, ["INSERT", "UPDATE"]));
            assert!(told, "{what}: {row:?} is new or has changed, and nobody was told");
            self.written.insert(row.0.clone());
        }
        let named = |(table, project, id, _): &Row| (table.clone(), project.clone(), id.clone());
        let left: HashSet<_> = rows.iter().map(named).collect();
        for row in self.rows.iter().filter(|row| !left.contains(&named(row))) {
            let told = events.iter().any(|event| event.covers(row, ["DELETE", "UPDATE"]));
            assert!(told, "{what}: {row:?} has gone, and nobody was told");
        }
        self.rows = rows;
        self.same("play.counts()").await;
        assert_eq!(self.watched.dropped().await, 0, "{what}: losses were counted");
        events
    }
}

/// Roles are the server's: their names hold that of the database.
pub fn named(sql: &str, url: &str) -> String {
    sql.replace("${database}", url.rsplit('/').next().unwrap())
}
