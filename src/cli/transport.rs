//! `pgherald transport`

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::Failure;
use crate::config::Config;
use crate::database::{self, DatabaseError};
use crate::standing::Standing;
use crate::transport::grants;

#[derive(Debug, clap::Args)]
pub struct Transport {
    /// How triggers send from now on [default: nothing is changed, only shown]
    #[arg(value_parser = ["relay", "notify"])]
    transport: Option<String>,
}

/// Daemons hear of a change at once; their connections and the election take as long as this, or there is no daemon.
const ELECTION_MAX: Duration = Duration::from_secs(3);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// All were rewritten, in any case.
const WATCHED: &str = "select count(*) from pg_catalog.pg_trigger t \
                       where t.tgname = 'pgherald_truncate' and pgherald.settings(t.tgrelid) is not null";
/// What was not.
const APPENDING: &str = "select string_agg(a::text, ', ' order by a::text) from pgherald.appending() a";
/// Daemons whose role may not relay, by their connections' usual name; those that may not log in any more are not there.
const FORBIDDEN: &str = "select distinct quote_ident(a.usename::text) from pg_catalog.pg_stat_activity a \
     where a.datname = current_database() and a.application_name = 'pgherald' and a.pid <> pg_backend_pid() \
       and not (has_function_privilege(a.usesysid, 'pgherald.relay(integer, integer)', 'execute') \
                and has_function_privilege(a.usesysid, 'pgherald.recycle(bigint)', 'execute')) order by 1";

pub async fn run(config: Config, arguments: Transport) -> Result<(), Failure> {
    let settings = &config.database;
    let left_out = Cell::new(0);
    let warned = |warning: &DatabaseError| {
        eprintln!("pgherald: warning: {warning}");
        left_out.set(left_out.get() + 1);
    };
    database::with_warnings(&settings.server, settings.connect_timeout, warned, async |client| {
        let standing = match &arguments.transport {
            Some(transport) => set(client, transport, &left_out).await?,
            None => look(client).await?,
        };
        show(&standing);
        if standing.relayed || standing.relay.is_some() {
            println!("waiting    {} rows; the queue is {} % full", standing.waiting, standing.full_percent);
        }
        for advice in next(client, &standing).await? {
            println!("next       {advice}");
        }
        Ok(())
    })
    .await
}

async fn look(client: &Client) -> Result<Standing, Failure> {
    Standing::look(client).await.map_err(|error| failure(&error))?.ok_or_else(|| {
        Failure::new("pgherald is not installed in this database, or of an earlier release: run `pgherald migrate`")
    })
}

/// Sets it, says what changed, and waits for a relay to be there where one is needed and a daemon can be seen.
async fn set(client: &Client, transport: &String, left_out: &Cell<u32>) -> Result<Standing, Failure> {
    let before = look(client).await?;
    // what the server says of itself to whoever connects
    left_out.set(0);
    client.batch_execute("begin isolation level read committed").await.map_err(|error| failure(&error))?;
    let sql = "select pgherald.set_transport($1)";
    let row = client.query_typed_one(sql, &[(transport, Type::TEXT)]).await.map_err(|error| failure(&error))?;
    client.batch_execute("commit").await.map_err(|error| failure(&error))?;
    let outcome: String = row.get(0);
    let tables: i64 = client.query_typed_one(WATCHED, &[]).await.map_err(|error| failure(&error))?.get(0);
    let tables = if tables == 1 { "1 watched table".to_owned() } else { format!("{tables} watched tables") };
    let but = if left_out.get() > 0 { ", but for those in the warnings" } else { "" };
    match outcome.as_str() {
        "changed" => {
            println!(
                "changed from {} to {transport}: the functions of {tables} were rewritten{but}",
                before.transport()
            )
        }
        _ => println!(
            "unchanged: it was {transport} already; the functions of {tables} were rewritten all the same{but}"
        ),
    }
    let began = Instant::now();
    loop {
        let standing = look(client).await?;
        let there = standing.relay.is_some() && standing.present > 0;
        if !standing.relayed || there || began.elapsed() >= ELECTION_MAX {
            return Ok(standing);
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// Also of `pgherald status`.
pub fn show(standing: &Standing) {
    println!("transport  {}, since {}", standing.transport(), standing.since);
    match &standing.relay {
        Some(relay) => println!("relay      {relay}; daemons that are there: {}", standing.present),
        None if standing.relayed => println!("relay      nobody; daemons that are there: {}", standing.present),
        None => {}
    }
}

/// What is left to do.
async fn next(client: &Client, standing: &Standing) -> Result<Vec<String>, Failure> {
    if !standing.relayed {
        let rows = client.query_typed(APPENDING, &[]).await.map_err(|error| failure(&error))?;
        return Ok(match (rows[0].get::<_, Option<&str>>(0), &standing.relay) {
            (Some(tables), _) => vec![format!(
                "watch or unwatch {tables}: triggers there could not be rewritten and still append; daemons relay for them"
            )],
            (None, Some(_)) => {
                vec!["nothing; daemons keep their two connections for the relay until they are restarted, in an hour at the earliest".to_owned()]
            }
            (None, None) => Vec::new(),
        });
    }
    let rows = client.query_typed(FORBIDDEN, &[]).await.map_err(|error| failure(&error))?;
    let mut advice: Vec<String> = rows.iter().map(|row| may_not_relay(row.get(0))).collect();
    if standing.relay.is_none() && advice.is_empty() {
        advice.push(format!(
            "start a daemon: until then changes reach nobody, and the one that comes tells everybody to refetch. Its role \
             needs, unless it owns schema pgherald: {}",
            grants("ROLE")
        ));
    }
    if standing.relay.is_some() && standing.present == 0 {
        advice.push("the daemon is not seen by writers: `pgherald doctor` tells why".to_owned());
    }
    Ok(advice)
}

fn may_not_relay(role: &str) -> String {
    format!("{role} is connected as a daemon is, and may not relay; where it is a daemon's role: {}", grants(role))
}

fn failure(error: &tokio_postgres::Error) -> Failure {
    DatabaseError::query(error).into()
}
