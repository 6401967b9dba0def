//! The server: which one, how old, whose clock, and what else it is asked to do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config;
use crate::database::{Database, DatabaseError};
use crate::report::Finding;

/// The versions that the tests run on.
const TESTED: std::ops::RangeInclusive<i32> = 13..=18;
/// Tokens carry `exp` in whole seconds.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(1);

/// The queries' server, on one connection, and as whom it lets us in.
pub async fn connect(settings: &config::Database) -> Result<(Database, Finding), DatabaseError> {
    let database = Database::open(&config::Database { pool_connections: 1, ..settings.clone() })?;
    let row = database.ask_one("select current_user::text").await?;
    let finding = Finding::ok(format!("{} as {}", settings.server.redacted(), row.get::<_, &str>(0)));
    Ok((database, finding))
}

/// Whether it is a version that pgherald was tested with.
pub async fn version(database: &Database) -> Result<Finding, DatabaseError> {
    let sql = "select current_setting('server_version_num')::int4 / 10000, current_setting('server_version')";
    let row = database.ask_one(sql).await?;
    let (major, name): (i32, &str) = (row.get(0), row.get(1));
    Ok(if TESTED.contains(&major) {
        Finding::ok(format!("PostgreSQL {name}"))
    } else if major > *TESTED.end() {
        let advice =
            format!("pgherald was tested with {} to {}: look for a newer release", TESTED.start(), TESTED.end());
        Finding::warning(format!("PostgreSQL {name} is newer than this pgherald"), advice)
    } else {
        let advice = format!("upgrade PostgreSQL to {} or later", TESTED.start());
        Finding::error(format!("PostgreSQL {name} is too old: the triggers need {}", TESTED.start()), advice)
    })
}

/// Whether this machine and the server agree on the time, as far as the round trip lets us know.
pub async fn clock(database: &Database) -> Result<Finding, DatabaseError> {
    let local = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    // The first question opens the connection; only the second one is timed.
    let sql = "select extract(epoch from clock_timestamp())::float8";
    let (sent, theirs, received) = database
        .read(async |transaction| {
            transaction.query_typed(sql, &[]).await?;
            let sent = local();
            let rows = transaction.query_typed(sql, &[]).await?;
            Ok((sent, rows.first().map_or(0.0, |row| row.get::<_, f64>(0)), local()))
        })
        .await?;
    let difference = theirs - f64::midpoint(sent, received);
    let known_to = (received - sent) / 2.0;
    Ok(if difference.abs() - known_to > CLOCK_DIFFERENCE_MAX.as_secs_f64() {
        let side = if difference > 0.0 { "ahead of" } else { "behind" };
        Finding::warning(
            format!("the server's clock is {:.1} s {side} this machine's", difference.abs()),
            "run NTP on both: tokens expire by this machine's clock (auth.leeway allows for some difference)",
        )
    } else {
        Finding::ok(format!(
            "this machine's is within {:.1} s of the server's",
            difference.abs().max(known_to).max(0.1)
        ))
    })
}

/// Whether two-phase commits are in use: they and NOTIFY exclude each other.
pub async fn two_phase(database: &Database, relayed: bool) -> Result<Finding, DatabaseError> {
    let sql = "select current_setting('max_prepared_transactions')::int4, count(*)::int8
                 from pg_prepared_xacts where database = current_database()";
    let row = database.ask_one(sql).await?;
    Ok(match (row.get::<_, i32>(0), row.get::<_, i64>(1)) {
        (0, _) => Finding::ok("not possible here (max_prepared_transactions = 0)"),
        (max, now) if relayed => Finding::ok(format!(
            "possible (max_prepared_transactions = {max}), also for watched tables, as triggers append; prepared now: {now}"
        )),
        (max, 0) => Finding::ok(format!("possible (max_prepared_transactions = {max}), nothing is prepared now")),
        (_, now) => Finding::warning(
            format!("{now} prepared in this database now: PREPARE TRANSACTION fails after a NOTIFY"),
            "pgherald transport relay, with which it works; or pgherald unwatch the tables that are written in two-phase commits",
        ),
    })
}
