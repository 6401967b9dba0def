//! Whether triggers send by way of a relay (`pgherald.set_transport`), and being that relay where they do. A daemon
//! whose database never used one has none of its connections.

use std::convert::Infallible;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::access::Access;
use crate::backlog;
use crate::config;
use crate::database::{Database, DatabaseError};
use crate::heartbeat::tell_everyone;
use crate::hub::Hub;
use crate::presence;
use crate::relay::{Pace, show_state};
use crate::standing::Standing;
use crate::turn;

/// What the database asks of a daemon.
#[derive(Debug)]
enum Wanted {
    /// Nothing: triggers notify.
    Nothing,
    /// A relay.
    Relay,
    /// A relay, and this role may not be it.
    Forbidden(Standing),
}

/// Waits until a relay is wanted, looking every `database.heartbeat_interval` and when `changed` is rung; from then on this
/// daemon takes part, also after a return to `notify`: somebody may have begun before. `hears` tells whether the listener does:
/// where it does not, it tells everybody later what is not known now.
pub async fn run(
    settings: &config::Database,
    database: &Database,
    hub: &Hub,
    access: &Access,
    changed: &Notify,
    hears: &watch::Receiver<bool>,
) -> Infallible {
    show_state("");
    let mut told = 0;
    let (mut appending, mut silent) = (false, false);
    let mut hears = hears.clone();
    // since the last look writers may have found nobody, and have ended
    let mut unheard = false;
    // triggers may append, and we are not there for them
    let mut unknown = true;
    let mut failures = 0;
    loop {
        match wanted(database).await {
            Ok(Wanted::Relay) => break,
            Ok(Wanted::Nothing) => {
                (unknown, failures) = (false, 0);
                if std::mem::take(&mut unheard) {
                    tell_everyone(hub, access, true);
                }
                told = 0;
            }
            Ok(Wanted::Forbidden(standing)) => {
                unheard = true;
                failures = 0;
                // what is left over after a return to notify is told once
                let append = standing.relayed || standing.appending || standing.waiting != told;
                if append {
                    error!(
                        "triggers send by way of a relay, and {} may not relay: changes are not heard, every session is told to \
                         refetch again and again; as the owner of schema pgherald: {}",
                        standing.role,
                        grants(&standing.role)
                    );
                }
                // and what was in flight then, when it has ended
                if append || appending || silent && !standing.silent {
                    // again and again, so it is never too early
                    tell_everyone(hub, access, false);
                }
                (appending, silent) = (append, standing.silent);
                told = standing.waiting;
            }
            Err(error) => {
                failures += 1;
                warn!(%error, "cannot find out which transport the triggers use");
                // else all are told as soon as the database is heard again
                if failures > 1 && unknown && *hears.borrow() {
                    tell_everyone(hub, access, true);
                }
            }
        }
        let rung = timeout(settings.heartbeat_interval, changed.notified()).await.is_ok();
        // a change of the transport while nothing was heard rings for nobody
        let deaf = hears.has_changed().unwrap_or(true);
        if deaf {
            hears.mark_unchanged();
        }
        (unheard, unknown) = (unheard || rung, unknown || rung || deaf);
    }
    info!("triggers send by way of a relay");
    let tell = |late| tell_everyone(hub, access, late);
    tokio::join!(
        presence::run(settings, database, hub, access),
        turn::run(settings, database, Pace::default()),
        backlog::watch(settings, database, &hears, tell)
    )
    .0
}

async fn wanted(database: &Database) -> Result<Wanted, DatabaseError> {
    let standing = database.read(async |transaction| Standing::look(transaction).await).await?;
    Ok(match standing {
        Some(standing) if !standing.wanted => Wanted::Nothing,
        Some(standing) if standing.may_relay => Wanted::Relay,
        Some(standing) => Wanted::Forbidden(standing),
        None => Wanted::Nothing,
    })
}

/// What a daemon's role needs that does not own schema pgherald.
pub fn grants(role: &str) -> String {
    format!("grant execute on function pgherald.relay(integer, integer), pgherald.recycle(bigint) to {role}")
}
