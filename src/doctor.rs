//! Looks at everything that an installation depends on, and says what to do. It only reads.

use std::sync::Arc;

use crate::checks::listener::Listener;
use crate::checks::schema::{self, Schema};
use crate::checks::{commits, membership, queue, relay, server, tables, triggers};
use crate::config::Config;
use crate::database::{Database, DatabaseError};
use crate::report::Report;
use crate::standing::Standing;

/// All but the first, in order.
const CHECKS: &[&str] = &[
    "version",
    "clock",
    "listener",
    "primary",
    "pooler",
    "rights",
    "schema",
    "membership",
    "queue",
    "commits",
    "relay",
    "two_phase",
    "unwatched",
    "columns",
    "keys",
    "indexes",
    "triggers",
    "strays",
    "foreign",
    "leftovers",
    "losses",
];
/// Those that read `pgherald.watched` and its neighbours.
const TABLES: usize = 12;

/// Makes every check, one after the other. A check that does not answer within `database.query_timeout` is an error,
/// and the next one has a connection of its own.
pub async fn examine(config: &Config) -> Report {
    let mut report = Report::default();
    let settings = &config.database;
    let database = match server::connect(settings).await {
        Ok((database, finding)) => {
            report.add("connection", Ok::<_, DatabaseError>(finding));
            Arc::new(database)
        }
        Err(error) => {
            report.add("connection", Err(error));
            report.skip(CHECKS, "there is no connection");
            return report;
        }
    };
    report.add("version", server::version(&database).await);
    report.add("clock", server::clock(&database).await);
    let listener = match Listener::open(settings).await {
        Ok(listener) => {
            report.add("listener", listener.leads_home(&database, settings).await);
            if report.add("primary", listener.primary().await) {
                report.add("pooler", listener.pooler(settings).await);
            } else {
                report.skip(&["pooler"], "there is no primary");
            }
            Some(listener)
        }
        Err(error) => {
            report.add("listener", Err(error));
            report.skip(&["primary", "pooler"], "there is no connection to listen on");
            None
        }
    };
    let looked = schema::look(&database).await;
    let here = *looked.as_ref().unwrap_or(&Schema::Closed);
    let connections: Vec<&Database> =
        [Some(&*database), listener.as_ref().map(|listener| &listener.database)].into_iter().flatten().collect();
    match looked {
        Ok(_) => report.add("rights", schema::rights(here, &connections).await),
        Err(error) => report.add("rights", Err(error)),
    };
    report.add("schema", schema::current(here, &database).await);
    report.add("membership", membership::membership(config, &database).await);
    let hidden = queue::hidden(&database).await.unwrap_or_default();
    report.add("queue", queue::usage(&database, hidden.as_deref()).await);
    let standing = match here {
        Schema::Readable => database.read(async |transaction| Standing::look(transaction).await).await,
        _ => Ok(None),
    };
    let relayed = matches!(&standing, Ok(Some(standing)) if standing.relayed);
    report.add("commits", commits::commits(&database, settings, relayed).await);
    match standing {
        Ok(standing) => report.add("relay", relay::relay(&database, settings, standing, hidden.as_deref()).await),
        Err(error) => report.add("relay", Err(error)),
    };
    report.add("two_phase", server::two_phase(&database, relayed).await);
    if here != Schema::Readable {
        report.skip(&CHECKS[TABLES..], "schema pgherald is not there, or can't be read");
        return report;
    }
    report.add("unwatched", tables::unwatched(&database).await);
    report.add("columns", tables::columns(&database).await);
    report.add("keys", tables::keys(&database).await);
    report.add("indexes", tables::indexes(&database).await);
    report.add("triggers", triggers::triggers(&database).await);
    report.add("strays", triggers::strays(&database).await);
    report.add("foreign", triggers::foreign_tables(&database).await);
    report.add("leftovers", triggers::leftovers(&database).await);
    report.add("losses", schema::losses(&database).await);
    report
}
