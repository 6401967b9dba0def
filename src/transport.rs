//! Whether triggers send by way of a relay (`pgherald.set_transport`), and being that relay where they do. A daemon
//! whose database never used one has none of its connections.

use std::convert::Infallible;

use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::access::Access;
use crate::config;
use crate::database::{Database, DatabaseError};
use crate::heartbeat::tell_everyone;
use crate::hub::Hub;
use crate::presence;
use crate::relay::{self, Pace};

/// Two questions, as a function that is not there can't be asked.
const INSTALLED: &str = "select pg_catalog.to_regprocedure('pgherald.relay_wanted()') is not null";
const WANTED: &str = "select pgherald.relay_wanted(),
       pg_catalog.has_function_privilege('pgherald.relay(integer, integer)', 'execute')
       and pg_catalog.has_function_privilege('pgherald.recycle(bigint)', 'execute'), quote_ident(current_user)";

/// What the database asks of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// Nothing: triggers notify.
    Nothing,
    /// A relay.
    Relay,
    /// A relay, and this role may not be it.
    Forbidden {
        /// Who we are, quoted.
        role: String,
    },
}

/// Waits until a relay is wanted, looking every `database.heartbeat_interval` and when `changed` is rung; from then on this
/// daemon takes part, also after a return to `notify`: somebody may have begun before.
pub async fn run(
    settings: &config::Database,
    database: &Database,
    hub: &Hub,
    access: &Access,
    changed: &Notify,
) -> Infallible {
    loop {
        match wanted(database).await {
            Ok(Wanted::Relay) => break,
            Ok(Wanted::Nothing) => {}
            Ok(Wanted::Forbidden { role }) => {
                error!(
                    "the transport is relay, and {role} may not relay: changes are not heard, every session is told to \
                     refetch again and again; as the owner of schema pgherald: {}",
                    grants(&role)
                );
                tell_everyone(hub, access);
            }
            Err(error) => warn!(%error, "cannot find out which transport the triggers use"),
        }
        let _ = timeout(settings.heartbeat_interval, changed.notified()).await;
    }
    info!("triggers send by way of a relay");
    tokio::join!(
        presence::run(settings, database, hub, access),
        relay::run(settings, database, Pace::default(), || tell_everyone(hub, access))
    )
    .0
}

async fn wanted(database: &Database) -> Result<Wanted, DatabaseError> {
    if !database.query(INSTALLED, &[]).await?.first().is_some_and(|row| row.get(0)) {
        return Ok(Wanted::Nothing);
    }
    let rows = database.query(WANTED, &[]).await?;
    let row = rows.first().ok_or_else(|| DatabaseError::new("the server sent no row"))?;
    Ok(match (row.get(0), row.get(1)) {
        (false, _) => Wanted::Nothing,
        (true, true) => Wanted::Relay,
        (true, false) => Wanted::Forbidden { role: row.get(2) },
    })
}

/// What a daemon's role needs that does not own schema pgherald.
pub fn grants(role: &str) -> String {
    format!("grant execute on function pgherald.relay(integer, integer), pgherald.recycle(bigint) to {role}")
}
