//! What the triggers say: a database, a writer, and a listener beside them.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use pgherald::migrate;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::world::{Database, Url};

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

    /// How many losses have been counted.
    pub async fn dropped(&self) -> i64 {
        let sql = "coalesce(pg_catalog.pg_sequence_last_value(pg_catalog.to_regclass('pgherald.dropped')), 0)";
        self.get(sql).await.parse().unwrap()
    }
}

/// A payload as `table ACTION project ids`.
pub fn summary(payload: &str) -> String {
    let event: Value = serde_json::from_str(payload).unwrap();
    assert!(event["cursor"].as_str().unwrap().parse::<u64>().is_ok(), "{payload}");
    let name = event["table"].as_str().or(event["resource"].as_str()).unwrap();
    let action = event["action"].as_str().unwrap();
    format!("{name} {action} {} {}", event["project_id"].as_str().unwrap(), event["ids"])
}
