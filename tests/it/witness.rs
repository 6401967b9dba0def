//! What the triggers say: a database, a writer, and a listener beside them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use pgherald::event::Invalidation;
use pgherald::migrate;
use pgherald::resource::ResourceNames;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::description::description;
use crate::world::{Daemon, Database, Settings, Url, connect, until};

/// How the triggers tell the daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Notify,
    /// `pgherald.set_transport('relay')`, and a daemon that relays.
    Relay,
}

pub const TRANSPORTS: [Transport; 2] = [Transport::Notify, Transport::Relay];

/// The modes of watching: what stands for `$mode` in schemas, behind the other arguments of `pgherald.watch`.
pub const MODES: [&str; 2] = ["", ", mode => 'row', max_ids => 10000"];

/// A way in which the cases of [`told`] are run.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub mode: &'static str,
    pub transport: Transport,
}

/// Every mode by every transport.
pub const WAYS: [Way; 4] = [
    Way { mode: MODES[0], transport: Transport::Notify },
    Way { mode: MODES[1], transport: Transport::Notify },
    Way { mode: MODES[0], transport: Transport::Relay },
    Way { mode: MODES[1], transport: Transport::Relay },
];

/// The same for schemas that take the name of a mode.
pub const NAMED_WAYS: [Way; 4] = [
    Way { mode: "statement", transport: Transport::Notify },
    Way { mode: "row", transport: Transport::Notify },
    Way { mode: "statement", transport: Transport::Relay },
    Way { mode: "row", transport: Transport::Relay },
];

/// Runs statements, one case after the other, in every way. A case is a write and all that it changes, as [`rows`] has
/// it: exactly that must be told, and nothing may be lost.
pub async fn told(schema: &str, cases: &[(&str, &str)]) {
    let each = WAYS.map(|way| async move {
        let Way { mode, transport } = way;
        let mut witness = Witness::by(transport, &schema.replace("$mode", mode)).await;
        witness.payloads().await;
        for (sql, expected) in cases {
            assert_eq!(witness.covers(&sql.replace("$mode", mode)).await, rows(expected, mode), "{way:?} {sql}");
        }
        assert_eq!(witness.dropped().await, 0, "{way:?}");
    });
    join_all(each).await;
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
    relay: Option<Relay>,
}

/// What sends on where the transport is relay.
struct Relay {
    /// A superuser's connection that no test changes.
    client: Client,
    _daemon: Daemon,
}

/// That somebody is there for the writers, and somebody relays.
const RELAYED: &str = "select count(distinct objid) = 2 from pg_locks
    where locktype = 'advisory' and classid = 7434 and objid in (1, 3) and granted
      and database = (select oid from pg_database where datname = current_database())";

impl Relay {
    async fn start(url: &str) -> Relay {
        let (client, daemon) =
            (connect(url).await, Settings::new(url).set("authorize.claim", "projects").start().await);
        let relayed = async || client.query_one(RELAYED, &[]).await.unwrap().get::<_, bool>(0);
        until("the daemon to relay", relayed).await;
        Relay { client, _daemon: daemon }
    }
}

impl Witness {
    /// Migrates an empty database, and runs `sql` as its application.
    pub async fn new(sql: &str) -> Witness {
        Self::by(Transport::Notify, sql).await
    }

    /// The same by this transport.
    pub async fn by(transport: Transport, sql: &str) -> Witness {
        Self::on(Database::empty().await, transport, sql).await
    }

    /// The same, with this database.
    pub async fn on(database: Database, transport: Transport, sql: &str) -> Witness {
        let Database { url, mut client } = database;
        migrate::run(&mut client, |_| {}).await.unwrap();
        client.batch_execute(sql).await.unwrap();
        if transport == Transport::Relay {
            connect(&url).await.batch_execute("select pgherald.set_transport('relay')").await.unwrap();
        }
        Self::of(Database { url, client }).await
    }

    /// Listens in a database, whatever there is in it; with a daemon that relays, where it has need of one.
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
        let mut witness = Witness { client, url, heard, relay: None };
        witness.begin_to_relay().await;
        witness
    }

    /// Starts a daemon, if what there is in the database by now needs a relay.
    pub async fn begin_to_relay(&mut self) {
        let observer = connect(&self.url).await;
        let installed = "select to_regprocedure('pgherald.relay_wanted()') is not null";
        let wanted = observer.query_one(installed, &[]).await.unwrap().get(0)
            && observer.query_one("select pgherald.relay_wanted()", &[]).await.unwrap().get(0);
        if wanted {
            self.relay = Some(Relay::start(&self.url).await);
        }
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

    /// The payloads of what has been committed so far. All of them have come by the transport that is set; where that is
    /// the relay, those of a transaction in the order of the queue.
    pub async fn payloads(&mut self) -> Vec<String> {
        match &self.relay {
            None => self.run("notify cache_invalidate, 'end'").await,
            Some(relay) => {
                relay.client.batch_execute(r#"select pgherald.append(array['{"end":true}'])"#).await.unwrap();
            }
        }
        let (mut all, mut last) = (Vec::new(), HashMap::new());
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.heard.recv());
            let payload = next.await.expect("waited 10 s for the end mark").unwrap();
            if payload == "end" {
                return all;
            }
            assert!(payload.len() <= 7999, "{} bytes", payload.len());
            let event: Value = serde_json::from_str(&payload).unwrap();
            assert_eq!(event["ordinal"].is_u64(), self.relay.is_some(), "{payload}");
            let before = last.insert(event["cursor"].to_string(), event["ordinal"].as_u64());
            assert!(
                self.relay.is_none() || before.is_none_or(|id| id < event["ordinal"].as_u64()),
                "{before:?} {payload}"
            );
            if event["end"] == true {
                return all;
            }
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
