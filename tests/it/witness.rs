//! What the triggers say: a database, a writer, and a listener beside them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use pgherald::event::Invalidation;
use pgherald::migrate;
use pgherald::resource::ResourceNames;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::description::description;
use crate::world::{Database, Url};

/// The ways of watching in which the cases of [`told`] are run: what stands for `$mode` in their schemas, behind the
/// other arguments of `pgherald.watch`.
pub const MODES: &[&str] = &["", ", mode => 'row', max_ids => 10000"];

/// Runs statements, one case after the other, in every mode. A case is a write and all that it changes, as [`rows`] has
/// it: exactly that must be told, and nothing may be lost.
pub async fn told(schema: &str, cases: &[(&str, &str)]) {
    for mode in MODES {
        let mut witness = Witness::new(&schema.replace("$mode", mode)).await;
        witness.payloads().await;
        for (sql, expected) in cases {
            assert_eq!(witness.covers(&sql.replace("$mode", mode)).await, rows(expected, mode), "{mode} {sql}");
        }
        assert_eq!(witness.dropped().await, 0, "{mode}");
    }
}

/// `tasks INSERT 7/1 7/2, words DELETE */*` as a set of `tasks INSERT 7/1` and so on: table, action, project and id, "*"
/// for all of them. What differs in row mode stands behind ` | `: there a row that moves to another partition is deleted
/// and inserted.
pub fn rows(text: &str, mode: &str) -> BTreeSet<String> {
    let text = text.split(" | ").nth(usize::from(mode.contains("row"))).or(text.split(" | ").next()).unwrap();
    let parts = text.split(", ").filter(|part| !part.is_empty());
    let each = |part: &str| {
        let [table, action, rows @ ..] = &part.split(' ').collect::<Vec<_>>()[..] else { panic!("{part}") };
        assert!(!rows.is_empty(), "{part}");
        rows.iter().map(|row| format!("{table} {action} {row}")).collect::<Vec<_>>()
    };
    parts.flat_map(each).collect()
}

/// A migrated database, a writer, and what a listener hears.
pub struct Witness {
    /// The writer, a superuser.
    pub client: Client,
    /// For more writers.
    pub url: Url,
    heard: mpsc::UnboundedReceiver<String>,
}

impl Witness {
    /// Migrates an empty database, and runs `sql` as its application.
    pub async fn new(sql: &str) -> Witness {
        Self::on(Database::empty().await, sql).await
    }

    /// The same, with this database.
    pub async fn on(database: Database, sql: &str) -> Witness {
        let Database { url, mut client } = database;
        migrate::run(&mut client, |_| {}).await.unwrap();
        client.batch_execute(sql).await.unwrap();
        Self::of(Database { url, client }).await
    }

    /// Listens in a database, whatever there is in it.
    pub async fn of(Database { url, client }: Database) -> Witness {
        let (listener, mut connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        let (sender, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notification(notification) = message {
                    let _ = sender.send(notification.payload().to_owned());
                }
            }
        });
        listener.batch_execute("listen cache_invalidate").await.unwrap();
        // the listener lives as long as its client
        tokio::spawn(async move {
            let _alive = listener;
            std::future::pending::<()>().await;
        });
        Witness { client, url, heard }
    }

    /// Runs statements.
    pub async fn run(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}: {:?}", error.as_db_error());
        }
    }

    /// Runs statements that fail: message, detail and hint.
    pub async fn fails(&self, sql: &str) -> String {
        let error = self.client.batch_execute(sql).await.unwrap_err();
        let db = error.as_db_error().unwrap();
        [Some(db.message()), db.detail(), db.hint()].into_iter().flatten().collect::<Vec<_>>().join(" | ")
    }

    /// One value, as text.
    pub async fn get(&self, expression: &str) -> String {
        let sql = format!("select ({expression})::text");
        let row = self.client.query_one(&sql, &[]).await.unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_else(|| "null".to_owned())
    }

    /// The payloads of what has been committed so far.
    pub async fn payloads(&mut self) -> Vec<String> {
        self.run("notify cache_invalidate, 'end'").await;
        let mut all = Vec::new();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.heard.recv());
            let payload = next.await.expect("waited 10 s for the end mark").unwrap();
            if payload == "end" {
                return all;
            }
            assert!(payload.len() <= 7999, "{} bytes", payload.len());
            all.push(payload);
        }
    }

    /// Runs `sql`; what is said about it, as `table ACTION project ids`, sorted.
    pub async fn says(&mut self, sql: &str) -> Vec<String> {
        self.run(sql).await;
        let mut all: Vec<_> = self.payloads().await.iter().map(|p| summary(p)).collect();
        all.sort();
        all
    }

    /// Runs `sql`; the rows that are told, as [`rows`] has them.
    pub async fn covers(&mut self, sql: &str) -> BTreeSet<String> {
        self.run(sql).await;
        self.covered().await
    }

    /// The rows that have been told so far, as [`rows`] has them. The daemon's own parser must read each payload, and
    /// docs/asyncapi.yaml has all that is in it.
    pub async fn covered(&mut self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for payload in self.payloads().await {
            let names = ResourceNames::default();
            Invalidation::parse(&payload, &names).unwrap_or_else(|error| panic!("{error}: {payload}"));
            let event: Value = serde_json::from_str(&payload).unwrap();
            let message = description().check("listen", &event);
            description().check_fields(message, &event);
            let text = |name: &str| event[name].as_str().map(str::to_owned);
            let (table, action) = (text("table").or(text("resource")).unwrap(), text("action").unwrap());
            let ids = event["ids"].as_array().map_or_else(
                || vec!["*".to_owned()],
                |ids| ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect(),
            );
            let project = text("project_id").unwrap();
            all.extend(ids.iter().map(|id| format!("{table} {action} {project}/{id}")));
        }
        all
    }

    /// How many losses have been counted.
    pub async fn dropped(&self) -> i64 {
        let sql = "coalesce(pg_catalog.pg_sequence_last_value(pg_catalog.to_regclass('pgherald.dropped')), 0)";
        self.get(sql).await.parse().unwrap()
    }
}

/// A payload as `table ACTION project ids`.
pub fn summary(payload: &str) -> String {
    let event: Value = serde_json::from_str(payload).unwrap();
    // what is sent where all else failed has none
    assert!(event["cursor"].as_str().is_none_or(|cursor| cursor.parse::<u64>().is_ok()), "{payload}");
    let name = event["table"].as_str().or(event["resource"].as_str()).unwrap();
    let action = event["action"].as_str().unwrap();
    format!("{name} {action} {} {}", event["project_id"].as_str().unwrap(), event["ids"])
}
